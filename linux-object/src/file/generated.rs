//! Opened files whose content is made when they are read.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ksync::WaitQueue;
use linux_abi::Errno;
use rcore_fs::generated::{GeneratedFile, GeneratedReader};

use super::File;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

static NEVER: WaitQueue = WaitQueue::new("always ready");

/// One opening of a generated file.
pub struct GeneratedOpening {
    reader: Arc<GeneratedReader>,
}

impl GeneratedOpening {
    /// A new opening of this file.
    pub fn new(file: Arc<dyn GeneratedFile>) -> Self {
        Self { reader: Arc::new(GeneratedReader::new(file)) }
    }
}

impl Waitable for GeneratedOpening {
    fn wait_queue(&self) -> &WaitQueue {
        &NEVER
    }
}

impl File for GeneratedOpening {
    fn try_read(&self, offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let text = match self.reader.text_at(offset).done() {
            Ok(text) => text?,
            Err(_) => {
                // The text is made by a future that outlives this attempt, and is kept for the next one.
                let reader = self.reader.clone();
                let make = async move { reader.text_at(offset).await.map(|_| ()) };
                return Err(Obstacle::Wait(Box::pin(make)));
            }
        };
        let start = usize::try_from(offset).map_or(text.len(), |offset| offset.min(text.len()));
        buffer.copy_out(&text[start..])?;
        Ok(buffer.done())
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn end(&self) -> Result<u64, Errno> {
        Ok(0)
    }
}
