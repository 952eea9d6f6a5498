#!/usr/bin/env bash
# Runs the tests with prove and closes with a line "N passed, N failed[, N skipped]".
# check.sh [all|hosted|metal|compile|long]
#
# Every test is a script in build/t/ that prints TAP: it is written here from the test's source, so
# a new file in tests/hosted or tests/metal is a new test. The output of each is kept in build/tap/.
set -u
cd "$(dirname "$0")/.." || exit 1
what=${1:-all}
jobs=${JOBS:-2}

tests/deps.sh perl gcc g++ libc6-dev clang binutils bochs bochs-term bochsbios vgabios || {
    echo "0 passed, 1 failed"
    exit 1
}
rm -rf build/t build/tap
mkdir -p build/t build/tap build/hosted build/metal

# add NAME COMMAND...: a test that runs COMMAND, keeping its output.
add() {
    local name=$1
    shift
    {
        echo '#!/usr/bin/env bash'
        echo 'set -o pipefail'
        printf '{ '
        printf '%q ' "$@"
        printf '; } | tee %q\n' "build/tap/$name.tap"
    } >"build/t/$name.t"
    chmod +x "build/t/$name.t"
}

hosted() {
    local source name
    for source in tests/hosted/*.c; do
        name=$(basename "$source" .c)
        add "hosted-$name" tests/hosted/run.sh "$source"
    done
    add "hosted-devices" tests/hosted/run.sh examples/linux/devices_test.c examples/linux/devices.c
}

# The models a metal test runs on, and with how many CPUs, stand in its source:
#   // models: corei7_skylake_x tigerlake
#   // cpus: 1 2 4
metal() {
    local source name models cpus model n
    for source in tests/metal/*.c; do
        name=$(basename "$source" .c)
        models=$(sed -n 's,^// models: ,,p' "$source")
        cpus=$(sed -n 's,^// cpus: ,,p' "$source")
        for model in ${models:-corei7_skylake_x}; do
            for n in ${cpus:-1}; do
                add "metal-$name-$model-$n" tests/metal/run.sh "$source" "$model" "$n"
            done
        done
    done
}

scripts() {
    local script
    for script in tests/"$1"/*.sh; do
        case $(basename "$script") in run.sh) continue ;; esac
        add "$1-$(basename "$script" .sh)" "$script"
    done
}

case $what in
hosted) hosted ;;
metal) metal ;;
compile) scripts compile ;;
all)
    hosted
    metal
    scripts compile
    scripts examples
    ;;
long)
    export XVCPU_LONG=1
    hosted
    metal
    scripts compile
    scripts examples
    ;;
*)
    echo "usage: check.sh [all|hosted|metal|compile|long]" >&2
    exit 2
    ;;
esac

prove --jobs "$jobs" --exec bash build/t/*.t
status=$?

# What prove does not print: how many. A test whose plan was not met counts as one failure more.
awk -v status=$status '
    FNR == 1 { finish() ; planned = -1; seen = 0; file_failed = 0 }
    /^1\.\.[0-9]+/ { planned = substr($1, 4) + 0; if (planned == 0) skipped++ }
    /^ok / { seen++; if ($0 ~ /# *[Ss][Kk][Ii][Pp]/) skipped++; else passed++ }
    /^not ok / { seen++; failed++; file_failed++ }
    END {
        finish()
        if (status != 0 && failed == 0) failed = 1
        printf "%d passed, %d failed", passed, failed
        if (skipped > 0) printf ", %d skipped", skipped
        printf "\n"
        exit status != 0 || failed != 0
    }
    function finish() { if (started && planned != seen) failed++; started = 1 }
' build/tap/*.tap
