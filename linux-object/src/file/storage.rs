//! What calls ask of a file's content as a whole: to store it, to change its size, and advice about it.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{FallocateFlags, O_ACCMODE, O_RDONLY, POSIX_FADV_NOREUSE, SyncFileRangeFlags};
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;
use linux_abi::stat::FileType;

use super::OpenFile;
use crate::signal::send_to_thread;
use crate::thread::Thread;

/// `EFBIG`, and a signal, if a file may not become so large.
pub fn check_file_size(thread: &Arc<Thread>, size: u64) -> Result<(), Errno> {
    if size <= thread.process().limits().file_size() {
        return Ok(());
    }
    send_to_thread(thread, Signal::SIGXFSZ, SignalInfo::kill(Signal::SIGXFSZ, 0, 0));
    Err(Errno::EFBIG)
}

impl OpenFile {
    /// Whether there is anything to store: a pipe or a socket has neither an inode nor a device behind it.
    pub fn check_can_synchronise(&self) -> Result<(), Errno> {
        if self.inode().is_none() && self.file().sync().is_none() { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Brings the file to stable storage; `data_only` leaves attributes out that reading the content does not need.
    pub async fn synchronise(&self, data_only: bool) -> Result<(), Errno> {
        if let Some(inode) = self.inode() {
            inode.sync(data_only).await?;
        }
        match self.file().sync() {
            Some(sync) => sync.await,
            None => Ok(()),
        }
    }

    /// Whether `sync_file_range` makes sense of the range, and of the file.
    pub fn check_can_synchronise_range(&self, offset: i64, len: i64, flags: u32) -> Result<(), Errno> {
        let is_valid = SyncFileRangeFlags::from_bits(flags).is_some()
            && offset >= 0
            && len >= 0
            && offset.checked_add(len).is_some();
        if !is_valid {
            return Err(Errno::EINVAL);
        }
        match self.inode().ok_or(Errno::ESPIPE)?.file_type() {
            FileType::Regular | FileType::BlockDevice | FileType::Directory | FileType::SymbolicLink => {
                Ok(())
            }
            _ => Err(Errno::ESPIPE),
        }
    }

    /// `sync_file_range`, after the check: the content is stored, all of it.
    pub async fn synchronise_content(&self) -> Result<(), Errno> {
        match self.inode() {
            Some(inode) => inode.sync(true).await,
            None => Ok(()),
        }
    }

    /// `fallocate`, within the process's limit of file sizes.
    pub async fn allocate_for(
        &self,
        thread: &Arc<Thread>,
        flags: FallocateFlags,
        offset: i64,
        len: i64,
    ) -> Result<(), Errno> {
        let end = offset.saturating_add(len) as u64;
        let may_grow = !flags.contains(FallocateFlags::KEEP_SIZE);
        if may_grow && self.file().end().is_ok_and(|size| end > size) {
            check_file_size(thread, end)?;
        }
        self.allocate(flags, offset, len).await
    }

    /// Advice on use: what it asks for happens by itself here, so it is only judged.
    pub fn advise(&self, len: i64, advice: i32) -> Result<(), Errno> {
        let is_pipe = self.inode().is_none_or(|inode| inode.file_type() == FileType::Fifo);
        if is_pipe && !self.file().is_seekable() {
            return Err(Errno::ESPIPE);
        }
        if len < 0 || !(0..=POSIX_FADV_NOREUSE).contains(&advice) { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Whether `ftruncate` may change the size of what is open here.
    pub fn check_can_change_size(&self) -> Result<(), Errno> {
        if self.flags() & O_ACCMODE == O_RDONLY { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// `ftruncate`, after the check.
    pub async fn change_size(&self, thread: &Arc<Thread>, size: u64) -> Result<(), Errno> {
        let place = self.place().filter(|place| place.file_type() == FileType::Regular);
        let place = place.ok_or(Errno::EINVAL)?;
        check_file_size(thread, size)?;
        place.change_size(&thread.credentials(), size).await
    }
}
