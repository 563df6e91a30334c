#!/usr/bin/env python3
"""Writes the table by which the kernel names functions in its own backtraces.

    mksymbols.py ELF OUTPUT

Little-endian, to be read in place by binary search:

    offset 0          the bytes "ZSYM"
    offset 4          u32 count
    offset 8          count times: u32 start of the function, as an offset from the image's first byte
                                   u32 its name, as an offset into the names
    offset 8+8*count  the names, UTF-8, each ended by a zero byte

Functions are sorted by their start. One reaches up to the next; the last is a mark at the end of the
code, with an empty name.
"""

import argparse
import pathlib
import struct

import elf
from environment import Failure, main

MAGIC = b"ZSYM"


def table(image):
    """The table for an Elf."""
    base = image.segments()[0].physical
    functions = [(image.physical(address), size, name) for address, size, name in image.functions()]
    functions = [(physical - base, size, name) for physical, size, name in functions if physical is not None]
    if not functions:
        raise Failure(f"{image.path} has no functions in its symbol table")
    functions.sort()
    last, size, _ = functions[-1]
    entries = [(start, name) for start, _, name in functions] + [(last + max(size, 1), "")]
    names = bytearray()
    places = {}
    output = bytearray(MAGIC + struct.pack("<I", len(entries)))
    for start, name in entries:
        if name not in places:
            places[name] = len(names)
            names += name.encode() + b"\0"
        output += struct.pack("<II", start, places[name])
    return bytes(output + names)


def _main():
    parser = argparse.ArgumentParser(description="Write the kernel's table of function names.")
    parser.add_argument("elf", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    options.output.write_bytes(table(elf.Elf(options.elf)))


if __name__ == "__main__":
    main(_main)
