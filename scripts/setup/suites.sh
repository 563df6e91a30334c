# shellcheck shell=bash
# Test suites of others, from Debian's source packages. They are kept under .cache/ and never committed.

SUITES_RECIPE=(scripts/setup/debian.sh scripts/setup/suites.sh)
BUSYBOX_SUITE=$CACHE/busybox-suite
LIBURING_SUITE=$CACHE/liburing-suite

# suite_sources PACKAGE [OPTION...] - fetches the source that the package of the guest was built from into
# .cache/sources/; the options are those of `apt-get source`.
suite_sources() {
    local package=$1 place=$CACHE/sources about source version
    shift
    debian_lists
    # "Source: NAME (VERSION)" where they differ from the package's own, which has no such field otherwise.
    about=$(debian_apt apt-cache show --no-all-versions "$package")
    source=$(sed -n 's/^Source: \([^ ]*\).*/\1/p' <<<"$about")
    version=$(sed -n 's/^Source: .*(\(.*\))$/\1/p' <<<"$about")
    [[ -n $source ]] || source=${package%%:*}
    [[ -n $version ]] || version=$(sed -n 's/^Version: //p' <<<"$about")
    mkdir -p "$place/apt/state/lists/partial" "$place/apt/cache/archives/partial"
    sed 's/^deb \[arch=[^ ]* /deb-src [/' "$APT/sources.list" >"$place/apt/sources.list"
    (
        umask 077
        {
            grep -v -e '^Dir::State ' -e '^Dir::Cache ' -e '^Dir::Etc::sourcelist' "$APT/apt.conf"
            cat <<CONFIGURATION
Dir::State "$place/apt/state";
Dir::Cache "$place/apt/cache";
Dir::Etc::sourcelist "$place/apt/sources.list";
CONFIGURATION
        } >"$place/apt/apt.conf"
    )
    APT_CONFIG=$place/apt/apt.conf apt-get update -q --error-on=any || return 1
    (cd "$place" && APT_CONFIG=$place/apt/apt.conf apt-get source -q --download-only "$@" "$source=$version")
}

# --- busybox-suite: its test suite, and the configuration that Debian builds the static one with ---------
#
# Debian's only patch to the suite is for machines of the other byte order, and is left out.

busybox-suite_present() { stamp_matches busybox-suite "${SUITES_RECIPE[@]}" && [[ -r $BUSYBOX_SUITE/testsuite/runtest ]]; }
busybox-suite_describe_missing() { say "missing for 'busybox-suite': busybox's test suite under .cache/busybox-suite (scripts/setup.sh busybox-suite fetches it)"; }

busybox-suite_install() {
    debian_lists
    step "fetching the source of busybox" suite_sources busybox-static:riscv64
    step "unpacking the test suite of busybox" busybox_suite_unpack
    stamp_write busybox-suite "${SUITES_RECIPE[@]}"
}

busybox_suite_unpack() {
    local original debian
    original=$(compgen -G "$CACHE/sources/busybox_*.orig.tar.*" | grep -v '\.asc$' | sort -V | tail -n 1) || return 1
    debian=$(compgen -G "$CACHE/sources/busybox_*.debian.tar.*" | sort -V | tail -n 1) || return 1
    rm -rf "$BUSYBOX_SUITE"
    mkdir -p "$BUSYBOX_SUITE"
    tar -C "$BUSYBOX_SUITE" --strip-components=1 --wildcards -xf "$original" '*/testsuite/*' || return 1
    tar -xOf "$debian" debian/config/pkg/static >"$BUSYBOX_SUITE/config"
}

# --- liburing-suite: liburing's test programs, compiled for the guest --------------------------------------

liburing-suite_present() { stamp_matches liburing-suite "${SUITES_RECIPE[@]}" && [[ -x $LIBURING_SUITE/test/nop.t ]]; }
liburing-suite_describe_missing() { say "missing for 'liburing-suite': liburing's test programs under .cache/liburing-suite (scripts/setup.sh liburing-suite builds them)"; }

liburing-suite_install() {
    debian_lists
    step "fetching the source of liburing" suite_sources liburing2:riscv64
    step "compiling liburing's test programs" liburing_suite_build
    stamp_write liburing-suite "${SUITES_RECIPE[@]}"
}

liburing_suite_build() {
    local original
    original=$(compgen -G "$CACHE/sources/liburing_*.orig.tar.*" | grep -v '\.asc$' | sort -V | tail -n 1) || return 1
    rm -rf "$LIBURING_SUITE" "$LIBURING_SUITE.new"
    mkdir -p "$LIBURING_SUITE.new"
    tar -C "$LIBURING_SUITE.new" --strip-components=1 -xf "$original" || return 1
    (
        cd "$LIBURING_SUITE.new" || exit 1
        ./configure --cc=riscv64-linux-gnu-gcc --cxx=riscv64-linux-gnu-g++ || exit 1
        make -C src -j "$(nproc)" liburing.a || exit 1
        # -k: programs that do not compile with this compiler and its headers are left out.
        make -C test -j "$(nproc)" -k CFLAGS="-O1" all || true
        find test -name '*.t' -exec riscv64-linux-gnu-strip {} +
    ) || return 1
    mv "$LIBURING_SUITE.new" "$LIBURING_SUITE"
}
