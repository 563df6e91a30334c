#!/bin/sh
# The boot test: a shell, a directory, a generated file.
set -e
echo ok
ls /
cat /proc/version
