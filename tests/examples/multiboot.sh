#!/usr/bin/env bash
# The way of a real machine: firmware, GRUB from a CD, multiboot2, then the smallest guest. The ROM
# that all other tests start from leaves IA32_FEATURE_CONTROL unlocked; firmware locks it, VMX on.
# shellcheck disable=SC2317 # functions that check calls
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/tap.sh
. tests/tap.sh
work=build/multiboot
mkdir -p "$work"
# Shown where a test failed.
: >"$work"/deps.log
: >"$work"/build.log
: >"$work"/output
: >"$work"/errors

deps() {
    tests/deps.sh gcc binutils libc6-dev bochs bochs-term bochsbios vgabios grub-pc-bin \
        grub-common xorriso mtools >"$work"/deps.log 2>&1
}
check "GRUB and the CD tools are installed" deps

# The same program, with a line about the lock before it starts.
cat >"$work"/hello.c <<END
#define kernel_main hello_main
#include "$PWD/examples/hello/hello.c"
#undef kernel_main

int kernel_main(void)
{
    kprintf("boot: %s\n", kernel_from_rom ? "ROM" : "multiboot2");
    kprintf("feature control: 0x%lx\n", rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL));
    int status = hello_main();
    kprintf("feature control after: 0x%lx\n", rdmsr(XVCPU_MSR_IA32_FEATURE_CONTROL));
    return status;
}
END
rm -f "$work"/hello.iso
build() { examples/kernel/build.sh "$work"/hello.iso "$work"/hello.c >"$work"/build.log 2>&1; }
check "examples/hello is built as a CD" build
run() {
    examples/kernel/run.sh --iso --timeout 60 "$work"/hello.iso >"$work"/output 2>"$work"/errors
}
check "it ends with status 0" run
has() { grep -qxE "$1" "$work"/output; }
check "GRUB loaded it" has 'boot: multiboot2'
# Lock (bit 0) and VMX outside SMX (bit 2); enabling VMX must not try to write it again.
check "the firmware had locked IA32_FEATURE_CONTROL, with VMX on" has 'feature control: 0x5'
check "the guest's line came out" has 'Hello from the guest!'
check "the guest halted and the lock is as it was" \
    eval 'has "exit: HLT" && has "feature control after: 0x5"'
[ "$tap_failed" -eq 0 ] || tail -n 20 "$work"/deps.log "$work"/build.log "$work"/output "$work"/errors |
    sed 's/^/# /'
done_testing 7
