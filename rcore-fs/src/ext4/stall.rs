//! How metadata is used without waiting in the middle.
//!
//! Every step that looks at metadata is a plain function that begins anew each time it is called. If a block is not in
//! memory it says so ([`Stall::Load`]); the caller waits for the block and calls again. So what a step means is written
//! once, needs no future when everything is in memory, and cannot be interrupted halfway.

use kernel_object::paged_object::{PageLoad, Stop};
use linux_abi::Errno;

use crate::attempt::Attempt;
use crate::file_data::pager_errno;

/// Why a step did not finish.
pub(super) enum Stall {
    Error(Errno),
    /// A block has to be brought.
    Load(PageLoad),
}

/// What a step returns.
pub(super) type Step<T> = Result<T, Stall>;

impl From<Errno> for Stall {
    fn from(error: Errno) -> Self {
        Self::Error(error)
    }
}

impl From<Stop> for Stall {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Load(load) => Self::Load(load),
            Stop::OutOfMemory => Self::Error(Errno::ENOMEM),
            // A block that lies on no disk.
            Stop::NoSpace | Stop::BeyondEnd => Self::Error(Errno::EUCLEAN),
        }
    }
}

/// Takes a step until it is done, beginning with an attempt that stalled.
async fn go_on<T>(mut stall: Stall, mut step: impl FnMut() -> Step<T>) -> Result<T, Errno> {
    loop {
        match stall {
            Stall::Error(error) => return Err(error),
            Stall::Load(load) => load.await.map_err(pager_errno)?,
        }
        match step() {
            Ok(value) => return Ok(value),
            Err(next) => stall = next,
        }
    }
}

/// Takes a step, and brings what it needs until it is done.
pub(super) async fn finish<T>(mut step: impl FnMut() -> Step<T>) -> Result<T, Errno> {
    match step() {
        Ok(value) => Ok(value),
        Err(stall) => go_on(stall, step).await,
    }
}

/// Takes a step at once if all it needs is in memory, or becomes a future that takes it.
pub(super) fn attempt<'a, T: 'a>(mut step: impl FnMut() -> Step<T> + Send + 'a) -> Attempt<'a, T> {
    match step() {
        Ok(value) => Attempt::ready(value),
        Err(Stall::Error(error)) => Attempt::failed(error),
        Err(stall) => Attempt::wait(go_on(stall, step)),
    }
}
