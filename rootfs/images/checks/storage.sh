#!/bin/bash
# image: full
# fio in memory by calls that wait, plocate and bfs on the root.
set -eu
cd /tmp
for engine in sync psync pvsync2 mmap; do
    fio --name=test --filename=/tmp/fio-file --size=4M --rw=randrw --bs=4k --ioengine=$engine --verify=crc32c \
        --minimal >/tmp/fio-output || { echo "fio with $engine failed"; exit 1; }
done
updatedb -l no -o /tmp/plocate.db -U /etc
plocate -d /tmp/plocate.db /etc/passwd | grep -qx /etc/passwd
test "$(bfs /usr/include | wc -l)" = "$(find /usr/include | wc -l)"
