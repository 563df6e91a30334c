# shellcheck shell=bash
# The machine's own packages: what is looked for, and what it is called where.
#
# Tested on Debian 12. The columns for Ubuntu, Fedora and Arch were written from their package
# lists and have not been tried.

# component | what must exist: a command, or a file if it starts with '/' | Debian | Ubuntu | Fedora | Arch
PACKAGE_TABLE='
host  | python3                    | python3             | python3             | python3            | python
host  | gcc                        | gcc                 | gcc                 | gcc                | gcc
host  | /usr/include/stdio.h       | libc6-dev           | libc6-dev           | glibc-devel        | glibc
host  | git                        | git                 | git                 | git                | git
host  | make                       | make                | make                | make               | make
host  | tar                        | tar                 | tar                 | tar                | tar
host  | xz                         | xz-utils            | xz-utils            | xz                 | xz
host  | /usr/sbin/mke2fs           | e2fsprogs           | e2fsprogs           | e2fsprogs          | e2fsprogs
host  | CERTIFICATES               | ca-certificates | ca-certificates    | -                  | ca-certificates
qemu  | apt-get                    | apt                 | apt                 | apt                | apt
qemu  | dpkg-deb                   | dpkg                | dpkg                | dpkg               | dpkg
qemu  | gpgv                       | gpgv                | gpgv                | gnupg2             | gnupg
qemu  | ARCHIVE_KEYRING            | debian-archive-keyring | debian-archive-keyring | debian-keyring | debian-archive-keyring
guest | apt-get                    | apt                 | apt                 | apt                | apt
guest | dpkg-deb                   | dpkg                | dpkg                | dpkg               | dpkg
guest | ARCHIVE_KEYRING            | debian-archive-keyring | debian-archive-keyring | debian-keyring | debian-archive-keyring
linux | apt-get                    | apt                 | apt                 | apt                | apt
linux | dpkg-deb                   | dpkg                | dpkg                | dpkg               | dpkg
linux | ARCHIVE_KEYRING            | debian-archive-keyring | debian-archive-keyring | debian-keyring | debian-archive-keyring
cross | riscv64-linux-gnu-gcc      | gcc-riscv64-linux-gnu | gcc-riscv64-linux-gnu | gcc-riscv64-linux-gnu | riscv64-linux-gnu-gcc
cross | CROSS_LIBC                 | libc6-dev-riscv64-cross | libc6-dev-riscv64-cross | - | riscv64-linux-gnu-glibc
test  | shellcheck                 | shellcheck          | shellcheck          | ShellCheck         | shellcheck
busybox-suite | bzip2              | bzip2               | bzip2               | bzip2              | bzip2
port-redis | patch                 | patch               | patch               | patch              | patch
debug | RISCV_GDB                  | gdb-multiarch       | gdb-multiarch       | gdb                | riscv64-elf-gdb
'

# The compiler from the distribution, used where there is no rustup.
rust_packages() {
    case $(distribution) in
    debian) echo rustc-web cargo-web rust-web-src rust-web-clippy rustfmt-web lld-newest ;;
    ubuntu) echo rustc cargo rust-src rust-clippy rustfmt lld ;;
    fedora) echo rust cargo rust-src clippy rustfmt lld ;;
    arch) echo rust rust-src lld ;;
    esac
}

ARCHIVE_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

distribution() {
    local ID='' ID_LIKE=''
    # shellcheck disable=SC1091
    [[ -r /etc/os-release ]] && . /etc/os-release
    case " $ID $ID_LIKE " in
    *' ubuntu '*) echo ubuntu ;;
    *' debian '*) echo debian ;;
    *' fedora '* | *' rhel '*) echo fedora ;;
    *' arch '*) echo arch ;;
    *) echo unknown ;;
    esac
}

