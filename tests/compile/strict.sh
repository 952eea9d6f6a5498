#!/usr/bin/env bash
# The header compiles without a warning in C and C++, with gcc and clang, in every form it has.
# shellcheck disable=SC2317 # functions that check calls
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/tap.sh
. tests/tap.sh
out=build/compile
mkdir -p "$out"

cat >"$out/hooks.h" <<'END'
#define XVCPU_VIRT_TO_PHYS(context, pointer) ((unsigned long)(pointer))
#define XVCPU_PHYS_TO_VIRT(context, physical) ((void *)(physical))
#define XVCPU_ALLOC_PAGE(context) page_alloc()
#define XVCPU_FREE_PAGE(context, page) page_free(page)
#ifdef __cplusplus
extern "C" {
#endif
void *page_alloc(void);
void page_free(void *page);
#ifdef __cplusplus
}
#endif
END
# One file per form: what a user writes, and nothing more.
echo '#define XVCPU_DEFINITIONS_ONLY' >"$out/definitions.c"
: >"$out/declarations.c"
printf '%s\n' '#include "hooks.h"' '#define XVCPU_IMPLEMENTATION' >"$out/implementation.c"
printf '%s\n' '#include "hooks.h"' '#define XVCPU_STATIC' '#define XVCPU_IMPLEMENTATION' \
    >"$out/static.c"
printf '%s\n' '#include "hooks.h"' '#define XVCPU_MMIO_DECODER' '#define XVCPU_IMPLEMENTATION' \
    >"$out/modules.c"
printf '%s\n' '#define XVCPU_VIRT_TO_PHYS(context, pointer) ((unsigned long)(pointer))' \
    '#define XVCPU_PHYS_TO_VIRT(context, physical) ((void *)(physical))' \
    '#define XVCPU_IMPLEMENTATION' >"$out/nohooks.c"
# A lab's file: the instructions and nothing else; and one that then takes the library as well.
echo '#define XVCPU_INSTRUCTIONS' >"$out/instructions.c"
printf '%s\n' '#define XVCPU_INSTRUCTIONS' '#include "xvcpu.h"' '#include "hooks.h"' \
    '#define XVCPU_IMPLEMENTATION' >"$out/both.c"
# Every hook there is, in a configuration header, with names that the library uses for locals.
cat >"$out/config.h" <<'END'
#define XVCPU_VIRT_TO_PHYS(context, pointer) pa(pointer)
#define XVCPU_PHYS_TO_VIRT(context, physical) value(physical)
#define XVCPU_ALLOC_PAGE(context) page()
#define XVCPU_FREE_PAGE(context, what) error(what)
#define XVCPU_LOG(context, level, item, text, a, b) status(item, text)
#define XVCPU_ASSERT(condition) ((condition) ? (void)0 : failed_assertion(#condition))
#define XVCPU_MEMCPY(to, from, bytes) cpu(to, from, bytes)
#define XVCPU_MEMSET(to, byte, bytes) vcpu(to, byte, bytes)
#define XVCPU_CPU_ID(context) exit_id()
#define XVCPU_HOST_NMI(context) error(0)
#define XVCPU_HOST_INTERRUPT(context, vector) reason(vector)
#define XVCPU_TRACE_ENTRY(vcpu) error(vcpu)
#define XVCPU_TRACE_EXIT(vcpu) error(vcpu)
#define XVCPU_TEXT_SECTION ".text.guest_entry"
#ifdef __cplusplus
extern "C" {
#endif
unsigned long pa(void *pointer);
void *value(unsigned long physical);
void *page(void);
void error(void *what);
void status(const char *item, const char *text);
void *cpu(void *to, const void *from, unsigned long bytes);
void *vcpu(void *to, int byte, unsigned long bytes);
unsigned exit_id(void);
void reason(unsigned vector);
void failed_assertion(const char *text);
#ifdef __cplusplus
}
#endif
END
printf '%s\n' '#define XVCPU_CONFIG_HEADER "config.h"' '#define XVCPU_IMPLEMENTATION' \
    >"$out/configured.c"
forms="definitions declarations instructions implementation both static modules nohooks configured"
for form in $forms; do
    echo '#include "xvcpu.h"' >>"$out/$form.c"
    # ISO C wants something in a translation unit that only declares.
    echo 'extern int nothing;' >>"$out/$form.c"
done

warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Wcast-qual
    -Wswitch-enum -Werror"
c_only="-Wmissing-prototypes -Wstrict-prototypes -Wold-style-definition"
kernel="-ffreestanding -fno-stack-protector -mno-red-zone"

for form in $forms; do
    for standard in c11 c17 gnu11; do
        for compiler in gcc clang; do
            for level in -O0 -O2 -Os; do
                # shellcheck disable=SC2086
                check "$form: $compiler -std=$standard $level" "$compiler" -std=$standard $level \
                    $warnings $c_only $kernel -mgeneral-regs-only -I. -I"$out" -c "$out/$form.c" \
                    -o "$out/$form.o"
            done
        done
    done
    for standard in c++17 c++20; do
        for compiler in g++ clang++; do
            # shellcheck disable=SC2086
            check "$form: $compiler -std=$standard" "$compiler" -x c++ -std=$standard -O2 \
                $warnings $kernel -I. -I"$out" -c "$out/$form.c" -o "$out/$form.o"
        done
    done
done

# The trampoline is where the configuration wants it, and by default in a section of its own.
in_section() { objdump -t "$out/$1.o" | grep -qE "\.text\.$2[[:space:]].*xvcpui_enter"; }
check "the trampoline stands in .text.xvcpu" in_section implementation xvcpu
check "XVCPU_TEXT_SECTION moves the trampoline" in_section configured guest_entry

# What is missing is named at once.
missing() { # HOOK: compiling without it fails with a message that has its name
    local hook=$1
    # shellcheck disable=SC2086
    if grep -v "$hook(" "$out/hooks.h" | cat - <(printf '%s\n' '#define XVCPU_IMPLEMENTATION' \
        '#include "xvcpu.h"') | gcc -std=c11 -I. -x c -c - -o /dev/null 2>"$out/errors"; then
        return 1
    fi
    cat "$out/errors"
    grep -q "#error.*$hook" "$out/errors"
}
for hook in XVCPU_VIRT_TO_PHYS XVCPU_PHYS_TO_VIRT XVCPU_ALLOC_PAGE XVCPU_FREE_PAGE; do
    check "without $hook an #error names it" missing $hook
done

done_testing "$tap_count"
