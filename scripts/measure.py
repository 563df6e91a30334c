#!/usr/bin/env python3
"""Small measurements for acceptance.py: each prints `measured: NUMBER`.

    measure.py seconds COMMAND...   how long a command takes that succeeds
    measure.py prompt [--linux|--no-image]
                                    seconds from `make run` to a prompt that answers, then powers off
    measure.py kernel NAME          what the test NAME inside the kernel measures
    measure.py guest NAME           what the guest test NAME measures
    measure.py idle [HARTS] [--linux]   timer interrupts a second, all harts together, while a shell sleeps
    measure.py boot [IMAGE]         seconds of guest time from the kernel's entry to the first program's, the
                                    log on the console included (in runs that count instructions as time); from
                                    the initial file system, or from a disk image: then until the program itself
                                    has looked at the clock
    measure.py memory IMAGE         MiB of a machine's memory that are not free when a disk image has come to its
                                    prompt: the kernel, its tables, programs and what is cached of the disk
"""

import os
import pty
import re
import select
import subprocess
import sys
import time

import guest
import qemu
import run
import session
from environment import PROJECT, TARGET, Failure, main

PROMPT_LIMIT_SECONDS = 120
BOOT_LIMIT_SECONDS = 120
MEBIBYTE = 1 << 20

# QEMU's log of traps (-d int), and the kernel's of its boot.
TIMER_INTERRUPT = re.compile(r"async:1, cause:0*5\b")
FIRST_PROGRAM = re.compile(r"\[ *(\d+\.\d+)\] zcore: first program: \S+, (\d+) us after the kernel's entry")
FIRST_INSTRUCTIONS = re.compile(r"first instructions: (\d+) us")


def seconds(command):
    """Runs a command and returns how long it took."""
    started = time.monotonic()
    status = subprocess.run(command, cwd=PROJECT, stdin=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        raise Failure(f"{' '.join(command)} ended with status {status}")
    return time.monotonic() - started


def prompt(command, limit_seconds=PROMPT_LIMIT_SECONDS):
    """A command that boots to a prompt, in a terminal of its own, as a person would: types there and leaves."""
    started = time.monotonic()
    deadline = started + limit_seconds
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(command, cwd=PROJECT, stdin=terminal, stdout=terminal, stderr=terminal,
                          start_new_session=True) as process:
        os.close(terminal)
        console = bytearray()
        _read_until(keyboard, rb"zcore:\S* # |zcore:\S*# ", console, deadline)
        os.write(keyboard, b"echo $((6 * 7))\n")
        _read_until(keyboard, rb"\n42\r", console, deadline)
        took = time.monotonic() - started
        os.write(keyboard, b"poweroff -f\n")
        _read_until(keyboard, None, console, deadline)
        status = process.wait()
    if status != 0:
        raise Failure(f"it ended with status {status} after poweroff")
    return took


def _boot(machine):
    """Runs a machine that must power off; returns its console."""
    result = qemu.run(machine, BOOT_LIMIT_SECONDS)
    if not result.powered_off():
        raise Failure(f"{machine.append}: {result.explain()}\n{result.tail()}")
    return result.console


def _measured(name, machine):
    """The number that a test prints."""
    found = re.findall(r"^measured: ([0-9.]+)\r?$", _boot(machine), re.MULTILINE)
    if len(found) != 1:
        raise Failure(f"{name} measures nothing")
    return float(found[0])


def kernel(name):
    """The number that a test inside the kernel prints."""
    return _measured(name, qemu.Machine(append=f"quiet ktest={name}"))


def guest_test(name):
    """The number that a guest test prints."""
    return _measured(name, qemu.Machine(append=f"quiet rdinit=/init -- /tests/{name}", initrd=guest.tests_initramfs()))


def idle(harts, linux):
    """The difference between a boot that sleeps long and one that sleeps shortly, as QEMU counts it."""
    shortly, long = 1, 6
    counts = []
    for duration in (shortly, long):
        log = TARGET / "log" / f"traps-{harts}-{duration}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        machine = qemu.Machine(append=f"quiet panic=-1 rdinit=/init -- sleep {duration}", harts=harts,
                               initrd=guest.initramfs(), extra=["-d", "int", "-D", str(log)])
        if linux:
            machine.kernel = qemu.LINUX_IMAGE
        _boot(machine)
        counts.append(sum(1 for line in log.open() if TIMER_INTERRUPT.search(line)))
        log.unlink()
    print(f"timer interrupts with sleeps of {shortly} and {long} seconds: {counts[0]} and {counts[1]}")
    return max(counts[1] - counts[0], 0) / (long - shortly)


def boot(image):
    """The median of some boots: what the kernel says, or on a disk image, where bringing the program's pages takes its
    time too, what the first program says. Both read the same counter."""
    values = []
    for _ in range(3):
        if image == run.NO_IMAGE:
            machine = qemu.Machine(append="rdinit=/init -- true", initrd=guest.initramfs(), icount="shift=1,sleep=off")
        else:
            # Time goes on while the disk works.
            machine = qemu.Machine(append="root=/dev/vda ro init=/tests/first_instruction", icount="shift=1,sleep=on")
            run.image_machine(machine, image, False, ",snapshot=on")
        console = _boot(machine)
        found = FIRST_PROGRAM.search(console)
        if not found:
            raise Failure("the kernel does not say when its first program started")
        shown, took = float(found[1]), int(found[2]) / 1e6
        if image != run.NO_IMAGE:
            told = FIRST_INSTRUCTIONS.search(console)
            if not told:
                raise Failure("the first program does not say when it started")
            took += int(told[1]) / 1e6 - shown
        values.append(took)
    return sorted(values)[1]


def memory(image):
    """What is not free when a shell waits for its first command."""
    size = 1024 * MEBIBYTE
    machine = run.image_machine(qemu.Machine(append="quiet", memory=str(size // MEBIBYTE)), image, False, ",snapshot=on")
    with session.Session(machine, TARGET / "log" / f"memory-{image}.log") as shell:
        shell.expect(r"# $", BOOT_LIMIT_SECONDS)
        shell.send("while read -r name value unit; do echo \"$name $value $unit\"; done </proc/meminfo\n")
        free = int(shell.expect(r"\nMemFree: (\d+) kB\r", BOOT_LIMIT_SECONDS)[1]) * 1024
    return (size - free) / MEBIBYTE


def _read_until(keyboard, pattern, console, deadline):
    """Reads the console until the pattern appears (None: until it closes)."""
    from_here = len(console)
    while pattern is None or not re.search(pattern, console[from_here:]):
        ready, _, _ = select.select([keyboard], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise Failure(f"the time is over:\n{console[-2000:].decode(errors='replace')}")
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
        case ["prompt", *rest] if rest in ([], ["--linux"], ["--no-image"]):
            value = prompt(["make", "run", *({"--linux": "LINUX=1", "--no-image": "IMAGE=none"}[word] for word in rest)])
        case ["kernel", name]:
            value = kernel(name)
        case ["guest", name]:
            value = guest_test(name)
        case ["idle", *rest] if set(rest) <= {"--linux", "1", "2", "4", "8"}:
            harts = [int(word) for word in rest if word.isdigit()]
            value = idle(harts[0] if harts else 1, "--linux" in rest)
        case ["boot", *rest] if rest in ([], ["small"], ["full"]):
            value = boot(rest[0] if rest else run.NO_IMAGE)
        case ["memory", "small" | "full" as image]:
            value = memory(image)
        case _:
            raise Failure(__doc__)
    print(f"measured: {value:.3f}")
    return 0


if __name__ == "__main__":
    main(_main)
