#!/bin/bash
# image: small
# The root cannot be written to; what programs write to is in memory. Every file of the root can be read.
set -eu
error=$( (: >/new-file) 2>&1 ) && exit 1
[[ $error == *'Read-only file system'* ]]
for place in /tmp /run /var/tmp /var/log /root /home /dev/shm; do
    echo "$place" >"$place/written"
    test "$(cat "$place/written")" = "$place"
    rm "$place/written"
done
grep -q '^[^ ]* / ext4 ro' /proc/self/mounts
test -c /dev/null
test -c /dev/console
find /usr /etc -xdev -type f -print0 | xargs -0 cat | wc -c >/tmp/bytes
find /usr /etc -xdev -type f -print0 | xargs -0 stat -c %s | awk '{ sum += $1 } END { printf "%.0f\n", sum }' >/tmp/sum
test "$(cat /tmp/bytes)" = "$(cat /tmp/sum)"
