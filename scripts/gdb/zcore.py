"""gdb commands for the kernel; `make debug` loads this file.

Commands whose names begin with `zcore-`:

    zcore-harts        where each hart is, with the kernel function it is in
    zcore-tasks        every task: state, class, hart, run time
    zcore-run-queues   what runs and what is ready on each hart
    zcore-timers       who sleeps until when
    zcore-wait-queues  the queues on which tasks wait, with their waiters
    zcore-trace        the last events of each hart's trace ring
    zcore-log          the kernel's log
    zcore-symbol       the function at an address, from the table that the image carries

They read the kernel's memory by the debug information in target/zcore.elf and change nothing. Harts have to be stopped.
"""

import bisect
import importlib
import os
import struct
import sys

import gdb

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import elf  # noqa: E402 - from the folder above, which is known only now


def number(expression):
    """An expression's value as an unsigned number, whatever the language of the current frame is."""
    return int(gdb.parse_and_eval(expression)) & 0xFFFFFFFFFFFFFFFF


class SymbolTable:
    """The table of scripts/mksymbols.py, by which addresses outside of gdb's own knowledge are named."""

    def __init__(self):
        with open(os.path.join(PROJECT, "target", "symbols.bin"), "rb") as file:
            data = file.read()
        count = struct.unpack_from("<I", data, 4)[0]
        entries = [struct.unpack_from("<II", data, 8 + 8 * index) for index in range(count)]
        names = 8 + 8 * count
        self.base = elf.Elf(os.path.join(PROJECT, "target", "zcore.elf")).segments()[0].virtual
        self.starts = [start for start, _ in entries]
        self.names = [data[names + name:data.index(b"\0", names + name)].decode() for _, name in entries]

    def describe(self, address):
        """name+offset; empty if the address is outside of the image's code."""
        offset = address - self.base
        index = bisect.bisect_right(self.starts, offset) - 1
        if index < 0 or not self.names[index]:
            return ""
        return f"{self.names[index]}+{offset - self.starts[index]:#x}"


class Harts(gdb.Command):
    """zcore-harts: where each hart is."""

    def __init__(self):
        super().__init__("zcore-harts", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        selected = gdb.selected_thread()
        table = SymbolTable()
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num):
            thread.switch()
            counter = number("$pc")
            privilege = number("$priv")
            level = {0: "user", 1: "kernel", 3: "firmware"}.get(privilege, "?")
            place = table.describe(counter) if level == "kernel" else ""
            print(f"hart {thread.num - 1}: {level:<8} {counter:#018x} {place}")
        if selected is not None:
            selected.switch()


class Symbol(gdb.Command):
    """zcore-symbol ADDRESS: the kernel function that contains it."""

    def __init__(self):
        super().__init__("zcore-symbol", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        address = number(argument)
        print(SymbolTable().describe(address) or "outside of the kernel")


Harts()
Symbol()
# Expressions of the commands are Rust's, wherever the selected frame is.
gdb.execute("set language rust")
for module in ("scheduler", "waiting", "log"):
    importlib.import_module(module)
print("zcore: zcore-harts, zcore-tasks, zcore-run-queues, zcore-timers, zcore-wait-queues, zcore-trace, zcore-log, "
      "zcore-symbol; `help` explains each")
