#!/usr/bin/env python3
"""Boots the kernel in QEMU and checks how that ends.

    boottest.py [--linux] [--harts 1,2,4] [--memory 128M,1G] [NAME ...]

A case is a kernel command line, how the run must end, and words that must be on the console. The
verdict is how the machine ended (see qemu.py): guest programs power off when they succeed and reboot
when they fail, tests inside the kernel end through the `sifive,test` device. The words say in
addition that it ended well for the right reason.

Three sources of cases:

* CASES below;
* guest tests: each program and script of rootfs/tests, under its own name (on Linux, which boots
  slowly, all of them in one run);
* tests inside the kernel, which `ktest=list` lists as lines `ktest: NAME` and `ktest=NAME` runs.

With --linux, Debian's Linux runs what both kernels must pass: the judge goes first.
"""

import argparse
import dataclasses
import itertools
import re
import time

import guest
import qemu
from environment import TARGET, Failure, main

TIMEOUT_SECONDS = 120
QUIET = "quiet panic=-1"


@dataclasses.dataclass(frozen=True)
class Case:
    """One boot."""

    name: str
    append: str
    ending: str = "shutdown"
    expect: tuple = ()  # regular expressions, each for (part of) a line
    linux: bool = True  # whether Linux must pass it as well
    initramfs: str = "tests"  # tests | none | truncated
    options: tuple = ()  # (field of qemu.Machine, value) pairs that differ from the matrix
    once: bool = False  # only on the first machine of the matrix


CASES = [
    # The shortest way to a program: no script of ours in between.
    Case("busybox", 'rdinit=/bin/busybox -- sh -c "mount -t proc proc /proc; echo ok; ls /; cat /proc/version; '
         'poweroff -f"', expect=(r"^ok$", r"\binit\b", r"^Linux version 6\.12\.")),
    Case("init", "rdinit=/init -- /tests/boot.sh", expect=(r"^ok$", r"^Linux version 6\.12\.", r"ended with status 0")),
    # That failure is seen as failure.
    Case("failing-program", "rdinit=/init -- false", ending="reset", expect=(r"ended with status 1",), once=True),
    Case("no-such-init", "rdinit=/nonesuch init=/nonesuch", ending="failed", linux=False, once=True,
         expect=(r"/nonesuch",)),
    Case("no-initramfs", "rdinit=/init", ending="failed", linux=False, initramfs="none", once=True,
         expect=(r"(?i)initramfs|initrd",)),
    Case("truncated-initramfs", "rdinit=/init -- /tests/boot.sh", ending="failed", linux=False, initramfs="truncated",
         once=True, expect=(r"(?i)initramfs|initrd",)),
    # What the kernel does not know: NAME=VALUE becomes the first program's environment, words with a dot in
    # their name are for modules and are dropped.
    Case("unknown-words", 'rdinit=/init frobnicate=1 some.module=2 -- sh -c "test $frobnicate = 1 && echo ok"', once=True,
         expect=(r"^ok$",)),
    Case("hvc0", "rdinit=/init -- /tests/boot.sh", linux=False, once=True, options=(("console", "hvc0"),),
         expect=(r"^ok$",)),
]


# Scripts beside the guest tests: the first is in CASES, the second runs the others.
NO_TESTS = ("boot.sh", "together.sh")


def guest_cases():
    """One case for each guest test."""
    names = [path.stem for path in sorted(guest.SOURCES.glob("*.c"))]
    names += [path.name for path in sorted((guest.SOURCES / "scripts").glob("*.sh")) if path.name not in NO_TESTS]
    return [Case(name, f"rdinit=/init -- /tests/{name}", expect=(r"ended with status 0",)) for name in names]


def together(cases):
    """All guest tests in one boot, for a kernel that takes its time to start."""
    names = " ".join(case.name for case in cases)
    return Case("guest-tests", f"rdinit=/init -- /tests/together.sh {names}",
                expect=tuple(f"^{re.escape(case.name)}: ok$" for case in cases))


