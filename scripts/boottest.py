#!/usr/bin/env python3
"""Boots the kernel in QEMU and checks how that ends.

    boottest.py [--linux|--debug] [--image small|full] [--harts 1,2,4] [--memory 128M,1G] [--repeat N] [NAME ...]

A case is a kernel command line, how the run must end, and words that must be on the console. The
verdict is how the machine ended (see qemu.py): guest programs power off when they succeed and reboot
when they fail, tests inside the kernel end through the `sifive,test` device. The words say in
addition that it ended well for the right reason.

Three sources of cases:

* CASES below;
* guest tests: each program and script of rootfs/tests, under its own name (on Linux, which boots
  slowly, all of them in one run); those of rootfs/tests/long run only when they are named;
* tests inside the kernel, which `ktest=list` lists as lines `ktest: NAME` and `ktest=NAME` runs. After
  the name may follow what the test needs: `harts=N` at least, `disk=KIND` (see testdisk.py), and at
  the end of the line `panics=PATTERN` if it passes by a panic whose message matches.

Machines run at a time as there are cores, of which one is counted for two harts: most tests keep one busy. What measures
time, tests inside the kernel among it, has the host for itself.

With --linux, Debian's Linux runs what both kernels must pass: the judge goes first. With --debug, our kernel is the one with
debug assertions and overflow checks (build.py --debug), which is slower. With --image, guest
tests run from that disk image, whose root is mounted for reading only, instead of the initial file system.
"""

import argparse
import dataclasses
import itertools
import os
import re
import threading
import time

import bad_initramfs
import build
import guest
import qemu
import run
import testdisk
from environment import TARGET, Failure, main

TIMEOUT_SECONDS = 120
QUIET = "quiet"
# Linux ends by a reboot when it panics; our kernel ends with a status unless it is told to reboot.
LINUX_QUIET = "quiet panic=-1"
PANIC_STATUS = 101
PREPARING = threading.Lock()

# For cases that compare speeds: instructions are the time, so that the load of the host plays no part.
COUNTED_TIME = (("icount", "shift=1,sleep=on"),)


@dataclasses.dataclass(frozen=True)
class Case:
    """One boot."""

    name: str
    append: str
    ending: str = "shutdown"
    status: int | None = None  # None: 0, or anything else if the ending is a failure
    expect: tuple = ()  # regular expressions, each for (part of) a line
    linux: bool = True  # whether Linux must pass it as well
    initramfs: str = "tests"  # tests | none | a kind of bad_initramfs.py
    options: tuple = ()  # (field of qemu.Machine, value) pairs that differ from the matrix
    disk: str = ""  # a kind of testdisk.py
    once: bool = False  # only on the first machine of the matrix
    loud: bool = False  # with all messages on the console
    forbid: tuple = ()  # regular expressions that must match no line
    least_harts: int = 1  # not on machines with fewer
    timeout: float = TIMEOUT_SECONDS
    alone: bool = False  # nothing else runs on the host meanwhile


