#!/usr/bin/env python3
"""Runs the benchmarks on both kernels in one go and prints how they compare.

    bench.py [--brief] [NAME ...]

Guest programs of rootfs/tests that use marks (mark.h) run on Debian's Linux and on ours; benchmarks
inside the kernel, which `kbench=list` lists as lines `kbench: NAME`, on ours alone, with the
disk of testdisk.py. Results go to
target/bench/NAME.json as count.py describes.
"""

import argparse
import re

import count
import guest
import qemu
import testdisk
from environment import Failure, main

TIMEOUT_SECONDS = 300


def guest_benches():
    """The guest programs that measure something."""
    return [path.stem for path in sorted(guest.SOURCES.glob("*.c")) if "MARK_BEGIN()" in path.read_text()]


def kernel_benches():
    """The benchmarks inside the kernel, as it lists them itself."""
    result = qemu.run(qemu.Machine(append="quiet kbench=list"), 60)
    if not result.powered_off():
        raise Failure(f"kbench=list: {result.explain()}\n{result.tail()}")
    return re.findall(r"^kbench: (\S+)", result.console, re.MULTILINE)


def run_guest(name, linux):
    """The rows of a guest program on one kernel."""
    machine = qemu.Machine(append=f"quiet panic=-1 rdinit=/init -- /tests/{name} measure",
                           initrd=guest.tests_initramfs())
    if linux:
        machine.kernel = qemu.LINUX_IMAGE
        machine.initrd = guest.for_linux(machine.initrd)
    return count.measure(name, machine, "linux" if linux else "zcore", TIMEOUT_SECONDS)


def run_kernel(name):
    """The rows of a benchmark inside our kernel."""
    machine = qemu.Machine(append=f"quiet kbench={name}", icount=count.KERNEL_BENCH_ICOUNT,
                           **dict(testdisk.options("plain")))
    return count.measure(name, machine, "zcore", TIMEOUT_SECONDS)


def compare(measured):
    """Prints, for each operation that both kernels did, what it costs on either, in instructions."""
    rows = {(row["operation"], row["mode"], row["kernel"]): row for row in measured}
    # In the order in which they were measured, not by name.
    both = [key[:2] for key in rows if key[2] == "zcore" and (*key[:2], "linux") in rows]
    if not both:
        return
    print(f"\n{'operation':<24} {'zcore':>12} {'of it user':>12} {'Linux':>12} {'of it user':>12} {'ratio':>6}")
    for operation, mode in both:
        ours, theirs = rows[operation, mode, "zcore"], rows[operation, mode, "linux"]
        print(f"{operation:<24} {ours['total']:>12.0f} {ours['user']:>12.0f} {theirs['total']:>12.0f}"
              f" {theirs['user']:>12.0f} {ours['total'] / theirs['total']:>6.2f}")


def _main():
    parser = argparse.ArgumentParser(description="Run the benchmarks on both kernels.")
    parser.add_argument("--brief", action="store_true", help="only the comparison of the two kernels")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    guests, inside = guest_benches(), kernel_benches()
    unknown = set(options.names) - set(guests) - set(inside)
    if unknown:
        raise Failure(f"no such benchmark: {', '.join(sorted(unknown))}")
    everything = []
    for name in guests + inside:
        if options.names and name not in options.names:
            continue
        print(f"{name} ...", flush=True)
        measured = run_guest(name, True) + run_guest(name, False) if name in guests else run_kernel(name)
        count.store(name, measured)
        everything += measured
    if not options.brief:
        count.show(everything)
    compare(everything)
    return 0


if __name__ == "__main__":
    main(_main)
