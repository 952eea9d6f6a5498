#!/bin/bash
# selftest.sh [quick] - runs selftest.c on processor models, numbers of processors and both ways to
# boot, then looks at what a program cannot check from inside: output, exit status, bad ends. TAP.
# CC chooses the compiler; "quick" leaves out what takes longest.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-selftest.XXXXXX")
trap 'rm -rf "$work"' EXIT
number=0
failures=0
all_models=(core2_penryn_t9600 corei5_lynnfield_750 corei7_haswell_4770 corei7_skylake_x
    tigerlake)

# result GOOD NAME: GOOD is 0 if it went well.
result() {
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        failures=$((failures + 1))
        sed 's/^/# /' "$work/out" "$work/err" | grep -v -e '# ok' -e 'PRINT' | head -30
    fi
}

# run EXPECTED-STATUS run.sh-arguments...: leaves $work/out, $work/err.
run() {
    local expected=$1 status=0
    shift
    "$here/run.sh" "$@" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$expected" ]
}

# good NAME CPUS run.sh-arguments...: all checks passed, as many as planned, all lines whole.
good() {
    local name=$1 cpus=$2 plan printed outcome=0
    shift 2
    run 0 --cpus "$cpus" "$@" || outcome=1
    plan=$(sed -n 's/^1\.\.//p' "$work/out")
    [ "$(grep -c '^ok ' "$work/out")" = "${plan:-none}" ] || outcome=1
    printed=$(grep -c -E '^# PRINT processor [0-7] line [0-9]+ of twenty$' "$work/out")
    [ "$printed" = $((cpus * 20)) ] || outcome=1
    result "$outcome" "$name, ${plan:-no} checks"
}

# bad NAME STATUS TEXT run.sh-arguments...: ended so, and said so.
bad() {
    local name=$1 status=$2 text=$3 outcome=0
    shift 3
    run "$status" "$@" || outcome=1
    cat "$work/out" "$work/err" | grep -q -e "$text" || outcome=1
    result "$outcome" "$name"
}

rom=$work/selftest.rom
"$here/build.sh" "$rom" "$here/selftest.c"

# -- All that can be seen from inside

for model in "${all_models[@]}"; do
    for cpus in 1 2 4; do
        good "ROM, $model, $cpus CPU" $cpus --model "$model" --memory 64 \
            --cmdline "cpus=$cpus memory=64" "$rom"
    done
done
good "ROM, 8 CPU" 8 --cmdline "cpus=8 memory=256" "$rom"
good "ROM, 16 MB" 1 --memory 16 --cmdline "cpus=1 memory=16" "$rom"

sectors=1500
for ((i = 0; i < sectors; i++)); do
    # The number of the sector under "knrl", 64 times.
    word=$(printf '\\x%02x\\x%02x\\x00\\x00lrnk' $((i & 255)) $((i >> 8)))
    word=$word$word$word$word$word$word$word$word
    printf '%b' "$word$word$word$word$word$word$word$word"
done >"$work/disk.img"
cp "$work/disk.img" "$work/disk.before"
chmod -w "$work/disk.img"
good "ROM, disk" 1 --disk "$work/disk.img" --cmdline "cpus=1 memory=256 disk=$sectors" "$rom"
cmp -s "$work/disk.img" "$work/disk.before" && outcome=0 || outcome=1
result "$outcome" "the disk image is as it was"

isos=(1 4)
models=(corei7_skylake_x)
if [ "${1-}" != quick ]; then
    isos=(1 2 4)
    models=("${all_models[@]}")
fi
for cpus in "${isos[@]}"; do
    KERNEL_CMDLINE="cpus=$cpus memory=64 disk=$sectors" \
        "$here/build.sh" "$work/selftest.iso" "$here/selftest.c"
    for model in "${models[@]}"; do
        good "ISO, $model, $cpus CPU, disk" "$cpus" --model "$model" --memory 64 \
            --disk "$work/disk.img" "$work/selftest.iso"
    done
done

# -- From outside

run 0 --cmdline "cpus=1" "$rom" || true
expected='# FORMAT [-42][   42][42   ][-0042][4000000000][beef][0000BEEF][123456789abcdef0]'
expected=$expected'[fedcba9876543210][c][str][    r][l    ][cu][%][0x1000][7][-9000000000][   1]'
grep -q -x -F -e "$expected" "$work/out" && outcome=0 || outcome=1
result "$outcome" "kprintf prints what it should"
grep -q -x -F -e '# from ROM, command line "cpus=1"' "$work/out" && outcome=0 || outcome=1
result "$outcome" "the command line arrives"
[ "$(tail -n 1 "$work/out")" = "KERNEL-EXIT 0" ] && outcome=0 || outcome=1
result "$outcome" "nothing follows the last line"

bad "a wrong expectation fails" 1 "^not ok" --cmdline "cpus=3" "$rom"
bad "exit status 17" 17 "^KERNEL-EXIT 17$" --cmdline "mode=exit status=17" "$rom"
bad "exit status 300 becomes 90" 90 "^KERNEL-EXIT 90$" --cmdline "mode=exit status=300" "$rom"
bad "a stray exception" 90 "#UD" --cmdline "mode=ud" "$rom"
bad "a stray exception without GS" 90 "#UD" --cmdline "mode=lost-gs" "$rom"
bad "freeing twice" 90 "not allocated" --cmdline "mode=double-free" "$rom"
bad "a triple fault" 99 "no resolution" --cmdline "mode=triple" "$rom"
bad "a hang" 124 "^hanging" --cmdline "mode=hang" --timeout 2 "$rom"
bad "no program can forge its end" 7 "^no newline$" --cmdline "mode=forge" "$rom"
bad "no image" 2 "no file" "$work/nothing.rom"
run 0 --cmdline "mode=serial" --serial "$work/serial" "$rom" &&
    grep -q '^to both' "$work/serial" && outcome=0 || outcome=1
result "$outcome" "COM1 gets it too"

# -- Side by side

for i in 1 2 3 4; do
    KERNEL_CACHE=$work/cache "$here/build.sh" "$work/side$i.rom" "$here/selftest.c" &
done
wait
jobs=()
for i in 1 2 3 4; do
    "$here/run.sh" --disk "$work/disk.img" --cmdline "mode=exit status=$((i + 20))" \
        "$work/side$i.rom" >"$work/side$i.out" 2>&1 &
    jobs+=($!)
done
outcome=0
for i in 1 2 3 4; do
    status=0
    wait "${jobs[i - 1]}" || status=$?
    [ "$status" = $((i + 20)) ] || outcome=1
done
result "$outcome" "four builds with an empty cache and four runs at the same time"

"$here/run.sh" --cmdline "mode=hang" "$rom" >"$work/out" 2>"$work/err" &
runner=$!
for ((i = 0; i < 50; i++)); do
    grep -q hanging "$work/out" && break
    sleep 0.1
done
grep -q hanging "$work/out" && outcome=0 || outcome=1
result "$outcome" "lines come while the kernel runs"
kill $runner
status=0
wait $runner || status=$?
[ "$status" = 143 ] && outcome=0 || outcome=1
result "$outcome" "a killed run.sh ends at once"

echo "1..$number"
[ $failures = 0 ]
