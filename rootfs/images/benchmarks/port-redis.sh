#!/bin/bash
# Requests of redis-benchmark to the ported redis-server over loopback, with each of its event backends, counted between
# marks. An operation is one request; the benchmark's own start is in it, spread over the requests.
# Arguments choose backends.
set -eu
mark=/tests/helpers/mark
mkdir -p /tmp/port
mount -o ro /dev/vdb /tmp/port
cd /tmp/port/src
[ $# -gt 0 ] || set -- epoll io_uring
for backend; do
    ./redis-server --save '' --appendonly no --dir /tmp --event-backend "$backend" >/tmp/redis.log 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null' EXIT
    until ./redis-cli ping 2>/dev/null | grep -q PONG; do
        kill -0 $server || { cat /tmp/redis.log; exit 1; }
    done
    ./redis-cli set key value >/dev/null
    $mark settle
    for pipeline in 1 16; do
        count=$((20000 * (pipeline == 1 ? 1 : 8)))
        ./redis-benchmark -q -c 50 -P $pipeline -n $((count / 4)) -t get >/dev/null
        for _ in 1 2 3; do
            $mark begin
            ./redis-benchmark -q -c 50 -P $pipeline -n $count -t get >/dev/null
            $mark end "port-redis-get-c50-p$pipeline" "$backend" $count
        done
    done
    ./redis-cli shutdown nosave
    wait $server
    trap - EXIT
done