CASES = [
    # The shortest way to a program: no script of ours in between.
    Case("busybox", 'rdinit=/bin/busybox -- sh -c "mount -t proc proc /proc; echo ok; ls /; cat /proc/version; '
         'poweroff -f"', expect=(r"^ok$", r"\binit\b", r"^Linux version 6\.12\.")),
    Case("init", "rdinit=/init -- /tests/boot.sh", expect=(r"^ok$", r"^Linux version 6\.12\.", r"ended with status 0")),
    # That failure is seen as failure.
    Case("failing-program", "rdinit=/init -- false", ending="reset", expect=(r"ended with status 1",), once=True),
    # What the kernel does not know: NAME=VALUE becomes the first program's environment, words with a dot in
    # their name are for modules and are dropped.
    Case("unknown-words", 'rdinit=/init frobnicate=1 some.module=2 -- sh -c "test $frobnicate = 1 && echo ok"', once=True,
         expect=(r"^ok$",)),
    # The built-in strace: names of flags and errors, strings and buffers, and nothing that was not asked for.
    Case("strace", 'strace=openat,write,wait4,nosuch rdinit=/bin/busybox -- sh -c "cat /nothing; echo hello; poweroff -f"',
         linux=False, once=True, loud=True, forbid=(r"linux_syscall: \[\d+\] execve",),
         expect=(r"there is no syscall nosuch", r'openat\(AT_FDCWD, "/nothing", RDONLY, 0\) = -1 ENOENT \(No such',
                 r"wait4\(-1 \.\.\.",
                 r"<\.\.\. wait4 resumed>, \[exited with 1\], 0, NULL\) = \d+", r'write\(1, "hello\\n", 6\) = 6')),
    # From a disk that the kernel mounts itself.
    Case("root-disk", "root=/dev/vda ro init=/init -- /tests/boot.sh", initramfs="none", linux=False,
         disk="root", expect=(r"^ok$", r"^Linux version 6\.12\.", r"ended with status 0")),
    Case("root-disk-facts", 'root=254:0 rw rootwait rootfstype=ext4 init=/bin/busybox -- sh -c "mount -t proc p /proc; '
         'cat /proc/mounts; ls -l /dev/vda; touch /x || echo no; poweroff -f"', initramfs="none", linux=False, once=True,
         loud=True, disk="root",
         expect=(r"^/dev/root / ext4 ro", r"^devtmpfs /dev ", r"^brw-------.* 254, +0 .*/dev/vda", r"^no$",
                 r"cannot be written: mounting it read-only")),
    # Initial files with a first program win; without one they do not.
    Case("root-or-initramfs", "root=/dev/vda ro rdinit=/init -- /tests/boot.sh", linux=False, once=True, loud=True,
         disk="root", expect=(r"^ok$",), forbid=(r"root: ext4",)),
    Case("root-after-initramfs", "root=/dev/vda ro rdinit=/nonesuch init=/init -- /tests/boot.sh", linux=False, once=True,
         loud=True, disk="root", expect=(r"^ok$", r"root: ext4 on /dev/vda")),
    # With a disk that takes its time and answers in any order.
    Case("root-slow-disk", "root=/dev/vda ro disk-faults=delay=5ms,jitter=5ms init=/init -- /tests/boot.sh", once=True,
         initramfs="none", linux=False, disk="root", expect=(r"^ok$",)),
    # Nobody waits for a disk by spinning: with 50 ms for each request this is measured, not skipped.
    Case("slow-disk", "disk-faults=delay=50ms rdinit=/init -- /tests/slow_disk", linux=False, disk="ext4",
         expect=(r"ended with status 0",), forbid=(r"too fast",),
         options=COUNTED_TIME),
    Case("hvc0", "rdinit=/init -- /tests/boot.sh", linux=False, once=True, options=(("console", "hvc0"),),
         expect=(r"^ok$",)),
]


def bad_input(name, append, expect, **values):
    """What the kernel cannot go on with: a clear message and a failing status."""
    return Case(name, append, ending="failed", expect=(rf"(?i)kernel panic.*{expect}",), linux=False, once=True, **values)


def bad_archive(kind, expect, **values):
    """An initramfs that is wrong in some way."""
    return bad_input(f"initramfs-{kind}", "rdinit=/init -- /tests/boot.sh", f"initramfs.*{expect}", initramfs=kind, **values)


def bad_program(name, path, expect, **values):
    """A first program that cannot be one."""
    return bad_input(f"init-{name}", f"rdinit={path}", f"{path}.*{expect}", initramfs="bad-programs", **values)


