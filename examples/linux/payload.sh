#!/usr/bin/env bash
# Makes the disk image the Linux example boots from: an unmodified Debian cloud kernel, an
# initramfs holding busybox and the script "init" next to this file, and the command line.
#
#   payload.sh [OUTPUT_DIRECTORY]          default: build/linux in the project
#
# Nothing is installed: packages are fetched with "apt-get download" and only unpacked. Where apt
# has no package lists yet they are fetched once, which alone needs root or sudo.
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
# processor flaws, no moving of the kernel; and a kernel that panics resets at once, which ends the
# VM, instead of waiting for ever.
cmdline="console=ttyS0 quiet loglevel=3 acpi=off pci=off nolapic noapic tsc_early_khz=100000 \
nokaslr mitigations=off cryptomgr.notests init_on_alloc=0 panic=-1"
cmdline=${LINUX_CMDLINE:-$cmdline}

die() {
    echo "payload.sh: $*" >&2
    exit 1
}

offline="LINUX_IMAGE and BUSYBOX may name local files instead, see the top of this script"
updated=

# The package lists of a fresh system are missing or old: brought up to date once, if need be.
update_lists() {
    local run=()
    [ -z "$updated" ] || return 1
    updated=yes
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            echo "payload.sh: the lists of apt are missing or old: run 'apt-get update' as root" >&2
            return 1
        fi
        run=(sudo)
    fi
    echo "payload.sh: bringing apt's package lists up to date" >&2
    # It also succeeds when a list could not be had: what counts is the download after it.
    "${run[@]}" apt-get -qq update >"$out/apt.log" 2>&1
}

download() {
    (cd "$out/deb" && apt-get -qq download "$1" >"$out/apt.log" 2>&1)
}

# The metapackage names the current kernel.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-.*-cloud-amd64\)$/\1/p' | head -n 1
}

# kept PATTERN: the newest package file of that name that an earlier call fetched.
kept() {
    find "$out/deb" -name "$1" | sort -V | tail -n 1
}

# fetch PACKAGE: unpacks the package into $out/root, from a kept copy when there is one.
fetch() {
    if [ -z "$(kept "$1_*.deb")" ]; then
        echo "payload.sh: downloading $1" >&2
        download "$1" || { update_lists && download "$1"; } || {
            cat "$out/apt.log" >&2
            die "cannot download the package $1: is there a network? $offline"
        }
    fi
    dpkg-deb -x "$(kept "$1_*.deb")" "$out/root"
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
busybox=${BUSYBOX:-}
if [ -z "$kernel" ] || [ -z "$busybox" ]; then
    for tool in apt-get apt-cache dpkg-deb; do
        command -v $tool >/dev/null || die "no $tool here: set LINUX_IMAGE and BUSYBOX"
    done
fi
if [ -z "$kernel" ]; then
    package=$(basename "$(kept 'linux-image-*-cloud-amd64_*.deb')")
    package=${package%%_*}
    if [ -z "$package" ]; then
        package=$(kernel_package)
        [ -z "$package" ] || echo "payload.sh: downloading $package" >&2
    fi
    # Old lists name a kernel that the servers may have no more.
    if [ -z "$package" ] || { [ -z "$(kept "${package}_*.deb")" ] && ! download "$package"; }; then
        update_lists || true
        package=$(kernel_package)
    fi
    [ -n "$package" ] || die "apt knows no package linux-image-cloud-amd64: is there a network," \
        "and is this Debian? $offline"
    fetch "$package"
    kernel=$out/root/boot/vmlinuz-${package#linux-image-}
fi
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
