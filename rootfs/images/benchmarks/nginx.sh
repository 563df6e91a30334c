#!/bin/bash
# Requests of ab to nginx over loopback, for a file of 1 KiB, with and without keep-alive, counted between marks.
# An operation is one request; ab's own start is in it, spread over the requests.
# Arguments choose measurements by their names.
set -eu
mark=/tests/helpers/mark
chosen=" $* "
mkdir /tmp/www
head -c 1024 /dev/zero | tr '\0' x >/tmp/www/file
cat >/tmp/nginx.conf <<'CONFIGURATION'
worker_processes 1;
pid /tmp/nginx.pid;
error_log /tmp/nginx.log;
events { worker_connections 1024; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    server { listen 127.0.0.1:8080; root /tmp/www; }
}
CONFIGURATION
chmod 755 /tmp/www
nginx -c /tmp/nginx.conf
trap 'nginx -c /tmp/nginx.conf -s quit' EXIT

# name, how many in all, options
measure() {
    local name=$1 count=$2
    [ "$chosen" = "  " ] || [ "${chosen#* "$name" }" != "$chosen" ] || return 0
    shift 2
    ab -q -c 16 -n $((count / 4)) "$@" http://127.0.0.1:8080/file >/tmp/ab
    grep -q 'Failed requests: *0' /tmp/ab
    for _ in 1 2 3; do
        $mark begin
        ab -q -c 16 -n "$count" "$@" http://127.0.0.1:8080/file >/tmp/ab
        $mark end "$name" epoll "$count"
        grep -q 'Failed requests: *0' /tmp/ab
    done
}

$mark settle
measure nginx-1k-keep-alive 20000 -k
measure nginx-1k-close 8000
