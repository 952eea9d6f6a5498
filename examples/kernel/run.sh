#!/bin/bash
# run.sh [option...] IMAGE
# Runs an image made by build.sh in the bochs emulator.
#   --model M       processor model (corei7_skylake_x)
#   --cpus N        number of processors (1)
#   --memory MB     RAM (256)
#   --disk IMG      first ATA disk; never written to
#   --iso           IMAGE is a CD to boot from (so it is if it ends in .iso)
#   --cmdline TEXT  for kernel_cmdline; not with a CD
#   --timeout S     seconds (120)
#   --log FILE      keep the emulator's log
#   --serial FILE   what comes out of COM1
# Standard output: the kernel's lines, as they come. Exit status: what the program ended with,
# 0-90; 99 if it did not come to its end, 124 if the time was over.
set -eu

usage() {
    sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

die() {
    echo "run.sh: $*" >&2
    exit 2
}

model=corei7_skylake_x
cpus=1
memory=256
disk=
iso=
cmdline=
seconds=120
log=
serial=
cmdline_offset=2048 # before the end of the ROM
cmdline_size=1024
share=/usr/share/bochs
status_no_end=99
status_timeout=124

while [ $# -gt 0 ]; do
    case $1 in
    --iso)
        iso=yes
        shift
        continue
        ;;
    -*) [ $# -ge 2 ] || usage ;;
    esac
    case $1 in
    --model) model=$2 ;;
    --cpus) cpus=$2 ;;
    --memory) memory=$2 ;;
    --disk) disk=$2 ;;
    --cmdline) cmdline=$2 ;;
    --timeout) seconds=$2 ;;
    --log) log=$2 ;;
    --serial) serial=$2 ;;
    -*) usage ;;
    *) break ;;
    esac
    shift 2
done
[ $# = 1 ] || usage
[ -r "$1" ] || die "no file $1"
image=$(realpath "$1")
case $image in *.iso) iso=yes ;; esac
bochs=$(command -v bochs-bin || command -v bochs) || die "no bochs (Debian: bochs bochs-term)"

work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-run.XXXXXX")
emulator=
# shellcheck disable=SC2317 # called by the trap
cleanup() {
    if [ -n "$emulator" ]; then
        kill "$emulator" 2>/dev/null || true
        wait "$emulator" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# -- The machine

if [ -n "$iso" ]; then
    [ -z "$cmdline" ] || die "--cmdline is for ROM images"
else
    [ ${#cmdline} -lt $cmdline_size ] || die "the command line is too long"
    cp "$image" "$work/image.rom"
    chmod u+w "$work/image.rom"
    printf '%s\0' "$cmdline" | dd of="$work/image.rom" bs=1 conv=notrunc status=none \
        seek=$(($(stat -c %s "$image") - cmdline_offset))
fi

if [ -n "$disk" ]; then
    # The emulator locks and writes its image and wants whole cylinders of 16 * 63 sectors.
    [ -r "$disk" ] || die "no file $disk"
    cylinder=$((16 * 63 * 512))
    size=$(stat -L -c %s "$disk")
    cp --sparse=always "$disk" "$work/disk.img"
    chmod u+w "$work/disk.img"
    truncate -s $(((size + cylinder - 1) / cylinder * cylinder)) "$work/disk.img"
fi

{
    cat <<END
display_library: term
config_interface: textconfig
cpu: model=$model, count=$cpus, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=0
memory: guest=$memory, host=$memory
vgaromimage: file=$share/VGABIOS-lgpl-latest
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
com1: enabled=1, mode=file, dev=com1.txt
port_e9_hack: enabled=1
mouse: enabled=0
sound: driver=dummy
plugin_ctrl: speaker=0
END
    if [ -n "$disk" ]; then
        echo "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14"
        echo "ata0-master: type=disk, path=disk.img, mode=flat"
    fi
    if [ -n "$iso" ]; then
        echo "romimage: file=$share/BIOS-bochs-latest"
        echo "ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15"
        echo "ata1-master: type=cdrom, path=\"$image\", status=inserted"
        echo "boot: cdrom"
    else
        echo "romimage: file=image.rom"
    fi
} >"$work/bochsrc"

debugger=()
if "$bochs" --help 2>&1 | grep -q -e '-rc '; then
    printf 'c\nq\n' >"$work/debugger"
    debugger=(-rc debugger)
fi

# -- Run

# The kernel begins its lines with a byte 1, and the last one with a byte 2 after it, which a
# program cannot print. What is before a byte 1 is the emulator's.
mkfifo "$work/pipe"
: >"$work/status"
LC_ALL=C stdbuf -oL sed -n -e 's/^.*\x01//' -e T \
    -e "/^\\x02/{s/^\\x02//;w $work/status" -e '}' -e p <"$work/pipe" &
filter=$!
(
    cd "$work"
    TERM=vt100 exec timeout -k 2 "$seconds" \
        "$bochs" -q -f bochsrc "${debugger[@]}" </dev/null >pipe 2>errors
) &
emulator=$!
ended=0
wait "$emulator" || ended=$?
emulator=
wait "$filter" || true

[ -z "$log" ] || cp "$work/bochs.log" "$log" || true
[ -z "$serial" ] || cp "$work/com1.txt" "$serial" || true

status=$(sed -n 's/^KERNEL-EXIT \([0-9][0-9]*\)$/\1/p' "$work/status")
if [ -z "$status" ]; then
    if [ $ended = 124 ] || [ $ended = 137 ]; then
        echo "run.sh: stopped after $seconds seconds" >&2
        status=$status_timeout
    else
        echo "run.sh: the kernel did not come to its end (emulator's status $ended)" >&2
        status=$status_no_end
    fi
fi
if [ "$status" != 0 ]; then
    tail -n 5 "$work/errors" >&2 || true
    grep -a -E 'VMENTER FAIL|VMFAIL|PANIC|triple' "$work/bochs.log" | tail -n 20 >&2 || true
fi
exit "$status"
