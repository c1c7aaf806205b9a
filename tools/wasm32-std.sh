#!/bin/sh
# A rustc with a wasm32-unknown-unknown std, for a Debian machine where `rustup target add` cannot fetch one.
# usage: tools/wasm32-std.sh DIR    then: . DIR/env; cargo build --target wasm32-unknown-unknown
#
# Debian ships a second, newer rustc (rustc-web) and its std source, but no prebuilt wasm std. The packages are unpacked
# under DIR (1.3 GB), never installed, and std is compiled once (about 3 minutes on 2 cores). DIR/env is written last, so
# its presence means that DIR is complete. Needs apt with a fresh index; not root.
set -eu

fail() { echo "wasm32-std: $*" >&2; exit 1; }

[ $# = 1 ] || fail "usage: wasm32-std.sh DIR"
[ ! -f "$1/env" ] || exit 0
mkdir -p "$1"
dir=$(cd "$1" && pwd)
command -v apt-get >/dev/null || fail "needs Debian's apt; elsewhere: rustup target add wasm32-unknown-unknown"

# The compiler and what it links, less what every Debian has or must take from the system.
packages() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        rustc-web |
        grep -E '^(rustc-web|libstd-rust-web-(dev|[0-9.]+)|libllvm[0-9]+|libz3-4|libxml2|libicu[0-9]+|libedit2|libbsd0|libmd0|libffi8)$'
    echo rust-web-src
}

rm -rf "$dir/deb"
mkdir "$dir/deb"
# apt's sandbox user cannot write below root's home, which only costs a warning.
# shellcheck disable=SC2046 # one word a package
(cd "$dir/deb" && apt-get download -qq $(packages) 2>"$dir/apt.log") || { cat "$dir/apt.log" >&2; fail "download failed"; }
for deb in "$dir"/deb/*.deb; do dpkg -x "$deb" "$dir"; done
rm -rf "$dir/deb"

# A wrapper instead of LD_LIBRARY_PATH in the caller's environment, which would reach every child of cargo.
mkdir -p "$dir/bin"
cat >"$dir/bin/rustc" <<X
#!/bin/sh
LD_LIBRARY_PATH=$dir/usr/lib/x86_64-linux-gnu:$dir/lib/x86_64-linux-gnu exec $dir/usr/bin/rustc "\$@"
X
chmod +x "$dir/bin/rustc"
"$dir/bin/rustc" --version || fail "the unpacked rustc does not start"

# std through an empty crate: cargo's -Zbuild-std takes its source from rustc's sysroot, where rust-web-src put it.
mkdir -p "$dir/std/src"
cat >"$dir/std/Cargo.toml" <<'X'
[package]
name = "std-carrier"
version = "0.1.0"
edition = "2021"

[profile.release]
panic = "abort"

[workspace]
X
: >"$dir/std/src/lib.rs"
(cd "$dir/std" && env -u CARGO_TARGET_DIR RUSTC="$dir/bin/rustc" RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes \
    cargo build --quiet --release -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown) ||
    fail "std did not compile"
lib=$dir/usr/lib/rustlib/wasm32-unknown-unknown/lib
rm -rf "$lib"
mkdir -p "$lib"
cp "$dir"/std/target/wasm32-unknown-unknown/release/deps/*.rlib "$lib"
rm -rf "$lib"/libstd_carrier-* "$dir/std" "${dir:?}/usr/src" "${dir:?}/usr/share"

# Debian's rustc has no linker for wasm; rustup's toolchain carries lld.
lld=$(find "$(rustc --print sysroot)/lib/rustlib" -name rust-lld -type f | head -n 1)
[ -n "$lld" ] || fail "no rust-lld in $(rustc --print sysroot)"
cat >"$dir/env" <<X
export RUSTC=$dir/bin/rustc CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$lld
X
