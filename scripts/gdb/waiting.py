"""Commands about waiting: zcore-wait-queues.

The kernel has no list of its wait queues: it would cost on every wait. They are found from the tasks instead. A task that
waits has a node somewhere in its future (or in a box that its future holds) with its own waker in it; beside the node is
the pointer to the queue, and the queue's list leads back to the node, which proves it.
"""

import struct

import gdb

import scheduler
from support import kernel
from support.kernel import offset

NODE = "ksync::wait_list::Node"
QUEUE = "ksync::wait_queue::WaitQueue"
QUEUED = 1

# How much of a task's block, and of each box that it points to, is searched; how far pointers are followed. A user
# thread's own block leads to its process, its memory and its files, some hundreds of boxes, before the one that waits.
TASK_BYTES = 4096
BOX_BYTES = 1024
MOST_BLOCKS = 4000
DEEPEST = 3
# A waiter's queue pointer is this near to its node, in words.
NEAR = 12
MOST_WAITERS = 100_000
LONGEST_NAME = 64

# Main memory in the linear map. Below it are devices, which a look could disturb.
MEMORY_BEGIN, MEMORY_END = 0xFFFFFFC080000000, 0xFFFFFFD000000000


def words(address, size):
    """Aligned words with their addresses."""
    data = kernel.readable(address, size)
    return [(address + 8 * index, value) for index, (value,) in enumerate(struct.iter_unpack("<Q", data[:len(data) // 8 * 8]))]


def nodes_of(task):
    """Nodes in which the task waits."""
    waker = offset(NODE, "entry.waker.data")
    pending = [(task.header, TASK_BYTES, 0)]
    seen = {task.header}
    while pending:
        address, size, depth = pending.pop(0)
        for place, value in words(address, size):
            if value == task.header and is_queued(place - waker):
                yield place - waker
            elif depth < DEEPEST and is_pointer(value) and value not in seen and len(seen) < MOST_BLOCKS:
                seen.add(value)
                pending.append((value, BOX_BYTES, depth + 1))


def is_pointer(value):
    """Whether a word may be the address of something in main memory."""
    return MEMORY_BEGIN <= value < MEMORY_END and value % 8 == 0


def is_queued(node):
    """Whether this looks like a node that is in a list."""
    try:
        return (kernel.field(node, NODE, "state") == QUEUED and kernel.field(node, NODE, "entry.kind") <= 1
                and is_pointer(kernel.field(node, NODE, "entry.waker.vtable")))
    except gdb.MemoryError:
        return False


def queue_of(node):
    """The wait queue whose list the node is in; None if it is in another kind of list."""
    for _, pointer in words(node - 8 * NEAR, 16 * NEAR + kernel.lookup(NODE).sizeof):
        if is_pointer(pointer) and node in waiters(pointer):
            return pointer
    return None


def waiters(queue):
    """The nodes of a queue, listeners last. Empty if there is no queue at the address."""
    found = []
    try:
        if not 0 < kernel.field(queue, QUEUE, "count") < MOST_WAITERS:
            return found
        for name in ("waiters", "listeners"):
            node = kernel.field(queue, QUEUE, f"lists.data.value.{name}.head")
            while node and len(found) < MOST_WAITERS and is_pointer(node):
                found.append(node)
                node = kernel.field(node, NODE, "entry.next")
    except gdb.MemoryError:
        return []
    return found


def name_of(queue):
    """What a queue is called."""
    place = queue + offset(QUEUE, "name")
    length = kernel.word(place + offset("&str", "length"))
    return kernel.text(kernel.word(place + offset("&str", "data_ptr")), min(length, LONGEST_NAME))


class WaitQueues(gdb.Command):
    """zcore-wait-queues: the queues on which tasks wait, with their waiters in order of arrival."""

    def __init__(self):
        super().__init__("zcore-wait-queues", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        owners = scheduler.by_header()
        queues, elsewhere = {}, []
        sleepers = {header for _, hart in kernel.Harts() for _, header in scheduler.timers(hart)}
        for task in owners.values():
            if task.state() != "waiting":
                continue
            found = list(nodes_of(task))
            for node in found:
                queue = queue_of(node)
                if queue is None:
                    elsewhere.append((task, f"a list of waiters, node {node:#x}"))
                else:
                    queues[queue] = waiters(queue)
            if not found:
                elsewhere.append((task, "a timer" if task.header in sleepers else "something that is no wait queue"))
        for queue, nodes in queues.items():
            print(f"{name_of(queue)} ({queue:#x}), {len(nodes)} waiting")
            for node in nodes:
                header = kernel.field(node, NODE, "entry.waker.data")
                kind = "listener" if kernel.field(node, NODE, "entry.kind") else "waiter"
                owner = owners.get(header)
                print(f"  {kind:8} {str(owner).strip() if owner else f'waker {header:#x}'}")
        for task, place in elsewhere:
            print(f"{str(task).strip()}: waits for {place}")


WaitQueues()
