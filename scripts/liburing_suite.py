#!/usr/bin/env python3
"""Runs liburing's own test programs on our kernel, and judges by what Debian's Linux made of them.

    liburing_suite.py [--sample] [--harts N] [--linux [--record]] [NAME ...]

The programs are in .cache/liburing-suite/ (scripts/setup.sh liburing-suite compiles them). `rootfs/suites/liburing/expected`
has what each did on Linux in the same QEMU; `--linux --record` writes it. A program that passes there must pass here,
unless `rootfs/suites/liburing/failures` names it with the reason why it does not; one that is named and passes fails
the run as well, so the list stays true. Those that depend on the load of the machine are run up to three times.
`--sample` is a part that takes less than a minute.
"""

import argparse
import collections
import re
import time

import guest
import mkinitramfs
import qemu
from environment import CACHE, PROJECT, TARGET, Failure, main

PROGRAMS = CACHE / "liburing-suite" / "test"
FOLDER = PROJECT / "rootfs" / "suites" / "liburing"
EXPECTED, FAILURES = FOLDER / "expected", FOLDER / "failures"
# Started by others.
HELPERS = {"exec-target"}
# The last closes, if two of its threads meet, the descriptor of a ring that is still mapped: here that ends its requests.
LOAD_DEPENDENT = {"sqpoll-exec", "min-timeout-wait", "waitid", "pipe-bug", "futex", "socket"}
TRIES = 3
# Of those that pass on Linux so many have to pass here.
BOUND = 165
SAMPLE = ["accept-link", "connect", "cq-full", "eventfd", "fadvise", "file-update", "fixed-link", "fsync", "link", "madvise",
          "mkdir", "msg-ring", "nop", "open-close", "poll-v-poll", "probe", "register-restrictions", "rename", "send_recv",
          "send_recvmsg", "short-read", "shutdown", "statx", "symlink", "unlink"]
TEST_SECONDS = {"linux": 120, "ours": 120}
BOOT_SECONDS = 60
PASS, SKIP = 0, 77
LINE = re.compile(r"suite: (begin|end|over) ?(\S*) ?(\d*)$")


def available():
    """The names of all programs."""
    names = sorted({path.stem for path in PROGRAMS.glob("*.t")} - HELPERS)
    if not names:
        raise Failure("the programs are not there: run scripts/setup.sh liburing-suite")
    return names


def suite_tree():
    """The boot file system with the programs, without the list of those to run."""
    guest.copy_libraries()
    tree = mkinitramfs.Tree()
    mkinitramfs.read_recipe(tree, PROJECT / "rootfs/initramfs")
    for path in ("/lib", "/suite", "/suite/programs"):
        if path.strip("/") not in tree.entries:
            tree.add(path, mkinitramfs.Entry(0o40755))
    for library in guest.LIBRARIES.iterdir():
        tree.add_file(f"/lib/{library.name}", 0o755, library)
    for program in PROGRAMS.glob("*.t"):
        tree.add_file(f"/suite/programs/{program.name}", 0o755, program)
    tree.add_file("/suite/run.sh", 0o755, FOLDER / "run.sh")
    return tree


def outcome(status):
    """A word for an exit status."""
    return {PASS: "pass", SKIP: "skip", 137: "hang"}.get(status, "fail")


def read(console, results):
    """Adds what a console says; returns the program that began and did not end, or None."""
    current = None
    for line in console.splitlines():
        if found := LINE.search(line.strip()):
            kind, name, status = found.groups()
            if kind == "end":
                results[name] = outcome(int(status))
            current = name if kind == "begin" else None
    return current


