#!/bin/bash
# image: full
# Redis as its package configures it: commands, persistence, a benchmark; it ends when it is told to.
set -eu
redis-server /etc/redis/redis.conf --daemonize no --save '' --dir /tmp >/tmp/redis.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
until redis-cli ping 2>/dev/null | grep -q PONG; do
    kill -0 $server || { cat /tmp/redis.log; exit 1; }
done
test "$(redis-cli set key value)" = OK
test "$(redis-cli get key)" = value
test "$(redis-cli incr counter)" = 1
test "$(redis-cli eval 'return redis.call("get", KEYS[1])' 1 key)" = value
redis-cli bgsave >/dev/null
until redis-cli info persistence | grep -q 'rdb_bgsave_in_progress:0'; do :; done
redis-cli info persistence | grep -q 'rdb_last_bgsave_status:ok'
redis-benchmark -q -n 2000 -c 20 -t set,get >/tmp/benchmark
grep -q 'GET:.*requests per second' /tmp/benchmark
redis-cli shutdown nosave
wait $server
trap - EXIT
