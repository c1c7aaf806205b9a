# A peer that knows one answer: fake_peer.sh MODE VALUE. Modes are what peers do wrong, or `right`.
mode=$1 value=$2
[ "$mode" != silent ] || exec sleep 20
[ "$mode" != old ] || echo '{"protocol":0,"peer":"old"}'
[ "$mode" = old ] || echo '{"protocol":1,"peer":"'"$mode"'","version":"1.2","device":"sh","threads":9999}'
while read -r request; do
    case $mode$request in
        refusing*prepare*) echo '{"ok":false,"why":"no such operator"}' ;;
        dying*prepare*) exit 3 ;;
        babbling*prepare*) echo 'Segmentation fault' ;;
        *prepare*) echo '{"ok":true,"first_seconds":0.5}' ;;
        wrong*result*) echo '{"values":[1'"$value"']}' ;;
        *result*) echo '{"values":['"$value"']}' ;;
        hanging*time*) exec sleep 20 ;;
        # A tenth of a second of wall time a run, and no word on processors.
        *time*) echo '{"wall":'"$(echo "$request" | sed 's/.*"repeats":\([0-9]*\).*/\1/')"'e-1,"cpu":null}' ;;
        *quit*) exit 0 ;;
    esac
done
