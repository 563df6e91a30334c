"""Initial file systems that are wrong in some way, for the boot tests.

`make(kind, whole)` makes one from a whole archive (gzipped cpio). Kinds:

    empty            a file without a byte
    no-archive       text
    cut-SHARE        the gzip file, cut after so many per cent
    cut-checksum     the gzip file without its last four bytes
    cut-in-header    the cpio archive cut inside an entry's header
    cut-in-name      ... inside its name
    cut-in-data      ... inside its data
    no-trailer       the cpio archive without its last entry
    damaged          the gzip file with some bytes overwritten
    bad-number       a header with a letter where a digit belongs
    bad-programs     the whole archive, and one with files that cannot be the first program
    bomb             300 MiB of zeros in 300 KiB
    huge             90 MiB, of which one half does not compress
"""

import gzip
import pathlib
import random
import stat
import zlib

import mkinitramfs
from environment import TARGET, Failure

MIB = 1 << 20
HEADER = 110
BOMB_MIB = 300
HUGE_MIB = 90


def make(kind, whole):
    """The file for this kind."""
    file = TARGET / "bad-initramfs" / f"{kind}.cpio.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("bomb", "huge") and file.exists():
        return file
    file.write_bytes(_content(kind, pathlib.Path(whole)))
    return file


def _content(kind, whole):
    compressed = whole.read_bytes()
    if kind.startswith("cut-") and kind[4:].isdigit():
        return compressed[:len(compressed) * int(kind[4:]) // 100]
    makers = {
        "empty": lambda: b"",
        "no-archive": lambda: b"This is not an archive.\n" * 100,
        "cut-checksum": lambda: compressed[:-4],
        "cut-in-header": lambda: _cut(compressed, lambda start, name, data: start + HEADER // 2),
        "cut-in-name": lambda: _cut(compressed, lambda start, name, data: start + HEADER + 2),
        "cut-in-data": lambda: _cut(compressed, lambda start, name, data: data + 1),
        "no-trailer": lambda: gzip.decompress(compressed).partition(b"TRAILER!!!")[0][:-HEADER],
        "damaged": lambda: compressed[:2000] + bytes(range(256)) + compressed[2256:],
        "bad-number": lambda: _with_bad_number(compressed),
        "bad-programs": lambda: compressed + gzip.compress(_bad_programs()),
        "bomb": lambda: _zeros(BOMB_MIB),
        "huge": lambda: gzip.compress(_file("/huge", _half_random(HUGE_MIB * MIB)).archive(), 1, mtime=0),
    }
    if kind not in makers:
        raise Failure(f"no such kind of initramfs: {kind}")
    return makers[kind]()


def _entries(archive):
    """Where each entry begins, its name, where its data begins and how long it is."""
    position = 0
    while archive[position:position + 6] == b"070701":
        size, name_size = (int(archive[position + at:position + at + 8], 16) for at in (54, 94))
        name = archive[position + HEADER:position + HEADER + name_size - 1].decode()
        data = (position + HEADER + name_size + 3) // 4 * 4
        yield position, name, data, size
        position = (data + size + 3) // 4 * 4


def _cut(compressed, place):
    """The archive up to a place in an entry that has data and is not the first."""
    archive = gzip.decompress(compressed)
    start, name, data, _ = [entry for entry in _entries(archive) if entry[3] > 1][1]
    return archive[:place(start, name, data)]


def _with_bad_number(compressed):
    archive = bytearray(gzip.decompress(compressed))
    start = list(_entries(archive))[3][0]
    archive[start + 20] = ord("x")
    return bytes(archive)


def _file(path, content):
    tree = mkinitramfs.Tree()
    tree.add(path, mkinitramfs.Entry(stat.S_IFREG | 0o644, content))
    return tree


def _half_random(size):
    return random.Random(size).randbytes(size // 2) + bytes(size // 2)


def _bad_programs():
    tree = mkinitramfs.Tree()
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + b"\xff" * 200
    tree.add("/bad", mkinitramfs.Entry(stat.S_IFDIR | 0o755))
    for name, mode, content in [
        ("not-executable", 0o644, b"#!/bin/sh\n"),
        ("bad-elf", 0o755, elf),
        ("short-elf", 0o755, elf[:20]),
        ("text", 0o755, b"just text\n"),
        ("no-interpreter", 0o755, b"#!/nonesuch\n"),
    ]:
        tree.add(f"/bad/{name}", mkinitramfs.Entry(stat.S_IFREG | mode, content))
    return tree.archive()


def _zeros(mebibytes):
    """A file of zeros, compressed without ever being whole in memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    archive = _file("/zeros", b"").archive()
    length = f"{mebibytes * MIB:08X}".encode()
    _, _, data, _ = next(_entries(archive))
    output = packer.compress(archive[:54] + length + archive[62:data])
    for _ in range(mebibytes):
        output += packer.compress(bytes(MIB))
    return output + packer.compress(archive[data:]) + packer.flush()
