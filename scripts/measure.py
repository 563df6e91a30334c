#!/usr/bin/env python3
"""Small measurements for acceptance.py: each prints `measured: NUMBER`.

    measure.py seconds COMMAND...   how long a command takes that succeeds
    measure.py prompt [--linux]     seconds from `make run` to a prompt that answers, then powers off
"""

import os
import pty
import re
import select
import subprocess
import sys
import time

from environment import PROJECT, Failure, main

PROMPT_LIMIT_SECONDS = 120


def seconds(command):
    """Runs a command and returns how long it took."""
    started = time.monotonic()
    status = subprocess.run(command, cwd=PROJECT, stdin=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        raise Failure(f"{' '.join(command)} ended with status {status}")
    return time.monotonic() - started


def prompt(arguments):
    """`make run` in a terminal of its own, as a person would: types a command at the prompt and leaves."""
    started = time.monotonic()
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(["make", "run", *arguments], cwd=PROJECT, stdin=terminal, stdout=terminal,
                          stderr=terminal, start_new_session=True) as process:
        os.close(terminal)
        console = bytearray()
        _read_until(keyboard, rb"zcore:\S* # |zcore:\S*# ", console, started)
        os.write(keyboard, b"echo $((6 * 7))\n")
        _read_until(keyboard, rb"\n42\r", console, started)
        took = time.monotonic() - started
        os.write(keyboard, b"poweroff -f\n")
        _read_until(keyboard, None, console, started)
        status = process.wait()
    if status != 0:
        raise Failure(f"make run ended with status {status} after poweroff")
    return took


def _read_until(keyboard, pattern, console, started):
    """Reads the console until the pattern appears (None: until it closes)."""
    from_here = len(console)
    while pattern is None or not re.search(pattern, console[from_here:]):
        remaining = started + PROMPT_LIMIT_SECONDS - time.monotonic()
        ready, _, _ = select.select([keyboard], [], [], max(remaining, 0))
        if not ready:
            raise Failure(f"nothing after {PROMPT_LIMIT_SECONDS} s:\n{console[-2000:].decode(errors='replace')}")
        try:
            data = os.read(keyboard, 65536)
        except OSError:
            data = b""
        if not data:
            if pattern is None:
                return
            raise Failure(f"it ended before its prompt:\n{console[-2000:].decode(errors='replace')}")
        console += data


def _main():
    match sys.argv[1:]:
        case ["seconds", *command] if command:
            value = seconds(command)
        case ["prompt", *rest] if rest in ([], ["--linux"]):
            value = prompt(["LINUX=1"] if rest else [])
        case _:
            raise Failure("say `seconds COMMAND...` or `prompt [--linux]`")
    print(f"measured: {value:.2f}")
    return 0


if __name__ == "__main__":
    main(_main)
