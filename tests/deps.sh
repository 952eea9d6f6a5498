#!/usr/bin/env bash
# Installs what a target needs, with apt-get, where it is missing: tests/deps.sh NAME...
# NAME is a Debian package; a package whose command or file is already there is not asked for.
set -eu

# How to see that a package's job can be done, whoever installed it.
present() {
    case $1 in
    gcc | g++ | make | clang | prove | bochs | xorriso | cpio | nasm) command -v "$1" >/dev/null ;;
    perl) command -v prove >/dev/null ;;
    libc6-dev) [ -e /usr/include/stdio.h ] ;;
    bochs-term) compgen -G '/usr/lib/*/bochs/plugins/libbx_term_gui.so' >/dev/null ;;
    bochsbios) [ -e /usr/share/bochs/BIOS-bochs-latest ] ;;
    vgabios) [ -e /usr/share/bochs/VGABIOS-lgpl-latest ] || [ -e /usr/share/vgabios/vgabios.bin ] ;;
    binutils) command -v objdump >/dev/null ;;
    grub-pc-bin) [ -d /usr/lib/grub/i386-pc ] ;;
    grub-common) command -v grub-mkrescue >/dev/null ;;
    mtools) command -v mformat >/dev/null ;;
    *) dpkg -s "$1" >/dev/null 2>&1 ;;
    esac
}

missing=()
for package in "$@"; do
    present "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "xvcpu: please install: ${missing[*]} (no apt-get here to do it)" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    run=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    run=(sudo)
elif command -v sudo >/dev/null && [ -t 0 ]; then
    run=(sudo)
else
    echo "xvcpu: please install, as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "xvcpu: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { "${run[@]}" apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
# The package lists of a fresh system are empty or old: fetched only when they are needed.
if ! install && ! { "${run[@]}" apt-get update >"$log" 2>&1 && install; }; then
    tail -n 20 "$log" >&2
    echo "xvcpu: apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
