# shellcheck shell=sh disable=SC2154 # a part of x, with its names
# Programs, tests, benches, pages and documents, stripped, as one archive in target/bundle.
pack() {
    untested=$(for file in crates/*/tests/gpu*.rs examples/tests/gpu*.rs crates/*/tests/suite*.rs crates/*/tests/suite*/main.rs; do
        grep -qF "/$file\"" tools/bundle/tests/bundle.rs || echo "$file"
    done)
    [ -z "$untested" ] || die "tools/bundle/tests/bundle.rs lacks: $untested"
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    name=tilewright-$version-$(rustc -vV | sed -n 's/^host: //p')
    folder=target/bundle/$name
    rm -rf "$folder"
    mkdir -p "$folder/bin" "$folder/examples/digits" "$folder/crates/cli/tests/common" "$folder/tmp"
    # The profile that the tests of real models run in.
    # shellcheck disable=SC2086 # a list of arguments
    cargo build --release $released -p tilewright-benches || exit 1
    built=$(cargo test --release -p tilewright-bundle --test bundle --no-run 2>&1 | tee /dev/stderr |
        sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
    [ -n "$built" ] || die "the tests were not built"
    cp "$built" "$folder/bin/tests" || exit 1
    # The bench isa needs a driver that is made on a machine with Rust.
    for program in tilewright digits embed custom_op $(bench_names | grep -vx isa); do
        cp "target/release/$program" "$folder/bin/" || exit 1
    done
    build_web
    cp -r target/pages "$folder/web"
    cp tools/bundle/run.sh tools/judge.awk tools/conformance-known.txt tools/conformance-floor.txt "$folder/" &&
        cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$folder/" && cp -r docs "$folder/" || exit 1
    cp crates/cli/tests/common/fake_peer.sh "$folder/crates/cli/tests/common/" || exit 1
    [ ! -f benches/peers/peers.py ] || cp benches/peers/peers.py "$folder/" || exit 1
    cp examples/digits/*.onnx examples/digits/*.npy examples/digits/README.md "$folder/examples/digits/" || exit 1
    git describe --always --dirty --abbrev=12 --exclude='*' >"$folder/COMMIT" 2>/dev/null || rm -f "$folder/COMMIT"
    pack=target/bundle/$name.tar.gz
    tar -czf "$pack" -C target/bundle "$name" || exit 1
    bytes=$(wc -c <"$pack")
    [ "$bytes" -lt 50000000 ] || die "$pack has $bytes bytes; more than 50 MB are hard to carry"
    say "$pack, $bytes bytes"
}
