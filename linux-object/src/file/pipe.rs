//! Pipes: a bounded queue of bytes with a reading and a writing end.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use ksync::{Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::file::{O_ACCMODE, O_RDONLY, O_WRONLY, OpenFlags};
use linux_abi::limits::PIPE_BUF;
use linux_abi::poll::PollEvents;
use linux_abi::stat::FileType;

use super::{File, anonymous_number};
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

/// Bytes in a pipe: Linux's default.
const CAPACITY: usize = 64 << 10;
/// Bytes that are moved at once: a write of so many is one turn, which makes it atomic.
const PIECE: usize = PIPE_BUF;

struct Pipe {
    bytes: SpinLock<Contents>,
    /// Openings of each end.
    readers: AtomicUsize,
    writers: AtomicUsize,
    changed: WaitQueue,
    number: u64,
}

struct Contents {
    queue: VecDeque<u8>,
    /// A reader or a writer copies from or to its program's memory: others wait, so that bytes stay in order.
    is_busy: bool,
}

/// The end that is read from.
pub struct ReadEnd(Arc<Pipe>);

/// The end that is written to.
pub struct WriteEnd(Arc<Pipe>);

/// Both ends of a new pipe.
pub struct PipeEnds {
    /// The end to read from.
    pub reader: Arc<dyn File>,
    /// The end to write to.
    pub writer: Arc<dyn File>,
}

/// Makes a pipe.
pub fn pipe() -> Result<PipeEnds, Errno> {
    kernel_object::frame::check_headroom().map_err(|_| Errno::ENOMEM)?;
    let contents = Contents { queue: VecDeque::new(), is_busy: false };
    let pipe = Arc::new(Pipe {
        bytes: SpinLock::new(Rank::FILE, contents),
        readers: AtomicUsize::new(1),
        writers: AtomicUsize::new(1),
        changed: WaitQueue::new("pipe"),
        number: anonymous_number(),
    });
    Ok(PipeEnds { reader: Arc::new(ReadEnd(pipe.clone())), writer: Arc::new(WriteEnd(pipe)) })
}

impl Pipe {
    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0
    }

    fn not_ready(self: &Arc<Self>) -> Obstacle {
        Obstacle::NotReady(self.clone())
    }

    /// A further end.
    fn reopen(self: &Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        match flags.bits() & O_ACCMODE {
            O_RDONLY => {
                self.readers.fetch_add(1, Ordering::AcqRel);
                Ok(Arc::new(ReadEnd(self.clone())))
            }
            O_WRONLY => {
                self.writers.fetch_add(1, Ordering::AcqRel);
                Ok(Arc::new(WriteEnd(self.clone())))
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Ends a copy and tells everybody who waits.
    fn end_turn(&self, change: impl FnOnce(&mut VecDeque<u8>)) {
        let mut contents = self.bytes.lock();
        change(&mut contents.queue);
        contents.is_busy = false;
        drop(contents);
        self.changed.wake_all();
    }
}

impl Waitable for Pipe {
    fn wait_queue(&self) -> &WaitQueue {
        &self.changed
    }
}

impl Waitable for ReadEnd {
    fn wait_queue(&self) -> &WaitQueue {
        &self.0.changed
    }
}

impl Waitable for WriteEnd {
    fn wait_queue(&self) -> &WaitQueue {
        &self.0.changed
    }
}

impl File for ReadEnd {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let pipe = &self.0;
        while buffer.remaining() > 0 {
            let mut piece = [0; PIECE];
            let most = buffer.remaining().min(PIECE);
            let count = {
                let mut contents = pipe.bytes.lock();
                let count = contents.queue.len().min(most);
                if contents.is_busy || count == 0 {
                    drop(contents);
                    return match buffer.done() {
                        0 if count > 0 || pipe.has_writers() => Err(pipe.not_ready()),
                        done => Ok(done),
                    };
                }
                contents.is_busy = true;
                piece.iter_mut().zip(contents.queue.iter().take(count)).for_each(|(to, from)| *to = *from);
                count
            };
            let before = buffer.done();
            let outcome = buffer.copy_out(&piece[..count]);
            let copied = buffer.done() - before;
            pipe.end_turn(|queue| drop(queue.drain(..copied)));
            outcome?;
        }
        Ok(buffer.done())
    }

    fn ready(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        let has_bytes = !self.0.bytes.lock().queue.is_empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, has_bytes);
        events.set(PollEvents::HUP, !self.0.has_writers());
        events
    }

    fn kind(&self) -> FileType {
        FileType::Fifo
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        write!(output, "pipe:[{}]", self.0.number)
    }

    fn reopen(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        self.0.reopen(flags)
    }
}

impl File for WriteEnd {
    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        let pipe = &self.0;
        while buffer.remaining() > 0 {
            if !pipe.has_readers() {
                return Err(Errno::EPIPE.into());
            }
            let most = buffer.remaining().min(PIECE);
            // What fits into PIPE_BUF is written in one piece or not at all.
            let total = buffer.done() + buffer.remaining();
            let needed = if total <= PIPE_BUF { buffer.remaining() } else { 1 };
            {
                let mut contents = pipe.bytes.lock();
                let room = CAPACITY - contents.queue.len();
                if contents.is_busy || room < needed {
                    return Err(pipe.not_ready());
                }
                if contents.queue.try_reserve(most.min(room)).is_err() {
                    return Err(Errno::ENOMEM.into());
                }
                contents.is_busy = true;
            }
            let mut piece = [0; PIECE];
            let room = CAPACITY - pipe.bytes.lock().queue.len();
            let most = most.min(room);
            let before = buffer.done();
            let outcome = buffer.copy_in(&mut piece[..most]);
            let copied = buffer.done() - before;
            pipe.end_turn(|queue| queue.extend(&piece[..copied]));
            outcome?;
        }
        Ok(buffer.done())
    }

    fn ready(&self) -> PollEvents {
        let mut events = PollEvents::empty();
        let has_room = CAPACITY - self.0.bytes.lock().queue.len() >= PIPE_BUF;
        events.set(PollEvents::OUT | PollEvents::WRNORM, has_room);
        events.set(PollEvents::ERR, !self.0.has_readers());
        events
    }

    fn kind(&self) -> FileType {
        FileType::Fifo
    }

    fn describe(&self, output: &mut dyn fmt::Write) -> fmt::Result {
        write!(output, "pipe:[{}]", self.0.number)
    }

    fn reopen(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn File>, Errno> {
        self.0.reopen(flags)
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.wake_all();
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.wake_all();
    }
}
