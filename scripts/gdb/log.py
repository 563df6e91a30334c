"""zcore-log: the kernel's log, from its ring."""

import gdb

from support import kernel

RING = "zcore::kernel_log::ring::Ring"
HEADER_BYTES = 11
LETTERS = {3: "E", 4: "W", 6: "I", 7: "D"}


def records():
    """Number, microseconds, severity and text of each record, oldest first."""
    lock, kind = kernel.static("zcore::kernel_log::RING")
    ring = lock + kernel.offset(kind, "data.value")
    place, array = kernel.member(RING, "bytes")
    size = array.range()[1] + 1
    data = kernel.read(ring + place, size)

    def take(position, length):
        start = position % size
        return (data + data)[start:start + length]

    position = kernel.field(ring, RING, "oldest.position")
    sequence = kernel.field(ring, RING, "oldest.sequence")
    end = kernel.field(ring, RING, "end")
    while position < end:
        header = take(position, HEADER_BYTES)
        length = int.from_bytes(header[8:10], "little")
        text = take(position + HEADER_BYTES, length).decode(errors="replace")
        yield sequence, int.from_bytes(header[:8], "little"), header[10], text
        position += HEADER_BYTES + length
        sequence += 1


class Log(gdb.Command):
    """zcore-log: what the kernel logged, also what was not shown on the console."""

    def __init__(self):
        super().__init__("zcore-log", gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        for sequence, micros, severity, text in records():
            print(f"{sequence:6} [{micros / 1e6:12.6f}] {LETTERS.get(severity, '?')} {text}")


Log()
