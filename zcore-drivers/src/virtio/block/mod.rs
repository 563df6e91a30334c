//! The virtio disk.
//!
//! Every request has a *slot*, of which there are as many as the ring has entries: a header, a status byte and a table
//! of descriptors in memory shared with the device, and a record in the driver's own. A slot's number is the ring's
//! head, so nothing has to be looked up, and a request costs the ring one entry whatever its length. All of it is
//! set aside when the device is found.
//!
//! A slot belongs to the device from submission until the device answers. Its segments are released at the answer,
//! neither earlier (whoever has lost interest or patience) nor later. Answers are matched against the records: one
//! for a slot that is not out is counted and otherwise ignored.
//!
//! If the device lacks indirect tables, each slot owns a few of the ring's own descriptors instead; requests are then
//! shorter and fewer.

mod configuration;
mod slots;

use std::fmt;
use std::task::{Poll, Waker};
use std::time::Duration;

use heapless::Vec;
use kernel_hal::Instant;
use ksync::{Rank, SpinLock, WaitQueue};
use log::warn;
use virtio_drivers::transport::{DeviceStatus, Transport};

use super::split_queue::{RingBroken, SplitQueue};
use super::{RingFeatures, VirtioError, negotiate};
use crate::InterruptHandler;
use crate::block::{
    BlockDevice, BlockError, BlockInformation, BlockRequest, BlockResult, BlockStatistics, Segments,
    SubmitError, Ticket,
};
use configuration::BlockFeatures;
use slots::Slots;

const QUEUE: u16 = 0;
const QUEUE_SIZE: u16 = 256;
/// How many wakers are collected under the lock before it is released to call them.
const WAKE_BATCH: usize = 32;
/// How long a device may take for a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A virtio disk.
pub struct VirtioBlock<T: Transport> {
    core: SpinLock<Core<T>>,
    slots_free: WaitQueue,
    information: BlockInformation,
}

struct Core<T: Transport> {
    /// Dropped first: that resets the device, so that it lets go of the memory below.
    transport: T,
    queue: SplitQueue,
    slots: Slots,
    statistics: BlockStatistics,
    /// The time as of the last look at timeouts: good enough to stamp requests with.
    coarse_now: Instant,
    broken: bool,
}

/// Who is to be woken when the lock is released.
type Woken = Vec<Waker, WAKE_BATCH>;

impl<T: Transport> VirtioBlock<T> {
    /// Sets the device up. Its interrupt may come from now on.
    pub fn new(mut transport: T) -> Result<Self, VirtioError> {
        let features = negotiate(&mut transport, BlockFeatures::all().bits())?;
        let ring = RingFeatures::from_bits_truncate(features);
        let event_index = ring.contains(RingFeatures::EVENT_INDEX);
        let mut queue = SplitQueue::new(&mut transport, QUEUE, QUEUE_SIZE, event_index)?;
        let (mut information, max_piece_bytes) =
            configuration::read(&transport, BlockFeatures::from_bits_truncate(features))?;
        let indirect = ring.contains(RingFeatures::INDIRECT_DESCRIPTORS);
        let slots = Slots::new(&queue, indirect, max_piece_bytes)?;
        information.max_segments = information.max_segments.min(slots.max_segments());
        information.queue_depth = slots.count();
        transport.finish_init();
        // Nothing has been offered, so nothing can be there but nonsense, which the first interrupt will find.
        let _nothing = queue.rearm();
        let core = Core {
            transport,
            queue,
            slots,
            statistics: BlockStatistics::default(),
            coarse_now: Instant::now(),
            broken: false,
        };
        Ok(Self {
            core: SpinLock::new(Rank::DEVICE_QUEUE, core),
            slots_free: WaitQueue::new("free slots of a disk"),
            information,
        })
    }
}

impl<T: Transport> Core<T> {
    /// Collects answers until there are none or `woken` is full. Returns how many slots became free, and whether
    /// there may be more answers.
    fn reap(&mut self, woken: &mut Woken) -> (usize, bool) {
        if self.broken {
            return (0, self.slots.fail_some(BlockError::Broken, |_| true, woken).1);
        }
        let mut freed = 0;
        while !woken.is_full() {
            let entry = match self.queue.pop() {
                Ok(Some(entry)) => entry,
                Ok(None) => match self.queue.rearm() {
                    Ok(true) => continue,
                    Ok(false) => return (freed, false),
                    Err(RingBroken) => return (freed, self.give_up(woken)),
                },
                Err(RingBroken) => return (freed, self.give_up(woken)),
            };
            match self.slots.answered(entry) {
                Some(answer) => {
                    self.statistics.completed += 1;
                    self.statistics.failed += u64::from(answer.failed);
                    freed += usize::from(answer.slot_freed);
                    if let Some(waker) = answer.waker {
                        let _has_room = woken.push(waker);
                    }
                }
                None => self.statistics.bogus_answers += 1,
            }
        }
        (freed, true)
    }

