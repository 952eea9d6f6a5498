#!/usr/bin/env bash
# The small kernel of the examples tests itself: processor models, numbers of processors, ways to
# boot, bad ends. About a minute; the long run has more models.
set -u
cd "$(dirname "$0")/../.." || exit 1
# It boots CDs too, which takes GRUB.
tests/deps.sh gcc binutils libc6-dev bochs bochs-term bochsbios vgabios grub-pc-bin grub-common \
    xorriso mtools || {
    echo 1..1
    echo "not ok 1 - what the tests of examples/kernel need is installed"
    exit 1
}
if [ -n "${XVCPU_LONG:-}" ]; then
    exec examples/kernel/selftest.sh
fi
exec examples/kernel/selftest.sh quick
