# shellcheck shell=bash
# Debian trixie's packages, unpacked under .cache/ and never installed on the machine.
#
# apt does the fetching, with a configuration, a state and a cache of its own under .cache/apt/, so
# that every package is checked against the distribution's signed index and nothing of the machine
# changes. How to reach the network (proxies, certificates) and which mirror to use are taken from
# the machine's own apt configuration; ZCORE_DEBIAN_MIRROR overrides the mirror.

SUITE=trixie
APT=$CACHE/apt

# The first mirror of the distribution that the machine itself uses.
debian_mirror() {
    local file
    if [[ -n ${ZCORE_DEBIAN_MIRROR:-} ]]; then
        echo "$ZCORE_DEBIAN_MIRROR"
        return
    fi
    for file in /etc/apt/sources.list.d/*.sources; do
        [[ -r $file ]] || continue
        # deb822: stanzas of "Field: value"; the mirror is that of an enabled stanza with a main component.
        awk 'BEGIN { RS = ""; FS = "\n" }
             { uri = ""; main = 0; enabled = 1
               for (i = 1; i <= NF; i++) {
                   if ($i ~ /^#/) continue
                   n = split($i, word, /[ \t]+/); key = tolower(word[1])
                   if (key == "uris:") uri = word[2]
                   if (key == "enabled:" && tolower(word[2]) == "no") enabled = 0
                   if (key == "components:") for (j = 2; j <= n; j++) if (word[j] == "main") main = 1
               }
               if (enabled && main && uri ~ /\/debian\/?$/) print uri }' "$file"
    done | head -n 1 | grep . && return
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ -r $file ]] || continue
        # One line each: deb [options] URI suite component ...
        sed -n 's/^[[:space:]]*deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\/debian\/\{0,1\}\)[[:space:]].*[[:space:]]main\([[:space:]].*\)\{0,1\}$/\2/p' "$file"
    done | head -n 1 | grep .
}

debian_apt() {
    local program=$1
    shift
    APT_CONFIG=$APT/apt.conf "$program" "$@"
}

# Writes the private configuration and reads the package lists, once a run.
debian_lists() {
    local mirror
    [[ -z ${DEBIAN_LISTS_READ:-} ]] || return 0
    DEBIAN_LISTS_READ=1
    gpgv --keyring "$ARCHIVE_KEYRING" --help >/dev/null 2>&1 || fail "gpgv does not work here"
    debian_keyring_knows_suite ||
        fail "the Debian archive keyring of this machine has no key for $SUITE: upgrade debian-archive-keyring"
    mirror=$(debian_mirror) ||
        fail "no Debian mirror in this machine's apt configuration: name one with ZCORE_DEBIAN_MIRROR"
    mkdir -p "$APT/state/lists/partial" "$APT/cache/archives/partial"
    : >"$APT/state/status"
    echo "deb [arch=$(dpkg --print-architecture),riscv64 signed-by=$ARCHIVE_KEYRING] $mirror $SUITE main" >"$APT/sources.list"
    # Only the Acquire:: part of the machine's configuration: its hooks concern its own packages.
    # It may hold a proxy's password, so the file is for its owner only.
    (
        umask 077
        {
            apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' || true
            cat <<END
Dir::State "$APT/state";
Dir::State::status "$APT/state/status";
Dir::Cache "$APT/cache";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$APT/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "$(dpkg --print-architecture)";
APT::Architectures { "$(dpkg --print-architecture)"; "riscv64"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::Retries "3";
END
        } >"$APT/apt.conf"
    )
    step "reading the package lists of Debian $SUITE from $mirror" debian_apt apt-get update -q --error-on=any
}

# A keyring that has the suite's key says so by a file of that name beside it; keyrings of other
# distributions are judged by apt itself when it checks the signature.
debian_keyring_knows_suite() {
    local beside
    beside=$(compgen -G "/usr/share/keyrings/debian-archive-*-stable.gpg" | head -n 1)
    [[ -z $beside || -r /usr/share/keyrings/debian-archive-$SUITE-stable.gpg ]]
}

# debian_unpack DIRECTORY closure|single PACKAGE... - unpacks packages (closure: with everything
# they depend on) into a fresh directory, which appears only when it is complete.
debian_unpack() {
    local directory=$1 extent=$2 package downloads
    shift 2
    downloads=$APT/download
    rm -rf "$downloads" "$directory.new" && mkdir -p "$downloads" "$directory.new"
    if [[ $extent == closure ]]; then
        rm -f "$APT"/cache/archives/*.deb
        debian_apt apt-get install -q -y --download-only "$@" || return 1
        mv "$APT"/cache/archives/*.deb "$downloads/"
    else
        (cd "$downloads" && debian_apt apt-get download -q "$@") || return 1
    fi
    for package in "$downloads"/*.deb; do
        dpkg-deb -x "$package" "$directory.new" || return 1
    done
    rm -rf "$downloads" "$directory"
    mv "$directory.new" "$directory"
}

# debian_dependency PACKAGE PATTERN - the name of the package it depends on that matches.
debian_dependency() {
    debian_apt apt-cache depends "$1" | sed -n "s/^ *Depends: \($2\)$/\1/p" | head -n 1
}
