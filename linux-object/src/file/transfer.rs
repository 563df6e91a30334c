//! Reading and writing an opening: where, how, and what is held meanwhile.
//!
//! A file with positions is read and written in turn, as on Linux: who uses an opening's own position has it for himself
//! until he is done, and who writes has the file for himself. So of two who read through one opening each gets what
//! the other does not, and of two who append neither overwrites the other. Both turns are kept between the attempts of
//! one transfer, which waits only for pages then.

use alloc::boxed::Box;
use alloc::sync::Arc;

use core::sync::atomic::Ordering;

use ksync::{AsyncMutex, AsyncMutexGuard};
use linux_abi::Errno;
use linux_abi::file::{OpenFlags, ReadWriteFlags};
use linux_abi::inotify::WatchMask;

use super::OpenFile;
use crate::obstacle::{Attempt, Obstacle};
use crate::user_buffer::UserBuffer;

/// Where a read or write takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the opening's own position, which moves along.
    Current,
    /// Here; the opening's position stays.
    At(u64),
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the program.
    Read,
    /// From the program.
    Write,
}

/// The right to do something with a file alone.
pub type Turn = AsyncMutex<()>;

/// One read or write: where it takes place, and what it keeps from one attempt to the next.
pub struct Transfer {
    position: Position,
    flags: ReadWriteFlags,
    /// Of this opening the turns are kept that follow.
    kept: Option<Arc<OpenFile>>,
    keeps_position: bool,
    keeps_content: bool,
    /// It waits even if the file is non-blocking.
    is_patient: bool,
}

impl Transfer {
    /// A transfer that has not begun.
    #[inline(always)]
    pub const fn new(position: Position) -> Self {
        Self::with_flags(position, ReadWriteFlags::empty())
    }

    /// The same, done as flags say.
    #[inline(always)]
    pub const fn with_flags(position: Position, flags: ReadWriteFlags) -> Self {
        Self { position, flags, kept: None, keeps_position: false, keeps_content: false, is_patient: false }
    }

    /// The same for one whose wait blocks nobody: that the file is non-blocking does not count.
    #[must_use]
    pub const fn patient(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// How it is done.
    pub fn flags(&self) -> ReadWriteFlags {
        self.flags
    }

    fn release(&mut self) {
        let Some(file) = self.kept.take() else { return };
        if core::mem::take(&mut self.keeps_content)
            && let Some(turn) = file.file.content_turn()
        {
            turn.unlock_forgotten();
        }
        if core::mem::take(&mut self.keeps_position) {
            file.position_turn.unlock_forgotten();
        }
    }
}

impl Drop for Transfer {
    #[inline(always)]
    fn drop(&mut self) {
        if self.kept.is_some() {
            self.release();
        }
    }
}

/// Takes a turn; if somebody else has it, says what to wait for.
#[inline(always)]
fn take<'a>(
    file: &'a Arc<OpenFile>,
    turn: fn(&OpenFile) -> Option<&Turn>,
) -> Result<Option<AsyncMutexGuard<'a, ()>>, Obstacle> {
    let Some(wanted) = turn(file) else { return Ok(None) };
    match wanted.try_lock() {
        Some(guard) => Ok(Some(guard)),
        None => Err(until_free(file.clone(), turn)),
    }
}

#[cold]
fn until_free(file: Arc<OpenFile>, turn: fn(&OpenFile) -> Option<&Turn>) -> Obstacle {
    Obstacle::Wait(Box::pin(async move {
        if let Some(turn) = turn(&file) {
            turn.until_free().await;
        }
        Ok(())
    }))
}

fn position_turn(file: &OpenFile) -> Option<&Turn> {
    Some(&file.position_turn)
}

fn content_turn(file: &OpenFile) -> Option<&Turn> {
    file.file.content_turn()
}