SMALL = (("memory", "128M"),)
CASES += [
    bad_input("no-initramfs", "rdinit=/init", "initramfs", initramfs="none"),
    bad_input("no-file-system", "root=/dev/vda ro", "/dev/vda cannot be mounted: ext4: ",
              initramfs="none", disk="plain"),
    bad_input("no-init", "root=/dev/vda ro init=/nonesuch", "/nonesuch.*(?:ENOENT|[nN]o such file)", initramfs="none",
              disk="root"),
    bad_input("no-disk", "root=/dev/vda rw init=/sbin/init", "(?:initramfs|/dev/vda)", initramfs="none"),
    bad_archive("empty", ""),
    bad_archive("no-archive", "not a cpio archive"),
    *(bad_archive(f"cut-{share}", "too early") for share in (1, 25, 50, 99)),
    bad_archive("cut-checksum", "too early"),
    bad_archive("cut-in-header", "truncated"),
    bad_archive("cut-in-name", "truncated"),
    bad_archive("cut-in-data", "truncated"),
    bad_archive("no-trailer", "truncated"),
    bad_archive("damaged", "(?:damaged|not a cpio archive)"),
    bad_archive("bad-number", "not a hexadecimal"),
    bad_archive("bomb", "zeros.*(?:memory|space)", options=SMALL),
    bad_archive("huge", "huge.*(?:memory|space)", options=SMALL),
    bad_program("missing", "/bad/nonesuch", "(?:ENOENT|no such file)"),
    bad_program("directory", "/bad", "(?:EACCES|permission)"),
    bad_program("not-executable", "/bad/not-executable", "(?:EACCES|permission)"),
    bad_program("bad-elf", "/bad/bad-elf", "(?:ENOEXEC|format)"),
    bad_program("short-elf", "/bad/short-elf", "(?:ENOEXEC|format)"),
    bad_program("text", "/bad/text", "(?:ENOEXEC|format)"),
    bad_program("no-interpreter", "/bad/no-interpreter", "(?:ENOENT|no such file)"),
    # Values that make no sense are told, and the boot goes on.
    Case("bad-values", 'log=nonsense watchdog=soon trace=perhaps panic=later rdinit=/bin/busybox -- poweroff -f',
         linux=False, once=True, loud=True,
         expect=tuple(f"not understood|{word}" for word in ("log=nonsense", "watchdog=soon", "trace=perhaps", "panic=later"))),
]


def panic_case(name, *expect, harts=2, append="", **values):
    """A bug on demand (zcore/src/diagnostics/panic_test.rs): the report must say this, and end with its status."""
    return Case(f"panic-{name}", f"panic-test={name} {append}", ending=values.pop("ending", "failed"), expect=expect,
                linux=False, once=True, options=(("harts", harts),), **values)


CASES += [
    # The whole report: message, task, callers in their order, the other hart, events, tasks, memory.
    panic_case("plain", r"^kernel panic on hart\d at zcore/src/\S+: .*a panic on purpose",
               r"^hart\d runs task \d+ \(panic-test\)", r"second_caller\S*\n.*first_caller", r"^hart\d (runs|sleeps)",
               r"^last events on hart1:\n  \[", r"^ +\d+ panic-test +running", r"^memory: \d+ of \d+ MiB free", append="trace=on"),
    panic_case("fault", r"load page fault .*value 0xdead0000", r"trap_entry\S*\n.*panic_test::fault"),
    panic_case("message", r"a message with a trap: $", r"panic while reporting .*a panic inside a panic",
               r"panic_test::message", r"^memory:"),
    panic_case("overflow", r"kernel stack overflow", r"panic_test::descend", r"\d\d more of the same", r"panic_test::overflow",
               r"^memory:"),
    panic_case("overflow-in-message", r"a message without an end: $", r"panic while reporting .*kernel stack overflow",
               r"panic_test::overflow_in_message", r"^memory:"),
    panic_case("log-lock", r"a panic while the log is locked", r"^memory:"),
    panic_case("task-list-lock", r"a panic while the list of tasks is locked", r"the list is locked", r"^memory:"),
    panic_case("run-queue-lock", r"a panic while a run queue is locked", r"spinner.*running", r"^memory:"),
    panic_case("two-harts", r"a panic on every hart", r"it panicked too .*a panic on every hart", r"^memory:", harts=4),
    panic_case("masked-hart", r"a panic beside a hart", r"does not answer", r"^memory:"),
    dataclasses.replace(panic_case("plain", r"^kernel panic .*a panic on purpose", r"^memory:"), name="panic-on-hvc0",
                        options=(("harts", 2), ("console", "hvc0"))),
    dataclasses.replace(panic_case("plain", r"a panic on purpose", r"^reboot in 1 seconds", append="panic=1",
                                   ending="reset"), name="panic-and-reboot"),
    panic_case("watchdog", r"watchdog: task \d+ \(panic-test\) has kept hart\d for \d{3} ms", r"panic_test::spin_for",
               ending="shutdown", append="watchdog=200", loud=True),
]

