#!/bin/bash
# image: full
# stress-ng, which checks its own results, and the latency tools of rt-tests.
set -eu
cd /tmp
stress-ng --quiet --verify --timeout 2 --temp-path /tmp --cpu 1 --vm 1 --vm-bytes 16M --pipe 1 --fork 1 --switch 1 \
    --futex 1 --timer 1 --poll 1 --mmap 1 --signal 1 2>/tmp/stress || { cat /tmp/stress; exit 1; }
cyclictest -q -m -p 80 -i 2000 -l 100 | grep -q '^T: 0'
hackbench -g 2 -l 50 | grep -q Time