def kernel_cases():
    """One case for each test inside the kernel, as it lists them itself."""
    result = boot(Case("list", "ktest=list"), qemu.Machine())
    if not result.powered_off():
        raise Failure(f"ktest=list: {result.explain()}\n{result.tail()}")
    names = re.findall(r"^ktest: (\S+)$", result.console, re.MULTILINE)
    if not names:
        raise Failure("the kernel lists no tests of its own")
    return [Case(f"ktest-{name}", f"ktest={name}", linux=False) for name in names]


def initramfs(case):
    """The initial file system that the case wants."""
    if case.initramfs == "none":
        return None
    whole = guest.tests_initramfs()
    if case.initramfs == "tests":
        return whole
    cut = TARGET / "initramfs-truncated.cpio.gz"
    data = whole.read_bytes()
    cut.write_bytes(data[:len(data) // 2])
    return cut


def boot(case, machine, linux=False):
    """Runs one case on a machine."""
    values = dataclasses.asdict(machine) | dict(case.options)
    machine = qemu.Machine(**values)
    machine.append = f"{QUIET} {case.append}"
    machine.initrd = initramfs(case)
    if linux:
        machine.kernel = qemu.LINUX_IMAGE
        machine.initrd = guest.for_linux(machine.initrd)
    log = TARGET / "log" / "boot" / f"{'linux-' * linux}{case.name}-{machine.harts}-{machine.memory}.log"
    return qemu.run(machine, TIMEOUT_SECONDS, log=log)


def complaint(case, result):
    """What is wrong with a result; empty if nothing is."""
    if result.ending != case.ending:
        return f"{result.explain()}; {case.ending} was expected"
    if (result.status != 0) != (case.ending == "failed"):
        return f"{result.explain()}; the status does not fit"
    for pattern in case.expect:
        if not re.search(pattern, result.console, re.MULTILINE):
            return f"nothing on the console matches {pattern!r}"
    return ""


def run_all(cases, machines, linux):
    """Runs cases on machines; returns how many passed and failed."""
    passed = failed = 0
    for case in cases:
        for machine in machines[:1] if case.once else machines:
            started = time.monotonic()
            result = boot(case, machine, linux)
            problem = complaint(case, result)
            label = f"{'linux ' * linux}{case.name} ({machine.harts} harts, {machine.memory})"
            print(f"{label:<50} {'FAILED' if problem else 'ok':<6} {time.monotonic() - started:6.1f} s", flush=True)
            if problem:
                failed += 1
                print(f"  {problem}\n" + "\n".join(f"  | {line}" for line in result.tail().splitlines()), flush=True)
            else:
                passed += 1
    return passed, failed


def _main():
    parser = argparse.ArgumentParser(description="Boot in QEMU and check how it ends.")
    parser.add_argument("--linux", action="store_true", help="Debian's Linux instead of our kernel")
    parser.add_argument("--harts", default="1,2,4", help="numbers of harts, separated by commas")
    parser.add_argument("--memory", default="1G", help="sizes, separated by commas")
    parser.add_argument("--kind", choices=["cases", "guest", "kernel"], action="append",
                        help="only cases from these sources")
    parser.add_argument("--list", action="store_true", help="print the names and do nothing")
    parser.add_argument("names", nargs="*", help="only these cases")
    options = parser.parse_args()
    kinds = options.kind or (["cases", "guest"] if options.linux else ["cases", "guest", "kernel"])
    sources = {"cases": lambda: CASES, "guest": guest_cases, "kernel": kernel_cases}
    cases = [case for kind in kinds for case in sources[kind]()]
    if options.linux:
        cases = [case for case in cases if case.linux]
        guests = [case for case in cases if case in guest_cases()]
        if guests and not options.names:
            cases = [case for case in cases if case not in guests] + [together(guests)]
    if options.names:
        unknown = set(options.names) - {case.name for case in cases}
        if unknown:
            raise Failure(f"no such case: {', '.join(sorted(unknown))}")
        cases = [case for case in cases if case.name in options.names]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    machines = [qemu.Machine(harts=int(harts), memory=memory)
                for harts, memory in itertools.product(options.harts.split(","), options.memory.split(","))]
    passed, failed = run_all(cases, machines, options.linux)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    main(_main)
