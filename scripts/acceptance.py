#!/usr/bin/env python3
"""The long and the measured checks; what `make acceptance` runs after set-up and a build.

    acceptance.py [--list] [--again] [ID ...]

Each line of LINES is a command that must succeed within its time limit and, where it has a bound,
print `measured: NUMBER` within that bound. Results are kept in target/acceptance.json by commit: a run
that was interrupted goes on where it stopped, and lines that are recorded for this commit are not run
again unless --again or their id says so. With uncommitted changes nothing is reused. The latest
result of each line is written to docs/acceptance.md, with its commit and its command, so that anybody
can repeat it.
"""

import argparse
import dataclasses
import json
import re
import signal
import os
import subprocess
import time

from environment import PROJECT, TARGET, Failure, cargo_environment, main

STATE = TARGET / "acceptance.json"
DOCUMENT = PROJECT / "docs" / "acceptance.md"
MEASURED = re.compile(r"^measured: ([0-9.]+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Line:
    """One promise and how it is checked."""

    id: str
    description: str
    command: str
    at_most: float | None = None
    unit: str = ""
    limit_seconds: int = 900


# Operations of rootfs/tests/micro.c: the bound in instructions, in total.
MICRO = {
    "getppid": (200, "getppid"),
    "read-zero": (400, "read of 1 byte of /dev/zero"),
    "pipe-write-read": (1200, "write to a pipe and read from it, one process"),
    "pipe-ping-pong": (4000, "a byte through pipes to another process and back"),
    "futex-ping-pong": (3000, "two threads in turn by futex, a round"),
    "yield-round": (2000, "sched_yield of two processes, a round"),
    "signal-self": (2000, "signal to self, handler and return"),
    "page-fault": (1600, "first touch of an anonymous page"),
    "open-close": (3000, "open and close of a file on tmpfs"),
    "stat": (2000, "stat of a file on tmpfs"),
    "pread-4k": (1800, "pread of 4 KiB that are cached"),
    "thread-create-join": (12000, "a thread created and joined"),
    "fork-exit-wait": (70000, "fork, exit and wait"),
    "fork-exec-wait": (200000, "fork, exec of a static program and wait"),
    "spawn-dynamic": (450000, "posix_spawn of a dynamic program and wait"),
    "unix-epoll-echo": (8000, "64 bytes over a unix socket to a process in epoll_wait and back"),
    "tcp-epoll-echo": (10000, "64 bytes over TCP to a process in epoll_wait and back"),
    "tcp-connect-close": (20000, "a TCP connection made, accepted and closed by a reset"),
    "hackbench-pipe": (125e6, "hackbench with pipes and processes, 2 groups, 100 messages"),
}

# Measurements of rootfs/images/benchmarks/, by the script: the bound in instructions, in total.
SERVERS = {
    "redis": {
        "redis-get-c50-p1": (24000, "redis-benchmark GET, 50 connections, a request"),
        "redis-get-c50-p16": (7000, "redis-benchmark GET, 50 connections, 16 requests at a time, a request"),
    },
    "nginx": {
        "nginx-1k-keep-alive": (48000, "nginx, 1 KiB, ab with keep-alive, a request"),
        "nginx-1k-close": (90000, "nginx, 1 KiB, ab without keep-alive, a request"),
    },
}

LINES = [
    Line("bare-run", "`git clone` and `make run` on a bare Debian 12 with git, make and rustup reach a prompt, downloads included;"
         " again, and without a network, within 15 s", "scripts/baretest.py rustup", 360, "s", 2400),
    Line("bare-run-fallback", "the same without rustup", "scripts/baretest.py distribution", 900, "s", 2400),
    Line("bare-user", "without root and sudo, `make run` says what is missing", "scripts/baretest.py user"),
    Line("bare-test", "`git clone` and `make test` on such a machine", "scripts/baretest.py test", 1200, "s", 2700),
    Line("run-again", "`make run` the second time reaches its prompt", "scripts/measure.py prompt", 15, "s"),
    Line("boot-matrix", "harts 1, 2, 4, 8 and memory 128 MiB, 1 GiB, 8 GiB run the busybox script and power off",
         "scripts/boottest.py --harts 1,2,4,8 --memory 128M,1G,8G --kind cases busybox init"),
    Line("boot-linux", "the same guest tests pass on Debian's Linux", "scripts/boottest.py --linux --harts 1,2,4"),
    Line("getppid", "getppid from a guest program, in total", "scripts/count.py getppid --print getppid:total", 200,
         "instructions"),
    Line("boot-time", "kernel entry to the first program, guest time, log on the console included",
         "scripts/measure.py boot", 0.3, "s"),
    Line("boot-time-disk", "kernel entry to the first instructions of a first program on the small disk image, guest time",
         "scripts/measure.py boot small", 0.5, "s"),
    Line("boot-memory", "memory that is not free when the small image waits at its prompt, of 1 GiB",
         "scripts/measure.py memory small", 24, "MiB"),
    Line("run-no-image", "`make run IMAGE=none` reaches its prompt", "scripts/measure.py prompt --no-image", 15, "s"),
    Line("guest-tests", "the guest tests", "scripts/boottest.py --kind guest", limit_seconds=1800),
    Line("guest-tests-debug", "the guest tests on a kernel with debug assertions and overflow checks",
         "scripts/build.py --debug && scripts/boottest.py --debug --kind guest", limit_seconds=3600),
    Line("gcc", "the guest's own gcc compiles a program 100 times in a row at 4 harts",
         "scripts/imagetest.py --image full --memory 2G --harts 4 --repeat 100 gcc", limit_seconds=3600),
    Line("images-linux", "the checks of both disk images pass on Debian's Linux",
         "scripts/imagetest.py --linux --image small && scripts/imagetest.py --linux --image full", limit_seconds=1800),
    Line("image-small", "bash, job control, vi and top on the small image", "scripts/imagetest.py --image small"),
    Line("image-full", "the programs of the full image", "scripts/imagetest.py --image full --memory 2G", limit_seconds=3600),
    Line("busybox-suite", "busybox's own test suite: no hang, at least as many passes as on Linux", "scripts/busybox_suite.py",
         limit_seconds=3600),
    Line("liburing-suite", "liburing's test programs: all that pass on Linux but those with a reason, at least 165",
         "scripts/liburing_suite.py", limit_seconds=7200),
    Line("kernel-tests", "the tests inside the kernel", "scripts/boottest.py --harts 1,2,4,8 --kind kernel",
         limit_seconds=1800),
    Line("shootdown", "pages taken away at 8 harts are gone for all of them, 50 times in a row",
         "scripts/boottest.py --harts 8 --repeat 50 ktest-shootdown-unmap", limit_seconds=1800),
    Line("debugger", "the debugger's commands show the kernel's state, 20 times in a row", "scripts/gdbtest.py --repeat 20",
         limit_seconds=1800),
    Line("wake-switch", "wake of a ready kernel task and switch to it", "scripts/count.py --kernel-bench switch"
         " --print wake-switch:total", 300, "instructions"),
    Line("sleep-fire", "a sleep, set and fired, on an otherwise idle hart", "scripts/count.py --kernel-bench sleep"
         " --print sleep-fire:total", 800, "instructions"),
    Line("preempt", "from the interrupt that wakes a real-time task to the task, while a kernel future spins",
         "scripts/count.py --kernel-bench preempt --print preempt:total", 2000, "instructions"),
    Line("task-memory", "memory of a task beyond its future", "scripts/measure.py kernel idle-task-memory", 512, "bytes"),
    Line("thread-memory", "kernel memory of each of 10 000 threads blocked in read, beyond page tables",
         "scripts/measure.py guest many_threads", 2048, "bytes"),
    Line("idle-1", "timer interrupts a second of an idle shell, 1 hart", "scripts/measure.py idle 1", 19.9),
    Line("idle-4", "timer interrupts a second of an idle shell, sum of 4 harts", "scripts/measure.py idle 4", 19.9),
    Line("disk-read", "4 KiB random read of a virtio disk at queue depth 32, kernel instructions",
         "scripts/count.py --kernel-bench disk --print disk-read-qd32:supervisor", 4500, "instructions"),
    *(Line(f"micro-{name}", f"{what}, in total", f"scripts/count.py micro {name} --print {name}:total", bound, "instructions")
      for name, (bound, what) in MICRO.items()),
    *(Line(name, f"{what}, in total", f"scripts/count.py --image full --mem 2G {script} {name} --print {name}:total", bound,
           "instructions")
      for script, measurements in SERVERS.items() for name, (bound, what) in measurements.items()),
    Line("storm", "3 minutes of random syscalls at 4 harts: no panic, no hang, memory comes back",
         "scripts/boottest.py --harts 4 storm"),
    Line("tests", "`make test` on a tree that is set up, without a network",
         "scripts/measure.py seconds unshare --map-root-user --net sh -c 'ip link set lo up && exec make test'", 1200, "s", 2400),
]


def commit():
    """The commit that is checked out, with a plus sign if the tree differs from it."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    changed = [line for line in git("status", "--porcelain").splitlines() if not line.endswith("docs/acceptance.md")]
    return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")


def run(line):
    """Runs one line; returns (passed, what to write down)."""
    log = TARGET / "log" / f"acceptance-{line.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(["bash", "-c", line.command], cwd=PROJECT, env=cargo_environment(), stdout=output,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            status = process.wait(line.limit_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False, f"not over after {line.limit_seconds} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if status != 0:
        return False, f"exit status {status}, see {log.relative_to(PROJECT)}"
    if line.at_most is None:
        return True, "passes"
    found = MEASURED.findall(log.read_text(errors="replace"))
    if not found:
        return False, "the command printed no `measured: NUMBER`"
    value = float(found[-1])
    return value <= line.at_most, f"{value:g} {line.unit}".strip()


def bound(line):
    """The bound as text."""
    return "must pass" if line.at_most is None else f"at most {line.at_most:g} {line.unit}".strip()


def recorded_rows():
    """The rows of the document as it is, by id: lines that were checked at other commits stay."""
    rows = {}
    if DOCUMENT.exists():
        for text in DOCUMENT.read_text().splitlines():
            cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
            if len(cells) == 6 and re.fullmatch(r"[a-z0-9-]+", cells[0]) and cells[0] != "id":
                rows[cells[0]] = text
    return rows


def write_document(state, at):
    """docs/acceptance.md: for each line its latest result."""
    rows = recorded_rows()
    for line in LINES:
        entry = state.get(at, {}).get(line.id)
        if entry:
            verdict = entry["result"] if entry["passed"] else f"**fails**: {entry['result']}"
            rows[line.id] = f"| {line.id} | {line.description} | {bound(line)} | {verdict} | `{at}` | `{line.command}` |"
    text = ["# Acceptance", "",
            "Written by `make acceptance`: the long and the measured checks, each with the commit it was last run at.",
            "A plus sign after the commit means that the tree had changes.", "",
            "| id | what | bound | result | commit | command |", "|---|---|---|---|---|---|"]
    text += [rows[line.id] for line in LINES if line.id in rows]
    DOCUMENT.write_text("\n".join(text) + "\n")


def _main():
    parser = argparse.ArgumentParser(description="Run the long and the measured checks.")
    parser.add_argument("--list", action="store_true", help="print the lines and do nothing")
    parser.add_argument("--again", action="store_true", help="run lines that are recorded for this commit, too")
    parser.add_argument("ids", nargs="*", help="only these lines, whether recorded or not")
    options = parser.parse_args()
    unknown = set(options.ids) - {line.id for line in LINES}
    if unknown:
        raise Failure(f"no such line: {', '.join(sorted(unknown))}")
    if options.list:
        for line in LINES:
            print(f"{line.id:<16} {bound(line):<28} {line.command}")
        return 0
    at = commit()
    state = json.loads(STATE.read_text()) if STATE.exists() else {}
    if at.endswith("+") or options.again:
        state.pop(at, None)
    passed = failed = 0
    for line in LINES:
        if options.ids and line.id not in options.ids:
            continue
        entry = state.get(at, {}).get(line.id)
        note = "recorded"
        if entry is None or options.ids:
            print(f"{line.id:<16} ...", end="", flush=True)
            started = time.monotonic()
            success, result = run(line)
            entry = {"passed": success, "result": result}
            state.setdefault(at, {})[line.id] = entry
            STATE.parent.mkdir(parents=True, exist_ok=True)
            STATE.write_text(json.dumps(state, indent=1) + "\n")
            write_document(state, at)
            note = f"{time.monotonic() - started:.0f} s"
        print(f"\r{line.id:<16} {'ok' if entry['passed'] else 'FAILED':<7} {entry['result']} ({bound(line)}; {note})",
              flush=True)
        passed += entry["passed"]
        failed += not entry["passed"]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    main(_main)
