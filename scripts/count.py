#!/usr/bin/env python3
"""Counts what operations cost, in instructions, in a machine that is watched by scripts/plugin.

    count.py getppid                 the guest program rootfs/tests/getppid.c on our kernel
    count.py getppid --linux         the same on Debian's Linux
    count.py --image full redis      the script rootfs/images/benchmarks/redis.sh in a disk image
    count.py --image full port-redis   the same for a port of rootfs/ports/, with each event backend
    count.py --kernel-bench NAME     a benchmark inside the kernel (command line word kbench=NAME), with the
                                     disk of testdisk.py

What is measured marks its begin (1) and end (2) with the hint instruction and says on the console, once
per pair of marks and in their order, `bench: OPERATION MODE COUNT`; lines `note: ...` are shown. The result is a list of rows
{operation, kernel, mode, harts, user, supervisor, machine, total, syscalls, wall} in
target/bench/NAME.json, all per operation and `wall` in seconds on the host; of several rounds of one
operation the one with the median total is taken. Rows of the other kernel, and of other numbers of
harts, stay in the file. With --profile the hottest symbols of our kernel are listed too.

At one hart time is counted in instructions too (-icount), and the figures repeat. QEMU cannot do that
with harts in parallel, so with several of them only counts and wall-clock times of a free run remain.
"""

import argparse
import bisect
import collections
import json
import re
import subprocess

import elf
import guest
import ports
import qemu
import run
import testdisk
from environment import PROJECT, TARGET, Failure, is_stale, main

PLUGIN = TARGET / "plugin" / "count.so"
SOURCES = PROJECT / "scripts" / "plugin"
BEGIN, END = 1, 2
# With sleep=off QEMU stands still while only a device can go on, as in an idle kernel that has no timer.
DISK_ICOUNT = "shift=1,sleep=on"
LEVELS = ("user", "supervisor", "machine")
NOTE = re.compile(r"^note: .*$", re.MULTILINE)
LINE = re.compile(r"^bench: (\S+) (\S+) (\d+)$", re.MULTILINE)


def plugin():
    """Compiles the plugin if it has changed."""
    source, header = SOURCES / "count.c", SOURCES / "qemu-plugin-api.h"
    if is_stale(PLUGIN, source, header):
        PLUGIN.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra",
                        "-Werror", "-o", str(PLUGIN), str(source)], check=True)
    return PLUGIN


def pairs_of_marks(snapshots):
    """The (begin, end) snapshots, each begin with the end that follows it."""
    pairs, begin = [], None
    for snapshot in snapshots:
        if snapshot["mark"] == BEGIN:
            begin = snapshot
        elif snapshot["mark"] == END:
            if begin is None:
                raise Failure("the guest marked an end without a begin")
            pairs.append((begin, snapshot))
            begin = None
    return pairs


def cost(begin, end, operations):
    """What one operation cost between two snapshots."""
    def per_operation(field):
        return round((sum(end[field]) - sum(begin[field])) / operations, 3)

    row = {level: per_operation(level) for level in LEVELS}
    row["total"] = round(sum(row.values()), 3)
    row["syscalls"] = per_operation("syscalls")
    row["wall"] = (end["nanoseconds"] - begin["nanoseconds"]) / 1e9 / operations
    return row


