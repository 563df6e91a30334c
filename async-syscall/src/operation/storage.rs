//! What is asked of a file's content as a whole, of memory, and of descriptors.

use linux_abi::Errno;
use linux_abi::file::FallocateFlags;
use linux_abi::io_uring::{IORING_FILE_INDEX_ALLOC, IORING_FSYNC_DATASYNC, RequestFlags};
use linux_abi::poll::{EPOLL_CTL_DEL, EpollEvent};
use linux_object::epoll::Epoll;
use linux_object::memory::advice::{self, Advice};
use linux_object::memory::populate::{self, Unpopulated};
use linux_object::obstacle::Attempt;

use super::{Begun, Issue, Prepared, address, attempt, finish, finish_unless_cancelled};
use crate::register::Registration;
use crate::request::Outcome;

/// An operation on a file's content.
pub(crate) enum Storage {
    Synchronise { data_only: bool },
    SynchroniseRange { offset: i64, len: i64, flags: u32 },
    Allocate { flags: FallocateFlags, offset: i64, len: i64 },
    ChangeSize(u64),
    Advise { len: i64, advice: i32 },
}

fn prepared(storage: Storage) -> Attempt<Prepared> {
    Ok(Prepared::Storage(storage))
}

pub(super) fn prepare_synchronise(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain = entry.addr == 0 && entry.buf_index == 0 && entry.file_index == 0;
    if !is_plain || entry.rw_flags & !IORING_FSYNC_DATASYNC != 0 || (entry.off as i64) < 0 {
        return Err(Errno::EINVAL.into());
    }
    prepared(Storage::Synchronise { data_only: entry.rw_flags == IORING_FSYNC_DATASYNC })
}

pub(super) fn prepare_synchronise_range(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.addr != 0 || entry.buf_index != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (offset, len, flags) = (entry.off as i64, i64::from(entry.len), entry.rw_flags);
    prepared(Storage::SynchroniseRange { offset, len, flags })
}

pub(super) fn prepare_allocate(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.buf_index != 0 || entry.rw_flags != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (offset, len) = (entry.off as i64, entry.addr as i64);
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let flags = FallocateFlags::from_bits(entry.len).ok_or(Errno::EOPNOTSUPP)?;
    prepared(Storage::Allocate { flags, offset, len })
}

pub(super) fn prepare_change_size(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain = entry.rw_flags == 0 && entry.addr == 0 && entry.len == 0 && entry.buf_index == 0;
    if !is_plain || entry.file_index != 0 || entry.addr3 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let size = i64::try_from(entry.off).map_err(|_| Errno::EINVAL)?;
    prepared(Storage::ChangeSize(size as u64))
}

/// The length of advice: in the wide field, or in the one that all have.
fn advised_len(wide: u64, narrow: u32) -> u64 {
    if wide == 0 { u64::from(narrow) } else { wide }
}

pub(super) fn prepare_advise(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.buf_index != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = advised_len(entry.addr, entry.len) as i64;
    prepared(Storage::Advise { len, advice: entry.rw_flags as i32 })
}

impl Storage {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let file = issue.file()?;
        let keep = Some(file.clone());
        Ok(match self {
            Self::Synchronise { data_only } => {
                file.check_can_synchronise()?;
                finish(keep, async move { file.synchronise(data_only).await.map(|()| 0) })
            }
            Self::SynchroniseRange { offset, len, flags } => {
                file.check_can_synchronise_range(offset, len, flags)?;
                finish(keep, async move { file.synchronise_content().await.map(|()| 0) })
            }
            Self::Allocate { flags, offset, len } => {
                let thread = issue.thread.clone();
                finish(keep, async move { file.allocate_for(&thread, flags, offset, len).await.map(|()| 0) })
            }
            Self::ChangeSize(size) => {
                file.check_can_change_size()?;
                let thread = issue.thread.clone();
                finish(keep, async move { file.change_size(&thread, size).await.map(|()| 0) })
            }
            Self::Advise { len, advice } => {
                file.advise(len, advice)?;
                Begun::Ended(Outcome::value(0))
            }
        })
    }
}

/// Advice about memory.
pub(crate) struct MemoryAdvice {
    start: u64,
    len: u64,
    advice: i32,
}

pub(super) fn prepare_memory_advice(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.buf_index != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = advised_len(entry.off, entry.len);
    Ok(Prepared::MemoryAdvice(MemoryAdvice { start: entry.addr, len, advice: entry.rw_flags as i32 }))
}

impl MemoryAdvice {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let advice = Advice::decode(self.advice)?;
        let done = Begun::Ended(Outcome::value(0));
        let Some(range) = advice::range(address(self.start), self.len as usize)? else { return Ok(done) };
        let space = &issue.resources.address_space;
        let Advice::Populate(how) = advice else {
            return advice::follow(space, range, advice).map(|()| done);
        };
        let Some(rest) = populate::try_populate(space, range.start, range.end - range.start, how) else {
            return Ok(done);
        };
        let (thread, space) = (issue.thread.clone(), space.clone());
        Ok(finish_unless_cancelled(None, async move {
            let populated = populate::populate(&thread, &space, rest, how).await;
            populated.map(|()| 0).map_err(Unpopulated::as_advice_error)
        }))
    }
}

/// A change of what an epoll watches.
pub(crate) struct EpollChange {
    epoll: i32,
    file: i32,
    operation: i32,
    event: EpollEvent,
}

pub(super) fn prepare_epoll_change(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.buf_index != 0 || entry.file_index != 0 {
        return Err(Errno::EINVAL.into());
    }
    let operation = entry.len as i32;
    let event = match operation {
        EPOLL_CTL_DEL => EpollEvent::default(),
        _ => issue.memory().read(address(entry.addr))?,
    };
    let (epoll, file) = (entry.fd, entry.off as i32);
    Ok(Prepared::EpollChange(EpollChange { epoll, file, operation, event }))
}

impl EpollChange {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let numbers = (self.epoll, self.file);
        Epoll::control(&issue.resources.files, numbers, self.operation, self.event)?;
        Ok(Begun::Ended(Outcome::value(0)))
    }
}

/// Replaces registered files, as the call does, or registers some wherever there is room.
pub(crate) struct FilesUpdate {
    offset: u32,
    numbers: u64,
    count: u32,
}

pub(super) fn prepare_files_update(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    let is_plain = !issue.flags().intersects(RequestFlags::FIXED_FILE | RequestFlags::BUFFER_SELECT);
    if !is_plain || entry.rw_flags != 0 || entry.file_index != 0 || entry.len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let (offset, numbers, count) = (entry.off as u32, entry.addr, entry.len);
    Ok(Prepared::FilesUpdate(FilesUpdate { offset, numbers, count }))
}

impl FilesUpdate {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let (thread, resources) = (issue.thread.clone(), issue.resources.clone());
        let ring = issue.ring.clone();
        let mut done = 0;
        Ok(attempt(None, move || {
            let registration = Registration {
                thread: &thread,
                resources: &resources,
                operation: 0,
                argument: self.numbers,
                count: self.count,
            };
            let Self { offset, numbers, count } = self;
            let replaced = if offset == IORING_FILE_INDEX_ALLOC {
                ring.register_where_there_is_room(&registration, &mut done)
            } else {
                ring.replace_files(&registration, offset, numbers, 0, count)
            };
            replaced.map(Outcome::value)
        }))
    }
}
