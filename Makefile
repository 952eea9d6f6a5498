# make demo    boots a stock Debian kernel as a guest of a small kernel that includes xvcpu.h
# make check   every test; the last line counts them
# make bench   what an exit costs
#
# Everything is built under build/. What a target needs is installed by tests/deps.sh.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: all demo hello probe check check-hosted check-metal check-compile check-long bench clean

BUILD := build
CC ?= gcc
JOBS ?= 2

KERNEL := $(wildcard examples/kernel/*.c examples/kernel/*.S examples/kernel/*.h) \
          examples/kernel/build.sh examples/kernel/kernel.ld

all: hello

# -- Examples

$(BUILD)/hello.rom: examples/hello/hello.c xvcpu.h $(KERNEL)
$(BUILD)/probe.rom: examples/probe/probe.c xvcpu.h $(KERNEL)
$(BUILD)/hello.rom $(BUILD)/probe.rom:
	@tests/deps.sh gcc binutils libc6-dev
	@examples/kernel/build.sh $@ $<

hello probe: %: $(BUILD)/%.rom
	@tests/deps.sh bochs bochs-term bochsbios vgabios
	@examples/kernel/run.sh $<

$(BUILD)/linux.rom: $(wildcard examples/linux/*.c examples/linux/*.h) xvcpu.h $(KERNEL)
	@tests/deps.sh gcc binutils libc6-dev
	@examples/kernel/build.sh $@ examples/linux/main.c examples/linux/devices.c \
	    examples/linux/loader.c

demo: $(BUILD)/linux.rom
	@tests/deps.sh bochs bochs-term bochsbios vgabios
	@examples/linux/payload.sh
	@examples/kernel/run.sh --timeout 300 --disk $(BUILD)/linux/disk.img $<

# -- Tests

check:
	@tests/check.sh all

check-hosted check-metal check-compile:
	@tests/check.sh $(@:check-%=%)

check-long:
	@tests/check.sh long

bench:
	@tests/deps.sh gcc binutils libc6-dev bochs bochs-term bochsbios vgabios
	@tests/bench/bench.sh

clean:
	rm -rf $(BUILD)
