"""gdb commands for the kernel; `make debug` loads this file.

Commands whose names begin with `zcore-`:

    zcore-harts      where each hart is, with the kernel function it is in
    zcore-symbol     the function at an address, from the table that the image carries
    zcore-log        the console so far

Further files of this folder that end in `.py` are loaded as well: a crate whose structures deserve a
command (tasks, wait queues) has its own there.
"""

import bisect
import glob
import os
import struct
import sys

import gdb

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

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


class Log(gdb.Command):
    """zcore-log: what is on the console so far."""

    def __init__(self):
        super().__init__("zcore-log", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        with open(os.path.join(PROJECT, "target", "log", "debug-console.log"), errors="replace") as file:
            print(file.read())


Harts()
Symbol()
Log()
for path in sorted(glob.glob(os.path.join(HERE, "*.py"))):
    if os.path.basename(path) != "zcore.py":
        gdb.execute(f"source {path}")
print("zcore: help zcore-harts, zcore-symbol, zcore-log")
