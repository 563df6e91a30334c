//! Opened files whose content is made when they are read.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use rcore_fs::generated::{GeneratedFile, GeneratedReader, LONGEST_INPUT};

use super::File;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

static NEVER: WaitQueue = WaitQueue::new("always ready");

/// One opening of a generated file.
pub struct GeneratedOpening {
    reader: Arc<GeneratedReader>,
    /// A text that a future made, for the attempt that waited for it.
    made: Arc<SpinLock<Option<Made>>>,
}

struct Made {
    offset: u64,
    text: Arc<Vec<u8>>,
}

impl GeneratedOpening {
    /// A new opening of this file.
    pub fn new(file: Arc<dyn GeneratedFile>) -> Self {
        Self { reader: Arc::new(GeneratedReader::new(file)), made: Arc::new(SpinLock::new(Rank::FILE, None)) }
    }
}

impl Waitable for GeneratedOpening {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for GeneratedOpening {
    fn try_read(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let made = self.made.lock().take().filter(|made| made.offset == offset);
        let attempt = match made {
            Some(made) => Ok(Ok(made.text)),
            None => self.reader.text_at(offset).done(),
        };
        let text = match attempt {
            Ok(text) => text?,
            Err(_) => {
                // The text is made by a future that outlives this attempt, and is kept for the next one.
                let (reader, made) = (self.reader.clone(), self.made.clone());
                let make = async move {
                    let text = reader.text_at(offset).await?;
                    let unused = made.lock().replace(Made { offset, text });
                    drop(unused);
                    Ok(())
                };
                return Err(Obstacle::Wait(Box::pin(make)));
            }
        };
        let start = usize::try_from(offset).map_or(text.len(), |offset| offset.min(text.len()));
        buffer.copy_out(&text[start..])?;
        Ok(buffer.done())
    }

    fn try_write(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let mark = buffer.mark();
        let most = buffer.remaining().min(LONGEST_INPUT);
        let mut input = Vec::new();
        input.try_reserve_exact(most).map_err(|_| Errno::ENOMEM)?;
        input.resize(most, 0);
        // What cannot be read whole is not taken in part.
        let whole = buffer.copy_in(&mut input);
        buffer.rewind(mark);
        whole?;
        buffer.skip(self.reader.write(offset, &input)?);
        Ok(buffer.done())
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn end(&self) -> Result<u64, Errno> {
        Ok(0)
    }
}
