#!/usr/bin/env python3
"""Writes an initramfs (a gzipped newc cpio) from recipes, without root and always the same bytes.

    mkinitramfs.py -o OUTPUT RECIPE-FOLDER...

Each folder has a file `recipe`, lines of words:

    dir   PATH MODE                       a directory
    file  PATH MODE SOURCE                a file
    files DIRECTORY MODE SOURCE-FOLDER    every file of a folder, under its own name
    slink PATH TARGET                     a symbolic link
    links LIST TARGET                     symbolic links to TARGET at each path that LIST names
    node  PATH MODE c|b MAJOR MINOR       a device node

A source is relative to the recipe's folder, or starts with `@guest/` or `@target/`, which stand for
what set-up unpacked for the guest and for the build's own products. Everything belongs to root and
has the time stamp 0; entries are sorted by path, so that parents come before what they contain and
equal input gives equal output.
"""

import argparse
import dataclasses
import gzip
import pathlib
import stat

from environment import CACHE, TARGET, Failure, main


@dataclasses.dataclass
class Entry:
    """One member of the archive."""

    mode: int
    data: bytes = b""
    device: tuple = (0, 0)


class Tree:
    """The members by path."""

    def __init__(self):
        self.entries = {}

    def add(self, path, entry):
        """Adds one member, given by its absolute path."""
        if not path.startswith("/") or path == "/":
            raise Failure(f"{path!r} is not an absolute path")
        name = path.strip("/")
        if name in self.entries:
            raise Failure(f"{path} is there twice")
        self.entries[name] = entry

    def add_file(self, path, mode, source):
        """Adds a regular file with the content of `source`."""
        if not source.is_file():
            raise Failure(f"{source}, wanted as {path}, does not exist")
        self.add(path, Entry(stat.S_IFREG | mode, source.read_bytes()))

    def archive(self):
        """The newc archive."""
        output = bytearray()
        for inode, (name, entry) in enumerate(sorted(self.entries.items()), start=1):
            parent = name.rpartition("/")[0]
            if parent and parent not in self.entries:
                raise Failure(f"the recipe has /{name} but not its directory /{parent}")
            _append(output, inode, name, entry)
        _append(output, 0, "TRAILER!!!", Entry(0))
        output += bytes(-len(output) % 512)
        return bytes(output)


def _append(output, inode, name, entry):
    """One header, name and content, each padded to four bytes."""
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = [inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(encoded), 0]
    output += b"070701" + b"".join(b"%08X" % field for field in fields)
    output += encoded
    output += bytes(-len(output) % 4)
    output += entry.data
    output += bytes(-len(output) % 4)


def read_recipe(tree, folder):
    """Adds what a folder's recipe says."""
    recipe = folder / "recipe"
    for number, line in enumerate(recipe.read_text().splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            _read_line(tree, folder, words)
        except (ValueError, IndexError) as error:
            raise Failure(f"{recipe}:{number}: not understood: {line.strip()} ({error})") from error


def _read_line(tree, folder, words):
    match words:
        case ["dir", path, mode]:
            tree.add(path, Entry(stat.S_IFDIR | int(mode, 8)))
        case ["file", path, mode, source]:
            tree.add_file(path, int(mode, 8), _source(folder, source))
        case ["files", directory, mode, source]:
            for file in sorted(_source(folder, source).iterdir()):
                if file.is_file():
                    tree.add_file(f"{directory}/{file.name}", int(mode, 8), file)
        case ["slink", path, target]:
            tree.add(path, Entry(stat.S_IFLNK | 0o777, target.encode()))
        case ["links", names, target]:
            for path in _source(folder, names).read_text().split():
                tree.add("/" + path, Entry(stat.S_IFLNK | 0o777, target.encode()))
        case ["node", path, mode, kind, major, minor]:
            kinds = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}
            if kind not in kinds:
                raise ValueError("a node is c or b")
            tree.add(path, Entry(kinds[kind] | int(mode, 8), device=(int(major), int(minor))))
        case _:
            raise ValueError("unknown kind of line")


def _source(folder, name):
    for prefix, place in (("@guest/", CACHE / "guest"), ("@target/", TARGET)):
        if name.startswith(prefix):
            return place / name.removeprefix(prefix)
    return folder / name


def write_archive(tree, output):
    """Writes the archive; an unchanged one keeps its time stamp."""
    data = gzip.compress(tree.archive(), compresslevel=6, mtime=0)
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.exists() or output.read_bytes() != data:
        output.write_bytes(data)
    return output


def write(folders, output):
    """Makes the archive of these recipe folders."""
    tree = Tree()
    for folder in folders:
        read_recipe(tree, pathlib.Path(folder))
    return write_archive(tree, output)


def _main():
    parser = argparse.ArgumentParser(description="Write an initramfs from recipe folders.")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    write(options.folders, options.output)


if __name__ == "__main__":
    main(_main)
