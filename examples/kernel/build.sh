#!/bin/bash
# build.sh [--iso] OUT.rom|OUT.elf|OUT.iso file.c... [-- compiler flag...]
# Links a program with the kernel. OUT.elf is always made; --iso makes OUT.iso besides OUT.rom.
# The kernel's own objects are built once per compiler and kept in build/kernel at the top of the
# project. Any number of these may run at the same time.
#   CC              gcc if not set
#   KERNEL_CACHE    where to keep the kernel's objects
#   KERNEL_CMDLINE  what the ISO gives the kernel as its command line
set -eu

usage() {
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

iso=
if [ "${1-}" = --iso ]; then
    iso=yes
    shift
fi
[ $# -ge 2 ] || usage
out=$1
shift
case $out in
*.iso) iso=yes ;;
*.rom | *.elf) ;;
*) usage ;;
esac
stem=${out%.*}
sources=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    sources+=("$1")
    shift
done
[ ${#sources[@]} -gt 0 ] || usage
[ "${1-}" != -- ] || shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${KERNEL_CACHE:-$top/build/kernel}
read -r -a cc <<<"${CC:-gcc}"
flags=(-std=gnu11 -O2 -g -ffreestanding -mcmodel=kernel -mno-red-zone -mgeneral-regs-only
    -fno-stack-protector -fno-pic -fno-pie -fno-asynchronous-unwind-tables -fcf-protection=none
    -Wall -Wextra)
# A page allocator and memory that firmware filled in do not know about types.
kernel_flags=(-fno-strict-aliasing -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef
    -Wmissing-prototypes -Wstrict-prototypes -Wcast-qual -Wswitch-enum -Werror)
rom_page=4096
rom_step=$((64 * 1024))
rom_largest=$((2 * 1024 * 1024))

work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# -- The kernel: in a directory named after all that goes into it

key=$({
    "${cc[@]}" --version
    cat "${BASH_SOURCE[0]}" "$here"/{boot,traps,rom}.S \
        "$here"/{main,console,lib,memory,traps,cpu,apic,disk}.c "$here"/{kernel,internal,layout}.h
    echo "${cc[@]}"
} | sha256sum)
kernel=$cache/${key:0:16}
if [ ! -d "$kernel" ]; then
    mkdir -p "$cache"
    made=$(mktemp -d "$cache/tmp.XXXXXX")
    trap 'rm -rf "$work" "$made"' EXIT
    mkdir "$made/kernel"
    for file in boot.S traps.S main.c console.c lib.c memory.c traps.c cpu.c apic.c disk.c; do
        "${cc[@]}" "${flags[@]}" "${kernel_flags[@]}" -c "$here/$file" -o "$work/$file.o"
    done
    ld -r -o "$made/kernel/kernel.o" "$work"/*.o
    "${cc[@]}" -c "$here/rom.S" -o "$work/rom.o"
    ld -Ttext=0xfffff000 -e 0xfffffff0 -o "$work/rom.elf" "$work/rom.o"
    objcopy -O binary -j .text "$work/rom.elf" "$made/kernel/stub"
    [ "$(stat -c %s "$made/kernel/stub")" = $rom_page ] || {
        echo "build.sh: bad ROM stub" >&2
        exit 1
    }
    rm "$work"/*.o
    # It appears whole; if somebody else was faster, theirs is the same.
    mv -T "$made/kernel" "$kernel" 2>/dev/null || [ -d "$kernel" ]
    rm -rf "$made"
fi

# -- The program

objects=()
: >"$work/depends"
for file in "${sources[@]}"; do
    object=$work/program.${#objects[@]}.o
    "${cc[@]}" "${flags[@]}" -I"$here" -I"$top" -MMD -MP -MF "$work/depends.1" \
        -MT "$stem.rom" -MT "$stem.iso" "$@" -c "$file" -o "$object"
    cat "$work/depends.1" >>"$work/depends"
    objects+=("$object")
done
ld -static --build-id=none -z max-page-size=4096 -z noexecstack -T "$here/kernel.ld" \
    -o "$work/elf" "$kernel/kernel.o" "${objects[@]}"

# -- The images

# Whole or not at all, for whoever looks at the same moment.
place() {
    cp "$1" "$2.$$.tmp"
    mv "$2.$$.tmp" "$2"
}

mkdir -p "$(dirname "$out")"
place "$work/elf" "$stem.elf"
if [ "$out" = "$stem.rom" ]; then
    objcopy -O binary "$work/elf" "$work/rom"
    size=$(stat -c %s "$work/rom")
    size=$(((size + rom_page + rom_step - 1) / rom_step * rom_step))
    if [ $size -gt $rom_largest ]; then
        echo "build.sh: $size bytes do not fit into a ROM of $rom_largest" >&2
        exit 1
    fi
    truncate -s $((size - rom_page)) "$work/rom"
    cat "$kernel/stub" >>"$work/rom"
    chmod -x "$work/rom"
    place "$work/rom" "$stem.rom"
fi
if [ -n "$iso" ]; then
    # Without the symbols there is less for the emulated BIOS to read.
    mkdir -p "$work/iso/boot/grub"
    objcopy --strip-debug "$work/elf" "$work/iso/boot/kernel.elf"
    cat >"$work/iso/boot/grub/grub.cfg" <<END
set timeout=0
set default=0
menuentry "kernel" {
    multiboot2 /boot/kernel.elf ${KERNEL_CMDLINE-}
}
END
    if ! grub-mkrescue -d /usr/lib/grub/i386-pc --locales= --fonts= --themes= \
        -o "$work/image" "$work/iso" >"$work/mkrescue.log" 2>&1; then
        cat "$work/mkrescue.log" >&2
        exit 1
    fi
    place "$work/image" "$stem.iso"
fi
place "$work/depends" "$stem.d"
