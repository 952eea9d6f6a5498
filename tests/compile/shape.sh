#!/usr/bin/env bash
# The header's own rules: contents, names, symbols, what it does not contain.
# shellcheck disable=SC2317 # functions that check calls
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/tap.sh
. tests/tap.sh
out=build/shape
mkdir -p "$out"

contents() {
    sed -n '/^\/\/ CONTENTS/,/^[^/]\|^$/p' xvcpu.h | sed -n 's,^//   ,,p' >"$out/contents"
    sed -n 's,^// -- ,,p' xvcpu.h >"$out/markers"
    [ -s "$out/contents" ] && diff "$out/contents" "$out/markers"
}
check "the table of contents is the list of section markers" contents
# shellcheck disable=SC2016 # $0 is awk's
check "no line is longer than 100 columns" nothing awk 'length($0) > 100 { print FNR ": " $0 }' xvcpu.h
check "no tab, no trailing blank" nothing grep -nP '\t| $' xvcpu.h
check "no standard header is included" nothing grep -nE '^# *include *[<"]' xvcpu.h
check "asm is spelled __asm__" nothing grep -nwE '^[^"/]*\b(asm)\b' xvcpu.h
check "no note to self is left" nothing grep -nE 'TODO|FIXME|XXX' xvcpu.h

# A private function is defined before it is used: nothing declared ahead.
ahead() {
    awk '/^(static|XVCPUI_INLINE) .*\(.*\);$/ { print FNR ": " $0 }' xvcpu.h
}
check "no private function is declared ahead of its definition" nothing ahead

cat >"$out/unit.c" <<'END'
#define XVCPU_VIRT_TO_PHYS(context, pointer) ((unsigned long)(pointer))
#define XVCPU_PHYS_TO_VIRT(context, physical) ((void *)(physical))
#define XVCPU_ALLOC_PAGE(context) page_alloc()
#define XVCPU_FREE_PAGE(context, page) page_free(page)
void *page_alloc(void);
void page_free(void *page);
#define XVCPU_IMPLEMENTATION
#include "xvcpu.h"
END
for compiler in gcc clang; do
    check "$compiler builds the library" "$compiler" -std=c11 -O2 -ffreestanding -mno-red-zone \
        -fno-stack-protector -I. -c "$out/unit.c" -o "$out/$compiler.o"
    foreign() { nm "$out/$compiler.o" | awk '$2 ~ /[A-Z]/ && $2 != "U" && $3 !~ /^xvcpui?_/ { print }'; }
    check "$compiler: every symbol it defines begins with xvcpu_ or xvcpui_" nothing foreign
    needed() { nm -u "$out/$compiler.o" | awk '$2 !~ /^page_(alloc|free)$/ { print }'; }
    check "$compiler: it needs no function but the hooks" nothing needed
    writable() { nm "$out/$compiler.o" | awk '$2 ~ /[dDbBC]/ { print }'; }
    check "$compiler: it has no writable data" nothing writable
    vector() { objdump -d "$out/$compiler.o" | grep -E '%[xyz]mm[0-9]'; }
    check "$compiler: no SSE register is used though the compiler may" nothing vector
done
preprocessed() {
    gcc -std=c11 -E -dM -I. "$out/unit.c" >"$out/with"
    echo | gcc -std=c11 -E -dM - >"$out/without"
    sort "$out/with" "$out/without" "$out/without" | uniq -u |
        awk '$2 !~ /^XVCPUI?_/ { print }'
}
check "every macro it defines begins with XVCPU_ or XVCPUI_" nothing preprocessed

machine() {
    git ls-files -co --exclude-standard | grep -v '^build/' |
        xargs grep -nIE "/""work/|\.\./""shared|(^|[ =\"'])/ro""ot/" || true
}
check "no file names a path of one machine" nothing machine

done_testing "$tap_count"