# requirement_met WHAT
requirement_met() {
    case $1 in
    CERTIFICATES) [[ -e /etc/ssl/certs/ca-certificates.crt || -d /etc/pki/tls/certs ]] ;;
    ARCHIVE_KEYRING) [[ -r $ARCHIVE_KEYRING ]] ;;
    CROSS_LIBC) [[ -r /usr/riscv64-linux-gnu/lib/libc.a || -r /usr/riscv64-linux-gnu/usr/lib/libc.a ]] ;;
    RISCV_GDB) command -v gdb-multiarch >/dev/null || command -v riscv64-elf-gdb >/dev/null ||
        gdb_knows_riscv ;;
    /*) [[ -e $1 ]] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

gdb_knows_riscv() { gdb -nx -batch -ex 'set architecture riscv:rv64' 2>&1 | grep -q 'assumed to be'; }

# packages_each COMPONENT - prints "requirement package" for what the component lacks here.
packages_each() {
    local component what debian ubuntu fedora arch name
    while IFS='|' read -r component what debian ubuntu fedora arch; do
        component=${component// /} what=${what// /}
        [[ $component == "$1" ]] || continue
        requirement_met "$what" && continue
        case ${DISTRIBUTION:=$(distribution)} in
        debian) name=$debian ;; ubuntu) name=$ubuntu ;; fedora) name=$fedora ;; arch) name=$arch ;;
        *) name=- ;;
        esac
        printf '%s %s\n' "$what" "${name// /}"
    done <<<"$PACKAGE_TABLE"
}

host_packages_present() { [[ -z $(packages_each "$1") ]]; }

# packages_collect COMPONENT... - fills PACKAGES with the names to install.
packages_collect() {
    local component what name
    PACKAGES=()
    for component in "$@"; do
        while read -r what name; do
            [[ -n $what ]] || continue
            [[ $name != - ]] || fail "no package with '$what' is known for this distribution: install it by hand"
            [[ " ${PACKAGES[*]} " == *" $name "* ]] || PACKAGES+=("$name")
        done <<<"$(packages_each "$component")"
        if [[ $component == rust ]] && ! rust_uses_rustup && ! rust_compiler_suffices; then
            [[ -n $(rust_packages) ]] || fail "no Rust packages are known for this distribution: install rustup"
            # shellcheck disable=SC2207 # a list of words, on purpose
            PACKAGES+=($(rust_packages))
        fi
    done
}

# Replaces NAME-newest in PACKAGES by the highest NAME-<number> that apt knows.
resolve_newest() {
    local index name
    for index in "${!PACKAGES[@]}"; do
        [[ ${PACKAGES[index]} == *-newest ]] || continue
        name=${PACKAGES[index]%newest}
        PACKAGES[index]=$(apt-cache pkgnames "$name" | grep -xE "${name}[0-9]+" | sort -V | tail -n 1)
        [[ -n ${PACKAGES[index]} ]] || fail "apt knows no package $name<number>"
    done
}

packages_install() {
    ((${#PACKAGES[@]})) || return 0
    say "packages to install on this machine: ${PACKAGES[*]}"
    if ! can_become_root; then
        fail "that needs root, and there is no sudo. Install as root: ${PACKAGES[*]/%-newest/-<the highest number>}"
    fi
    case $(distribution) in
    debian | ubuntu)
        step "reading the package lists" as_root apt-get update -q
        resolve_newest
        step "installing ${#PACKAGES[@]} packages" as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${PACKAGES[@]}"
        ;;
    fedora) step "installing ${#PACKAGES[@]} packages" as_root dnf install -y "${PACKAGES[@]}" ;;
    arch) step "installing ${#PACKAGES[@]} packages" as_root pacman -S --needed --noconfirm "${PACKAGES[@]}" ;;
    *) fail "unknown distribution. Install by hand: ${PACKAGES[*]}" ;;
    esac
}

# Components that are packages of the machine and nothing else.
host_present() { host_packages_present host; }
cross_present() { host_packages_present cross; }
test_present() { host_packages_present test; }
debug_present() { host_packages_present debug; }
host_install() { :; }
cross_install() { :; }
test_install() { :; }
debug_install() { :; }

describe_missing_packages() {
    local what name
    packages_each "$1" | while read -r what name; do
        say "missing for '$1': $what (package $name)"
    done
}
host_describe_missing() { describe_missing_packages host; }
cross_describe_missing() { describe_missing_packages cross; }
test_describe_missing() { describe_missing_packages test; }
debug_describe_missing() { describe_missing_packages debug; }
