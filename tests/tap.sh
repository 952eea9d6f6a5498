# shellcheck shell=bash
# Test Anything Protocol for the tests that are scripts: what `prove` reads. To be sourced in the
# project's root.
#
#     check "NAME" COMMAND...   # one test: passes if COMMAND succeeds, shows its output if not
#     done_testing COUNT        # prints the plan; returns 0 if that many ran and all passed
#
# The plan comes last: a script that dies on the way prints none, and prove counts it as failed.
tap_count=0
tap_failed=0
tap_log=build/tap-log/$(basename "$0" .sh)
mkdir -p build/tap-log

check() {
    local tap_name=$1
    shift
    tap_count=$((tap_count + 1))
    if "$@" >"$tap_log" 2>&1; then
        echo "ok $tap_count - $tap_name"
    else
        echo "not ok $tap_count - $tap_name"
        tap_failed=$((tap_failed + 1))
        sed 's/^/# /' "$tap_log" | head -n 80
    fi
}

# A command for check: succeeds if COMMAND... prints nothing.
nothing() {
    "$@" >"$tap_log.found" 2>&1
    cat "$tap_log.found"
    [ ! -s "$tap_log.found" ]
}

done_testing() {
    echo "1..$1"
    [ "$tap_failed" -eq 0 ] && [ "$tap_count" -eq "$1" ]
}
