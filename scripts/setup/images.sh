# shellcheck shell=bash
# The disk images: file system tools, and for each recipe of rootfs/images/ its packages and its image.
#
# Packages are resolved by apt as if a riscv64 machine without any package installed them, with the
# lists and signature checks of debian.sh; no program of theirs runs here. They are kept under
# .cache/images/packages/, so a recipe whose packages are there is built again without a network.

IMAGES=$CACHE/images
E2FSPROGS=$CACHE/e2fsprogs
E2FSPROGS_RECIPE=(scripts/setup/debian.sh scripts/setup/images.sh)

# --- e2fsprogs: Debian's own, so that an image does not depend on the machine that makes it ----------
#
# mke2fs fills a file system from a tar archive by way of libarchive, which is why no step needs root.

e2fsprogs_present() { stamp_matches e2fsprogs "${E2FSPROGS_RECIPE[@]}" && [[ -x $E2FSPROGS/mke2fs ]]; }
e2fsprogs_describe_missing() { say "missing for 'e2fsprogs': Debian's tools for ext4 under .cache/e2fsprogs (scripts/setup.sh e2fsprogs fetches them)"; }

e2fsprogs_install() {
    local root=$E2FSPROGS/root loader libraries program
    ! e2fsprogs_present || return 0
    debian_lists
    rm -rf "$E2FSPROGS"
    mkdir -p "$E2FSPROGS"
    step "fetching the tools for ext4" debian_unpack "$root" closure e2fsprogs libarchive13t64
    loader=$(cd "$root" && find . -name 'ld-linux*.so.*' -printf '%P\n' | sort | head -n 1)
    libraries=$(cd "$root" && find usr/lib -maxdepth 2 -name 'libc.so.6' -printf '%h\n' | head -n 1)
    [[ -n $loader && -n $libraries ]] || fail "the unpacked e2fsprogs have no C library"
    for program in mke2fs e2fsck debugfs dumpe2fs; do
        # The machine's C library may be older, so they are started by their own dynamic loader.
        cat >"$E2FSPROGS/$program" <<WRAPPER
#!/bin/sh
root=\$(cd "\$(dirname "\$0")" && pwd)/root
MKE2FS_CONFIG=\$root/etc/mke2fs.conf
export MKE2FS_CONFIG
exec "\$root/$loader" --library-path "\$root/$libraries" "\$root/usr/sbin/$program" "\$@"
WRAPPER
        chmod +x "$E2FSPROGS/$program"
    done
    "$E2FSPROGS/mke2fs" -V >/dev/null 2>&1 || fail "the mke2fs just set up does not start"
    stamp_write e2fsprogs "${E2FSPROGS_RECIPE[@]}"
}

# --- images ------------------------------------------------------------------------------------------

# image_inputs NAME - what the image depends on: its recipe folder, those it includes, and the builder.
image_inputs() {
    local include
    find "rootfs/images/$1" -type f | sort
    while read -r include; do
        image_inputs "$include"
    done < <(sed -n 's/^include *//p' "rootfs/images/$1/recipe")
}

image_stamp_inputs() {
    mapfile -t IMAGE_INPUTS < <(image_inputs "$1")
    IMAGE_INPUTS+=("${E2FSPROGS_RECIPE[@]}" scripts/mkrootfs.py scripts/imagerecipe.py)
}

image_present() {
    image_stamp_inputs "$1"
    stamp_matches "image-$1" "${IMAGE_INPUTS[@]}" && [[ -r $IMAGES/$1.ext4 ]]
}

image_install() {
    local name=$1
    ! image_present "$name" || return 0
    e2fsprogs_install
    mkdir -p "$IMAGES"
    image_packages "$name"
    # The builder prints a line for each of its steps.
    scripts/mkrootfs.py build "$name" || fail "building the image '$name'"
    image_stamp_inputs "$name"
    stamp_write "image-$name" "${IMAGE_INPUTS[@]}"
}

# apt with the private configuration, as if this machine were a riscv64 one. It reads the same lists.
image_apt() {
    local program=$1
    shift
    mkdir -p "$IMAGES/packages/partial" "$IMAGES/apt"
    sed 's/\[arch=[^ ]*/[arch=riscv64/' "$APT/sources.list" >"$IMAGES/apt/sources.list"
    (
        umask 077
        {
            grep -v -e '^APT::Architecture' -e '^Dir::Cache' -e '^Dir::Etc::sourcelist' "$APT/apt.conf"
            cat <<CONFIGURATION
Dir::Cache "$IMAGES/apt";
Dir::Cache::archives "$IMAGES/packages";
Dir::Etc::sourcelist "$IMAGES/apt/sources.list";
APT::Architecture "riscv64";
APT::Architectures { "riscv64"; };
CONFIGURATION
        } >"$IMAGES/apt/apt.conf"
    )
    APT_CONFIG=$IMAGES/apt/apt.conf "$program" "$@"
}

# image_packages NAME - fetches the packages of the recipe and all they depend on; writes their list, in
# the order of installation, to .cache/images/NAME.packages: package, version, architecture, file.
image_packages() {
    local name=$1 wanted
    mapfile -t wanted < <(scripts/mkrootfs.py packages "$name")
    ((${#wanted[@]})) || fail "the recipe of the image '$name' names no package"
    if image_packages_current "$name" "${wanted[@]}"; then
        return
    fi
    debian_lists
    step "fetching the packages of the image '$name'" image_apt apt-get install -q -y --download-only "${wanted[@]}"
    image_apt apt-get install -q --simulate "${wanted[@]}" >"$IMAGES/$name.simulation" || fail "resolving packages"
    # "Inst NAME (VERSION ORIGIN [ARCHITECTURE])"; a colon in a version is %3a in the file's name.
    sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*\[\([a-z0-9]*\)\]).*/\1 \2 \3/p' "$IMAGES/$name.simulation" |
        while read -r package version architecture; do
            echo "$package $version $architecture ${package}_${version//:/%3a}_${architecture}.deb"
        done >"$IMAGES/$name.packages.new"
    rm "$IMAGES/$name.simulation"
    { echo "# ${wanted[*]}"; cat "$IMAGES/$name.packages.new"; } >"$IMAGES/$name.packages"
    rm "$IMAGES/$name.packages.new"
    image_packages_current "$name" "${wanted[@]}" || fail "apt did not fetch all packages of the image '$name'"
}

# Whether the list was made for these packages, and all of its files are there.
image_packages_current() {
    local name=$1 first file rest
    shift
    [[ -r $IMAGES/$name.packages ]] || return 1
    read -r first <"$IMAGES/$name.packages"
    [[ $first == "# $*" ]] || return 1
    while read -r _ _ _ file rest; do
        [[ -z $rest && -r $IMAGES/packages/$file ]] || return 1
    done < <(tail -n +2 "$IMAGES/$name.packages")
}

image_describe_missing() { say "missing for 'image-$1': the disk image .cache/images/$1.ext4 (make image-$1 builds it)"; }

image-small_present() { image_present small; }
image-small_install() { image_install small; }
image-small_describe_missing() { image_describe_missing small; }
image-full_present() { image_present full; }
image-full_install() { image_install full; }
image-full_describe_missing() { image_describe_missing full; }
