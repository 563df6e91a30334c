#!/bin/bash
# image: full
# perl, tcl, sqlite3, awk and make.
set -eu
cd "$(mktemp -d)"
test "$(perl -e 'print join ",", map { $_ * 2 } 1 .. 5')" = 2,4,6,8,10
perl -e 'my $pid = fork; if (!$pid) { exit 3 } waitpid $pid, 0; exit($? >> 8 == 3 ? 0 : 1)'
perl -MPOSIX -MSocket -MData::Dumper -e '1'
test "$(echo 'puts [expr {6 * 7}]; puts [exec echo hi]' | tclsh | paste -sd,)" = 42,hi
sqlite3 test.db 'create table t (a integer primary key, b text); insert into t values (1, "x"), (2, "y");'
sqlite3 test.db 'pragma journal_mode = wal; insert into t values (3, "z");' >/dev/null
test "$(sqlite3 test.db 'select count(*), max(b) from t')" = '3|z'
test "$(sqlite3 test.db 'pragma integrity_check')" = ok
test "$(seq 10 | awk '{ s += $1 } END { print s }')" = 55
printf 'all: a b\n\t@cat a b\na b:\n\t@echo $@ >$@\n' >Makefile
test "$(make -s -j2 | paste -sd,)" = a,b
