#!/usr/bin/env bash
# The header compiles without a warning in C and C++, with gcc and clang, in every form it has.
set -u
cd "$(dirname "$0")/../.."
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
forms="definitions declarations instructions implementation both static modules nohooks"
for form in $forms; do
    echo '#include "xvcpu.h"' >>"$out/$form.c"
    # ISO C wants something in a translation unit that only declares.
    echo 'extern int nothing;' >>"$out/$form.c"
done

warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Wcast-qual
    -Wswitch-enum -Werror"
c_only="-Wmissing-prototypes -Wstrict-prototypes -Wold-style-definition"
kernel="-ffreestanding -fno-stack-protector -mno-red-zone"
n=0
failed=0
check() { # NAME COMMAND...
    local name=$1
    shift
    n=$((n + 1))
    if "$@" >"$out/log" 2>&1; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' "$out/log" | head -n 20
        failed=1
    fi
}

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

# What is missing is named at once.
missing() { # HOOK: compiling without it fails with a message that has its name
    local hook=$1
    # shellcheck disable=SC2086
    if grep -v "$hook(" "$out/hooks.h" | cat - <(printf '%s\n' '#define XVCPU_IMPLEMENTATION' \
        '#include "xvcpu.h"') | gcc -std=c11 -I. -x c -c - -o /dev/null 2>"$out/log"; then
        return 1
    fi
    grep -q "#error.*$hook" "$out/log"
}
for hook in XVCPU_VIRT_TO_PHYS XVCPU_PHYS_TO_VIRT XVCPU_ALLOC_PAGE XVCPU_FREE_PAGE; do
    check "without $hook an #error names it" missing $hook
done

echo "1..$n"
exit $failed