# What log= and quiet let through; the boot says something on every level.
LOUD = {"linux": False, "once": True}
POWER_OFF = "rdinit=/bin/busybox -- poweroff -f"
CASES += [
    Case("log-info", POWER_OFF, loud=True, expect=(r"zcore: zCore Async",), forbid=(r"\] virtio_drivers: ",), **LOUD),
    Case("log-quiet", POWER_OFF, forbid=(r"^\[ *\d+\.\d+\] zcore: ",), **LOUD),
    Case("log-module", f"log=warn,linux-syscall=info {POWER_OFF}", loud=True, expect=(r"\] linux_syscall: the machine is told to end",),
         forbid=(r"\] zcore: ",), **LOUD),
    Case("log-trace", f"log=trace {POWER_OFF}", loud=True, expect=(r"\] zcore: ", r"\] virtio_drivers: "), **LOUD),
    Case("log-one-module", f"log=off,virtio-drivers=trace {POWER_OFF}", loud=True, expect=(r"\] virtio_drivers: ",),
         forbid=(r"\] (?!virtio_drivers)\w+: ",), **LOUD),
    Case("kernel-messages", 'rdinit=/bin/busybox -- sh -c "mount -t devtmpfs dev /dev; head -n 1 /dev/kmsg; poweroff -f"',
         expect=(r"^6,0,\d+,-;zcore: zCore Async",), **LOUD),
]

# What stays in the machine goes as packets, too.
CASES += [Case(f"{name}-packets", f"rdinit=/init tcp_fusion=off -- /tests/{name}", expect=(r"ended with status 0",), linux=False)
          for name in ("tcp", "tcp_ports", "udp", "inet6", "poll", "select", "epoll", "signal_driven", "uring_socket", "sendfile")]

# A megabyte to somebody who sends it back, by a card that is good and by one that is not.
SENT_BACK = "user,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:cat"
SEND = ('rdinit=/init -- sh -c "until grep -q eth0 /proc/net/route; do sleep 1; done; head -c 1000000 /dev/urandom >/there; '
        'touch /back; nc 10.0.2.100 7 </there >/back & until [ $(stat -c %s /back) = 1000000 ]; do sleep 1; done; cmp /there /back"')
CASES += [
    Case("network-card", f"ip=dhcp {SEND}", linux=False, options=(("network", SENT_BACK),)),
    Case("network-card-faults", f"ip=dhcp network_faults=seed=5,loss=50000,repeat=30000,exchange=30000,damage=20000 {SEND}",
         linux=False, options=(("network", SENT_BACK),)),
]


# Scripts beside the guest tests: the first is in CASES, the second runs the others.
NO_TESTS = ("boot.sh", "together.sh")


# What a test needs that differs from the matrix. "oom": memory that is soon used up.
MACHINES = {"oom": (("memory", "256M"),), "ktest-disk-slow-beside-others": COUNTED_TIME}
# Guest tests that compare the time of the processor with the time on the wall.
ALONE = ("slow_disk",)


def guest_cases():
    """One case for each guest test."""
    sources = sorted(guest.SOURCES.glob("*.c"))
    names = [path.stem for path in sources]
    # A line "DISK: kind" in a test's first comment says what it needs.
    disks = {path.stem: found[1] for path in sources if (found := re.search(r"^.*\bDISK: (\w+)", path.read_text(), re.M))}
    names += [path.name for path in sorted((guest.SOURCES / "scripts").glob("*.sh")) if path.name not in NO_TESTS]
    return [Case(name, f"rdinit=/init -- /tests/{name}", expect=(r"ended with status 0",), disk=disks.get(name, ""),
                 options=MACHINES.get(name, ()), alone=name in ALONE)
            for name in names]


# Tests of rootfs/tests/long, and what each is told. They run when they are named.
LONG = {"storm": "180", "many_threads": ""}
LONG_TIMEOUT_SECONDS = 900


def long_cases():
    """One case for each long guest test."""
    return [Case(name, f"rdinit=/init -- /tests/{name} {arguments}", expect=(r"ended with status 0",),
                 timeout=LONG_TIMEOUT_SECONDS) for name, arguments in LONG.items()]


