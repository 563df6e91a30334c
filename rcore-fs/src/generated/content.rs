//! The content of generated files, and readers that see it consistently.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::fmt;

use kernel_object::frame;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;

use crate::attempt::Attempt;

/// Where a generated file's content is collected. It can be written to with `write!`; running out of memory is
/// remembered and reported at the end, so that callbacks need not handle it beyond passing `fmt::Error` on.
#[derive(Debug, Default)]
pub struct ContentBuffer {
    bytes: Vec<u8>,
    exhausted: bool,
}

impl ContentBuffer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.exhausted || frame::check_headroom().is_err() || self.bytes.try_reserve(bytes.len()).is_err()
        {
            self.exhausted = true;
            return Err(Errno::ENOMEM);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The buffer, if its content was made; otherwise why it was not.
    pub fn conclude(self, outcome: Result<(), ContentError>) -> Result<Self, Errno> {
        match outcome {
            _ if self.exhausted => Err(Errno::ENOMEM),
            Ok(()) => Ok(self),
            Err(ContentError::Errno(errno)) => Err(errno),
            Err(ContentError::Format) => Err(Errno::EIO),
        }
    }

    fn into_bytes(self) -> Result<Vec<u8>, Errno> {
        if self.exhausted { Err(Errno::ENOMEM) } else { Ok(self.bytes) }
    }
}

impl fmt::Write for ContentBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Why a content could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// For this reason.
    Errno(Errno),
    /// The buffer took no more: it knows why.
    Format,
}

impl From<Errno> for ContentError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<fmt::Error> for ContentError {
    fn from(_error: fmt::Error) -> Self {
        Self::Format
    }
}

/// What stands behind a generated file.
pub trait GeneratedFile: Send + Sync {
    /// Whether the file may be opened now, whatever its permission bits say.
    fn check_open(&self) -> Result<(), Errno> {
        Ok(())
    }

    /// Writes the whole content, as it is now, into an empty buffer and gives it back.
    fn produce(&self, output: ContentBuffer) -> Attempt<'_, ContentBuffer>;

    /// Takes what a program writes, at once and in one piece: `input` is all of one write call, up to
    /// [`LONGEST_INPUT`]. Returns how much of it was used.
    fn consume(&self, _offset: u64, _input: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }
}

/// What a generated file takes at once.
pub const LONGEST_INPUT: usize = 4096;

/// A generated file whose content is text that a closure writes without waiting.
pub struct TextFile<F>(pub F);

impl<F: Fn(&mut ContentBuffer) -> fmt::Result + Send + Sync> GeneratedFile for TextFile<F> {
    fn produce(&self, mut output: ContentBuffer) -> Attempt<'_, ContentBuffer> {
        let outcome = (self.0)(&mut output).map_err(ContentError::from);
        output.conclude(outcome).into()
    }
}

/// One open generated file. Threads may share it: each read works on one complete text, and a text that is being
/// replaced stays whole for those who still read it.
pub struct GeneratedReader {
    file: Arc<dyn GeneratedFile>,
    snapshot: SpinLock<Option<Arc<Vec<u8>>>>,
}

impl GeneratedReader {
    /// A reader that has generated nothing yet.
    pub fn new(file: Arc<dyn GeneratedFile>) -> Self {
        Self { file, snapshot: SpinLock::new(Rank::FILE, None) }
    }

    /// What stands behind the file.
    pub fn file(&self) -> &Arc<dyn GeneratedFile> {
        &self.file
    }

    /// The text in which a read at `offset` is answered: a new one at the start of the file, otherwise that of the
    /// reads before. The caller copies the part from `offset` on.
    pub fn text_at(&self, offset: u64) -> Attempt<'_, Arc<Vec<u8>>> {
        if offset != 0
            && let Some(text) = self.snapshot.lock().as_ref()
        {
            return Attempt::ready(Arc::clone(text));
        }
        match self.file.produce(ContentBuffer::new()).done() {
            Ok(result) => result.and_then(|output| self.keep(output)).into(),
            Err(waiting) => Attempt::wait(async move { self.keep(waiting.await?) }),
        }
    }

    /// Reads into kernel memory; returns the number of bytes, 0 at the end.
    pub async fn read(&self, offset: u64, destination: &mut [u8]) -> Result<usize, Errno> {
        let text = self.text_at(offset).await?;
        let start = usize::try_from(offset).map_or(text.len(), |offset| offset.min(text.len()));
        let count = destination.len().min(text.len() - start);
        destination[..count].copy_from_slice(&text[start..start + count]);
        Ok(count)
    }

    /// Hands on what a program wrote. The next read generates anew.
    pub fn write(&self, offset: u64, input: &[u8]) -> Result<usize, Errno> {
        let used = self.file.consume(offset, input)?;
        let old = self.snapshot.lock().take();
        drop(old);
        Ok(used)
    }

    fn keep(&self, output: ContentBuffer) -> Result<Arc<Vec<u8>>, Errno> {
        let text = Arc::new(output.into_bytes()?);
        let old = self.snapshot.lock().replace(Arc::clone(&text));
        // The old text is freed without the lock.
        drop(old);
        Ok(text)
    }
}
