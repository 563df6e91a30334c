#!/bin/bash
# image: full
# fio in memory by engines that submit requests and look for completions.
set -eu
cd /tmp
for engine in libaio io_uring; do
    fio --name=test --filename=/tmp/fio-file --size=4M --rw=randrw --bs=4k --ioengine=$engine --verify=crc32c \
        --minimal >/tmp/fio-output || { echo "fio with $engine failed"; exit 1; }
done
