# Judges sums of the conformance checkers.
# usage: awk -f judge.awk -v known_file=KNOWN -v floor_file=FLOOR -v expected="SUM|SUM.." KNOWN FLOOR SUMS
# KNOWN: names of tests that may fail. FLOOR: the name of a sum, then the fewest passes. SUMS: the checkers' lines,
# `FAIL NAME WHY` and `# SUM: PASSED/TESTS`.
function error(text) { print "error: " text; wrong = 1 }

FILENAME != known_file && FILENAME != floor_file && /^# / {
    name = $0; sub(/^# /, "", name); sub(/: .*/, "", name)
    passed = $0; sub(/.*: /, "", passed); sub(/\/.*/, "", passed)
    if (!(name in floor)) next
    judged[name]
    if (passed + 0 < floor[name]) error(name ": " passed " pass, the floor is " floor[name])
    next
}
/^#/ || !NF { next }
FILENAME == known_file { known[$1]; next }
FILENAME == floor_file { least = $NF; sub(/ *[0-9]+$/, ""); floor[$0] = least; next }
/^FAIL / {
    print
    # The words of `tilewright suite` and of the checkers.
    if (/the worker died/ || /took longer than/ || / timeout /) error($2 " ended or outlived its worker")
    else if (!($2 in known)) error($2 " fails, and is not in " known_file)
}
END {
    count = split(expected, names, "|")
    if (!count) error("no sum is expected")
    for (i = 1; i <= count; i++) if (!(names[i] in judged)) error("no sum `" names[i] "` that has a floor")
    exit wrong
}
