//! `signalfd`: signals that are read instead of handled.
//!
//! Who reads gets what is pending for itself: a descriptor that a child inherited, or that another process was sent, tells
//! of the signals of whoever asks. So the descriptor has nothing but its mask, and who waits does so in the queue of its own
//! process.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::poll::PollEvents;
use linux_abi::signal::{Signal, SignalSet};
use linux_abi::signal_info::SignalfdInfo;
use zerocopy::IntoBytes;

use crate::file::{File, OpenFile};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::process::Process;
use crate::signal::{give_back, pending_for, take};
use crate::thread::current_thread;
use crate::user_buffer::UserBuffer;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const BYTES: usize = size_of::<SignalfdInfo>();

/// Where those wait who wait for signals to be sent to a process, without taking them yet.
pub struct SignalArrival(WaitQueue);

impl Default for SignalArrival {
    fn default() -> Self {
        Self(WaitQueue::new("signal arrival"))
    }
}

impl SignalArrival {
    /// A signal was sent, to the process or one of its threads. Who waits may be any of them, so all are told.
    pub fn announce(&self) {
        self.0.wake_all_for(READABLE.bits());
    }
}

impl Waitable for SignalArrival {
    fn wait_queue(&self) -> &WaitQueue {
        &self.0
    }
}

/// A set of signals behind a descriptor.
pub struct SignalFd {
    mask: AtomicU64,
    /// Of the process that made it: woken for who is no thread.
    arrival: Arc<SignalArrival>,
}

fn without_unblockable(mut mask: SignalSet) -> u64 {
    mask.remove(Signal::SIGKILL);
    mask.remove(Signal::SIGSTOP);
    mask.bits()
}

impl SignalFd {
    /// A descriptor for these signals.
    pub fn new(process: &Process, mask: SignalSet) -> Result<Arc<Self>, Errno> {
        kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
        let mask = AtomicU64::new(without_unblockable(mask));
        Ok(Arc::new(Self { mask, arrival: process.signal_arrival().clone() }))
    }

    /// The set behind an opening: `EINVAL` if it is something else.
    pub fn of(file: &OpenFile) -> Result<&Self, Errno> {
        let file: &dyn core::any::Any = &**file.file();
        file.downcast_ref().ok_or(Errno::EINVAL)
    }

    /// Changes which signals are read.
    pub fn set_mask(&self, process: &Process, mask: SignalSet) {
        self.mask.store(without_unblockable(mask), Ordering::Relaxed);
        process.signal_arrival().announce();
    }

    fn mask(&self) -> SignalSet {
        SignalSet::from_bits(self.mask.load(Ordering::Relaxed))
    }
}

impl Waitable for SignalFd {
    fn wait_queue(&self) -> &WaitQueue {
        self.arrival.wait_queue()
    }
}

impl File for SignalFd {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if buffer.remaining() < BYTES {
            return Err(Errno::EINVAL.into());
        }
        let reader = current_thread().ok_or(Errno::EINVAL)?;
        let others = SignalSet::from_bits(!self.mask().bits());
        while buffer.remaining() >= BYTES {
            let Some(taken) = take(&reader, others) else { break };
            let mark = buffer.mark();
            if let Err(obstacle) = buffer.copy_out(taken.info.for_descriptor().as_bytes()) {
                buffer.rewind(mark);
                give_back(&reader, &taken);
                return Err(obstacle);
            }
        }
        match buffer.done() {
            0 => Err(Obstacle::NotReadyFor(reader.process().signal_arrival().clone(), READABLE)),
            done => Ok(done),
        }
    }

    fn ready(&self) -> PollEvents {
        let is_pending = |thread| !pending_for(thread).intersection(self.mask()).is_empty();
        match current_thread() {
            Some(thread) if is_pending(&thread) => READABLE,
            _ => PollEvents::empty(),
        }
    }

    fn woken_by(&self) -> Option<Arc<dyn Waitable>> {
        Some(current_thread()?.process().signal_arrival().clone())
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        output.write_str("anon_inode:[signalfd]")
    }

    fn describe_state(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(output, "sigmask:\t{:016x}", self.mask().bits())
    }
}
