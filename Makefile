# Every command a person uses. `make help` lists them; the comment after ## is what it prints.
#
# Variables of `run`, `debug` and `bench`:
#   SMP=1          harts                    MEM=1G        memory
#   APPEND=        more words for the kernel's command line
#   DRIVE=         disk image               SNAPSHOT=1    throw away what is written to it
#   CONSOLE=ttyS0  or hvc0                  LINUX=1       boot Debian's Linux instead
#   IMAGE=small    a disk image of Debian packages; or full; none: only the initial file system, busybox

SHELL := /bin/bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

SMP ?= 1
MEM ?= 1G
CONSOLE ?= ttyS0
IMAGE ?= small
override SETUP := scripts/setup.sh
override MACHINE = --smp $(SMP) --mem $(MEM) --console $(CONSOLE) $(if $(APPEND),--append '$(APPEND)') \
	$(if $(DRIVE),--drive '$(DRIVE)') $(if $(filter-out 0,$(SNAPSHOT)),--snapshot) $(if $(LINUX_WANTED),--linux) --image $(IMAGE)
override LINUX_WANTED = $(filter-out 0,$(LINUX))
override IMAGE_COMPONENT = $(addprefix image-,$(filter-out none,$(IMAGE)))

.PHONY: help run images image-small image-full build test bench bench-micro debug doctor fmt lint docs acceptance clean distclean setup

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@sed -n '/^# Variables/,/^$$/{s/^# \{0,1\}//;p;}' $(firstword $(MAKEFILE_LIST))

setup: ## install what running needs (make run does it too)
	@$(SETUP) host rust crates qemu guest

run: ## boot a disk image to a prompt in QEMU
	@$(SETUP) host rust crates qemu guest $(if $(LINUX_WANTED),linux) $(IMAGE_COMPONENT)
	@$(if $(LINUX_WANTED),,scripts/build.py)
	@scripts/run.py $(MACHINE)

images: image-small image-full ## build both disk images

image-small: ## a disk image of Debian packages: bash, coreutils, busybox
	@$(SETUP) host guest image-small

image-full: ## the same with redis, nginx, python3, gcc, node and more (220 MB to fetch)
	@$(SETUP) host guest image-full

build: ## build the kernel: target/Image and target/zcore.elf
	@$(SETUP) host rust crates
	@scripts/build.py

test: ## everything that must pass; ends with "N passed, N failed"
	@$(SETUP) host rust crates qemu guest cross test miri debug linux image-small busybox-suite liburing-suite
	@scripts/test.py

bench: ## count instructions of operations, ours and Linux's: target/bench/*.json (BENCH=name for one)
	@$(SETUP) host rust crates qemu guest cross linux
	@scripts/build.py
	@scripts/bench.py $(BENCH)

bench-micro: ## the cost of single operations, ours beside Linux's: target/bench/micro.json
	@$(SETUP) host rust crates qemu guest cross linux
	@scripts/build.py
	@scripts/bench.py --brief micro

debug: ## boot under gdb
	@$(SETUP) host rust crates qemu guest debug $(IMAGE_COMPONENT)
	@scripts/build.py
	@scripts/debug.py $(MACHINE)

doctor: ## say what is missing or too old, and the fix
	@scripts/doctor.sh

fmt: ## format the Rust code
	@$(SETUP) host rust
	@scripts/cargo fmt --all

lint: ## the checks of `make test` that run nothing: format, clippy, layers, scripts, documentation
	@$(SETUP) host rust crates test
	@scripts/test.py --only lint

docs: ## write docs/syscalls.md and the tables of docs/io_uring.md from the kernel's own tables
	@$(SETUP) host rust crates
	@ZCORE_WRITE_DOCS=1 scripts/cargo test -q -p linux-syscall -p async-syscall --test documentation

acceptance: ## the long and the measured checks, recorded in docs/acceptance.md; goes on where it stopped
	@$(SETUP) host rust crates qemu guest cross test linux image-small image-full busybox-suite liburing-suite
	@scripts/build.py
	@scripts/acceptance.py

clean: ## remove what was built
	@rm -rf target

distclean: clean ## remove what was fetched, too
	@rm -rf .cache
