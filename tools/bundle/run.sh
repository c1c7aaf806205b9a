#!/bin/sh
# shellcheck disable=SC2317 # functions that `stage` calls
# Proves Tilewright on this machine: adapters, every kernel against the host, the demo, the tests that an adapter matters
# to, the conformance suite if there is one, the benches, and reports beside other libraries where Python has them.
# It needs a Vulkan driver (or another that wgpu knows) and nothing else.
usage() {
    cat <<'X'
usage: run.sh [--quick] [--suite DIR] [--only STAGE]... [OUT]
  --quick       fewer random cases and shorter benches
  --suite DIR   the conformance suite: check.py with dev.txt, and suite/ unpacked in it, or the unpacked folder alone
  --only STAGE  adapters, selftest, demo, examples, tests, conformance, benches or reports; may be given more than once
Logs and reports go to OUT, else $OUT, else ./tilewright-out. The status is 1 if anything failed.
X
}

set -u
quick='' suite='' only='' out=${OUT:-tilewright-out}
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1 ;;
    --suite) shift && suite=${1:?--suite needs a folder} ;;
    --only)
        shift
        case ${1:-} in
        adapters | selftest | demo | examples | tests | conformance | benches | reports) only="$only $1" ;;
        *) echo "no stage is called '${1:-}'" >&2 && exit 2 ;;
        esac
        ;;
    -h | --help) usage && exit ;;
    -*) usage >&2 && exit 2 ;;
    *) out=$1 ;;
    esac
    shift
done
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
[ -z "$suite" ] || suite=$(cd "$suite" && pwd) || exit 2
cd "$(dirname "$0")" || exit 1
TILEWRIGHT_BUNDLE=$PWD
export TILEWRIGHT_BUNDLE
# A Vulkan layer of Mesa asks Wayland for its display, and complains on a machine that has none.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
# Leave for tests to pass without an adapter.
unset TILEWRIGHT_SKIP_GPU
[ -z "$quick" ] || export PROPTEST_CASES=8
[ ! -f COMMIT ] || { TILEWRIGHT_COMMIT=$(cat COMMIT) && export TILEWRIGHT_COMMIT; }
: >"$out/summary.txt"
failed=0

wanted() { [ -z "$only" ] || case " $only " in *" $1 "*) ;; *) return 1 ;; esac }

row() { printf '%-36s %-8s %5s s  %s\n' "$1" "$2" "$3" "$4" | tee -a "$out/summary.txt"; }

# A hang of a driver ends with the stage; functions of this script bound themselves.
limited() {
    case $1 in
    bin/* | sh) if command -v timeout >/dev/null; then timeout -k 10 1800 "$@"; else "$@"; fi ;;
    *) "$@" ;;
    esac
}

# stage NAME COMMAND...: its log is OUT/NAME.log; a last line of the form `note: ..` stands in the table.
stage() {
    name=$1
    shift
    begin=$(date +%s)
    limited "$@" >"$out/$name.log" 2>&1 </dev/null
    status=$?
    seconds=$(($(date +%s) - begin))
    text=$(sed -n 's/^test result: [a-zA-Z]*\. \([0-9]* passed; [0-9]* failed\).*/\1/p; s/^note: //p' "$out/$name.log" | tail -n 1)
    if [ $status = 0 ]; then
        row "$name" ok "$seconds" "$text"
    else
        failed=1
        row "$name" FAILED "$seconds" "status $status${text:+, $text}; $out/$name.log"
        grep -E '^(error|Error|test .* FAILED)|panicked at' "$out/$name.log" | head -n 8 | sed 's/^/    /'
    fi
}

# With what the adapter has, and with default limits, where other kernels are chosen.
selftest() {
    right=0
    limited bin/tilewright selftest >"$out/selftest.txt" || right=1
    limited bin/tilewright selftest --default-limits >>"$out/selftest.txt" || right=1
    cat "$out/selftest.txt"
    awk '/^variants / { right += $2; wrong += $3; rest += $4 }
        END { print "note: " right + 0 " variants right, " wrong + 0 " wrong, " rest + 0 " unchecked" }' "$out/selftest.txt"
    return "$right"
}

tests() {
    list=$(bin/tests --list 2>/dev/null | sed -n 's/::.*: test$//p' | sort -u)
    [ -n "$list" ] || { failed=1 && row tests FAILED 0 "no tests are listed"; }
    for module in $list; do
        case $module in *suite*) [ -n "$suite" ] || continue ;; esac
        stage "tests-$module" bin/tests --show-output "$module::"
    done
}

