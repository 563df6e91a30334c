#!/usr/bin/env python3
"""Tests the ports of rootfs/ports/ in the full image, on either kernel, with either event backend.

    porttest.py [--linux] [--harts N] [--backend epoll|io_uring] check
    porttest.py [--linux] [--harts N] [--backend epoll|io_uring] units [UNIT ...]

`check` runs rootfs/ports/redis/checks/. `units` runs units of Redis' own suite, those of rootfs/ports/redis/units if
none is named, each by itself; its verdict is the suite's exit status. The programs come on a second disk.
"""

import argparse
import time

import imagetest
import ports
import qemu
import run
from environment import TARGET, Failure, main
from session import SET_PROMPT, Session, Unexpected

BACKENDS = ("epoll", "io_uring")
CHECK_SECONDS = 600
UNIT_SECONDS = 1500
SHOWN_LINES = 40


def start(options, log):
    """A machine at its prompt in the folder of the port."""
    machine = qemu.Machine(harts=options.harts, memory="2G", append=f"quiet {options.append}".strip())
    if options.linux:
        machine.kernel = qemu.LINUX_IMAGE
        machine.append += " panic=-1"
    machine.drives = [f"{ports.disk()},format=raw,snapshot=on"]
    run.image_machine(machine, "full", options.linux, ",snapshot=on")
    session = Session(machine, log)
    try:
        session.expect(r"# $", imagetest.BOOT_SECONDS)
        session.send(SET_PROMPT + "\n")
        session.prompt(imagetest.KEY_SECONDS)
        for line in ("mkdir -p /tmp/port", "mount /dev/vdb /tmp/port", "cd /tmp/port", "ulimit -n 20000"):
            status, output = session.command(line, imagetest.KEY_SECONDS)
            if status != 0:
                raise Failure(f"`{line}` ended with status {status}: {output}")
    except BaseException:
        session.__exit__(None, None, None)
        raise
    return session


def commands(options):
    """What to run: name, command, limit in seconds."""
    for backend in options.backends:
        if options.what == "check":
            for script in sorted((ports.PORT / "checks").glob("*.sh")):
                yield f"{script.stem} {backend}", f"checks/{script.name} {backend}", CHECK_SECONDS
        else:
            listed = [line for line in (ports.PORT / "units").read_text().split("\n") if line and not line.startswith("#")]
            for unit in options.units or listed:
                yield (f"{unit} {backend}",
                       f"tclsh tests/test_helper.tcl --clients 1 --single {unit} --config event-backend {backend}",
                       UNIT_SECONDS)


def _main():
    parser = argparse.ArgumentParser(description="Test the ports.")
    parser.add_argument("--linux", action="store_true", help="Debian's Linux instead of our kernel")
    parser.add_argument("--harts", type=int, default=1)
    parser.add_argument("--append", default="", help="more words for the kernel's command line")
    parser.add_argument("--backend", dest="backends", action="append", choices=BACKENDS)
    parser.add_argument("what", choices=["check", "units"])
    parser.add_argument("units", nargs="*")
    options = parser.parse_args()
    options.backends = options.backends or list(BACKENDS)
    kernel = "linux" if options.linux else "ours"
    failed = passed = boots = 0
    session = None
    for name, line, limit in commands(options):
        started, problem = time.monotonic(), ""
        begin = 0
        try:
            if session is None:
                boots += 1
                session = start(options, TARGET / "log" / "ports" / f"{kernel}-{options.what}-{boots}.log")
            begin = session.seen
            status, output = session.command(f"{line} </dev/null", limit)
            if status != 0:
                problem = f"it ended with status {status}:\n{output}"
        except Unexpected as unexpected:
            problem = str(unexpected)
            if session is not None:
                problem += "\n" + session.text(begin)
                session.__exit__(None, None, None)
                session = None
        print(f"{kernel} {name:<40} {'FAILED' if problem else 'ok':<6} {time.monotonic() - started:6.1f} s", flush=True)
        if problem:
            failed += 1
            print("\n".join(f"  | {text}" for text in problem.splitlines()[-SHOWN_LINES:]), flush=True)
        else:
            passed += 1
    if session is not None:
        session.__exit__(None, None, None)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    main(_main)