def rows(console, snapshots, kernel, harts):
    """One row per operation that the console names, the median of its rounds."""
    lines = LINE.findall(console)
    pairs = pairs_of_marks(snapshots)
    if not lines or len(lines) != len(pairs):
        raise Failure(f"the console names {len(lines)} measurements, the plugin saw {len(pairs)} pairs of marks")
    rounds = collections.defaultdict(list)
    for (operation, mode, count), (begin, end) in zip(lines, pairs):
        rounds[operation, mode].append(cost(begin, end, int(count)))
    found = []
    for (operation, mode), costs in rounds.items():
        costs.sort(key=lambda row: row["total"])
        head = {"operation": operation, "kernel": kernel, "mode": mode, "harts": harts}
        found.append(head | costs[len(costs) // 2])
    return found


def measure(name, machine, kernel, timeout_seconds):
    """Runs a machine under the plugin and returns its rows."""
    snapshots = TARGET / "bench" / "log" / f"{name}-{kernel}-{machine.harts}.jsonl"
    snapshots.parent.mkdir(parents=True, exist_ok=True)
    snapshots.unlink(missing_ok=True)
    machine.plugin = f"{plugin()},out={snapshots}" + (machine.plugin and f",{machine.plugin}")
    if machine.harts == 1 and not machine.icount:
        machine.icount = "shift=1,sleep=off"
    result = qemu.run(machine, timeout_seconds, log=snapshots.with_suffix(".console"))
    if not result.powered_off():
        raise Failure(f"{name} on {kernel}: {result.explain()}\n{result.tail()}")
    for note in NOTE.findall(result.console):
        print(note)
    lines = [json.loads(line) for line in snapshots.read_text().splitlines()]
    return rows(result.console, lines, kernel, machine.harts)


def store(name, measured):
    """Puts rows into target/bench/<name>.json in place of older ones of the same kind."""
    file = TARGET / "bench" / f"{name}.json"
    def key(row):
        return row["operation"], row["kernel"], row["mode"], row["harts"]

    new = {key(row) for row in measured}
    kept = [row for row in json.loads(file.read_text()) if key(row) not in new] if file.exists() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(sorted(kept + measured, key=key), indent=1) + "\n")
    return file


def show(measured):
    """Prints rows as a table."""
    print(f"{'operation':<24} {'kernel':<6} {'mode':<10} {'harts':>5} {'user':>9} {'kernel':>9} {'machine':>8}"
          f" {'total':>9} {'syscalls':>8} {'wall':>10}")
    for row in measured:
        print(f"{row['operation']:<24} {row['kernel']:<6} {row['mode']:<10} {row['harts']:>5} {row['user']:>9.1f}"
              f" {row['supervisor']:>9.1f} {row['machine']:>8.1f} {row['total']:>9.1f} {row['syscalls']:>8.2f}"
              f" {row['wall'] * 1e6:>7.2f} us")


def cell(measured, wanted):
    """One number of the rows."""
    operation, _, field = wanted.partition(":")
    for row in measured:
        if row["operation"] == operation and field in row:
            return row[field]
    raise Failure(f"nothing measured is called {wanted}")


def show_profile(profile, operations):
    """Lists the symbols of our kernel in which most instructions were spent."""
    symbols = elf.Elf(TARGET / "zcore.elf").functions()
    addresses = [address for address, _, _ in symbols]
    spent = collections.Counter()
    for line in profile.read_text().splitlines():
        executions, instructions, address = line.split()
        index = bisect.bisect_right(addresses, int(address, 16)) - 1
        inside = index >= 0 and int(address, 16) < symbols[index][0] + max(symbols[index][1], 1)
        spent[symbols[index][2] if inside else "(outside the kernel)"] += int(executions) * int(instructions)
    print(f"\n{'instructions an operation':>26}  symbol")
    for name, instructions in spent.most_common(30):
        print(f"{instructions / operations:>26.1f}  {name}")


def machine_for(options):
    """The machine that runs what the options name."""
    machine = qemu.machine_from(options)
    words = ["quiet", "panic=-1", options.append]
    if options.kernel_bench:
        words += [f"kbench={options.kernel_bench}"]
        machine.drives = machine.drives or dict(testdisk.options("plain"))["drives"]
        machine.icount = machine.icount or DISK_ICOUNT * (machine.harts == 1)
    elif options.image != run.NO_IMAGE:
        if options.program.startswith("port-"):
            machine.drives = [f"{ports.disk()},format=raw,snapshot=on"]
        run.image_machine(machine, options.image, options.linux, ",snapshot=on")
        machine.icount = machine.icount or DISK_ICOUNT * (machine.harts == 1)
        words = [*words[:-1], machine.append, "--", f"/tests/benchmarks/{options.program}.sh",
                 *map(qemu.quoted, options.arguments)]
    else:
        words += ["rdinit=/init", "--", f"/tests/{options.program}", "measure", *map(qemu.quoted, options.arguments)]
    machine.append = " ".join(filter(None, words))
    if machine.initrd is None and options.program and options.image == run.NO_IMAGE:
        machine.initrd = guest.tests_initramfs()
        if options.linux:
            machine.initrd = guest.for_linux(machine.initrd)
    return machine


def _main():
    parser = argparse.ArgumentParser(description="Count the instructions of operations.")
    parser.add_argument("program", nargs="?", help="a guest program of rootfs/tests, or with --image a benchmark")
    parser.add_argument("arguments", nargs="*", help="its arguments, after the word `measure`")
    parser.add_argument("--kernel-bench", metavar="NAME", help="a benchmark inside the kernel")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--print", metavar="OPERATION:FIELD", help="also print `measured: NUMBER`, one cell of the table")
    parser.add_argument("--profile", action="store_true", help="also list the hottest symbols of our kernel")
    qemu.add_arguments(parser)
    run.add_image_argument(parser)
    options = parser.parse_args()
    if bool(options.program) == bool(options.kernel_bench):
        parser.error("name either a guest program or --kernel-bench")
    if options.kernel_bench and options.linux:
        parser.error("Linux has no benchmarks of ours inside")
    name = options.program or options.kernel_bench
    machine = machine_for(options)
    profile = TARGET / "bench" / "log" / f"{name}.profile"
    if options.profile:
        machine.plugin = f"profile={profile}"
    measured = measure(name, machine, "linux" if options.linux else "zcore", options.timeout)
    show(measured)
    print(f"written to {store(name, measured).relative_to(PROJECT)}")
    if options.print:
        print(f"measured: {cell(measured, options.print)}")
    if options.profile:
        console = (TARGET / "bench" / "log" / f"{name}-zcore-{machine.harts}.console").read_text()
        show_profile(profile, sum(int(count) for _, _, count in LINE.findall(console)))
    return 0


if __name__ == "__main__":
    main(_main)