    /// The ring makes no sense: from now on everything fails. What is out stays out, for the device may still write.
    /// Returns whether there are more to be told than `woken` had room for.
    fn give_up(&mut self, woken: &mut Woken) -> bool {
        self.broken = true;
        self.transport.set_status(DeviceStatus::FAILED);
        warn!("virtio disk: the device's ring makes no sense; it is given up");
        self.slots.fail_some(BlockError::Broken, |_| true, woken).1
    }
}

impl<T: Transport> VirtioBlock<T> {
    /// Runs `step` under the lock until it says that it is done, waking in between.
    fn wake_in_batches(&self, mut step: impl FnMut(&mut Core<T>, &mut Woken) -> (usize, bool)) {
        loop {
            let mut woken = Woken::new();
            let (freed, more) = step(&mut self.core.lock(), &mut woken);
            for waker in woken {
                waker.wake();
            }
            for _ in 0..freed {
                if !self.slots_free.wake_one() {
                    break;
                }
            }
            if !more {
                return;
            }
        }
    }
}

impl<T: Transport + Send> InterruptHandler for VirtioBlock<T> {
    fn handle_interrupt(&self) {
        let mut first = true;
        self.wake_in_batches(|core, woken| {
            let found_before = core.statistics.completed + core.statistics.bogus_answers;
            if first {
                core.statistics.interrupts += 1;
                core.transport.ack_interrupt();
                core.queue.disarm();
            }
            let (freed, more) = core.reap(woken);
            let found_after = core.statistics.completed + core.statistics.bogus_answers;
            if first && found_after == found_before {
                core.statistics.spurious_interrupts += 1;
            }
            first = false;
            (freed, more)
        });
    }
}

impl<T: Transport + Send> BlockDevice for VirtioBlock<T> {
    fn information(&self) -> BlockInformation {
        self.information
    }

    fn statistics(&self) -> BlockStatistics {
        self.core.lock().statistics
    }

    fn submit(
        &self,
        request: BlockRequest,
        segments: &mut Segments,
        waker: Option<&Waker>,
    ) -> Result<Ticket, SubmitError> {
        let bytes = request.check(segments, &self.information).map_err(SubmitError::Refused)?;
        let mut core = self.core.lock();
        let core = &mut *core;
        if core.broken {
            return Err(SubmitError::Refused(BlockError::Broken));
        }
        let ticket = core
            .slots
            .fill(&mut core.queue, request, segments, bytes, waker, core.coarse_now)
            .ok_or(SubmitError::Full)?;
        core.queue.offer(core.slots.head_of(ticket.slot));
        core.statistics.submitted += 1;
        Ok(ticket)
    }

    fn kick(&self) {
        let mut core = self.core.lock();
        let core = &mut *core;
        if core.queue.should_notify() {
            core.statistics.notifications += 1;
            kernel_hal::memory_barrier::before_device_access();
            core.transport.notify(QUEUE);
        }
    }

    fn poll_result(&self, ticket: &Ticket, waker: &Waker) -> Poll<BlockResult> {
        let (result, freed, _outdated) = self.core.lock().slots.collect(ticket, waker);
        if freed {
            self.slots_free.wake_one();
        }
        result
    }

    fn abandon(&self, ticket: Ticket) {
        let (freed, _waker) = self.core.lock().slots.abandon(&ticket);
        if freed {
            self.slots_free.wake_one();
        }
    }

    fn slots_free(&self) -> &WaitQueue {
        &self.slots_free
    }

    fn check_timeouts(&self, now: Instant) {
        self.wake_in_batches(|core, woken| {
            core.coarse_now = now;
            let late = |since: Instant| now.since(since) >= TIMEOUT;
            let (count, more) = core.slots.fail_some(BlockError::TimedOut, late, woken);
            if count > 0 {
                core.statistics.timeouts += count as u64;
                warn!("virtio disk: {count} requests were not answered within {TIMEOUT:?}");
            }
            (0, more)
        });
    }
}

impl<T: Transport> fmt::Debug for VirtioBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioBlock").field("information", &self.information).finish_non_exhaustive()
    }
}
