//! The signal mask that `ppoll`, `pselect6` and `epoll_pwait` put in force for the time of their wait.

use linux_abi::signal::SignalSet;
use linux_object::obstacle::Attempt;
use linux_object::signal::has_deliverable;
use linux_object::thread::{Thread, Work};
use linux_object::user_buffer::UserMemory;
use zerocopy::{FromBytes, IntoBytes};

use crate::argument::UserAddress;

/// The size of the only signal set that there is.
pub const SIGNAL_SET_BYTES: usize = 8;

/// A mask that is in force instead of the thread's own. When the wait is interrupted the thread's own comes back after
/// the handler; otherwise [`TemporaryMask::restore`] brings it back.
#[must_use = "the thread's own mask has to come back"]
pub struct TemporaryMask {
    is_set: bool,
}

impl TemporaryMask {
    /// Replaces the mask, if there is another one.
    pub fn set(thread: &Thread, mask: Option<SignalSet>) -> Self {
        if let Some(mask) = mask {
            thread.with_signals(|signals| {
                signals.saved_mask = Some(signals.blocked);
                signals.set_blocked(mask);
            });
            if has_deliverable(thread) {
                thread.add_work(Work::SIGNAL);
            }
        }
        Self { is_set: mask.is_some() }
    }

    /// The wait is over, and no handler is going to run under the other mask.
    pub fn restore(self, thread: &Thread) {
        if self.is_set {
            thread.with_signals(|signals| {
                if let Some(mask) = signals.saved_mask.take() {
                    signals.set_blocked(mask);
                }
            });
        }
    }
}

/// Reads what an address that may be null points to.
pub fn read_optional<T: FromBytes + IntoBytes>(
    memory: &UserMemory,
    address: UserAddress,
) -> Attempt<Option<T>> {
    if address.is_null() { Ok(None) } else { memory.read(address.get()).map(Some) }
}
