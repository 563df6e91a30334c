#!/usr/bin/env python3
"""Boots under gdb: QEMU waits before its first instruction, its console is a pseudo-terminal.

The kernel's symbols are known at their virtual addresses and, for the code that runs before paging
is on, at their physical ones too.
"""

import argparse
import os
import re
import shutil
import socket
import subprocess

import elf
import qemu
import run
from environment import PROJECT, TARGET, Failure, main


def debugger():
    """A gdb that knows RISC-V."""
    for name in ("gdb-multiarch", "riscv64-elf-gdb", "gdb"):
        if shutil.which(name):
            return name
    raise Failure("there is no gdb: run scripts/setup.sh debug")


def free_port():
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def terminal_of(process):
    """The pseudo-terminal that QEMU opened for the console, which it names on its output."""
    for line in process.stdout:
        found = re.search(r"redirected to (\S+)", line)
        if found:
            return found[1]
    raise Failure("QEMU ended before it opened its console")


def _main():
    parser = argparse.ArgumentParser(description="Boot under gdb.")
    qemu.add_arguments(parser)
    run.add_image_argument(parser)
    options = parser.parse_args()
    os.chdir(PROJECT)
    program = debugger()
    options.debugger = str(free_port())
    machine = run.prepare(options)
    log = TARGET / "log" / "debug-console.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = qemu.command(machine) + ["-chardev", f"pty,id=console,logfile={log}"]
    # A session of its own: an interrupt typed to gdb is not meant for QEMU.
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                          text=True, start_new_session=True) as machine_process:
        try:
            terminal = terminal_of(machine_process)
            print(f"the console is {terminal} (for example: screen {terminal}); its log is {log.relative_to(PROJECT)}")
            return subprocess.call(gdb_command(program, options))
        finally:
            machine_process.kill()


def gdb_command(program, options):
    """gdb's arguments: the kernel's symbols twice, then the connection."""
    command = [program, "-q", "-nx", "-ex", "set confirm off", "-ex", "set architecture riscv:rv64"]
    if not options.linux:
        kernel = TARGET / "zcore.elf"
        first = elf.Elf(kernel).segments()[0]
        command += [str(kernel)]
        if first.physical != first.virtual:
            offset = (first.physical - first.virtual) % (1 << 64)
            command += ["-ex", f"add-symbol-file {kernel} -o {offset:#x}"]
    helpers = PROJECT / "scripts" / "gdb" / "zcore.py"
    return command + ["-ex", f"target remote 127.0.0.1:{options.debugger}", "-x", str(helpers)]


if __name__ == "__main__":
    main(_main)
