#!/usr/bin/env python3
"""The one launcher of QEMU: a module for the other scripts and a command for people.

A `Machine` says what is wanted; `command` turns it into arguments; `interactive` replaces this
process by QEMU; `run` boots, captures the console and says how it ended.

How a run ended (`Result.ending`) comes from QEMU itself, over its control socket, and never from
text on the console:

* `shutdown` - the guest powered off; `Result.status`, QEMU's exit status, is 0.
* `failed`   - the guest wrote `code << 16 | 0x3333` to the `sifive,test` device, which is how our
  kernel ends after a panic or a failed test; `Result.status` is that code.
* `reset`    - the guest asked for a reboot. Tests use it to say *failed*, since every kernel offers
  it, and a kernel that panics with `panic=-1` ends the same way.
* `timeout`  - it was still running when its time was over.
* `killed`   - QEMU itself died; `status` is its (negative) signal or its exit status.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import selectors
import shlex
import socket
import subprocess
import sys
import time

from environment import FIRMWARE, LINUX_IMAGE, PROJECT, QEMU, TARGET, Failure, main

TAIL_LINES = 40
FIRMWARE_LAST_LINE = "Boot HART MEDELEG"


@dataclasses.dataclass
class Machine:
    """A QEMU `virt` machine. The defaults are those of the project's measurements."""

    kernel: pathlib.Path = TARGET / "Image"
    initrd: pathlib.Path | None = None
    append: str = ""
    harts: int = 1
    memory: str = "1G"
    cpu: str = "rv64"
    machine_options: str = ""  # after "-machine virt,": for example aclint=on
    drives: list = dataclasses.field(default_factory=list)  # image paths, or "path,option=value,..."
    network: str = ""  # a -netdev back end, for example "user"; empty: no card
    console: str = "ttyS0"  # or hvc0
    entropy: bool = True  # a virtio-rng device
    icount: str = ""  # for example shift=1,sleep=off
    plugin: str = ""  # path,option=value,...
    snapshot: bool = False  # writes to drives are thrown away
    debugger: str = ""  # a gdb server on this port, and wait for it
    extra: list = dataclasses.field(default_factory=list)

    def command_line(self):
        """The kernel's command line, with the console first."""
        return f"console={self.console} {self.append}".strip()


@dataclasses.dataclass
class Result:
    """What a captured run left behind."""

    ending: str
    status: int
    console: str
    wall_seconds: float

    def powered_off(self):
        """Whether the guest said that all went well."""
        return self.ending == "shutdown" and self.status == 0

    def tail(self):
        """The last lines of the console, without what the firmware printed before."""
        lines = self.console.splitlines()
        firmware = [number for number, line in enumerate(lines) if line.startswith(FIRMWARE_LAST_LINE)]
        return "\n".join(lines[firmware[-1] + 1 if firmware else 0:][-TAIL_LINES:])

    def explain(self):
        """One line for a person."""
        return f"{self.ending}, status {self.status}, after {self.wall_seconds:.1f} s"


def quoted(word):
    """A word of the kernel's command line, in double quotes if it has spaces in it."""
    if '"' in word or "\n" in word:
        raise Failure(f"{word!r} cannot be said on a kernel's command line")
    return f'"{word}"' if " " in word or not word else word


def command(machine):
    """QEMU's arguments, without those that say where the console goes."""
    if not QEMU.exists():
        raise Failure("QEMU is not set up: run scripts/setup.sh")
    for needed in (machine.kernel, machine.initrd):
        if needed is not None and not pathlib.Path(needed).exists():
            raise Failure(f"{needed} does not exist")
    if machine.console not in ("ttyS0", "hvc0"):
        raise Failure(f"console {machine.console!r} is neither ttyS0 nor hvc0")
    arguments = [
        str(QEMU), "-machine", ",".join(filter(None, ["virt", machine.machine_options])),
        "-cpu", machine.cpu, "-smp", str(machine.harts), "-m", machine.memory,
        "-bios", str(FIRMWARE / "fw_dynamic.bin"), "-no-reboot", "-display", "none",
        "-nodefaults", "-no-user-config", "-global", "virtio-mmio.force-legacy=false",
        "-kernel", str(machine.kernel), "-append", machine.command_line(),
    ]
    if machine.initrd is not None:
        arguments += ["-initrd", str(machine.initrd)]
    if machine.console == "hvc0":
        arguments += ["-device", "virtio-serial-device", "-device", "virtconsole,chardev=console"]
    else:
        arguments += ["-serial", "chardev:console"]
    # QEMU fills the board's virtio slots from the last to the first, and kernels name disks in the
    # order of the slots' addresses; the device tree lists them in that order.
    for number, drive in enumerate(machine.drives):
        drive = str(drive)
        path, _, options = drive.partition(",")
        if not pathlib.Path(path).exists():
            raise Failure(f"drive {path} does not exist")
        options = options or "format=raw"
        arguments += ["-drive", f"file={path},if=none,id=drive{number},{options}",
                      "-device", f"virtio-blk-device,drive=drive{number}"]
    if machine.network:
        arguments += ["-netdev", f"{machine.network},id=net0", "-device", "virtio-net-device,netdev=net0"]
    if machine.entropy:
        arguments += ["-device", "virtio-rng-device"]
    if machine.icount:
        arguments += ["-icount", machine.icount]
    if machine.plugin:
        arguments += ["-plugin", machine.plugin]
    if machine.snapshot:
        arguments += ["-snapshot"]
    if machine.debugger:
        arguments += ["-S", "-gdb", f"tcp:127.0.0.1:{machine.debugger}"]
    return arguments + list(machine.extra)


