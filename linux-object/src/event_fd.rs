//! `eventfd`: a counter that is read and written through a descriptor.

use alloc::sync::Arc;
use core::fmt;

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

use crate::file::File;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);
/// The counter stays below this, as far as writes go.
const LIMIT: u64 = u64::MAX;
const BYTES: usize = size_of::<u64>();

struct Counter {
    count: SpinLock<u64>,
    changed: WaitQueue,
}

/// A counter behind a descriptor.
pub struct EventFd {
    counter: Arc<Counter>,
    is_semaphore: bool,
}

impl EventFd {
    /// A counter that begins with `count`. Of a semaphore, a read takes one.
    pub fn new(count: u32, is_semaphore: bool) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let count = SpinLock::new(Rank::FILE, u64::from(count));
        let counter = Arc::new(Counter { count, changed: WaitQueue::new("eventfd") });
        Ok(Arc::new(Self { counter, is_semaphore }))
    }

    /// Adds to the counter, as far as it goes: what has happened elsewhere in the kernel is told so, and never waits.
    pub fn signal(&self, count: u64) {
        {
            let mut current = self.counter.count.lock();
            *current = current.saturating_add(count);
        }
        self.counter.changed.wake_one_for(READABLE.bits());
    }
}

impl Waitable for Counter {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }
}

impl Waitable for EventFd {
    fn wait_queue(&self) -> &WaitQueue {
        &self.counter.changed
    }
}

impl File for EventFd {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if buffer.remaining() < BYTES {
            return Err(Errno::EINVAL.into());
        }
        let taken = {
            let mut count = self.counter.count.lock();
            let taken = if self.is_semaphore { 1.min(*count) } else { *count };
            *count -= taken;
            taken
        };
        if taken == 0 {
            return Err(Obstacle::NotReadyFor(self.counter.clone(), READABLE));
        }
        let mark = buffer.mark();
        if let Err(obstacle) = buffer.copy_out(&taken.to_le_bytes()) {
            // Nobody has learnt of it: it is still to be read.
            buffer.rewind(mark);
            self.signal(taken);
            return Err(obstacle);
        }
        self.counter.changed.wake_one_for(WRITABLE.bits());
        Ok(buffer.done())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if buffer.remaining() != BYTES {
            return Err(Errno::EINVAL.into());
        }
        let mark = buffer.mark();
        let mut bytes = [0; BYTES];
        let outcome = buffer.copy_in(&mut bytes).and_then(|_| self.add(u64::from_le_bytes(bytes)));
        if let Err(obstacle) = outcome {
            buffer.rewind(mark);
            return Err(obstacle);
        }
        Ok(buffer.done())
    }

    fn can_refuse_to_wait(&self) -> bool {
        true
    }

    fn ready(&self) -> PollEvents {
        let count = *self.counter.count.lock();
        let mut events = PollEvents::empty();
        events.set(READABLE, count > 0);
        events.set(WRITABLE, count < LIMIT - 1);
        events.set(PollEvents::ERR, count == LIMIT);
        events
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[eventfd]")
    }

    fn describe_state(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        let count = *self.counter.count.lock();
        writeln!(output, "eventfd-count: {count:16x}")
    }
}

impl EventFd {
    fn add(&self, more: u64) -> Attempt<()> {
        if more == u64::MAX {
            return Err(Errno::EINVAL.into());
        }
        {
            let mut count = self.counter.count.lock();
            if LIMIT - 1 - (*count).min(LIMIT - 1) < more {
                return Err(Obstacle::NotReadyFor(self.counter.clone(), WRITABLE));
            }
            *count += more;
        }
        self.counter.changed.wake_one_for(READABLE.bits());
        Ok(())
    }
}
