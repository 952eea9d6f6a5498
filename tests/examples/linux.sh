#!/usr/bin/env bash
# The demo: a stock Debian kernel, as a guest, from its first instruction to power-off; and what it
# says on processors that cannot run it.
# shellcheck disable=SC2317 # functions that check calls
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/tap.sh
. tests/tap.sh
mkdir -p build/demo
models=() # in the long run, besides the one of the demo
[ -z "${XVCPU_LONG:-}" ] || models=(corei7_haswell_4770 tigerlake)
start=$SECONDS
make --no-print-directory demo >build/demo/output 2>build/demo/errors
status=$?
seconds=$((SECONDS - start))
ok() { [ "$status" -eq 0 ]; }
check "make demo succeeds ($seconds s)" ok
has() { grep -qE "$1" build/demo/output; }
check "the kernel is Debian's own" has '^guest\| Linux .*-cloud-amd64 .* Debian '
check "it knows that it is a guest" has '^guest\| hypervisor flag: yes'
check "its init reached userspace" has '^guest\| xvcpu-linux: userspace reached$'
check "it powered off" has '^linux: the guest is off$'
check "exits are counted; the library answers CPUID" has '^CPUID +[1-9][0-9]* +0 +[1-9][0-9]*$'
check "ports are left to the VMM" has '^IO_INSTRUCTION +([1-9][0-9]*) +\1 +[1-9][0-9]*$'
known() { ! grep -q 'unknown MSR' build/demo/output && has '^MSRs refused with #GP: [A-Z]'; }
check "each MSR it was refused has a name" known
[ "$tap_failed" -eq 0 ] || tail -n 30 build/demo/output build/demo/errors | sed 's/^/# /'

# One line that says what is missing, no panic.
lacks() { # MODEL WHAT
    local status=0
    examples/kernel/run.sh --model "$1" --timeout 60 --disk build/linux/disk.img build/linux.rom \
        >build/demo/lacks 2>/dev/null || status=$?
    [ "$status" -eq 1 ] && [ "$(wc -l <build/demo/lacks)" -eq 2 ] &&
        head -n 1 build/demo/lacks | grep -q "^linux: this processor has no $2,\? " && return
    cat build/demo/lacks
    return 1
}
check "without EPT it says so" lacks core2_penryn_t9600 EPT
check "without unrestricted guest it says so" lacks corei5_lynnfield_750 '"unrestricted guest"'

boots() { # MODEL
    examples/kernel/run.sh --model "$1" --timeout 120 --disk build/linux/disk.img build/linux.rom \
        >build/demo/output 2>build/demo/errors && has '^linux: PASS' && return
    tail -n 30 build/demo/output build/demo/errors
    return 1
}
for model in "${models[@]}"; do
    check "it boots on $model" boots "$model"
done
done_testing $((10 + ${#models[@]}))
