#!/usr/bin/env bash
# The demo: a stock Debian kernel, as a guest, from its first instruction to power-off.
set -u
cd "$(dirname "$0")/../.."
mkdir -p build/demo
echo 1..6
failed=0
n=0
check() { # NAME COMMAND...
    local name=$1
    shift
    n=$((n + 1))
    if "$@"; then echo "ok $n - $name"; else
        echo "not ok $n - $name"
        failed=1
    fi
}
start=$SECONDS
make --no-print-directory demo >build/demo/output 2>build/demo/errors
status=$?
seconds=$((SECONDS - start))
ok() { [ $status -eq 0 ]; }
check "make demo succeeds ($seconds s)" ok
has() { grep -qE "$1" build/demo/output; }
check "the kernel is Debian's own" has '^guest\| Linux .*-cloud-amd64 .* Debian '
check "it knows that it is a guest" has '^guest\| hypervisor flag: yes'
check "its init reached userspace" has '^guest\| xvcpu-linux: userspace reached$'
check "it powered off" has '^linux: the guest is off$'
check "exits are counted by reason" has '^CPUID +[1-9][0-9]* +[1-9][0-9]*$'
[ $failed -eq 0 ] || tail -n 30 build/demo/output build/demo/errors | sed 's/^/# /'
exit $failed
