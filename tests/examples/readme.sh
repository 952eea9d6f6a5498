#!/usr/bin/env bash
# The README shows the code of examples/hello: the same code, and it builds and prints what it says.
# With "update" as argument the README's copy is made the same.
# shellcheck disable=SC2317 # functions that check calls
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=tests/tap.sh
. tests/tap.sh
mkdir -p build/readme

# The second block of C code in the README is the whole program.
extract() { awk '/^```c$/ { n++; inside = 1; next } /^```$/ { inside = 0 } inside && n == 2' README.md; }

if [ "${1:-}" = update ]; then
    awk 'FNR == NR { code = code $0 "\n"; next }
         /^```c$/ { n++ }
         /^```$/ { skip = 0 }
         !skip { print }
         /^```c$/ && n == 2 { printf "%s", code; skip = 1 }' \
        examples/hello/hello.c README.md >build/readme/new.md
    cp build/readme/new.md README.md
    exit 0
fi

# Kept at the same depth as the original, so that its includes hold.
mkdir -p build/readme/examples/hello
extract >build/readme/hello.c
check "the README's code is examples/hello/hello.c" cmp build/readme/hello.c examples/hello/hello.c

sed "s,\"../kernel/,\"$PWD/examples/kernel/,; s,\"../../xvcpu.h,\"$PWD/xvcpu.h," \
    build/readme/hello.c >build/readme/copy.c
rm -f build/readme/copy.rom
check "the README's code compiles without a warning" \
    examples/kernel/build.sh build/readme/copy.rom build/readme/copy.c -- -Werror

awk '/^It prints:$/ { inside = 1; next } /^## / { inside = 0 } inside && /^    / { print substr($0, 5) }' \
    README.md >build/readme/expected
prints() {
    local status=0
    examples/kernel/run.sh build/readme/copy.rom >build/readme/output || status=1
    grep -v '^KERNEL-EXIT' build/readme/output | diff - build/readme/expected || status=1
    return $status
}
check "it prints what the README says" prints
done_testing 3
