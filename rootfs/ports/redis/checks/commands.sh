#!/bin/bash
# Redis with one of its event backends: commands, persistence, a benchmark; it ends when it is told to.
#   commands.sh epoll|io_uring [further configuration]
set -eu
backend=$1
shift
rm -f /tmp/dump.rdb
program=$(dirname "$0")/../src
redis() { "$program/redis-cli" -p 7000 "$@"; }
"$program/redis-server" --port 7000 --event-backend "$backend" --save '' --dir /tmp "$@" >/tmp/redis.log 2>&1 &
server=$!
trap 'cat /tmp/redis.log; kill $server' EXIT
until redis ping 2>/dev/null | grep -q PONG; do
    kill -0 $server
done
redis info server | grep -q "multiplexing_api:$backend"
test "$(redis set key value)" = OK
test "$(redis get key)" = value
test "$(redis incr counter)" = 1
test "$(redis eval 'return redis.call("get", KEYS[1])' 1 key)" = value
# More than the kernel takes at once, both ways.
head -c 3000000 /dev/zero | tr '\0' x >/tmp/large
redis -x set large </tmp/large >/dev/null
redis get large | cmp -n 3000000 - /tmp/large
# Replies come before the connection ends, and in their order.
exec 3<>/dev/tcp/127.0.0.1/7000
printf 'PING one\r\nGET key\r\nQUIT\r\n' >&3
printf '%b\r\n' '\x243\r\none' '\x245\r\nvalue' +OK | cmp - <&3
exec 3>&-
# A client that waits is served by another one.
redis blpop list 0 >/tmp/popped &
popper=$!
until redis client list | grep -q cmd=blpop; do :; done
redis rpush list item >/dev/null
wait $popper
grep -q item /tmp/popped
redis bgsave >/dev/null
until redis info persistence | grep -q 'rdb_bgsave_in_progress:0'; do :; done
redis info persistence | grep -q 'rdb_last_bgsave_status:ok'
"$program/redis-benchmark" -p 7000 -q -n 2000 -c 50 -t set,get >/tmp/benchmark
"$program/redis-benchmark" -p 7000 -q -n 4000 -c 50 -P 16 -t set,get,lrange_100 >>/tmp/benchmark
test "$(grep -c 'GET:.*requests per second' /tmp/benchmark)" = 2
# Who is killed is gone, and no descriptor stays behind.
exec 3<>/dev/tcp/127.0.0.1/7000
printf 'CLIENT SETNAME victim\r\n' >&3
read -r line <&3
test "$line" = $'+OK\r'
redis client kill id "$(redis client list | sed -n 's/^id=\([0-9]*\) .*name=victim .*/\1/p')" >/dev/null
test -z "$(cat <&3)"
exec 3>&-
until test "$(find /proc/$server/fd -lname 'socket:*' | wc -l)" = 2; do :; done
redis shutdown nosave
wait $server
trap - EXIT
