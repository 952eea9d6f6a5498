# kernel.mk - programs on the kernel, for a Makefile in any directory.
#
#   include ../kernel/kernel.mk
#   $(eval $(call kernel_program,OUTDIR,NAME,FILES,CFLAGS))
#
# gives OUTDIR/NAME.rom (and .elf), OUTDIR/NAME.iso, and run-NAME, which runs the ROM in the
# emulator with the options in RUN_FLAGS. OUTDIR may be empty: build/NAME at the top of the project.

kernel_dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
kernel_top := $(abspath $(kernel_dir)/../..)
kernel_cc = $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
kernel_files := $(wildcard $(addprefix $(kernel_dir)/,*.c *.h *.S *.ld build.sh))

define kernel_program
$(call kernel_rules,$(or $(strip $(1)),$(kernel_top)/build/$(strip $(2))),$(strip $(2)),$(3),$(4))
endef

define kernel_rules
$(1)/$(2).rom: $(3) $(kernel_files)
	CC="$$(kernel_cc)" $(kernel_dir)/build.sh $$@ $(3) -- $(4)

$(1)/$(2).elf: $(1)/$(2).rom ;

$(1)/$(2).iso: $(3) $(kernel_files)
	CC="$$(kernel_cc)" $(kernel_dir)/build.sh $$@ $(3) -- $(4)

.PHONY: run-$(2)
run-$(2): $(1)/$(2).rom
	$(kernel_dir)/run.sh $$(RUN_FLAGS) $$<

-include $(1)/$(2).d
endef
