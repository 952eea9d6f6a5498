#!/usr/bin/env bash
# Makes the disk image the Linux example boots from: an unmodified Debian cloud kernel, an
# initramfs holding busybox and the script "init" next to this file, and the command line.
#
#   payload.sh [OUTPUT_DIRECTORY]          default: build/linux in the project
#
# Nothing is installed: packages are fetched with "apt-get download" and only unpacked.
# LINUX_IMAGE=bzImage and BUSYBOX=static-binary in the environment take their place, for
# systems without apt. A second call does nothing unless this script or init has changed.
#
# Layout of disk.img (512-byte sectors, integers little-endian):
#   sector 0   offset  0  8 bytes  magic "XVLINUX1"
#              offset  8  u32      first sector of the kernel (bzImage)
#              offset 12  u32      its length in bytes
#              offset 16  u32      first sector of the initramfs (cpio, not compressed)
#              offset 20  u32      its length in bytes
#              offset 64           command line, ends with a zero byte, at most 447 characters
#   the kernel and the initramfs follow, each starting on a sector boundary;
#   the end is padded to a whole cylinder (16 heads x 63 sectors), as disk emulators want.
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$(cd "$here/../.." && pwd)/build/linux}

# No PCI, ACPI or APIC: main.c has none. The TSC frequency given here is the one main.c uses for
# its timer; as one TSC tick is one emulated instruction, a low one makes delays and timer ticks
# cheap. The rest saves work: no self-tests, no clearing of pages before use, no patching against
# processor flaws, no moving of the kernel.
cmdline="console=ttyS0 quiet loglevel=3 acpi=off pci=off nolapic noapic tsc_early_khz=100000 \
nokaslr mitigations=off cryptomgr.notests init_on_alloc=0"
cmdline=${LINUX_CMDLINE:-$cmdline}

die() {
    echo "payload.sh: $*" >&2
    exit 1
}

# fetch PACKAGE: unpacks the package into $out/root, from a kept copy when there is one.
fetch() {
    local deb
    deb=$(find "$out/deb" -name "$1_*.deb" | sort | tail -n 1)
    if [ -z "$deb" ]; then
        if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
            die "apt-get and dpkg-deb not found: set LINUX_IMAGE and BUSYBOX instead"
        fi
        (cd "$out/deb" && apt-get -qq download "$1" 2>"$out/apt.log") || {
            cat "$out/apt.log" >&2
            die "cannot download $1 (no network, or run 'apt-get update' first);" \
                "LINUX_IMAGE and BUSYBOX may name local files instead"
        }
        deb=$(find "$out/deb" -name "$1_*.deb" | sort | tail -n 1)
    fi
    dpkg-deb -x "$deb" "$out/root"
}

# Four bytes, little-endian, of a number.
u32() {
    local v=$1 escaped
    escaped=$(printf '\\%03o\\%03o\\%03o\\%03o' \
        $((v & 255)) $((v >> 8 & 255)) $((v >> 16 & 255)) $((v >> 24 & 255)))
    printf '%b' "${escaped//\\/\\0}"
}

sectors_of() {
    echo $((($(stat -L -c %s "$1") + 511) / 512))
}

image=$out/disk.img
if [ -z "${LINUX_IMAGE:-}${BUSYBOX:-}${LINUX_CMDLINE:-}" ] &&
    [ "$image" -nt "$0" ] && [ "$image" -nt "$here/init" ]; then
    exit 0
fi
mkdir -p "$out/deb"

kernel=${LINUX_IMAGE:-}
if [ -z "$kernel" ]; then
    # The metapackage names the current kernel; a kept copy spares the question.
    package=$(find "$out/deb" -name 'linux-image-*-cloud-amd64_*.deb' | sort | tail -n 1)
    package=$(basename "${package%%_*}")
    if [ -z "$package" ]; then
        package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
            sed -n 's/^ *Depends: \(linux-image-.*-cloud-amd64\)$/\1/p' | head -n 1)
        [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64: on Debian run" \
            "'apt-get update', elsewhere set LINUX_IMAGE and BUSYBOX"
    fi
    fetch "$package"
    kernel=$out/root/boot/vmlinuz-${package#linux-image-}
fi
busybox=${BUSYBOX:-}
if [ -z "$busybox" ]; then
    fetch busybox-static
    busybox=$out/root/bin/busybox
fi
[ -s "$kernel" ] || die "no kernel at $kernel"
[ -x "$busybox" ] || die "no busybox at $busybox"

# The archive depends on the contents only: fixed times, owners and inode numbers. /dev/console
# is not in it (making it needs root): the kernel's built-in archive already has it.
rm -rf "$out/initramfs"
mkdir -p "$out/initramfs/bin" "$out/initramfs/proc"
cp "$busybox" "$out/initramfs/bin/busybox"
cp "$here/init" "$out/initramfs/init"
chmod -R u=rwX,go=rX "$out/initramfs"
chmod 755 "$out/initramfs/init" "$out/initramfs/bin/busybox"
find "$out/initramfs" -exec touch -h -d @0 {} +
(cd "$out/initramfs" && find . | sort |
    "$busybox" cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) \
    >"$out/initramfs.cpio" 2>"$out/cpio.log" || die "cpio: $(cat "$out/cpio.log")"

[ "${#cmdline}" -le 447 ] || die "the command line is longer than 447 characters"
kernel_sectors=$(sectors_of "$kernel")
initramfs_lba=$((1 + kernel_sectors))
{
    printf 'XVLINUX1'
    u32 1
    u32 "$(stat -L -c %s "$kernel")"
    u32 "$initramfs_lba"
    u32 "$(stat -c %s "$out/initramfs.cpio")"
    head -c 40 /dev/zero
    printf '%s' "$cmdline"
} >"$image.new"
truncate -s 512 "$image.new"
cat "$kernel" >>"$image.new"
truncate -s $((initramfs_lba * 512)) "$image.new"
cat "$out/initramfs.cpio" >>"$image.new"
truncate -s %$((16 * 63 * 512)) "$image.new"
mv "$image.new" "$image"
echo "payload.sh: $image ($(basename "$kernel"), $(stat -c %s "$image") bytes)"
