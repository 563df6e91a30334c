//! `/dev/null` and `/dev/zero`.

use ksync::WaitQueue;

use linux_abi::Errno;

use super::File;
use crate::memory::mapping::MappedContent;
use crate::obstacle::{Attempt, Waitable};
use crate::user_buffer::UserBuffer;

/// Devices that are always ready never wake anybody.
static NEVER: WaitQueue = WaitQueue::new("always ready");

/// Swallows what is written; has nothing to read.
pub struct NullDevice;

/// Swallows what is written; reads as zeros without end.
pub struct ZeroDevice;

impl Waitable for NullDevice {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl Waitable for ZeroDevice {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for NullDevice {
    fn ignores_positions(&self) -> bool {
        true
    }

    fn can_refuse_to_wait(&self) -> bool {
        true
    }

    fn try_read(&self, _offset: u64, _buffer: &mut UserBuffer) -> Attempt {
        Ok(0)
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        buffer.skip_all();
        Ok(buffer.done())
    }
}

impl File for ZeroDevice {
    fn ignores_positions(&self) -> bool {
        true
    }

    fn can_refuse_to_wait(&self) -> bool {
        true
    }

    fn mapped_content(&self, _offset: u64) -> Result<MappedContent, Errno> {
        Ok(MappedContent::Zeros)
    }

    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        buffer.fill_with_zeros()?;
        Ok(buffer.done())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        buffer.skip_all();
        Ok(buffer.done())
    }
}