def interactive(machine):
    """Becomes QEMU, with the terminal as the guest's console."""
    arguments = command(machine) + ["-chardev", "stdio,id=console,mux=on,signal=off", "-mon", "chardev=console"]
    print("to quit: power off in the guest (poweroff -f), or Ctrl-A then X; Ctrl-A then H for help", flush=True)
    os.execv(arguments[0], arguments)


def run(machine, timeout_seconds, log=None, echo=False, replies=()):
    """Boots, captures and waits.

    `replies` is a sequence of (pattern, text): as soon as the regular expression appears on the
    console after the place where the previous one did, the text is typed. With `echo` the console
    is shown while it runs; `log` names a file for it.
    """
    ours, theirs = socket.socketpair()
    arguments = command(machine) + [
        "-chardev", "stdio,id=console,signal=off",
        "-chardev", f"socket,id=control,fd={theirs.fileno()}", "-mon", "chardev=control,mode=control",
    ]
    started = time.monotonic()
    with ours, subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                pass_fds=[theirs.fileno()], bufsize=0) as process:
        theirs.close()
        try:
            ours.sendall(b'{"execute": "qmp_capabilities"}\n')
            capture = _Capture(echo, replies, process.stdin)
            timed_out = not _collect(process, ours, capture, started + timeout_seconds)
        finally:
            if process.poll() is None:
                process.kill()
        status = process.wait()
    console = capture.text()
    if log is not None:
        pathlib.Path(log).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(log).write_text(console)
    ending = "timeout" if timed_out else capture.ending() or "killed"
    return Result(ending, status, console, time.monotonic() - started)


def ending_of(messages):
    """How the machine ended, by the control messages; None if they do not say."""
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("event") == "SHUTDOWN":
            reason = message["data"]["reason"]
            return {"guest-shutdown": "shutdown", "guest-reset": "reset", "guest-panic": "failed"}.get(reason, reason)
    return None


class _Capture:
    """What comes out of a running QEMU: console bytes and control messages."""

    def __init__(self, echo, replies, keyboard):
        self.console = bytearray()
        self.control = bytearray()
        self.echo = echo
        self.replies = [(re.compile(pattern.encode()), text.encode()) for pattern, text in replies]
        self.searched = 0
        self.keyboard = keyboard

    def on_console(self, data):
        self.console += data
        if self.echo:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        while self.replies:
            found = self.replies[0][0].search(self.console, self.searched)
            if found is None:
                break
            self.searched = found.end()
            self.keyboard.write(self.replies.pop(0)[1])

    def on_control(self, data):
        self.control += data

    def ending(self):
        """The reason in QEMU's SHUTDOWN event."""
        return ending_of(self.control)

    def text(self):
        """The console, with the carriage returns of terminals removed."""
        return self.console.decode(errors="replace").replace("\r\n", "\n").replace("\r", "")


def _collect(process, control, capture, deadline):
    """Reads until both channels are closed; False if the deadline came first."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, capture.on_console)
        selector.register(control, selectors.EVENT_READ, capture.on_control)
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            for key, _ in selector.select(remaining):
                try:
                    data = os.read(key.fd, 65536)
                except ConnectionResetError:
                    data = b""
                if data:
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
    return True


def add_arguments(parser):
    """The options that every script which starts a machine shares."""
    parser.add_argument("--linux", action="store_true", help="boot Debian's Linux instead of our kernel")
    parser.add_argument("--kernel", type=pathlib.Path, help="another kernel image")
    parser.add_argument("--initrd", type=pathlib.Path, help="initial file system (cpio, may be gzipped)")
    parser.add_argument("--append", default="", help="more words for the kernel's command line")
    parser.add_argument("--smp", type=int, default=1, dest="harts", help="number of harts")
    parser.add_argument("--mem", default="1G", dest="memory", help="memory, for example 128M or 8G")
    parser.add_argument("--cpu", default="rv64")
    parser.add_argument("--machine-options", default="", help="for example aclint=on")
    parser.add_argument("--drive", action="append", default=[], dest="drives", help="disk image[,option=value...]")
    parser.add_argument("--network", default="", help="a QEMU network back end, for example user")
    parser.add_argument("--console", default="ttyS0", choices=["ttyS0", "hvc0"])
    parser.add_argument("--no-entropy", action="store_false", dest="entropy", help="without a virtio-rng device")
    parser.add_argument("--icount", nargs="?", const="shift=1,sleep=off", default="", help="count instructions as time")
    parser.add_argument("--plugin", default="", help="a TCG plugin[,option=value...]")
    parser.add_argument("--snapshot", action="store_true", help="throw away what is written to drives")
    parser.add_argument("--gdb", nargs="?", const="1234", default="", dest="debugger", help="wait for gdb on this port")


def machine_from(options):
    """A Machine from parsed options."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Machine)
              if hasattr(options, field.name)}
    values["kernel"] = options.kernel or (LINUX_IMAGE if options.linux else TARGET / "Image")
    return Machine(**values)


def _main():
    parser = argparse.ArgumentParser(description="Start QEMU.")
    add_arguments(parser)
    parser.add_argument("--timeout", type=float, help="capture the console and stop after this many seconds")
    parser.add_argument("--log", type=pathlib.Path, help="with --timeout: also write the console to this file")
    parser.add_argument("--print", action="store_true", help="print QEMU's command and do nothing")
    parser.add_argument("extra", nargs="*", help="after --: further arguments for QEMU")
    options = parser.parse_args()
    machine = machine_from(options)
    if options.print:
        print(shlex.join(command(machine)))
        return 0
    if options.timeout is None:
        return interactive(machine)
    result = run(machine, options.timeout, log=options.log, echo=True)
    print(f"\n[{result.explain()}]", file=sys.stderr)
    return 0 if result.powered_off() else result.status if result.status > 0 else 1


if __name__ == "__main__":
    os.chdir(PROJECT)
    main(_main)
