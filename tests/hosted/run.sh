#!/usr/bin/env bash
# Builds one hosted test with AddressSanitizer and UndefinedBehaviorSanitizer and runs it.
# run.sh TEST.c [MORE.c...]
set -eu
name=$(basename "$1" .c)
mkdir -p build/hosted
# The simulated processor goes with the tests that use it.
sources=("$@")
grep -q 'sim/sim.h\|sim/glue.h' "$1" && sources+=(tests/sim/sim.c)
"${CC:-gcc}" -std=c11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow \
    -Wundef -Wcast-qual -Wswitch-enum -Werror -Wno-unused-function -I. \
    "${sources[@]}" -o "build/hosted/$name"
exec "build/hosted/$name" tests/facts
