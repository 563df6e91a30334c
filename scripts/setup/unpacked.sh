# shellcheck shell=bash
# The components that live under .cache/: QEMU, the guest's busybox, Debian's Linux.

UNPACK_RECIPE=(scripts/setup/debian.sh scripts/setup/unpacked.sh)
QEMU=$CACHE/qemu
OLDEST_QEMU=9.0

# --- qemu: .cache/qemu/qemu-system-riscv64 is what everything starts -------------------------------

qemu_present() { stamp_matches qemu "${UNPACK_RECIPE[@]}" && [[ -x $QEMU/qemu-system-riscv64 && -d $QEMU/firmware ]]; }
qemu_describe_missing() { say "missing for 'qemu': QEMU 10 of Debian $SUITE under .cache/qemu (make run unpacks it)"; }

qemu_install() {
    rm -rf "$QEMU"
    mkdir -p "$QEMU"
    if qemu_of_machine_suffices; then
        say "using this machine's own QEMU ($(qemu_version))"
        printf '#!/bin/sh\nexec %q "$@"\n' "$(command -v qemu-system-riscv64)" >"$QEMU/qemu-system-riscv64"
        debian_lists
        step "fetching OpenSBI" debian_unpack "$QEMU/root" single opensbi
    else
        debian_lists
        step "fetching QEMU and its libraries (about 40 MB)" debian_unpack "$QEMU/root" closure qemu-system-riscv opensbi
        qemu_wrapper
    fi
    chmod +x "$QEMU/qemu-system-riscv64"
    mkdir "$QEMU/firmware"
    cp "$QEMU"/root/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_{dynamic,jump}.bin "$QEMU/firmware/"
    "$QEMU/qemu-system-riscv64" --version >/dev/null || fail "the QEMU just set up does not start"
    stamp_write qemu "${UNPACK_RECIPE[@]}"
}

qemu_version() { qemu-system-riscv64 --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

# New enough, and built with plugin support (without it the option itself is refused).
qemu_of_machine_suffices() {
    command -v qemu-system-riscv64 >/dev/null || return 1
    [[ $(printf '%s\n' "$OLDEST_QEMU" "$(qemu_version)" | sort -V | head -n 1) == "$OLDEST_QEMU" ]] || return 1
    qemu-system-riscv64 -help | grep -q -- '^-plugin'
}

# QEMU from a newer distribution needs that distribution's C library, so it is started by its own
# dynamic loader. The paths are found when it starts: the directory may be moved.
qemu_wrapper() {
    local loader libraries
    loader=$(cd "$QEMU/root" && find . -name 'ld-linux*.so.*' -printf '%P\n' | sort | head -n 1)
    libraries=$(cd "$QEMU/root" && find usr/lib -maxdepth 2 -name 'libc.so.6' -printf '%h\n' | head -n 1)
    [[ -n $loader && -n $libraries ]] || fail "the unpacked QEMU has no C library"
    cat >"$QEMU/qemu-system-riscv64" <<END
#!/bin/sh
root=\$(cd "\$(dirname "\$0")" && pwd)/root
QEMU_MODULE_DIR=\$root/$libraries/qemu
export QEMU_MODULE_DIR
exec "\$root/$loader" --library-path "\$root/$libraries" \\
    "\$root/usr/bin/qemu-system-riscv64" -L "\$root/usr/share/qemu" "\$@"
END
}

# --- guest: .cache/guest/bin/busybox ----------------------------------------------------------------

guest_present() { stamp_matches guest "${UNPACK_RECIPE[@]}" && [[ -r $CACHE/guest/usr/bin/busybox ]]; }
guest_describe_missing() { say "missing for 'guest': Debian's static riscv64 busybox under .cache/guest (make run unpacks it)"; }

guest_install() {
    debian_lists
    step "fetching busybox for riscv64" debian_unpack "$CACHE/guest" single busybox-static:riscv64
    stamp_write guest "${UNPACK_RECIPE[@]}"
}

# --- linux: .cache/linux/boot/vmlinux-*, the kernel that ours is compared with ----------------------

linux_present() { stamp_matches linux "${UNPACK_RECIPE[@]}" && [[ -r $CACHE/linux/Image ]]; }
linux_describe_missing() { say "missing for 'linux': Debian's riscv64 kernel under .cache/linux (scripts/setup.sh linux fetches it)"; }

linux_install() {
    local package
    debian_lists
    package=$(debian_dependency linux-image-riscv64:riscv64 'linux-image-[0-9].*')
    [[ -n $package ]] || fail "Debian $SUITE has no riscv64 kernel"
    step "fetching Debian's Linux ($package, about 90 MB)" debian_unpack "$CACHE/linux" single "$package"
    cp "$(compgen -G "$CACHE/linux/boot/vmlinux-*" | head -n 1)" "$CACHE/linux/Image"
    stamp_write linux "${UNPACK_RECIPE[@]}"
}
