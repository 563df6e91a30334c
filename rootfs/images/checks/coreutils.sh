#!/bin/bash
# image: small
# Programs of coreutils on a file system in memory and on the root.
set -eu
cd "$(mktemp -d)"
dd if=/dev/urandom of=random bs=64K count=16 status=none
test "$(stat -c %s random)" -eq 1048576
cp -a random copy
cmp random copy
test "$(sha256sum <random)" = "$(sha256sum <copy)"
split -b 100000 random part.
cat part.* | cmp - random
mkdir -p deep/er/est
ln copy deep/er/est/hard
ln -s ../../copy deep/er/soft
test "$(stat -c %h copy)" -eq 2
test "$(readlink -f deep/er/soft)" = "$PWD/copy"
cp -r deep deeper
mv deeper moved
rm -r moved
test ! -e moved
chmod 640 copy
test "$(stat -c %a copy)" = 640
touch -d '2020-02-02 02:02:02 UTC' copy
test "$(stat -c %Y copy)" -eq 1580608922
test "$(seq 1000 | shuf | sort -n | md5sum)" = "$(seq 1000 | md5sum)"
truncate -s 10M sparse
test "$(stat -c %b sparse)" -eq 0
df . / >/dev/null
test "$(df --output=fstype / | tail -n 1)" = ext4
test "$(timeout 1 sleep 100; echo $?)" -eq 124
nproc | grep -qx '[0-9]*'
date +%s | grep -q '^[0-9]'
test "$(id -un)" = root
test "$(uname -s)" = Linux
ls -lR /etc >listing
test -s listing
