//! `/dev/full` and `/dev/random`, the memory devices that do more than swallow.

use ksync::WaitQueue;
use linux_abi::Errno;
use linux_abi::stat::FileType;

use super::File;
use crate::obstacle::{Attempt, Waitable};
use crate::random;
use crate::user_buffer::UserBuffer;

/// Devices that are always ready never wake anybody.
static NEVER: WaitQueue = WaitQueue::new("always ready");
/// Randomness is handed out in pieces of at most this.
const PIECE: usize = 256;

/// Reads as zeros without end; there is never room for what is written.
pub struct FullDevice;

/// Reads as random bytes without end; what is written is mixed into the kernel's randomness.
pub struct RandomDevice;

impl Waitable for FullDevice {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl Waitable for RandomDevice {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for FullDevice {
    fn ignores_positions(&self) -> bool {
        true
    }

    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        buffer.fill_with_zeros()?;
        Ok(buffer.done())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if buffer.remaining() == 0 { Ok(0) } else { Err(Errno::ENOSPC.into()) }
    }

    fn kind(&self) -> FileType {
        FileType::CharacterDevice
    }
}

impl File for RandomDevice {
    fn ignores_positions(&self) -> bool {
        true
    }

    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        while buffer.remaining() > 0 {
            let mut piece = [0; PIECE];
            random::fill(&mut piece);
            buffer.copy_out(&piece)?;
        }
        Ok(buffer.done())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        while buffer.remaining() > 0 {
            let mut piece = [0; PIECE];
            let count = buffer.copy_in(&mut piece)?;
            random::add_entropy(&piece[..count]);
        }
        Ok(buffer.done())
    }

    fn kind(&self) -> FileType {
        FileType::CharacterDevice
    }
}
