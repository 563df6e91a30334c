//! The queue of completions: posting, overflow, and who waits.
//!
//! A completion that finds the ring full is kept, in order, and the program is told; it moves into the ring when the
//! program has made room and enters the kernel. Only if there is no memory to keep it is it lost, and counted.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::io_uring::{IoUringCqe, SubmissionState};
use linux_abi::poll::PollEvents;

use super::memory::RingMemory;

/// What a poll of the ring is told when there are completions.
const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);

/// More than anybody can wait for: nobody does.
const NOBODY: u32 = u32::MAX;

/// A completion, with the second half that large ones have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The half that all have.
    pub entry: IoUringCqe,
    /// The other.
    pub extra: [u64; 2],
}

struct Queue {
    /// Where the next goes; the program is told, never asked.
    tail: u32,
    overflow: VecDeque<Completion>,
}

/// The queue of one ring.
pub struct Completions {
    queue: SpinLock<Queue>,
    /// Whether completions were lost since somebody was told.
    has_lost: AtomicBool,
    /// Who polls the ring.
    pub(super) changed: WaitQueue,
    /// Who waits in the kernel for a number of completions.
    pub(super) takers: WaitQueue,
    /// The smallest number that one of them waits for; written under the lock of `taker_count`.
    least_wanted: AtomicU32,
    taker_count: SpinLock<u32>,
    /// How many requests have ended.
    counted: AtomicU64,
    counters: WaitQueue,
}

impl Completions {
    /// Empty.
    pub fn new() -> Self {
        Self {
            queue: SpinLock::new(Rank::FILE, Queue { tail: 0, overflow: VecDeque::new() }),
            has_lost: AtomicBool::new(false),
            changed: WaitQueue::new("io_uring poll"),
            takers: WaitQueue::new("io_uring completions"),
            least_wanted: AtomicU32::new(NOBODY),
            taker_count: SpinLock::new(Rank::FILE, 0),
            counted: AtomicU64::new(0),
            counters: WaitQueue::new("io_uring count"),
        }
    }

    /// Posts a completion: into the ring, or behind those that wait for room.
    pub fn post(&self, memory: &RingMemory, completion: Completion) {
        let mut queue = self.queue.lock();
        if queue.store(memory, &completion) {
            return;
        }
        if queue.overflow.try_reserve(1).is_ok() {
            queue.overflow.push_back(completion);
            memory.set_state(SubmissionState::CQ_OVERFLOW);
        } else {
            memory.count_lost_completion();
            self.has_lost.store(true, Ordering::Relaxed);
        }
    }

    /// Posts a completion if the ring has room for it at once.
    pub fn try_post(&self, memory: &RingMemory, completion: Completion) -> bool {
        self.queue.lock().store(memory, &completion)
    }

    /// Moves what was kept into the ring, as far as there is room.
    pub fn flush(&self, memory: &RingMemory) {
        if !memory.state().contains(SubmissionState::CQ_OVERFLOW) {
            return;
        }
        let mut queue = self.queue.lock();
        while let Some(first) = queue.overflow.front().copied()
            && queue.room(memory) > 0
        {
            queue.overflow.pop_front();
            queue.put(memory, &first);
        }
        if queue.overflow.is_empty() {
            queue.overflow = VecDeque::new();
            memory.clear_state(SubmissionState::CQ_OVERFLOW);
        }
    }

    /// Whether some are kept outside the ring. The program can clear what it was told, not this.
    pub fn has_overflow(&self) -> bool {
        !self.queue.lock().overflow.is_empty()
    }

    /// Shows what is kept outside the ring.
    pub fn describe_overflow(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        let kept = self.queue.lock().overflow.iter().map(|kept| kept.entry).collect::<Vec<_>>();
        kept.iter().try_for_each(|entry| {
            let IoUringCqe { user_data, res, flags } = entry;
            writeln!(output, "  user_data={user_data}, res={res}, flags={flags:x}")
        })
    }

    /// Whether some were lost since this was last asked.
    pub fn take_lost(&self) -> bool {
        self.has_lost.swap(false, Ordering::Relaxed)
    }

    /// Completions in the ring that the program has not taken.
    pub fn available(&self, memory: &RingMemory) -> u32 {
        self.queue.lock().used(memory)
    }

    /// A request has ended.
    pub fn count(&self) {
        self.counted.fetch_add(1, Ordering::Relaxed);
        self.counters.wake_all();
    }

    /// Waits until so many more requests have ended.
    pub async fn until_counted(&self, count: u64) {
        let target = self.counted.load(Ordering::Relaxed).saturating_add(count);
        self.counters.wait_until(|| (self.counted.load(Ordering::Relaxed) >= target).then_some(())).await;
    }

    /// Tells whoever waits that there is more.
    pub fn announce(&self, memory: &RingMemory) {
        // Between the completion and the look at what is wanted; its twin is in the registration of who waits, which
        // comes after he said how many he wants and before he looks how many there are.
        fence(Ordering::SeqCst);
        let wanted = self.least_wanted.load(Ordering::Relaxed);
        if wanted != NOBODY && self.available(memory) >= wanted {
            self.takers.wake_all();
        }
        self.changed.wake_all_for(READABLE.bits());
    }

    /// Notes that somebody is about to wait for so many, until [`Taking`] is dropped.
    pub fn begin_taking(&self, wanted: u32) -> Taking<'_> {
        let mut count = self.taker_count.lock();
        *count += 1;
        self.least_wanted.fetch_min(wanted, Ordering::Relaxed);
        Taking(self)
    }
}

/// Somebody waits for completions.
pub struct Taking<'a>(&'a Completions);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let mut count = self.0.taker_count.lock();
        *count -= 1;
        if *count == 0 {
            self.0.least_wanted.store(NOBODY, Ordering::Relaxed);
        }
    }
}

impl Queue {
    fn used(&self, memory: &RingMemory) -> u32 {
        // The program's head may be anything.
        self.tail.wrapping_sub(memory.completion_head()).min(memory.geometry().completions)
    }

    fn room(&self, memory: &RingMemory) -> u32 {
        memory.geometry().completions - self.used(memory)
    }

    fn put(&mut self, memory: &RingMemory, completion: &Completion) {
        memory.store_completion(self.tail, &completion.entry, completion.extra);
        self.tail = self.tail.wrapping_add(1);
        memory.tell_completion_tail(self.tail);
    }

    /// Behind what overflowed nothing may overtake.
    fn store(&mut self, memory: &RingMemory, completion: &Completion) -> bool {
        let has_room = self.overflow.is_empty() && self.room(memory) > 0;
        if has_room {
            self.put(memory, completion);
        }
        has_room
    }
}
