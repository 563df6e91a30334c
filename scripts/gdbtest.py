#!/usr/bin/env python3
"""Runs the debugger's commands (scripts/gdb) on a kernel in a known state, and checks what they say.

A shell waits for the console, a child of it for a timer, and three children keep two harts busy; as soon as the shell has said so, gdb attaches.
"""

import argparse
import re
import subprocess
import sys
import threading
import types

import debug
import guest
import qemu
from environment import Failure, main

BOOT_SECONDS = 60
GDB_SECONDS = 120
MOST_MOMENTS = 6
READY = "debugger: ready"
APPEND = (f'trace=on rdinit=/bin/busybox -- sh -c "for n in 1 2 3; do while :; do :; done & done; sleep 1000 & '
          f'echo {READY}; read x"')

# What each command must say: regular expressions, each for (part of) a line.
COMMANDS = {
    "zcore-harts": (r"^hart 0: (kernel|user|firmware)", r"^hart 1: "),
    "zcore-tasks": (r"^ +\d+ console input +waiting +nice 0", r"^ +\d+ user +\w+ +nice 0"),
    "zcore-run-queues": (r"^hart 0: runs ", r"^hart 1: runs ", r"^  fair +\d+ user +ready"),
    "zcore-timers": (r"^hart 0: alarm", r"\(\+99\d\.\d+ s\) +\d+ user"),
    "zcore-wait-queues": (r"^console \(0x\w+\), 1 waiting\n +\w+ +\d+ user", r"^uart input .*\n +waiter +\d+ console input"),
    "zcore-trace 4": (r"^hart 0:\n +\d+\.\d+ \w+ +task \d+",),
    "zcore-log": (r"^ +0 \[ +\d+\.\d+\] I zcore: zCore Async",),
    "zcore-symbol 0xffffffc080200010": (r"^_start\+0x10",),
}
SEPARATOR = "=== "


def boot(port):
    """QEMU, as soon as the guest is where it should be."""
    machine = qemu.Machine(harts=2, append=APPEND, initrd=guest.initramfs(), extra=["-gdb", f"tcp:127.0.0.1:{port}"])
    arguments = qemu.command(machine) + ["-chardev", "stdio,id=console,signal=off"]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # A guest that says nothing is ended, which ends the loop.
    limit = threading.Timer(BOOT_SECONDS, process.kill)
    limit.start()
    seen = b""
    for line in process.stdout:
        seen += line
        if line.startswith(READY.encode()):
            limit.cancel()
            return process
    raise Failure(f"the guest did not come up:\n{seen.decode(errors='replace')}")


def unmatched(name, answers):
    """What a command should have said and did not."""
    return [pattern for pattern in COMMANDS[name] if not re.search(pattern, answers.get(name, ""), re.MULTILINE)]


def ask(program, port, names):
    """What gdb prints for each command."""
    command = debug.gdb_command(program, types.SimpleNamespace(linux=False, debugger=port)) + ["-batch"]
    for name in names:
        command += ["-ex", f"echo {SEPARATOR}{name}\\n", "-ex", name]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=GDB_SECONDS, check=False,
                             stdin=subprocess.DEVNULL)
    parts = outcome.stdout.split(SEPARATOR)[1:]
    answers = dict(part.split("\n", 1) for part in parts)
    return answers, outcome.stdout + outcome.stderr


def look(program):
    """Boots and asks; returns how many commands said what they should and how many did not."""
    port = str(debug.free_port())
    process = boot(port)
    try:
        # A running kernel is stopped anywhere: a task may be between two queues, the shell on its way to its wait. The state
        # that the commands are to show comes back, so a command has to show it at one of a few moments.
        pending, answers, everything = list(COMMANDS), {}, ""
        for _ in range(MOST_MOMENTS):
            found, everything = ask(program, port, pending)
            answers.update(found)
            pending = [name for name in pending if unmatched(name, answers)]
            if not pending:
                break
            print(f"another look for {', '.join(pending)}")
    finally:
        process.kill()
        process.wait()
    passed = failed = 0
    for name in COMMANDS:
        missing = unmatched(name, answers)
        print(f"{name:<26} {'FAILED' if missing else 'ok'}")
        if missing:
            failed += 1
            print(f"  nothing matches {missing}")
        else:
            passed += 1
    if failed:
        print(everything, file=sys.stderr)
    return passed, failed


def _main():
    parser = argparse.ArgumentParser(description="Run the debugger's commands on a kernel in a known state.")
    parser.add_argument("--repeat", type=int, default=1, help="so many boots")
    options = parser.parse_args()
    program = debug.debugger()
    looks = [look(program) for _ in range(options.repeat)]
    passed, failed = (sum(counts) for counts in zip(*looks))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    main(_main)
