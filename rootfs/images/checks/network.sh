#!/bin/bash
# image: full
# The loopback device and what looks at sockets.
set -eu
ip addr show lo | grep -q 127.0.0.1
ip -br link | grep -q ^lo
iperf3 -s -1 -D --logfile /tmp/iperf3.log
until ss -ltn | grep -q :5201; do :; done
iperf3 -c 127.0.0.1 -t 2 -J | python3 -c 'import json, sys; assert json.load(sys.stdin)["end"]["sum_received"]["bytes"] > 1e6'