# Linux passes at most 32 words on to the first program.
MOST_TOGETHER = 16


def together(cases):
    """Guest tests in few boots, for a kernel that takes its time to start. Those that want a machine of their own get it."""
    alone = [case for case in cases if case.disk or case.options]
    others = [case for case in cases if case not in alone]
    boots = []
    for number, start in enumerate(range(0, len(others), MOST_TOGETHER), 1):
        batch = others[start:start + MOST_TOGETHER]
        names = " ".join(case.name for case in batch)
        boots.append(Case(f"guest-tests-{number}", f"rdinit=/init -- /tests/together.sh {names}",
                          expect=tuple(f"^{re.escape(case.name)}: ok$" for case in batch)))
    return boots + alone


KERNEL_TEST = re.compile(r"^ktest: (\S+)(?: harts=(\d+))?(?: disk=(\S+))?(?: panics=(.+))?$", re.MULTILINE)


def kernel_cases():
    """One case for each test inside the kernel, as it lists them itself."""
    result = boot(Case("list", "ktest=list"), qemu.Machine())
    if not result.powered_off():
        raise Failure(f"ktest=list: {result.explain()}\n{result.tail()}")
    found = KERNEL_TEST.findall(result.console)
    if not found or len(found) != len(re.findall("^ktest: ", result.console, re.MULTILINE)):
        raise Failure(f"the kernel's list of its tests is not understood:\n{result.tail()}")
    cases = []
    for name, harts, disk, panics in found:
        case = Case(f"ktest-{name}", f"ktest={name}", linux=False, initramfs="none", least_harts=int(harts or 1),
                    disk=disk or "", alone=True, options=MACHINES.get(f"ktest-{name}", ()))
        if panics:
            case = dataclasses.replace(case, ending="failed", status=PANIC_STATUS, once=True,
                                       expect=(f"^kernel panic on hart(?s:.{{0,200}}?){panics}",))
        cases.append(case)
    return cases


def initramfs(case):
    """The initial file system that the case wants."""
    if case.initramfs == "none":
        return None
    whole = guest.tests_initramfs()
    if case.initramfs == "tests":
        return whole
    return bad_initramfs.make(case.initramfs, whole)


def prepare(case, machine, linux, image):
    """The machine that a case runs on, with what it boots from."""
    values = dataclasses.asdict(machine) | dict(testdisk.options(case.disk) if case.disk else ()) | dict(case.options)
    machine = qemu.Machine(**values)
    machine.append = f"{'' if case.loud else LINUX_QUIET if linux else QUIET} {case.append}".strip()
    if linux:
        machine.kernel = qemu.LINUX_IMAGE
    if image != run.NO_IMAGE:
        machine.append = machine.append.replace("rdinit=/init", "root=/dev/vda ro init=/sbin/init")
        run.image_machine(machine, image, linux, ",snapshot=on")
    else:
        machine.initrd = initramfs(case)
        if linux:
            machine.initrd = guest.for_linux(machine.initrd)
    return machine


def boot(case, machine, linux=False, image=run.NO_IMAGE):
    """Runs one case on a machine."""
    # What is made for it is made once, by whoever comes first.
    with PREPARING:
        machine = prepare(case, machine, linux, image)
    log = TARGET / "log" / "boot" / f"{prefix(linux, image, '-')}{case.name}-{machine.harts}-{machine.memory}.log"
    return qemu.run(machine, case.timeout, log=log)


def prefix(linux, image, separator):
    """What a name says about the kernel and the root file system, if they are not the usual ones."""
    return ("linux" + separator) * linux + (image + separator) * (image != run.NO_IMAGE)


def complaint(case, result):
    """What is wrong with a result; empty if nothing is."""
    if result.ending != case.ending:
        return f"{result.explain()}; {case.ending} was expected"
    fits = (result.status != 0) == (case.ending == "failed") if case.status is None else result.status == case.status
    if not fits:
        return f"{result.explain()}; the status does not fit"
    for pattern in case.expect:
        if not re.search(pattern, result.console, re.MULTILINE):
            return f"nothing on the console matches {pattern!r}"
    for pattern in case.forbid:
        if re.search(pattern, result.console, re.MULTILINE):
            return f"something on the console matches {pattern!r}"
    return ""


