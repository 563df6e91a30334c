//! Waiting for readiness.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::poll::{PollEvents, Pollfd};
use linux_abi::signal::SignalSet;
use linux_abi::time::Timespec;
use linux_object::file::FileTable;
use linux_object::obstacle::complete;
use linux_object::poll::{Interest, wait};
use linux_object::thread::{Interrupted, Thread, Work};
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome};

const SIGNAL_SET_BYTES: usize = 8;

pub fn ppoll(
    call: &mut Call<'_>,
    entries: UserAddress,
    count: usize,
    timeout: UserAddress,
    mask: UserAddress,
    set_size: usize,
) -> Result<Outcome, Errno> {
    if !mask.is_null() && set_size != SIGNAL_SET_BYTES || count > call.resources.files.limit() {
        return Err(Errno::EINVAL);
    }
    let request = Request { entries, count, timeout, mask };
    let (memory, thread, files) = (call.memory(), call.owned_thread(), call.resources.files.clone());
    Ok(Outcome::Wait(Box::pin(async move {
        match request.run(&memory, &thread, &files).await {
            Ok(Some(ready)) => Completion::Value(ready),
            Ok(None) => Completion::InterruptedForGood,
            Err(errno) => Completion::Error(errno),
        }
    })))
}

struct Request {
    entries: UserAddress,
    count: usize,
    timeout: UserAddress,
    mask: UserAddress,
}

impl Request {
    /// How many files are ready; `None` if a signal came first.
    async fn run(
        &self,
        memory: &UserMemory,
        thread: &Arc<Thread>,
        files: &FileTable,
    ) -> Result<Option<usize>, Errno> {
        let mut entries: Vec<Pollfd> = complete(|| memory.read_array(self.entries.get(), self.count)).await?;
        let deadline = self.deadline(memory).await?;
        self.replace_mask(memory, thread).await?;
        let interests: Vec<Interest> = entries.iter().map(|entry| interest(files, entry)).collect();
        let has_bad = entries.iter().zip(&interests).any(|(entry, interest)| is_bad(entry, interest));
        let deadline = if has_bad { Instant::now() } else { deadline };
        let outcome = thread.interruptible(wait(&interests, deadline)).await;
        let mut ready = 0;
        for (entry, interest) in entries.iter_mut().zip(&interests) {
            let events = if is_bad(entry, interest) { PollEvents::NVAL } else { interest.ready() };
            entry.revents = events.bits() as i16;
            ready += usize::from(!events.is_empty());
        }
        match outcome {
            Err(Interrupted) if ready == 0 => return Ok(None),
            Ok(result) => result?,
            Err(Interrupted) => {}
        }
        self.restore_mask(thread);
        complete(|| memory.write_bytes(self.entries.get(), zerocopy::IntoBytes::as_bytes(&entries[..])))
            .await?;
        Ok(Some(ready))
    }

    async fn deadline(&self, memory: &UserMemory) -> Result<Instant, Errno> {
        if self.timeout.is_null() {
            return Ok(Instant::FAR_FUTURE);
        }
        let timeout: Timespec = complete(|| memory.read(self.timeout.get())).await?;
        Ok(Instant::now() + timeout.to_duration()?)
    }

    async fn replace_mask(&self, memory: &UserMemory, thread: &Thread) -> Result<(), Errno> {
        if self.mask.is_null() {
            return Ok(());
        }
        let mask: SignalSet = complete(|| memory.read(self.mask.get())).await?;
        thread.with_signals(|signals| {
            signals.saved_mask = Some(signals.blocked);
            signals.set_blocked(mask);
        });
        if linux_object::signal::has_deliverable(thread) {
            thread.add_work(Work::SIGNAL);
        }
        Ok(())
    }

    /// The mask comes back at once if no handler is going to run under the other one.
    fn restore_mask(&self, thread: &Thread) {
        if self.mask.is_null() {
            return;
        }
        thread.with_signals(|signals| {
            if let Some(mask) = signals.saved_mask.take() {
                signals.set_blocked(mask);
            }
        });
    }
}

fn interest(files: &FileTable, entry: &Pollfd) -> Interest {
    Interest {
        file: files.get(entry.fd).ok(),
        events: PollEvents::from_bits_truncate(u32::from(entry.events as u16)),
    }
}

/// A number that stands for no file. Negative ones are to be passed over.
fn is_bad(entry: &Pollfd, interest: &Interest) -> bool {
    entry.fd >= 0 && interest.file.is_none()
}