impl OpenFile {
    pub(super) fn try_take_position(self: &Arc<Self>) -> Result<Option<AsyncMutexGuard<'_, ()>>, Obstacle> {
        take(self, position_turn)
    }

    /// The same as [`Self::try_read`] and [`Self::try_write`] for files without positions, which need no [`Transfer`]
    /// unless an obstacle comes: [`Self::judge`] says what that means.
    #[inline(always)]
    pub fn try_stream(&self, direction: Direction, buffer: &mut UserBuffer) -> Attempt {
        match direction {
            Direction::Read => {
                self.check_readable()?;
                let before = buffer.done();
                let outcome = self.file.try_read(0, buffer);
                self.note_read(before, buffer);
                outcome
            }
            Direction::Write => {
                self.check_writable()?;
                let before = buffer.done();
                let outcome = self.file.try_write(0, buffer);
                self.note_moved(WatchMask::MODIFY, before, buffer);
                outcome
            }
        }
    }

    /// Whether a transfer can be done as these flags say.
    pub fn check_flags(&self, flags: ReadWriteFlags) -> Result<(), Errno> {
        if flags.contains(ReadWriteFlags::APPEND | ReadWriteFlags::NOAPPEND) {
            return Err(Errno::EINVAL);
        }
        // No file promises to write all or nothing.
        let is_refused = flags.contains(ReadWriteFlags::NOWAIT) && !self.file.can_refuse_to_wait()
            || flags.contains(ReadWriteFlags::ATOMIC);
        if is_refused { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
    }

    /// What a write still owes after its bytes were taken: to bring them to where they last.
    pub async fn settle_write(&self, flags: ReadWriteFlags) -> Result<(), Errno> {
        if !flags.intersects(ReadWriteFlags::SYNC | ReadWriteFlags::DSYNC) {
            return Ok(());
        }
        if let Some(inode) = self.inode() {
            inode.sync(!flags.contains(ReadWriteFlags::SYNC)).await?;
        }
        match self.file.sync() {
            Some(sync) => sync.await,
            None => Ok(()),
        }
    }

    /// Reads. What was moved before an obstacle counts: then it is a short read.
    #[inline(always)]
    pub fn try_read(self: &Arc<Self>, transfer: &mut Transfer, buffer: &mut UserBuffer) -> Attempt {
        self.check_readable()?;
        if self.is_seekable {
            return self.read_at(transfer, buffer);
        }
        if transfer.position != Position::Current && !self.file.ignores_positions() {
            return Err(Errno::ESPIPE.into());
        }
        match self.try_stream(Direction::Read, buffer) {
            Ok(_) => Ok(buffer.done()),
            Err(obstacle) => self.judge(transfer, buffer, obstacle),
        }
    }

    /// Writes. What was moved before an error counts: then it is a short write. A wait goes on where it stopped.
    #[inline(always)]
    pub fn try_write(self: &Arc<Self>, transfer: &mut Transfer, buffer: &mut UserBuffer) -> Attempt {
        self.check_writable()?;
        if self.is_seekable {
            return self.write_at(transfer, buffer);
        }
        if transfer.position != Position::Current && !self.file.ignores_positions() {
            return Err(Errno::ESPIPE.into());
        }
        match self.try_stream(Direction::Write, buffer) {
            Ok(_) => Ok(buffer.done()),
            Err(obstacle) => self.judge(transfer, buffer, obstacle),
        }
    }

    #[inline]
    fn read_at(self: &Arc<Self>, transfer: &mut Transfer, buffer: &mut UserBuffer) -> Attempt {
        let Position::Current = transfer.position else {
            let (offset, before) = (self.begin_of(transfer, buffer), buffer.done());
            let outcome = self.file.try_read(offset, buffer);
            self.note_read(before, buffer);
            return self.conclude(transfer, buffer, outcome);
        };
        let turn = if transfer.keeps_position { None } else { take(self, position_turn)? };
        let (offset, before) = (self.begin_of(transfer, buffer), buffer.done());
        let outcome = self.file.try_read(offset, buffer);
        self.note_read(before, buffer);
        self.move_on(transfer, offset, buffer.done() - before);
        let outcome = self.conclude(transfer, buffer, outcome);
        self.keep_or_release(transfer, turn, None, &outcome);
        outcome
    }

    #[inline]
    fn write_at(self: &Arc<Self>, transfer: &mut Transfer, buffer: &mut UserBuffer) -> Attempt {
        let wants_position = transfer.position == Position::Current && !transfer.keeps_position;
        let position = if wants_position { take(self, position_turn)? } else { None };
        let content = if transfer.keeps_content {
            None
        } else {
            match take(self, content_turn) {
                Ok(turn) => turn,
                Err(obstacle) => {
                    let outcome = Err(obstacle);
                    self.keep_or_release(transfer, position, None, &outcome);
                    return outcome;
                }
            }
        };
        let offset =
            if self.appends(transfer) { self.file.end() } else { Ok(self.begin_of(transfer, buffer)) };
        let outcome = match offset {
            Ok(offset) => {
                let before = buffer.done();
                let outcome = self.file.try_write(offset, buffer);
                self.note_moved(WatchMask::MODIFY, before, buffer);
                self.move_on(transfer, offset, buffer.done() - before);
                self.conclude(transfer, buffer, outcome)
            }
            Err(errno) => Err(errno.into()),
        };
        self.keep_or_release(transfer, position, content, &outcome);
        outcome
    }

    /// Whether what is written goes to the end, whatever the position.
    #[inline]
    fn appends(&self, transfer: &Transfer) -> bool {
        self.status.load(Ordering::Relaxed) & OpenFlags::APPEND.bits() != 0
            && !transfer.flags.contains(ReadWriteFlags::NOAPPEND)
            || transfer.flags.contains(ReadWriteFlags::APPEND)
    }

    /// Where a write would begin, of a file that grows by it; `None` for others.
    pub fn growth_begin(&self, transfer: &Transfer, buffer: &UserBuffer) -> Result<Option<u64>, Errno> {
        if !self.is_seekable {
            return Ok(None);
        }
        if self.appends(transfer) {
            self.file.end().map(Some)
        } else {
            Ok(Some(self.begin_of(transfer, buffer)))
        }
    }

    /// Where this attempt begins: earlier ones may have moved a part already.
    #[inline]
    fn begin_of(&self, transfer: &Transfer, buffer: &UserBuffer) -> u64 {
        match transfer.position {
            Position::Current => self.position.load(Ordering::Relaxed),
            Position::At(offset) => offset.saturating_add(buffer.done() as u64),
        }
    }

    /// So many bytes from `offset` on were moved.
    #[inline]
    fn move_on(&self, transfer: &Transfer, offset: u64, moved: usize) {
        if moved > 0 && transfer.position == Position::Current {
            self.position.store(offset + moved as u64, Ordering::Relaxed);
        }
    }

    #[inline]
    fn conclude(&self, transfer: &Transfer, buffer: &UserBuffer, outcome: Attempt) -> Attempt {
        match outcome {
            Ok(_) => Ok(buffer.done()),
            Err(obstacle) => self.judge(transfer, buffer, obstacle),
        }
    }

    /// What an obstacle means for the transfer: what does not wait fails, and what was moved before counts.
    #[cold]
    pub fn judge(&self, transfer: &Transfer, buffer: &UserBuffer, obstacle: Obstacle) -> Attempt {
        let never_waits = transfer.flags.contains(ReadWriteFlags::NOWAIT);
        let refuses = never_waits || (self.is_nonblocking() && !transfer.is_patient);
        let obstacle = match obstacle {
            Obstacle::NotReady(_) | Obstacle::NotReadyFor(..) if refuses => Obstacle::Error(Errno::EAGAIN),
            Obstacle::Wait(_) | Obstacle::Event(_) if never_waits => Obstacle::Error(Errno::EAGAIN),
            other => other,
        };
        match obstacle {
            Obstacle::Error(_) if buffer.done() > 0 => Ok(buffer.done()),
            obstacle => Err(obstacle),
        }
    }

    /// Keeps the turns if there will be another attempt.
    #[inline(always)]
    fn keep_or_release(
        self: &Arc<Self>,
        transfer: &mut Transfer,
        position: Option<AsyncMutexGuard<'_, ()>>,
        content: Option<AsyncMutexGuard<'_, ()>>,
        outcome: &Attempt,
    ) {
        match outcome {
            Ok(_) | Err(Obstacle::Error(_)) => {
                drop((position, content));
                if transfer.kept.is_some() {
                    transfer.release();
                }
            }
            Err(_) => self.keep(transfer, position, content),
        }
    }

    #[cold]
    fn keep(
        self: &Arc<Self>,
        transfer: &mut Transfer,
        position: Option<AsyncMutexGuard<'_, ()>>,
        content: Option<AsyncMutexGuard<'_, ()>>,
    ) {
        transfer.kept.get_or_insert_with(|| self.clone());
        transfer.keeps_position |= position.is_some();
        transfer.keeps_content |= content.is_some();
        core::mem::forget((position, content));
    }
}
