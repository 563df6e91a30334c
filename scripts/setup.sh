#!/usr/bin/env bash
# Installs what this project needs, saying what before it does so.
#
#   scripts/setup.sh [--check] [component ...]
#
# Components, each of which brings the ones it needs:
#   host    programs of the machine itself (python3, gcc, xz, ...)
#   rust    the compiler, its target library and tools
#   crates  the libraries that Cargo.lock names
#   qemu    QEMU and OpenSBI, unpacked under .cache/
#   guest   an unmodified static riscv64 busybox, unpacked under .cache/
#   cross   the riscv64 cross compiler for guest test programs
#   test    what `make test` needs beyond that (shellcheck)
#   miri    Miri, where rustup can install it
#   debug   gdb
#   linux   Debian's riscv64 Linux kernel, to compare with
#   e2fsprogs, image-small, image-full
#           tools for ext4, and the disk images of rootfs/images/ with Debian's packages
#   busybox-suite   busybox's own test suite
#   port-redis      Redis with our event backend on io_uring
#   liburing-suite  liburing's own test programs
#
# Without arguments: host rust crates qemu guest. With --check nothing is installed: what is missing is
# listed and the exit status tells.
#
# A component that is there costs a few file look-ups and no network: what was unpacked or built
# carries a stamp, which is a hash of the recipe that made it and of nothing that changes with time.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROJECT=$PWD
CACHE=$PROJECT/.cache
export PROJECT CACHE

# shellcheck source=scripts/setup/common.sh
. scripts/setup/common.sh
# shellcheck source=scripts/setup/packages.sh
. scripts/setup/packages.sh
# shellcheck source=scripts/setup/rust.sh
. scripts/setup/rust.sh
# shellcheck source=scripts/setup/debian.sh
. scripts/setup/debian.sh
# shellcheck source=scripts/setup/unpacked.sh
. scripts/setup/unpacked.sh
# shellcheck source=scripts/setup/images.sh
. scripts/setup/images.sh
# shellcheck source=scripts/setup/suites.sh
. scripts/setup/suites.sh
# shellcheck source=scripts/setup/ports.sh
. scripts/setup/ports.sh

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
}

check_only=
components=()
for argument in "$@"; do
    case $argument in
    --check) check_only=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    host | rust | crates | qemu | guest | cross | test | miri | debug | linux | e2fsprogs | image-small | image-full | \
        busybox-suite | liburing-suite | port-redis)
        components+=("$argument")
        ;;
    *)
        usage >&2
        fail "unknown component: $argument"
        ;;
    esac
done
((${#components[@]})) || components=(host rust crates qemu guest)

missing=()
for component in "${components[@]}"; do
    "${component}_present" || missing+=("$component")
done
if ((!${#missing[@]})); then
    [[ -z $check_only ]] || say "nothing is missing"
    exit 0
fi
if [[ -n $check_only ]]; then
    for component in "${missing[@]}"; do
        "${component}_describe_missing"
    done
    exit 1
fi

# One question to the package manager for all of them, then one step per component.
packages_collect host "${missing[@]}"
packages_install
for component in "${missing[@]}"; do
    "${component}_install"
    "${component}_present" || fail "set-up of '$component' ran, yet it is not complete"
done
say "set-up is complete"
