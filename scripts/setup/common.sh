# shellcheck shell=bash
# Messages, long steps, stamps. Sourced by scripts/setup.sh.

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# step DESCRIPTION COMMAND... - one progress line; the command's output is kept in a log and shown
# only if it fails.
step() {
    local description=$1 log=$CACHE/log/setup.log started=$SECONDS
    shift
    mkdir -p "$CACHE/log"
    printf 'setup: %s ... ' "$description"
    if "$@" >"$log" 2>&1 </dev/null; then
        printf 'done (%d s)\n' $((SECONDS - started))
    else
        printf 'failed\n'
        cat "$log" >&2
        fail "$description"
    fi
}

# as_root COMMAND... - directly, or through sudo.
as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo "$@"
    fi
}

can_become_root() { ((EUID == 0)) || command -v sudo >/dev/null; }

# stamp_matches NAME INPUT-FILE... - whether the component was made by exactly these inputs.
stamp_matches() {
    local name=$1 recorded=
    shift
    [[ -r $CACHE/stamp/$name ]] || return 1
    read -r recorded <"$CACHE/stamp/$name"
    [[ $recorded == "$(hash_of "$@")" ]]
}

stamp_write() {
    local name=$1
    shift
    mkdir -p "$CACHE/stamp"
    hash_of "$@" >"$CACHE/stamp/$name"
}

hash_of() {
    local sum
    sum=$(cat -- "$@" | sha256sum)
    printf '%s\n' "${sum%% *}"
}
