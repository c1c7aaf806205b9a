#!/bin/sh
# Judges the dependency tree by deny.toml's allow list: licences (SPDX expressions), sources, and who may depend on what.
# usage: tools/deny.sh    It needs nothing but cargo; `cargo deny check` reads the same file and knows more (advisories).
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

awk '/^\[/ { inside = ($0 == "[licenses]") } inside && /^allow = \[/ { on = 1; next } on && /^\]/ { on = 0 } on' deny.toml |
    sed 's/^[^"]*"//; s/".*//' >"$tmp/allow"
[ -s "$tmp/allow" ] || { echo "deny: no allow list in deny.toml"; exit 1; }

# `--target all`: what Windows and browser users link counts too.
cargo tree --quiet --workspace --all-features --target all -e normal,build,dev --prefix none --format '{p}|{l}' |
    sed 's/ (\*)$//' | grep . | sort -u >"$tmp/tree"

awk -F'|' '
    function peek() { return at <= count ? token[at] : "" }
    function either(  ok) { ok = both(); while (peek() == "OR") { at++; ok = both() || ok } return ok }
    function both(  ok) { ok = one(); while (peek() == "AND") { at++; ok = one() && ok } return ok }
    function one(  ok, id) {
        if (peek() == "(") { at++; ok = either(); if (peek() != ")") bad = 1; at++; return ok }
        id = peek(); at++
        if (peek() == "WITH") { at++; id = id " WITH " peek(); at++ }
        return id in allow
    }
    FNR == NR { allow[$0] = 1; next }
    {
        # Old manifests write "MIT/Apache-2.0" for OR.
        text = $2; gsub(/\//, " OR ", text); gsub(/[()]/, " & ", text)
        count = split(text, token, " "); at = 1; bad = 0
        ok = count && either()
        if (!ok || bad || at != count + 1) { print "deny: licence of " $1 ": " ($2 == "" ? "none stated" : $2); failed = 1 }
    }
    END { exit failed }
' "$tmp/allow" "$tmp/tree" || exit 1

registry='registry+https://github.com/rust-lang/crates.io-index'
if grep '^source = ' Cargo.lock | grep -Fvx "source = \"$registry\""; then
    echo "deny: a source other than crates.io"
    exit 1
fi

# What builds here is the oldest Rust that is promised.
promised=$(sed -n '/^\[workspace.package\]/,/^\[/s/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
case $pinned in
"$promised" | "$promised".*) [ -n "$promised" ] || { echo "deny: no rust-version in Cargo.toml"; exit 1; } ;;
*) echo "deny: rust-version is '$promised', but rust-toolchain.toml pins '$pinned'"; exit 1 ;;
esac

# Who may name what: wgpu is device's alone, naga is for tests, `tilewright inspect` and the bench `isa` (device
# rewrites modules by wgpu's own name for it),
# ash for the latter alone.
banned() { # banned CRATE EDGES ALLOWED...
    crate=$1 edges=$2
    shift 2
    for manifest in shaders/Cargo.toml crates/*/Cargo.toml examples/Cargo.toml benches/Cargo.toml; do
        name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1)
        case " $* " in *" $name "*) continue ;; esac
        if cargo tree --quiet -p "$name" --all-features --target all -e "$edges" --depth 1 --prefix none --format '{p}' |
            grep -q "^$crate v"; then
            echo "deny: $name depends on $crate"
            exit 1
        fi
    done
}
banned wgpu normal,build,dev tilewright-device
banned naga normal,build tilewright-cli tilewright-benches
banned ash normal,build,dev tilewright-benches

echo "deny: $(wc -l <"$tmp/tree") crates, licences and sources allowed"
