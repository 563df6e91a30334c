//! Opened directories: they can be listed and walked from, not read.

use ksync::WaitQueue;
use linux_abi::Errno;

use super::File;
use crate::obstacle::{Attempt, Waitable};
use crate::user_buffer::UserBuffer;

static NEVER: WaitQueue = WaitQueue::new("always ready");

/// What a directory's descriptor stands for; the listing itself is the inode's.
pub struct Directory;

impl Waitable for Directory {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for Directory {
    fn try_read(&self, _offset: u64, _buffer: &mut UserBuffer) -> Attempt {
        Err(Errno::EISDIR.into())
    }

    fn is_watchable(&self) -> bool {
        false
    }

    fn is_seekable(&self) -> bool {
        true
    }
}
