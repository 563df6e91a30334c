#!/bin/bash
# image: small
# What /proc says about processes, through ps and friends.
set -eu
sleep 1000 &
child=$!
# Between fork and exec it still is a shell.
until test "$(tr '\0' ' ' <"/proc/$child/cmdline")" = "sleep 1000 "; do :; done
# shellcheck disable=SC2009 # ps it is
ps aux | grep -q '[s]leep 1000'
test "$(readlink "/proc/$child/exe")" = "$(readlink -f "$(command -v sleep)")"
grep -q "^PPid:[[:space:]]*$$\$" "/proc/$child/status"
kill $child
status=0
wait $child || status=$?
test $status -eq 143
free | grep -q Mem:
uptime | grep -q load
grep -q ^MemTotal: /proc/meminfo
grep -q ^btime /proc/stat
