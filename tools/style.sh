#!/bin/sh
# Prints what is over the size budgets: files of 500 lines, shaders of 250, functions of 60. It judges nothing; a reader does.
# Generated bindings are exempt. Functions are found by rustfmt's layout: a body ends where its indentation returns.
set -eu
cd "$(dirname "$0")/.."

sources() { # sources NAME...: files of the project by pattern
    for pattern in "$@"; do
        find shaders crates examples benches tools -name target -prune -o -name peers -prune -o -name "$pattern" -type f -print
    done | grep -v -e '/generated' -e '/proto\.rs$' | sort
}

for file in $(sources '*.rs' '*.wgsl'); do
    case $file in *.wgsl) most=250 ;; *) most=500 ;; esac
    lines=$(wc -l <"$file")
    [ "$lines" -le "$most" ] || echo "style: $file: $lines lines, budget $most"
done

for file in $(sources '*.rs'); do
    awk -v file="$file" '
        /^ *(pub(\([a-z]+\))? )?((const|async|unsafe|extern "C") )*fn / {
            name = $0; sub(/.*fn /, "", name); sub(/[^a-zA-Z0-9_].*/, "", name)
            indent = $0; sub(/[^ ].*/, "", indent)
            start = NR
            if (/[;}]$/) start = 0
            next
        }
        start && $0 ~ "^" indent "\\).*;$" { start = 0 }
        start && $0 == indent "}" {
            if (NR - start + 1 > 60) print "style: " file ":" start ": fn " name ": " NR - start + 1 " lines, budget 60"
            start = 0
        }' "$file"
done
