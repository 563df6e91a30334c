"""Reads what the build needs from a 64-bit little-endian ELF file: segments and symbols."""

import dataclasses
import pathlib
import struct

from demangle import demangle
from environment import Failure

PT_LOAD = 1
SHT_SYMTAB = 2
STT_NOTYPE, STT_FUNC = 0, 2
SHN_UNDEF, SHN_ABS = 0, 0xFFF1
SHF_EXECINSTR = 4


@dataclasses.dataclass
class Segment:
    """A part of the file that is loaded into memory."""

    virtual: int
    physical: int
    data: bytes
    memory_size: int


@dataclasses.dataclass
class Symbol:
    """An entry of the symbol table."""

    name: str
    address: int
    size: int
    kind: int
    executable: bool


class Elf:
    """An ELF file in memory."""

    def __init__(self, path):
        self.path = path
        self.data = pathlib.Path(path).read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise Failure(f"{path} is not a 64-bit little-endian ELF file")
        (self.entry, program_offset, section_offset, _flags, _size, program_size, program_count,
         section_size, section_count, _names) = struct.unpack_from("<QQQIHHHHHH", self.data, 24)
        self._programs = [struct.unpack_from("<IIQQQQQQ", self.data, program_offset + i * program_size)
                          for i in range(program_count)]
        self._sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, section_offset + i * section_size)
                          for i in range(section_count)]

        self._segments = self._loaded()

    def _loaded(self):
        found = []
        for kind, _flags, offset, virtual, physical, file_size, memory_size, _align in self._programs:
            if kind == PT_LOAD and memory_size:
                found.append(Segment(virtual, physical, self.data[offset:offset + file_size], memory_size))
        if not found:
            raise Failure(f"{self.path} has nothing to load")
        return sorted(found, key=lambda segment: segment.physical)

    def segments(self):
        """The loaded segments, by physical address."""
        return self._segments

    def symbols(self):
        """All defined symbols."""
        found = []
        for _name, kind, _flags, _address, offset, size, link, _info, _align, entry_size in self._sections:
            if kind != SHT_SYMTAB:
                continue
            names = self._sections[link][4]
            for position in range(offset, offset + size, entry_size):
                name, info, _other, section, value, length = struct.unpack_from("<IBBHQQ", self.data, position)
                if section == SHN_UNDEF:
                    continue
                executable = section < len(self._sections) and bool(self._sections[section][2] & SHF_EXECINSTR)
                end = self.data.index(b"\0", names + name)
                found.append(Symbol(self.data[names + name:end].decode(), value, length, info & 15, executable))
        return found

    def symbol(self, name):
        """The address of one symbol."""
        for symbol in self.symbols():
            if symbol.name == name:
                return symbol.address
        raise Failure(f"{self.path} has no symbol {name}")

    def functions(self):
        """(address, size, readable name) of the code's symbols, sorted, one for each address.

        Assembly labels count unless they are local ones; of several names for one address the one
        that says a size is taken.
        """
        best = {}
        for symbol in self.symbols():
            is_label = symbol.kind == STT_NOTYPE and symbol.executable and not symbol.name.startswith((".", "$"))
            if not symbol.name or not (symbol.kind == STT_FUNC or is_label):
                continue
            known = best.get(symbol.address)
            if known is None or (symbol.size > 0, symbol.name) > (known.size > 0, known.name):
                best[symbol.address] = symbol
        return [(address, best[address].size, demangle(best[address].name)) for address in sorted(best)]

    def physical(self, virtual):
        """Where an address of the image lies in physical memory; None outside of it.

        The gap after a segment, up to the next one, counts as its own: linker scripts align there.
        """
        below = [segment for segment in self.segments() if segment.virtual <= virtual]
        if not below:
            return None
        nearest = max(below, key=lambda segment: segment.virtual)
        return nearest.physical + virtual - nearest.virtual
