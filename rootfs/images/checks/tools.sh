#!/bin/bash
# image: full
# procps, util-linux, findutils and the like.
set -eu
# shellcheck disable=SC2009 # ps it is
ps aux | grep -q '[/]sbin/init'
ps -eLf >/dev/null
top -b -n 1 | grep -q 'load average'
free -m | grep -q ^Mem:
vmstat 1 2 >/dev/null
test "$(pgrep -o -x init || pgrep -o init)" -eq 1
mount | grep -q ' on / type ext4 (ro'
findmnt -n -o FSTYPE / | grep -qx ext4
lsblk >/dev/null
lscpu >/dev/null
dmesg | tail -n 1 >/dev/null
df -h >/dev/null
find /etc -name passwd | grep -qx /etc/passwd
tar -C /etc -cJf /tmp/etc.tar.xz .
test "$(tar -tf /tmp/etc.tar.xz | wc -l)" -gt 50
seq 100000 | gzip | zcat | tail -n 1 | grep -qx 100000
flock /tmp/lock true
setsid true
taskset 1 true
chrt -f 10 true
nice -n 5 nice | grep -qx 5
prlimit --nofile | grep -q NOFILE
strace -V >/dev/null
file -b /bin/bash | grep -q RISC-V
ldd /bin/bash | grep -q libc.so.6
