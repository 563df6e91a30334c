//! Writing within the limit of file sizes.

use alloc::sync::Arc;

use linux_abi::resource::RLIM_INFINITY;

use super::storage::check_file_size;
use super::{OpenFile, Transfer};
use crate::obstacle::{Attempt, Obstacle};
use crate::thread::Thread;
use crate::user_buffer::UserBuffer;

/// Writes as much as the limit of file sizes allows.
#[inline(always)]
pub fn write_within_limit(
    thread: &Arc<Thread>,
    file: &Arc<OpenFile>,
    transfer: &mut Transfer,
    buffer: &mut UserBuffer,
) -> Attempt {
    let limit = thread.process().limits().file_size();
    if limit != RLIM_INFINITY
        && let Some(outcome) = keep_within(limit, thread, file, transfer, buffer)
    {
        return outcome;
    }
    file.try_write(transfer, buffer)
}

/// Leaves out what the limit does not allow; the outcome if that is all.
#[cold]
fn keep_within(
    limit: u64,
    thread: &Arc<Thread>,
    file: &Arc<OpenFile>,
    transfer: &Transfer,
    buffer: &mut UserBuffer,
) -> Option<Attempt> {
    let begin = match file.growth_begin(transfer, buffer) {
        Ok(begin) => begin?,
        Err(errno) => return Some(Err(errno.into())),
    };
    if buffer.remaining() == 0 {
        return None;
    }
    if begin >= limit {
        // What was written before counts.
        return Some(match buffer.done() {
            0 => check_file_size(thread, u64::MAX).map(|()| 0).map_err(Obstacle::from),
            done => Ok(done),
        });
    }
    buffer.cut(usize::try_from(limit - begin).unwrap_or(usize::MAX));
    None
}
