#!/usr/bin/env python3
"""Makes the bootable kernel from its ELF file: a flat image in the format of Linux's RISC-V `Image`.

    mkimage.py ELF OUTPUT [--symbols FILE]

    [ loaded segments, in the order of their physical addresses | zeroes up to __image_end | symbols ]

The image covers its own .bss, so that what follows `__image_end` - the table of mksymbols.py, at a
page boundary - is in memory where the kernel looks for it and nothing else is put there. The
header's size field (8 bytes at offset 16) is set to the length of the whole: boot loaders keep that
much free, and the kernel must not give it to its frame allocator.
"""

import argparse
import pathlib
import struct

import elf
import mksymbols
from environment import Failure, main

PAGE = 4096
HEADER_SIZE = 64
IMAGE_SIZE_OFFSET = 16
MAGIC_OFFSET, MAGIC = 56, b"RSC\x05"
END_SYMBOL = "__image_end"


def flatten(image):
    """The loaded bytes from the lowest physical address up to `__image_end`."""
    segments = image.segments()
    base = segments[0].physical
    end = image.physical(image.symbol(END_SYMBOL))
    if end is None:
        raise Failure(f"{END_SYMBOL} is outside of what {image.path} loads")
    flat = bytearray(end - base)
    for segment in segments:
        start = segment.physical - base
        if start + segment.memory_size > len(flat):
            raise Failure(f"a segment at {segment.physical:#x} reaches beyond {END_SYMBOL}")
        flat[start:start + len(segment.data)] = segment.data
    return flat


def make(image, symbols):
    """The whole image, with its size in its header."""
    flat = flatten(image)
    if len(flat) < HEADER_SIZE or flat[MAGIC_OFFSET:MAGIC_OFFSET + len(MAGIC)] != MAGIC:
        raise Failure(f"{image.path} does not begin with the header of a RISC-V Image")
    if symbols:
        if len(flat) % PAGE:
            raise Failure(f"{END_SYMBOL} is not at a page boundary")
        flat += symbols
    flat += bytes(-len(flat) % PAGE)
    struct.pack_into("<Q", flat, IMAGE_SIZE_OFFSET, len(flat))
    return bytes(flat)


def _main():
    parser = argparse.ArgumentParser(description="Make the bootable kernel image.")
    parser.add_argument("elf", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--symbols", type=pathlib.Path, help="also write the symbol table to this file")
    options = parser.parse_args()
    image = elf.Elf(options.elf)
    symbols = mksymbols.table(image)
    if options.symbols:
        options.symbols.write_bytes(symbols)
    options.output.write_bytes(make(image, symbols))


if __name__ == "__main__":
    main(_main)
