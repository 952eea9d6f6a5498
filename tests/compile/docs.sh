#!/usr/bin/env bash
# The C blocks of docs/api.md compile, and the guide names every function of the API.
# A block that begins with "static" or "#define" goes to the top of the file, any other becomes the
# body of a function. Messages of the compiler point into docs/api.md.
# shellcheck disable=SC2317 # functions that check calls
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/tap.sh
. tests/tap.sh
guide=docs/api.md
out=build/docs
mkdir -p "$out"

cat >"$out/blocks.c" <<'END'
typedef unsigned long my_u64;
my_u64 my_virt_to_phys(void *pointer);
void *my_phys_to_virt(my_u64 physical);
void *my_page_alloc(void);
void my_page_free(void *page);
void my_panic(const char *text, const char *detail);
void my_print(const char *text);
int my_printf(const char *format, ...);
void my_use(my_u64 value);
my_u64 my_port_in(unsigned port, unsigned bytes);
void my_port_out(unsigned port, unsigned bytes, my_u64 value);
my_u64 my_mmio_read(my_u64 address, unsigned bytes);
void my_mmio_write(my_u64 address, unsigned bytes, my_u64 value);
my_u64 my_hypercall(my_u64 number, my_u64 argument);
void my_look_around(void);
void my_yield(void);
void my_interrupts_on_for_an_instant(void);
unsigned char my_wait_for_interrupt(void);
void my_send_interrupt_to_cpu_of(void *vcpu);
void my_continue_on_another_cpu(void);
extern my_u64 my_guest_memory, my_rom, my_device;

#define XVCPU_VIRT_TO_PHYS(context, pointer) my_virt_to_phys(pointer)
#define XVCPU_PHYS_TO_VIRT(context, physical) my_phys_to_virt(physical)
#define XVCPU_ALLOC_PAGE(context) my_page_alloc()
#define XVCPU_FREE_PAGE(context, page) my_page_free(page)
#define XVCPU_LOG(context, level, item, text, a, b) MY_LOG(context, level, item, text, a, b)
#define XVCPU_MMIO_DECODER
END
# The one macro the guide defines has to stand before the implementation, which uses it.
{
    awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0; mine = 0 }
         inside && /^#define MY_LOG/ { mine = 1 } mine { print }' "$guide"
    echo '#define XVCPU_IMPLEMENTATION'
    echo '#include "xvcpu.h"'
    awk -v guide="$guide" '
        /^```c$/ { inside = 1; first = 1; next }
        /^```$/ { if (inside && body) print "}"; inside = 0; next }
        !inside { next }
        first {
            first = 0
            body = !/^static|^#define/
            if (body) printf "void block_%d(void);\nvoid block_%d(void)\n{\n", ++n, n
            printf "#line %d \"%s\"\n", FNR, guide
        }
        { print }' "$guide"
} >>"$out/blocks.c"

only_c() {
    local blocks
    blocks=$(grep -c '^```c$' "$guide")
    echo "$blocks blocks"
    [ "$blocks" -ge 20 ] && [ "$blocks" = $(($(grep -c '^```' "$guide") / 2)) ]
}
check "the guide has blocks of C code and no others" only_c

check "they compile without a warning" gcc -std=c11 -ffreestanding -mno-red-zone -Wall -Wextra \
    -Werror -I. -c "$out/blocks.c" -o "$out/blocks.o"

unnamed() {
    local name
    while read -r name; do
        grep -q "\b$name\b" "$guide" || echo "$name is not in $guide"
    done <"$out/functions"
}
functions() {
    sed -n '/^\/\/ -- API$/,/^#endif.*XVCPU_DEFINITIONS_ONLY/p' xvcpu.h | sed 's,//.*,,' |
        grep -o '\bxvcpu_[a-z_]*(' | tr -d '(' | sort -u >"$out/functions"
    echo "$(wc -l <"$out/functions") functions"
    [ "$(wc -l <"$out/functions")" -ge 60 ] && nothing unnamed
}
check "every function of the API is in the guide" functions

long_lines() { LC_ALL=C.UTF-8 awk 'length($0) > 100 { print FNR ": " $0 }' "$guide"; }
check "no line of it is longer than 100 columns" nothing long_lines

dead_links() {
    grep -o '](#[^)]*)' "$guide" | sed 's/](#\(.*\))/\1/' | while read -r anchor; do
        sed -n 's/^## *//p' "$guide" | tr '[:upper:] ' '[:lower:]-' | grep -qx "$anchor" ||
            echo "$anchor"
    done
}
check "every link within it leads to a heading" nothing dead_links

done_testing 5
