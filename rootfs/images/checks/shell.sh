#!/bin/bash
# image: small
# Pipes, substitutions, redirections, here documents, background jobs and traps of bash.
set -eu
cd "$(mktemp -d)"
test "$(seq 1 100 | tail -n 3 | tr '\n' ' ')" = "98 99 100 "
test "$(printf '%s\n' c a b | sort | paste -sd,)" = a,b,c
test "$(cat <<<"$((6 * 7))")" = 42
cat >document <<TEXT
one $HOME
TEXT
read -r first second <document
test "$first $second" = "one $HOME"
{ echo out; echo err >&2; } >both 2>&1
test "$(cat both)" = $'out\nerr'
diff <(seq 5) <(printf '%s\n' 1 2 3 4 5) || exit 1
sleep 0.2 & first=$!
(exit 7) & second=$!
wait $first
status=0
wait $second || status=$?
test $status -eq 7
caught=no
trap 'caught=yes' USR1
kill -USR1 $$
test "$caught" = yes
status=0
bash -c 'kill -SEGV $$' || status=$?
test $status -eq 139
shopt -s nullglob
touch a1 a2 b1
set -- a*
test $# -eq 2
seq 200000 | head -n 1 >/dev/null
test "${PIPESTATUS[*]}" = "141 0"
mkfifo fifo
echo through >fifo &
test "$(cat fifo)" = through
wait
