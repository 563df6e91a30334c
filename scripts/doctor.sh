#!/usr/bin/env bash
# Says what is there, what is missing or too old, and what to do about it. Changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

problems=0

# report NAME VERSION-OR-EMPTY OLDEST FIX
report() {
    local name=$1 version=$2 oldest=$3 fix=$4
    if [[ -z $version ]]; then
        printf '  %-22s missing    -> %s\n' "$name" "$fix"
        problems=$((problems + 1))
    elif [[ -n $oldest && $(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1) != "$oldest" ]]; then
        printf '  %-22s %s is too old, %s is needed -> %s\n' "$name" "$version" "$oldest" "$fix"
        problems=$((problems + 1))
    else
        printf '  %-22s %s\n' "$name" "$version"
    fi
}

# version_of COMMAND... - the first number with a dot that it prints; empty if it does not run.
version_of() { { "$@" 2>/dev/null || true; } | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1 || true; }

pinned=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
echo "Programs of this machine"
report python3 "$(version_of python3 --version)" 3.10 "scripts/setup.sh host"
report gcc "$(version_of gcc -dumpfullversion)" "" "scripts/setup.sh host"
report git "$(version_of git --version)" "" "scripts/setup.sh host"
report make "$(version_of make --version)" 4.0 "scripts/setup.sh host"
report rustc "$(version_of rustc --version)" "$pinned" "scripts/setup.sh rust"
report cargo "$(version_of scripts/cargo --version)" "$pinned" "scripts/setup.sh rust"
report "riscv64 gcc" "$(version_of riscv64-linux-gnu-gcc -dumpfullversion)" "" "scripts/setup.sh cross"
report shellcheck "$(version_of shellcheck --version)" "" "scripts/setup.sh test"
report gdb "$(version_of gdb-multiarch --version)" "" "scripts/setup.sh debug (only for make debug)"
echo "Under .cache/"
report "QEMU" "$(version_of .cache/qemu/qemu-system-riscv64 --version)" 9.0 "scripts/setup.sh qemu"
echo "Components of set-up"
for component in host rust crates qemu guest cross test miri debug linux e2fsprogs image-small image-full busybox-suite liburing-suite; do
    if missing=$(scripts/setup.sh --check "$component" 2>&1); then
        printf '  %-22s ok\n' "$component"
    else
        printf '  %-22s %s\n' "$component" "${missing//setup: /} -> scripts/setup.sh $component"
        problems=$((problems + 1))
    fi
done
echo "This machine"
printf '  %-22s %s processors, %s GiB of memory, %s GiB free here\n' resources "$(nproc)" \
    "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" "$(df -BG --output=avail . | tail -n 1 | tr -dc 0-9)"

if ((problems)); then
    echo "$problems things are missing or too old; make run and make test install what they need themselves"
    exit 1
fi
echo "all is there"
