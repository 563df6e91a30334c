#!/bin/bash
# Requests of redis-benchmark to redis-server over loopback, both Debian's and on one machine, counted between marks.
# An operation is one request; the benchmark's own start is in it, spread over the requests.
# Arguments choose measurements by their names.
set -eu
mark=/tests/helpers/mark
chosen=" $* "
redis-server --save '' --appendonly no --dir /tmp >/tmp/redis.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
until redis-cli ping 2>/dev/null | grep -q PONG; do
    kill -0 $server || { cat /tmp/redis.log; exit 1; }
done

# name, connections, requests in a row, how many in all, the command
measure() {
    [ "$chosen" = "  " ] || [ "${chosen#* "$1" }" != "$chosen" ] || return 0
    redis-benchmark -q -c "$2" -P "$3" -n $(($4 / 4)) -t "$5" >/dev/null
    for _ in 1 2 3; do
        $mark begin
        redis-benchmark -q -c "$2" -P "$3" -n "$4" -t "$5" >/dev/null
        $mark end "$1" epoll "$4"
    done
}

redis-cli set key value >/dev/null
$mark settle
measure redis-get-c50-p1 50 1 20000 get
measure redis-get-c50-p16 50 16 160000 get
measure redis-set-c50-p1 50 1 20000 set
measure redis-ping-c50-p1 50 1 20000 ping_mbulk
redis-cli shutdown nosave
wait $server
trap - EXIT
