#!/bin/bash
# image: full
# Threads, processes, sockets, clocks and a compiled extension of Python.
set -eu
cd "$(mktemp -d)"
python3 - <<'PROGRAM'
import asyncio, concurrent.futures, decimal, hashlib, json, multiprocessing, os, socket, sqlite3, subprocess
import sys, tempfile, threading, time

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(lambda number: number * number, range(100))) == 328350
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
assert subprocess.run(["sh", "-c", "exit 5"]).returncode == 5
assert subprocess.run(["tr", "a-z", "A-Z"], input=b"text", capture_output=True).stdout == b"TEXT"
left, right = socket.socketpair()
left.sendall(b"hello")
assert right.recv(10) == b"hello"

async def main():
    async def one(number):
        await asyncio.sleep(0.01)
        return number
    assert await asyncio.gather(*(one(number) for number in range(50))) == list(range(50))
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert (await process.communicate(b"piped"))[0] == b"piped"

asyncio.run(main())
before = time.monotonic()
threading.Event().wait(0.05)
assert time.monotonic() - before >= 0.05
with tempfile.TemporaryFile() as file:
    file.write(os.urandom(1 << 20))
    file.seek(0)
    assert len(hashlib.file_digest(file, "sha256").hexdigest()) == 64
connection = sqlite3.connect("test.db")
connection.execute("create table t (a)")
connection.executemany("insert into t values (?)", [(number,) for number in range(1000)])
connection.commit()
assert connection.execute("select sum(a) from t").fetchone() == (499500,)
assert json.loads(json.dumps({"a": [1, 2.5, None]})) == {"a": [1, 2.5, None]}
PROGRAM
