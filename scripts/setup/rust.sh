# shellcheck shell=bash
# The Rust compiler: from rustup when there is one, otherwise from the distribution.
#
# rustup: the toolchain pinned in rust-toolchain.toml, asked for by name, because automatic
# installation may be switched off on the machine.
#
# Distribution: its compiler has no library for the bare target. One build of an empty crate with
# -Zbuild-std makes it; the result is kept as a sysroot of its own under .cache/rust/. That build is
# the only place in the project that sets RUSTC_BOOTSTRAP. The variables which lead cargo to that
# sysroot are written to .cache/env, which every script reads (scripts/environment.py, scripts/cargo).

TARGET=riscv64imac-unknown-none-elf
RUST_RECIPE=(scripts/setup/rust.sh rust-toolchain.toml)

rust_pinned() { sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml; }

rust_uses_rustup() { command -v rustup >/dev/null; }

# Whether a compiler that is not rustup's is there, complete and at least as new as the pinned one.
rust_compiler_suffices() {
    local version oldest tool
    for tool in rustc cargo cargo-clippy rustfmt; do
        command -v "$tool" >/dev/null || return 1
    done
    [[ -n $(rust_linker) ]] || return 1
    version=$(rustc --version | cut -d' ' -f2) || return 1
    oldest=$(printf '%s\n%s\n' "$version" "$(rust_pinned)" | sort -V | head -n 1)
    [[ $oldest == "$(rust_pinned)" && -d $(rustc --print sysroot)/lib/rustlib/src/rust/library ]]
}

# The newest ld.lld of the machine.
rust_linker() {
    compgen -c ld.lld | sort -uV | tail -n 1
}

rust_present() {
    if rust_uses_rustup; then
        local home=${RUSTUP_HOME:-$HOME/.rustup} toolchain
        toolchain=$(compgen -G "$home/toolchains/$(rust_pinned)-$(uname -m)-*" | head -n 1)
        [[ -d $toolchain/lib/rustlib/$TARGET/lib && -x $toolchain/bin/cargo-clippy && -x $toolchain/bin/rustfmt ]] &&
            [[ ! -e $CACHE/env ]]
    else
        [[ -e $CACHE/env ]] && stamp_matches rust "${RUST_RECIPE[@]}" "$(command -v rustc)" &&
            rust_compiler_suffices
    fi
}

rust_install() {
    if rust_uses_rustup; then
        local pinned
        pinned=$(rust_pinned)
        # A left-over of the other way would override the toolchain's own library.
        rm -f "$CACHE/env"
        ! rust_present || return 0
        step "installing Rust $pinned with rustup" rustup toolchain install "$pinned" \
            --profile minimal --component rustfmt --component clippy --target "$TARGET" --no-self-update
    else
        rust_compiler_suffices || fail "the distribution's Rust ($(rustc --version 2>/dev/null || echo none)) is older than $(rust_pinned) or incomplete:
  install rustup, or let apt see the distribution's security updates, which bring newer ones"
        step "building the Rust library for $TARGET" rust_build_sysroot
        stamp_write rust "${RUST_RECIPE[@]}" "$(command -v rustc)"
    fi
}

rust_build_sysroot() {
    local work=$CACHE/rust/build sysroot libraries variable
    rm -rf "$CACHE/rust"
    mkdir -p "$work/src"
    cat >"$work/Cargo.toml" <<END
[package]
name = "empty"
version = "0.0.0"
edition = "2024"

[profile.release]
panic = "abort"

[workspace]
END
    echo '#![no_std]' >"$work/src/lib.rs"
    # With bitcode, which the kernel's link-time optimisation reads, and with unwind tables, like the kernel itself.
    (cd "$work" && RUSTFLAGS="-C embed-bitcode=yes -C force-unwind-tables=yes" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
        cargo build --release -Zbuild-std=core,alloc --target "$TARGET") || return 1
    # Named by its content: cargo then builds anew what was built with another one.
    sysroot=$CACHE/rust/$(hash_of "$work/target/$TARGET/release/deps/"lib{core,alloc,compiler_builtins}-*.rlib)
    libraries=$sysroot/lib/rustlib/$TARGET/lib
    mkdir -p "$libraries"
    cp "$work/target/$TARGET/release/deps/"lib{core,alloc,compiler_builtins}-*.rlib "$libraries/" || return 1
    rm -rf "$work"
    variable=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$TARGET")
    printf '%s\n' "${variable}_LINKER=$(rust_linker)" "${variable}_RUSTFLAGS=--sysroot=$sysroot" >"$CACHE/env"
}

rust_describe_missing() {
    if rust_uses_rustup; then
        say "missing for 'rust': toolchain $(rust_pinned) with target $TARGET, rustfmt and clippy (rustup installs them)"
    else
        say "missing for 'rust': rustup, or the distribution's compiler with a library for $TARGET"
    fi
}

# --- crates: what Cargo.lock names, so that later builds need no network ----------------------------

crates_present() { stamp_matches crates Cargo.lock && [[ -d ${CARGO_HOME:-$HOME/.cargo}/registry ]]; }
crates_describe_missing() { say "missing for 'crates': the crates that Cargo.lock names (cargo fetch gets them)"; }

crates_install() {
    step "fetching crates" scripts/cargo fetch --locked
    stamp_write crates Cargo.lock
}

# --- miri: an interpreter that finds undefined behaviour; only nightly toolchains have it -------------
#
# Not obtaining it is no error: `make test` says that it left that step out.

miri_present() {
    rust_uses_rustup || return 0
    [[ -n $(compgen -G "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/nightly-$(uname -m)-*/bin/cargo-miri") ]] || [[ -n ${MIRI_UNOBTAINABLE:-} ]]
}
miri_describe_missing() { say "missing for 'miri': a nightly toolchain with Miri (optional: scripts/setup.sh miri)"; }

miri_install() {
    local log=$CACHE/log/miri.log
    mkdir -p "$CACHE/log"
    say "installing a nightly Rust with Miri (optional)"
    if ! rustup toolchain install nightly --profile minimal --component miri --component rust-src \
        --no-self-update >"$log" 2>&1 </dev/null; then
        say "Miri could not be obtained: $(tail -n 1 "$log")"
        MIRI_UNOBTAINABLE=1
    fi
}
