"""What the commands share: the kernel's structures by their debug information, read as plain memory.

QEMU's stub looks through the eyes of the selected hart, which sees no kernel memory while it is in user mode. What is in
the linear map, and that is all of the kernel but its stacks, is therefore read by its physical address.
"""

import contextlib
import functools
import struct

import gdb

MACHINE_WORD = 1 << 64
LINEAR_MAP = 0xFFFFFFC000000000
LINEAR_MAP_END = 0xFFFFFFFF00000000
DEEPEST = 10


def number(expression):
    """An expression's value as an unsigned number."""
    return int(gdb.parse_and_eval(expression)) % MACHINE_WORD


def static(name):
    """The address of a static, by its path."""
    value = gdb.parse_and_eval(name)
    return int(value.address), str(value.type)


@functools.cache
def lookup(type_name):
    """A type by its name."""
    return gdb.lookup_type(type_name).strip_typedefs()


@functools.cache
def member(type_name, path):
    """Offset and type of a field. Names may leave out wrappers (locks, cells, atomics): they are looked through."""
    offset, kind = 0, lookup(type_name)
    for name in path.split("."):
        found = _find(kind, name)
        if found is None:
            raise gdb.GdbError(f"{type_name} has no {path}: is target/zcore.elf of this kernel?")
        offset, kind = offset + found[0], found[1]
    return offset, kind


def _find(kind, name):
    level = [(0, kind)]
    for _ in range(DEEPEST):
        below = []
        for base, parent in level:
            for field in _fields(parent):
                place = base + field.bitpos // 8
                if field.name == name:
                    return place, field.type.strip_typedefs()
                below.append((place, field.type.strip_typedefs()))
        level = below
    return None


def _fields(kind):
    if kind.code not in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return []
    return [field for field in kind.fields() if hasattr(field, "bitpos")]


def offset(type_name, path):
    """A field's place in its structure."""
    return member(type_name, path)[0]


@contextlib.contextmanager
def _physical_addresses():
    gdb.execute("maintenance packet Qqemu.PhyMemMode:1", to_string=True)
    try:
        yield
    finally:
        gdb.execute("maintenance packet Qqemu.PhyMemMode:0", to_string=True)


def read(address, size):
    """Bytes of memory."""
    address %= MACHINE_WORD
    inferior = gdb.selected_inferior()
    if not LINEAR_MAP <= address < LINEAR_MAP_END:
        return bytes(inferior.read_memory(address, size))
    with _physical_addresses():
        return bytes(inferior.read_memory(address - LINEAR_MAP, size))


def readable(address, size):
    """As many bytes as can be read, which may be none."""
    while size > 0:
        try:
            return read(address, size)
        except gdb.MemoryError:
            size //= 2
    return b""


def word(address):
    """Eight bytes as a number."""
    return struct.unpack("<Q", read(address, 8))[0]


def field(address, type_name, path):
    """A field's value: a number of the field's size."""
    place, kind = member(type_name, path)
    return int.from_bytes(read(address + place, kind.sizeof), "little")


def text(address, length):
    """A string."""
    return read(address, length).decode(errors="replace")


def tree(root, link_offset):
    """The structures in a red-black tree, in order, by the place of the link in them."""
    link = "intrusive_collections::rbtree::Link"
    left, right = offset(link, "left"), offset(link, "right")
    pending, node = [], root
    while node or pending:
        while node:
            pending.append(node)
            node = word(node + left)
        node = pending.pop()
        yield node - link_offset
        node = word(node + right)


def now():
    """The clock that all harts share, in nanoseconds: what the scheduler last read."""
    harts = Harts()
    return max(field(hart, Harts.TYPE, "clock") for _, hart in harts)


class Harts:
    """The scheduler's parts, one for each hart that the machine has."""

    TYPE = "executor::hart::Hart"

    def __init__(self):
        executor, kind = static("executor::executor::EXECUTOR")
        self.first = executor + offset(kind, "harts")
        self.count = len(gdb.selected_inferior().threads())

    def __iter__(self):
        size = lookup(self.TYPE).sizeof
        return ((number, self.first + number * size) for number in range(self.count))
