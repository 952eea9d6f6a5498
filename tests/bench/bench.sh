#!/usr/bin/env bash
# Prints what each exit costs: builds tests/bench and runs it in the emulator.
#   bench.sh [MODEL]    processor model, default corei7_skylake_x; CC chooses the compiler
set -eu
cd "$(dirname "$0")/../.."
model=${1:-corei7_skylake_x}
here=tests/bench
rom=build/bench/bench.rom
output=build/bench/bench-$model.txt
mkdir -p build/bench
examples/kernel/build.sh "$rom" "$here/bench.c" "$here/timed.c" "$here/counted.c" "$here/guests.c" \
    -- -I.
timeout 150 examples/kernel/run.sh --model "$model" --timeout 120 --log "build/bench/bench.log" \
    "$rom" | grep -v '^KERNEL-EXIT ' | tee "$output" || true
if ! grep -q '^bench: complete$' "$output" || grep -q 'FAILED' "$output"; then
    echo "bench.sh: the run failed" >&2
    exit 1
fi
