#!/bin/sh
# Runs the guest tests that are named, and fails if one of them does.
failed=0
for name in "$@"; do
    if "/tests/$name" >/tmp/output 2>&1 </dev/null; then
        echo "$name: ok"
    else
        echo "$name: FAILED with status $?"
        cat /tmp/output
        failed=1
    fi
done
exit $failed
