#!/usr/bin/env python3
"""Runs busybox's own test suite on tmpfs, on our kernel and on Debian's Linux, and compares test by test.

    busybox_suite.py [--sample] [--harts N] [--only linux|ours] [GROUP ...]

The suite's files are in .cache/busybox-suite/ (scripts/setup.sh busybox-suite), the program is Debian's static
busybox. It must pass at least as many tests as on Linux, and no group of tests may hang: one that does not
end is named, and the others go on in a new boot. What differs is listed. `--sample` is a fixed part that takes
less than a minute.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import re

import guest
import mkinitramfs
import qemu
from environment import CACHE, PROJECT, TARGET, Failure, main

SUITE = CACHE / "busybox-suite"
SAMPLE = ["awk", "cut", "expr", "grep", "ln", "readlink", "sort", "tail", "tr", "uniq", "xargs"]
# Debian leaves mdev's out as well: they need a /dev of their own making. all_sourcecode looks at sources. bc's come to one
# that does not end within half an hour on Linux either.
LEFT_OUT = ("mdev", "all_sourcecode", "bc")
BOOT_SECONDS = 120
GROUP_SECONDS = 20
BEGIN = re.compile(r"^Running test(?:case)? /suite/testsuite/([^/.]+)")
RESULT = re.compile(r"^(PASS|FAIL|SKIPPED|UNTESTED): (.*)$")


def groups():
    """The names of all groups: applets with a folder or a file of tests."""
    folder = SUITE / "testsuite"
    if not folder.is_dir():
        raise Failure("the suite is not there: run scripts/setup.sh busybox-suite")
    found = {path.stem for path in folder.glob("*.tests")}
    found |= {path.name for path in folder.iterdir() if path.is_dir()}
    return sorted(found.difference(LEFT_OUT))


def suite_tree():
    """The boot file system with the suite, without the list of the groups to run."""
    tree = mkinitramfs.Tree()
    mkinitramfs.read_recipe(tree, PROJECT / "rootfs/initramfs")
    tree.add("/suite", mkinitramfs.Entry(0o40755))
    tree.add_file("/suite/run.sh", 0o755, PROJECT / "rootfs/suites/busybox.sh")
    tree.add_file("/suite/.config", 0o644, SUITE / "config")
    tree.add("/suite/busybox", mkinitramfs.Entry(0o120777, b"/bin/busybox"))
    for path in sorted([SUITE / "testsuite", *(SUITE / "testsuite").rglob("*")]):
        name = f"/suite/{path.relative_to(SUITE)}"
        if path.is_symlink():
            tree.add(name, mkinitramfs.Entry(0o120777, str(path.readlink()).encode()))
        elif path.is_dir():
            tree.add(name, mkinitramfs.Entry(0o40755))
        else:
            tree.add_file(name, path.stat().st_mode & 0o777, path)
    # The suite can say what it runs next, which tells where it hangs; the line is there as a comment.
    runner = tree.entries["suite/testsuite/runtest"]
    runner.data = re.sub(rb'(?m)^#(\s*echo "Running test)', rb"\1", runner.data)
    return tree


@dataclasses.dataclass
class Outcome:
    """What a kernel made of the suite."""

    results: dict  # (group, test, number of its occurrence) -> PASS, FAIL, SKIPPED, UNTESTED or HANG
    hanging: list  # names of groups

    def passed(self):
        return sum(result == "PASS" for result in self.results.values())


def read(console, outcome):
    """Adds what a console says; returns the last group that began, or None if the suite came to its end."""
    current, seen = "", collections.Counter()
    for line in console.splitlines():
        if found := BEGIN.match(line):
            current = found[1]
        elif line == "suite: end":
            return None
        elif found := RESULT.match(line):
            seen[current, found[2]] += 1
            outcome.results[current, found[2], seen[current, found[2]]] = found[1]
    return current


def run(linux, wanted, harts):
    """Runs groups on a kernel, in as many boots as it needs."""
    outcome, left, boots = Outcome({}, []), list(wanted), 0
    tree, kernel = suite_tree(), "linux" if linux else "ours"
    while left:
        tree.entries["suite/groups"] = mkinitramfs.Entry(0o100644, "\n".join(left).encode())
        archive = mkinitramfs.write_archive(tree, TARGET / f"initramfs-busybox-suite-{kernel}.cpio.gz")
        machine = qemu.Machine(harts=harts, initrd=archive, append="quiet rdinit=/init -- sh /suite/run.sh")
        if linux:
            machine.kernel, machine.initrd = qemu.LINUX_IMAGE, guest.for_linux(archive)
            machine.append = f"panic=-1 {machine.append}"
        boots += 1
        log = TARGET / "log" / "busybox-suite" / f"{kernel}-{boots}.log"
        result = qemu.run(machine, BOOT_SECONDS + GROUP_SECONDS * len(left), log=log)
        last = read(result.console, outcome)
        if last is None:
            break
        if last not in left:
            raise Failure(f"the suite did not begin: {result.explain()}\n{result.tail()}")
        print(f"{kernel}: {last} does not end ({result.explain()}), see {log.relative_to(PROJECT)}", flush=True)
        outcome.hanging.append(last)
        left = left[left.index(last) + 1:]
    return outcome


def compare(ours, judge):
    """Lists what differs."""
    for key in sorted(ours.results.keys() | judge.results.keys()):
        mine, theirs = ours.results.get(key, "not run"), judge.results.get(key, "not run")
        if mine != theirs:
            print(f"  {key[0]}: {key[1]}: {theirs} on Linux, {mine} on ours")


def _main():
    parser = argparse.ArgumentParser(description="Run busybox's own test suite on both kernels.")
    parser.add_argument("--sample", action="store_true", help="only a part of it")
    parser.add_argument("--harts", type=int, default=2)
    parser.add_argument("--only", choices=["linux", "ours"], help="one kernel, without a comparison")
    parser.add_argument("groups", nargs="*", help="only these groups")
    options = parser.parse_args()
    available = groups()
    wanted = options.groups or (SAMPLE if options.sample else available)
    if unknown := set(wanted) - set(available):
        raise Failure(f"no such group: {', '.join(sorted(unknown))}")
    kernels = [options.only] if options.only else ["linux", "ours"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = {kernel: pool.submit(run, kernel == "linux", wanted, options.harts) for kernel in kernels}
    outcomes = {kernel: future.result() for kernel, future in runs.items()}
    for kernel, outcome in outcomes.items():
        counts = collections.Counter(outcome.results.values())
        print(f"{kernel}: {', '.join(f'{number} {result}' for result, number in sorted(counts.items()))}", flush=True)
    if options.only:
        return 1 if outcomes[options.only].hanging else 0
    ours, judge = outcomes["ours"], outcomes["linux"]
    compare(ours, judge)
    missing = judge.passed() - ours.passed()
    failed = max(missing, 0) + len(ours.hanging)
    print(f"{ours.passed()} passed, {failed} failed")
    return 1 if failed or not ours.passed() else 0


if __name__ == "__main__":
    main(_main)
