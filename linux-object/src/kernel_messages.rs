//! The kernel's log as programs see it: `/dev/kmsg`, and what `syslog` returns.
//!
//! The log itself belongs to the kernel image, which registers it here. A record has a number that is never used again,
//! so a reader knows when it was too slow: it is told once ([`Errno::EPIPE`]) and goes on with the oldest that is left.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::{Once, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;

use crate::file::File;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

/// The longest text that a source hands out.
pub const LONGEST_TEXT: usize = 1024;

/// How bad it is, by syslog's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Severity {
    /// Something failed.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// For whoever wants to know.
    Information = 6,
    /// For whoever looks for a bug.
    Debug = 7,
}

impl Severity {
    /// The severity with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Error, Self::Warning, Self::Information, Self::Debug]
            .into_iter()
            .find(|severity| *severity as u8 == number)
    }
}

/// A record without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it was written, in microseconds of monotonic time.
    pub micros: u64,
    /// How bad it is.
    pub severity: Severity,
    /// How long its text is.
    pub text_bytes: usize,
}

/// A log of numbered records.
pub trait KernelLogSource: Sync {
    /// The numbers of the records that are there: from the oldest to the next one to come.
    fn sequences(&self) -> Range<u64>;

    /// A record, and as much of its text as fits into `text`. `None` if it is not there.
    fn read(&self, sequence: u64, text: &mut [u8]) -> Option<Header>;

    /// How much the log holds.
    fn capacity_bytes(&self) -> usize;

    /// Woken after a record was added.
    fn readers(&self) -> &WaitQueue;
}

static SOURCE: Once<&'static dyn KernelLogSource> = Once::new();

/// Says where the log is. Called once, at boot.
pub fn register(source: &'static dyn KernelLogSource) {
    SOURCE.call_once(|| source);
}

fn source() -> Result<&'static dyn KernelLogSource, Errno> {
    SOURCE.get().copied().ok_or(Errno::ENXIO)
}

/// A new opening of `/dev/kmsg`, at the oldest record.
pub fn open() -> Result<Arc<dyn File>, Errno> {
    Ok(KernelMessages::new(source()?))
}

/// One opening of `/dev/kmsg`: a read returns one record.
pub struct KernelMessages {
    source: &'static dyn KernelLogSource,
    next: AtomicU64,
}

impl KernelMessages {
    fn new(source: &'static dyn KernelLogSource) -> Arc<Self> {
        Arc::new(Self { source, next: AtomicU64::new(source.sequences().start) })
    }

    /// The next record as a line of text.
    fn next_line(&self) -> Result<Option<(u64, Vec<u8>)>, Errno> {
        let next = self.next.load(Ordering::Relaxed);
        let there = self.source.sequences();
        if next < there.start {
            self.next.store(there.start, Ordering::Relaxed);
            return Err(Errno::EPIPE);
        }
        let mut text = [0; LONGEST_TEXT];
        let Some(header) = self.source.read(next, &mut text) else { return Ok(None) };
        let text = &text[..header.text_bytes.min(LONGEST_TEXT)];
        let mut line = Line::new()?;
        // A line has room for the longest record.
        let _ = write!(line, "{},{next},{},-;", header.severity as u8, header.micros);
        text.iter().for_each(|&byte| line.push_escaped(byte));
        line.push(b'\n');
        Ok(Some((next, line.0)))
    }
}

/// A record as text: what is allocated at the beginning is enough.
struct Line(Vec<u8>);

/// Every byte may become four.
const LONGEST_LINE: usize = 64 + 4 * LONGEST_TEXT;

impl Line {
    fn new() -> Result<Self, Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(LONGEST_LINE).map_err(|_| Errno::ENOMEM)?;
        Ok(Self(bytes))
    }

    fn push(&mut self, byte: u8) {
        if self.0.len() < LONGEST_LINE {
            self.0.push(byte);
        }
    }

    /// As Linux does: what would confuse a reader of lines is written in hexadecimal.
    fn push_escaped(&mut self, byte: u8) {
        if (b' '..0x7f).contains(&byte) && byte != b'\\' {
            self.push(byte);
        } else {
            // Writing here cannot fail.
            let _ = write!(self, "\\x{byte:02x}");
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

impl Waitable for KernelMessages {
    fn wait_queue(&self) -> &WaitQueue {
        self.source.readers()
    }
}

impl File for KernelMessages {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let Some((sequence, line)) = self.next_line()? else {
            let opening =
                Self { source: self.source, next: AtomicU64::new(self.next.load(Ordering::Relaxed)) };
            return Err(Obstacle::NotReady(Arc::new(opening)));
        };
        if buffer.remaining() < line.len() {
            return Err(Errno::EINVAL.into());
        }
        buffer.copy_out(&line)?;
        // Only now: what could not be handed over is not lost. Of two readers at once both get the record.
        self.next.store(sequence + 1, Ordering::Relaxed);
        Ok(buffer.done())
    }

    fn ready(&self) -> PollEvents {
        let there = self.source.sequences();
        let next = self.next.load(Ordering::Relaxed);
        if next < there.start {
            PollEvents::IN | PollEvents::RDNORM | PollEvents::ERR
        } else if next < there.end {
            PollEvents::IN | PollEvents::RDNORM
        } else {
            PollEvents::empty()
        }
    }
}

/// `SYSLOG_ACTION_READ_ALL`: the newest records whose text fits into `most_bytes`, oldest first.
pub fn read_all(most_bytes: usize) -> Result<Vec<u8>, Errno> {
    let source = source()?;
    let there = source.sequences();
    let mut length = 0;
    let mut first = there.end;
    for sequence in there.clone().rev() {
        length += shown_bytes(source, sequence);
        if length > most_bytes {
            break;
        }
        first = sequence;
    }
    let mut output = Vec::new();
    for sequence in first..there.end {
        show(source, sequence, |bytes| {
            // Records may have been replaced meanwhile; what does not fit any more is left out.
            if output.len() + bytes.len() <= most_bytes && output.try_reserve(bytes.len()).is_ok() {
                output.extend_from_slice(bytes);
            }
        });
    }
    Ok(output)
}

/// `SYSLOG_ACTION_SIZE_BUFFER`: how much the log holds.
pub fn size_buffer() -> Result<usize, Errno> {
    Ok(source()?.capacity_bytes())
}

/// `SYSLOG_ACTION_SIZE_UNREAD`: how long everything in the log is as text.
pub fn size_unread() -> Result<usize, Errno> {
    let source = source()?;
    Ok(source.sequences().map(|sequence| shown_bytes(source, sequence)).sum())
}

fn shown_bytes(source: &dyn KernelLogSource, sequence: u64) -> usize {
    let mut length = 0;
    show(source, sequence, |bytes| length += bytes.len());
    length
}

/// Every line of the record with its severity and time in front.
fn show(source: &dyn KernelLogSource, sequence: u64, mut output: impl FnMut(&[u8])) {
    let mut text = [0; LONGEST_TEXT];
    let Some(header) = source.read(sequence, &mut text) else { return };
    let (seconds, micros) = (header.micros / 1_000_000, header.micros % 1_000_000);
    let mut prefix = heapless::String::<48>::new();
    // Long enough for the largest numbers.
    let _ = write!(prefix, "<{}>[{seconds:5}.{micros:06}] ", header.severity as u8);
    for line in text[..header.text_bytes.min(LONGEST_TEXT)].split(|&byte| byte == b'\n') {
        output(prefix.as_bytes());
        output(line);
        output(b"\n");
    }
}

#[cfg(test)]
mod tests;
