#!/bin/bash
# image: full
# Nginx as its package configures it serves its page to curl, wrk and ab.
set -eu
nginx -t 2>/dev/null
nginx
trap 'nginx -s quit' EXIT
curl -sS http://localhost/ | grep -q 'Welcome to nginx'
test "$(curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1/nonesuch)" = 404
ab -q -n 200 -c 10 http://127.0.0.1/ | grep -q 'Failed requests: *0'
wrk -t1 -c10 -d2 http://127.0.0.1/ | grep -q 'requests in'
test "$(ps -o user= -C nginx | sort -u | paste -sd,)" = root,www-data
