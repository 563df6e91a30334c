#!/bin/sh
# Runs liburing's test programs one after another. Lines of /suite/list are a program and its seconds; each has a folder
# with all programs in it (they start one another) on a file system in memory, and says its exit status at the end.
ifconfig lo 127.0.0.1 up
mount -t tmpfs none /tmp
while read -r name seconds; do
    mkdir /tmp/work
    cd /tmp/work || exit 1
    ln -s /suite/programs/*.t .
    echo "suite: begin $name"
    timeout -s KILL "$seconds" "./$name.t" >/tmp/output 2>&1 </dev/null
    status=$?
    if [ $status -ne 0 ] && [ $status -ne 77 ]; then tail -c 1500 /tmp/output; echo; fi
    echo "suite: end $name $status"
    # What a program left behind must not disturb the next.
    for process in /proc/[0-9]*; do
        case $(readlink "$process/exe" 2>/dev/null) in /suite/programs/*) kill -KILL "${process#/proc/}" ;; esac
    done
    cd / && rm -rf /tmp/work /tmp/output
done </suite/list
echo "suite: over"
