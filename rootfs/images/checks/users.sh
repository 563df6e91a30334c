#!/bin/bash
# image: small
# A normal user is held back.
set -eu
as_user() { busybox su user -s /bin/sh -c "$1"; }
test "$(as_user 'id -u')" -eq 1000
echo secret >/tmp/secret
chmod 600 /tmp/secret
as_user 'cat /tmp/secret' 2>/dev/null && exit 1
as_user 'kill -0 1' 2>/dev/null && exit 1
as_user 'rm -f /tmp/secret' 2>/dev/null && exit 1
test -e /tmp/secret
# shellcheck disable=SC2016 # for the other shell
as_user 'echo mine >~/file && test "$(stat -c %U ~/file)" = user'
