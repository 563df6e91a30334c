"""Commands about tasks: zcore-tasks, zcore-run-queues, zcore-timers, zcore-trace."""

import struct

import gdb

from support import kernel
from support.kernel import Harts, field, offset

RECORD = "executor::task::TaskRecord"
HART = Harts.TYPE
NEVER = (1 << 64) - 1

# Where a record is, by `Place` in executor/src/task.rs.
FIRST_NAMED_PLACE = 200
NOWHERE = 202
PLACES = {200: "ready", 201: "ready", 203: "running"}
LOWEST_URGENCY_OF_LEVELS = 3


class Task:
    """A task's record."""

    def __init__(self, address):
        self.address = address
        data = kernel.read(address, kernel.lookup(RECORD).sizeof)

        def get(path, size):
            place = offset(RECORD, path)
            return int.from_bytes(data[place:place + size], "little")

        name = offset(RECORD, "name")
        self.name = data[name:name + 16].split(b"\0")[0].decode(errors="replace")
        self.id = get("id", 4)
        self.header = get("header", 8)
        self.policy = get("policy", 8)
        self.hart = get("home", 1)
        self.place = get("place", 1)
        self.run_nanos = get("run_nanos", 8)
        self.polls = get("polls", 8)
        self.next = get("registry_link.next", 8)

    def state(self):
        """ready, running or waiting."""
        if self.place == NOWHERE:
            currents = (field(hart, HART, "current") for _, hart in Harts())
            return "running" if self.address in currents else "waiting"
        return PLACES.get(self.place, "ready")

    def scheduling(self):
        """The class, in a word or two."""
        kind, value = self.policy >> 16 & 0xFF, self.policy >> 8 & 0xFF
        signed = value - 256 if value >= 128 else value
        return {0: f"fifo {value}", 1: f"rr {value}", 2: f"nice {signed}"}.get(kind, "idle")

    def __str__(self):
        return f"{self.id:6} {self.name:15} {self.state():8} {self.scheduling():9}"


def tasks():
    """Every task, newest first."""
    executor, kind = kernel.static("executor::executor::EXECUTOR")
    address = field(executor, kind, "registry.first")
    while address:
        task = Task(address)
        yield task
        address = task.next


def by_header():
    """Tasks by the address that their wakers carry."""
    return {task.header: task for task in tasks() if task.header}


class Tasks(gdb.Command):
    """zcore-tasks: every task with its state, class, hart and use of time."""

    def __init__(self):
        super().__init__("zcore-tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        print("    id name            state    class     hart   run time      polls record")
        for task in sorted(tasks(), key=lambda task: task.id):
            print(f"{task} {task.hart:4} {task.run_nanos / 1e9:10.6f} {task.polls:10} {task.address:#x}")


class RunQueues(gdb.Command):
    """zcore-run-queues: what each hart runs, and what is ready on it in the order of its levels."""

    def __init__(self):
        super().__init__("zcore-run-queues", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        for number, hart in Harts():
            current = field(hart, HART, "current")
            running = str(Task(current)).strip() if current else "nothing"
            print(f"hart {number}: runs {running}")
            for urgency, address in self.ready(hart):
                print(f"  {urgency:10} {Task(address)}")

    def ready(self, hart):
        """Ready tasks: levels from the most urgent, then the fair class, then the idle class."""
        queue, kind = kernel.member(HART, "lists.data.value")
        queue, kind = hart + queue, str(kind)
        levels, level_kind = kernel.member(kind, "levels")
        count = level_kind.range()[1] + 1
        size = level_kind.target().sizeof
        for index in range(count):
            # The most urgent level has the smallest index.
            urgency = LOWEST_URGENCY_OF_LEVELS + count - 1 - index
            name = f"rt {urgency - LOWEST_URGENCY_OF_LEVELS}" if urgency > LOWEST_URGENCY_OF_LEVELS else "boosted"
            for address in self.fifo(queue + levels + index * size):
                yield name, address
        fair = queue + offset(kind, "fair")
        fair_kind = "executor::fair_queue::FairQueue"
        for place in ("front", "second"):
            record = field(fair, fair_kind, place)
            if record:
                yield "fair", record
        for address in kernel.tree(kernel.word(fair + offset(fair_kind, "rest.root")), offset(RECORD, "tree_link")):
            yield "fair", address
        for address in self.fifo(queue + offset(kind, "idle")):
            yield "idle", address

    @staticmethod
    def fifo(address):
        """A list of records from its head."""
        record = field(address, "executor::fifo::FifoList", "head")
        while record:
            yield record
            record = kernel.word(record + offset(RECORD, "fifo_link.next"))


class Timers(gdb.Command):
    """zcore-timers: each hart's timers, and who sleeps until then."""

    def __init__(self):
        super().__init__("zcore-timers", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        owners = by_header()
        now = kernel.now()
        for number, hart in Harts():
            armed = field(hart, HART, "armed")
            alarm = "off" if armed == NEVER else self.moment(armed, now)
            print(f"hart {number}: alarm {alarm}")
            for deadline, header in timers(hart):
                owner = owners.get(header)
                print(f"  {self.moment(deadline, now):30} {str(owner).strip() if owner else f'waker {header:#x}'}")

    @staticmethod
    def moment(nanos, now):
        """A moment, and how far it is from the last one that the scheduler looked at."""
        return f"{nanos / 1e9:.6f} ({(nanos - now) / 1e9:+.6f} s)"


def timers(hart):
    """Deadline and waker of each timer of a hart, earliest first."""
    kind = "executor::timer::TimerNode"
    root = kernel.word(hart + offset(HART, "timers.data.value.timers.root"))
    for node in kernel.tree(root, offset(kind, "link")):
        yield field(node, kind, "deadline"), kernel.word(node + offset(kind, "waker.data"))


class Trace(gdb.Command):
    """zcore-trace [COUNT]: the last events of each hart's trace ring (recorded with trace=on)."""

    KINDS = ["?", "spawn", "wake", "run", "stop", "steal", "park", "unpark", "timer", "reschedule", "preempt", "resume",
             "boost", "throttle", "overrun"]
    CUSTOM = 256

    def __init__(self):
        super().__init__("zcore-trace", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        most = int(argument) if argument else 16
        executor, kind = kernel.static("executor::executor::EXECUTOR")
        traces, array = kernel.member(kind, "traces")
        for number, _ in Harts():
            print(f"hart {number}:")
            ring = executor + traces + number * array.target().sizeof
            for time, kind, task, first, second in self.events(ring, most):
                name = self.KINDS[kind] if kind < len(self.KINDS) else "custom" if kind == self.CUSTOM else str(kind)
                print(f"  {time / 1e9:12.6f} {name:10} task {task} ({first}, {second})")

    @staticmethod
    def events(ring, most):
        """Time, kind, task and arguments of the last events, oldest first."""
        slots, array = kernel.member("executor::trace_ring::TraceRing", "slots")
        slot_kind = "executor::trace_ring::Slot"
        size, capacity = array.target().sizeof, array.range()[1] + 1
        written = field(ring, "executor::trace_ring::TraceRing", "written")
        for index in range(max(0, written - min(most, capacity)), written):
            slot = ring + slots + index % capacity * size
            if field(slot, slot_kind, "number") == index + 1:
                kind_and_task = field(slot, slot_kind, "kind_and_task")
                arguments = struct.unpack("<QQ", kernel.read(slot + offset(slot_kind, "arguments"), 16))
                yield (field(slot, slot_kind, "time"), kind_and_task >> 32, kind_and_task & 0xFFFFFFFF, *arguments)


Tasks()
RunQueues()
Timers()
Trace()