def run(kernel, wanted, harts, run_number=1):
    """Runs programs on a kernel, in as many boots as it needs."""
    results, left, boots = {}, list(wanted), 0
    tree, seconds = suite_tree(), TEST_SECONDS[kernel]
    while left:
        tree.entries["suite/list"] = mkinitramfs.Entry(0o100644, "".join(f"{name} {seconds}\n" for name in left).encode())
        archive = mkinitramfs.write_archive(tree, TARGET / f"initramfs-liburing-suite-{kernel}.cpio.gz")
        machine = qemu.Machine(harts=harts, initrd=archive, append="quiet rdinit=/init -- sh /suite/run.sh")
        if kernel == "linux":
            machine.kernel, machine.initrd = qemu.LINUX_IMAGE, guest.for_linux(archive)
            machine.append = f"panic=-1 {machine.append}"
        boots += 1
        log = TARGET / "log" / "liburing-suite" / f"{kernel}-{run_number}-{boots}.log"
        ended = qemu.run(machine, BOOT_SECONDS + seconds * len(left), log=log)
        stuck = read(ended.console, results)
        done = [name for name in left if name in results]
        left = [name for name in left if name not in results]
        if not left:
            break
        if stuck is None and not done:
            raise Failure(f"the suite did not begin: {ended.explain()}\n{ended.tail()}")
        # The machine ended, or stood still, in the middle of one.
        stuck = stuck or left[0]
        print(f"{kernel}: {stuck} ends the run ({ended.explain()}), see {log.relative_to(PROJECT)}", flush=True)
        results[stuck] = "crash"
        left.remove(stuck)
    return results


def read_table(path):
    """The first word of each line, and the rest."""
    lines = [line.partition("#")[0].split(maxsplit=1) for line in path.read_text().splitlines()]
    return {words[0]: words[1].strip() if len(words) > 1 else "" for words in lines if words}


def record(results):
    """Writes what Linux made of the programs; those that did not run now stay as they were."""
    results = read_table(EXPECTED) | results if EXPECTED.exists() else results
    lines = ["# What liburing's test programs do on Debian's Linux at 2 harts: scripts/liburing_suite.py --linux --record.\n"]
    EXPECTED.write_text("".join(lines + [f"{name} {result}\n" for name, result in sorted(results.items())]))


def judge(results, wanted, whole, harts):
    """Compares with the lists. Whether all is as it should be."""
    expected, reasons = read_table(EXPECTED), read_table(FAILURES)
    wrong = 0
    for name in wanted:
        if expected.get(name) != "pass":
            if name in reasons:
                print(f"  {name}: on the list of failures, though it does not pass on Linux")
                wrong += 1
            continue
        tries = 1
        while results[name] != "pass" and name in LOAD_DEPENDENT and name not in reasons and tries < TRIES:
            tries += 1
            results[name] = run("ours", [name], harts, tries)[name]
        if name in reasons:
            if not reasons[name]:
                print(f"  {name}: on the list of failures without a reason")
                wrong += 1
            if results[name] == "pass":
                print(f"  {name}: passes, and is on the list of failures")
                wrong += 1
        elif results[name] != "pass":
            print(f"  {name}: {results[name]}, and passes on Linux")
            wrong += 1
    good = sum(results[name] == "pass" for name in wanted if expected.get(name) == "pass")
    print(f"{good} of the {sum(expected.get(name) == 'pass' for name in wanted)} that pass on Linux pass here")
    print(f"{good} passed, {wrong} failed")
    return wrong == 0 and good > 0 and (good >= BOUND or not whole)


def _main():
    parser = argparse.ArgumentParser(description="Run liburing's test programs.")
    parser.add_argument("--sample", action="store_true", help="only a part of it")
    parser.add_argument("--harts", type=int, default=2)
    parser.add_argument("--linux", action="store_true", help="on Debian's Linux")
    parser.add_argument("--record", action="store_true", help="write the list of what is expected")
    parser.add_argument("--seconds", type=int, help="for each program")
    parser.add_argument("names", nargs="*", help="only these programs")
    options = parser.parse_args()
    names = available()
    wanted = options.names or (SAMPLE if options.sample else names)
    if unknown := set(wanted) - set(names):
        raise Failure(f"no such program: {', '.join(sorted(unknown))}")
    kernel = "linux" if options.linux else "ours"
    if options.seconds:
        TEST_SECONDS[kernel] = options.seconds
    started = time.monotonic()
    results = run(kernel, wanted, options.harts)
    counts = collections.Counter(results.values())
    print(f"{kernel}: {', '.join(f'{number} {result}' for result, number in sorted(counts.items()))}"
          f" ({time.monotonic() - started:.0f} s)", flush=True)
    if options.linux:
        if options.record:
            record(results)
        return 0
    whole = not options.names and not options.sample
    return 0 if judge(results, wanted, whole, options.harts) else 1


if __name__ == "__main__":
    main(_main)