class Cores:
    """The host's cores, of which each machine takes some while it runs, or all that there are."""

    def __init__(self):
        self.number = os.cpu_count() or 1
        self.free = self.number
        self.changed = threading.Condition()

    def take(self, wanted):
        """Waits until so many are free; returns how many were taken."""
        wanted = min(wanted, self.number)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= wanted)
            self.free -= wanted
        return wanted

    def give_back(self, taken):
        """Ends a take."""
        with self.changed:
            self.free += taken
            self.changed.notify()


def judge(case, machine, linux, image):
    """Runs one case and says how it ended; whether it passed."""
    started = time.monotonic()
    result = boot(case, machine, linux, image)
    problem = complaint(case, result)
    label = f"{prefix(linux, image, ' ')}{case.name} ({machine.harts} harts, {machine.memory})"
    report = f"{label:<50} {'FAILED' if problem else 'ok':<6} {time.monotonic() - started:6.1f} s\n"
    if problem:
        report += f"  {problem}\n" + "".join(f"  | {line}\n" for line in result.tail().splitlines())
    print(report, end="", flush=True)
    return not problem


def run_all(cases, machines, linux, image, repeat):
    """Runs cases on machines; returns how many passed and failed."""
    runs = []
    for case in cases:
        fitting = [machine for machine in machines if machine.harts >= case.least_harts]
        runs += [(case, machine) for machine in (fitting[:1] if case.once else fitting)] * repeat
    # Small machines side by side first: between large ones they would wait.
    runs.sort(key=lambda pair: pair[1].harts)
    cores = Cores()
    outcomes = []

    def one(case, machine, taken):
        passed = False
        try:
            passed = judge(case, machine, linux, image)
        finally:
            outcomes.append(passed)
            cores.give_back(taken)

    threads = []
    for case, machine in runs:
        taken = cores.take(cores.number if case.alone else (machine.harts + 1) // 2)
        threads.append(threading.Thread(target=one, args=(case, machine, taken)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return sum(outcomes), len(outcomes) - sum(outcomes)


def _main():
    parser = argparse.ArgumentParser(description="Boot in QEMU and check how it ends.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--linux", action="store_true", help="Debian's Linux instead of our kernel")
    which.add_argument("--debug", action="store_true", help="our kernel with debug assertions and overflow checks")
    parser.add_argument("--harts", default="1,2,4", help="numbers of harts, separated by commas")
    parser.add_argument("--memory", default="1G", help="sizes, separated by commas")
    parser.add_argument("--kind", choices=["cases", "guest", "kernel"], action="append",
                        help="only cases from these sources")
    parser.add_argument("--repeat", type=int, default=1, help="run each case so many times")
    parser.add_argument("--list", action="store_true", help="print the names and do nothing")
    run.add_image_argument(parser)
    parser.add_argument("names", nargs="*", help="only these cases")
    options = parser.parse_args()
    kinds = options.kind or (["cases", "guest"] if options.linux else ["cases", "guest", "kernel"])
    if options.image != run.NO_IMAGE:
        kinds = ["guest"]
    sources = {"cases": lambda: CASES, "guest": guest_cases, "kernel": kernel_cases}
    cases = [case for kind in kinds for case in sources[kind]()]
    if options.linux:
        cases = [case for case in cases if case.linux]
        guests = [case for case in cases if case in guest_cases()]
        if guests and not options.names:
            cases = [case for case in cases if case not in guests] + together(guests)
    if options.names:
        cases += [case for case in long_cases() if case.name in options.names]
        unknown = set(options.names) - {case.name for case in cases}
        if unknown:
            raise Failure(f"no such case: {', '.join(sorted(unknown))}")
        cases = [case for case in cases if case.name in options.names]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    kernel = build.DEBUG_PRODUCTS / "Image" if options.debug else qemu.Machine.kernel
    machines = [qemu.Machine(kernel=kernel, harts=int(harts), memory=memory)
                for harts, memory in itertools.product(options.harts.split(","), options.memory.split(","))]
    passed, failed = run_all(cases, machines, options.linux, options.image, options.repeat)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    main(_main)
