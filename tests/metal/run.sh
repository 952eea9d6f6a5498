#!/usr/bin/env bash
# Builds one bare-metal test and runs it in the emulator: run.sh TEST.c MODEL CPUS
set -eu
source=$1 model=$2 cpus=$3
name=$(basename "$source" .c)
rom=build/metal/$name-$model-$cpus.rom
mkdir -p build/metal
# A test that is more than one file says so: // with: OTHER.c...
read -r -a others < <(sed -n 's,^// with: ,,p' "$source") || true
examples/kernel/build.sh "$rom" "$source" ${others[@]+"${others[@]}"} -- \
    -I. -DXVCPU_LONG="${XVCPU_LONG:-0}"
log=build/metal/$name-$model-$cpus.log
exec examples/kernel/run.sh --model "$model" --cpus "$cpus" --timeout "${XVCPU_TIMEOUT:-120}" \
    --log "$log" "$rom"