# The suite's checker where Python has onnx; else what ran is counted, and nothing is judged but crashes.
conformance() {
    # shellcheck disable=SC2086 # a list of arguments
    if [ -f "$suite/check.py" ] && python3 -c 'import numpy, onnx' 2>/dev/null; then
        python3 "$suite/check.py" --list "$suite/dev.txt" --root "$TILEWRIGHT_SUITE" --scope 'core|ext' \
            --runner 'bin/tilewright suite {list} {out}' >"$out/conformance.sum"
        grep '^# ' "$out/conformance.sum"
        awk -v known_file=conformance-known.txt -v floor_file=conformance-floor.txt -v expected="ALL|kind real" -f judge.awk \
            conformance-known.txt conformance-floor.txt "$out/conformance.sum" || return 1
        echo "note: $(sed -n 's/^# ALL: //p' "$out/conformance.sum") conformant"
    else
        for test in "$TILEWRIGHT_SUITE"/*/*/model.onnx; do dirname "$test"; done >"$out/list.txt"
        listed=$(wc -l <"$out/list.txt")
        bin/tilewright suite "$out/list.txt" "$out/conformance"
        [ -f "$out/conformance/errors.txt" ] || { echo "error: no results" && return 1; }
        ! grep -e 'the worker died' -e 'took longer than' "$out/conformance/errors.txt" || return 1
        ran=$((listed - $(wc -l <"$out/conformance/errors.txt")))
        echo "note: $ran of $listed ran; answers NOT JUDGED: no onnx for Python"
        least=$(sed -n 's/^ALL //p' conformance-floor.txt)
        [ "$ran" -ge "$least" ] || { echo "error: fewer than $least ran" && return 1; }
    fi
}

# bench NAME PROGRAM...: with the report OUT/NAME.json.
bench() {
    report=$1
    shift
    stage "bench-$report" "$@" --json "$out/$report.json"
}

benches() {
    rounds=30 seconds=10
    [ -z "$quick" ] || rounds=2 seconds=1
    bench gemm bin/gemm --rounds $rounds
    bench map bin/map
    bench binding_access bin/binding_access
    bench replay_overhead bin/replay_overhead
    models=
    for model in resnet18 unet bert_tiny; do
        path=${TILEWRIGHT_SUITE:-}/real/$model/model.onnx
        [ ! -f "$path" ] || models="$models --model $path"
    done
    # shellcheck disable=SC2086 # a list of arguments
    bench binding bin/binding $models
    stage bench-sparse sh -c "bin/tilewright bench sparse --seconds $seconds --json >'$out/sparse.json'"
}

# The libraries that Python has, of those that peers.py speaks for; it needs numpy for all.
find_peers() {
    peers=
    [ -f peers.py ] || return 0
    python3 -c 'import numpy' 2>/dev/null || return 0
    for library in torch numpy onnxruntime; do
        ! python3 -c "import $library" 2>/dev/null || peers="$peers $library"
    done
}

# measured NAME ARG...: `tilewright bench ARG...` beside the peers, with OUT/NAME.json and OUT/NAME.html.
measured() {
    to=$1
    shift
    for library in $peers; do set -- "$@" --peer "python3 peers.py $library"; done
    [ -z "$quick" ] || set -- "$@" --seconds 0.2 --rounds 2
    limited bin/tilewright bench "$@" --html "$out/$to.html" --json >"$out/$to.json" || return 1
    echo "note: beside${peers:- no peers}; $to.html"
}

report() { # report NAME ARG...
    of=report-$1
    shift
    stage "$of" measured "$of" "$@"
}

reports() {
    find_peers
    report gemm-ladder gemm --preset ladder
    report gemm-ladder-f16 gemm --preset ladder --dtype f16
    report gemm-sweep gemm --preset sweep --candidates
    report conv-resnet50 conv --preset resnet50
    report conv-resnet50-f16 conv --preset resnet50 --dtype f16
    report conv-mobilenetv2 conv --preset mobilenetv2
    report attention attention
    report map map
    report_model resnet18 --input x=1,3,64,64
    report_model mobilenet_v2
    report_model unet --input x=1,3,96,96
    report_model bert_tiny
}

report_model() { # report_model NAME ARG...: one of the suite, if it is there
    path=${TILEWRIGHT_SUITE:-}/real/$1/model.onnx
    [ -f "$path" ] || return 0
    of=$1
    shift
    report "model-$of" model "$path" --slowest 10 "$@"
}

unset TILEWRIGHT_SUITE
if [ -n "$suite" ]; then
    export TILEWRIGHT_SUITE="$suite"
    [ ! -d "$suite/suite" ] || TILEWRIGHT_SUITE=$suite/suite
fi

! wanted adapters || { stage adapters bin/tilewright adapters && cat "$out/adapters.log"; }
! wanted selftest || stage selftest selftest
! wanted demo || { stage demo bin/digits && sed -n 's/^\([0-9]* of .* right.*\)/    \1/p; s/^\(On\|No\) .*/    &/p' "$out/demo.log"; }
! wanted examples || { stage example-embed bin/embed && stage example-custom_op bin/custom_op; }
! wanted tests || tests
[ -z "$suite" ] || ! wanted conformance || stage conformance conformance
! wanted benches || benches
! wanted reports || reports
[ -s "$out/summary.txt" ] || { failed=1 && echo "nothing was run"; }
echo
echo "$(grep -c ' ok ' "$out/summary.txt") ok, $(grep -c ' FAILED ' "$out/summary.txt") failed; logs and reports in $out"
exit $failed
