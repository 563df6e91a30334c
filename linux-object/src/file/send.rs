//! From file to file without a program's memory: `sendfile`.
//!
//! A piece is read into memory of the kernel and written from there. The source is read at positions, so what the target
//! does not take is not lost: it is read again another time.

use alloc::sync::Arc;

use kernel_hal::PAGE_SIZE;
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::stat::FileType;

use super::{OpenFile, PipeEnd, Position, Transfer};
use crate::obstacle::{Attempt, Obstacle};
use crate::user_buffer::UserBuffer;

/// How much is under way at most.
const MOST_PIECE: usize = 16 * PAGE_SIZE;

/// A transfer from one opening to another, and how far it came.
pub struct Sending {
    source: Arc<OpenFile>,
    target: Arc<OpenFile>,
    position: u64,
    left: usize,
    sent: usize,
    /// The piece that is under way, if one is.
    piece: UserBuffer<'static>,
    is_writing: bool,
    /// Nobody waits for room twice: what fits into a pipe is enough.
    is_to_pipe: bool,
    reading: Transfer,
    writing: Transfer,
}

impl Sending {
    /// Sends `count` bytes, or those up to the source's end. The source is read from `offset` on, or at its own position
    /// if there is none; that one is left to [`Sending::keep_position`].
    pub fn new(
        source: Arc<OpenFile>,
        target: Arc<OpenFile>,
        offset: Option<u64>,
        count: usize,
    ) -> Result<Self, Errno> {
        let is_directory = source.inode().is_some_and(|inode| inode.file_type() == FileType::Directory);
        let has_positions = source.is_seekable() || source.file().ignores_positions();
        let is_to_pipe = PipeEnd::of(&**target.file()).is_some();
        let appends = target.flags() & OpenFlags::APPEND.bits() != 0;
        if is_directory || !has_positions || appends && !is_to_pipe {
            return Err(Errno::EINVAL);
        }
        let position = offset.unwrap_or_else(|| source.list_position());
        Ok(Self {
            source,
            target,
            position,
            left: count,
            sent: 0,
            piece: UserBuffer::in_kernel(count.min(MOST_PIECE))?,
            is_writing: false,
            is_to_pipe,
            reading: Transfer::new(Position::At(position)),
            writing: Transfer::new(Position::Current),
        })
    }

    /// Where the source would be read next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that the target has taken.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// The target.
    pub fn target(&self) -> &Arc<OpenFile> {
        &self.target
    }

    /// Makes the place that was reached the source's own position.
    pub fn keep_position(&self) {
        if self.source.is_seekable() && self.sent > 0 {
            self.source.set_list_position(self.position);
        }
    }

    /// Goes on until all is sent, or says what is to be waited for. `write` is how the target is written.
    pub fn attempt(
        &mut self,
        mut write: impl FnMut(&Arc<OpenFile>, &mut Transfer, &mut UserBuffer) -> Attempt,
    ) -> Attempt {
        while self.left > 0 {
            if !self.is_writing {
                match self.read_piece() {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(obstacle) => return self.stop(obstacle),
                }
            }
            let before = self.piece.done();
            let outcome = write(&self.target, &mut self.writing, &mut self.piece);
            let moved = self.piece.done() - before;
            self.sent += moved;
            // What takes any position stays where it is.
            if self.source.is_seekable() {
                self.position += moved as u64;
            }
            self.left -= moved;
            if let Err(obstacle) = outcome {
                return self.stop(obstacle);
            }
            if self.piece.remaining() > 0 {
                break;
            }
            self.is_writing = false;
            self.writing = Transfer::new(Position::Current);
            self.reading = Transfer::new(Position::At(self.position));
            self.piece.restart(self.left.min(MOST_PIECE));
        }
        Ok(self.sent)
    }

    fn read_piece(&mut self) -> Attempt {
        let read = self.source.try_read(&mut self.reading, &mut self.piece)?;
        self.piece.restart(read);
        self.is_writing = true;
        Ok(read)
    }

    /// What was sent before an error counts, and before there was no room in a pipe.
    fn stop(&mut self, obstacle: Obstacle) -> Attempt {
        let ends = match &obstacle {
            Obstacle::Error(_) => true,
            Obstacle::NotReady(_) | Obstacle::NotReadyFor(..) => self.is_to_pipe,
            _ => false,
        };
        if ends && self.sent > 0 { Ok(self.sent) } else { Err(obstacle) }
    }
}
