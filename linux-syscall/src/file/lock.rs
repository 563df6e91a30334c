//! Locks on files: `flock`, and the commands of `fcntl`.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{
    F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SETLKW, F_UNLCK, F_WRLCK, Flock, LOCK_EX,
    LOCK_NB, LOCK_SH, LOCK_UN, O_ACCMODE, O_RDONLY, O_WRONLY, SEEK_CUR, SEEK_END, SEEK_SET,
};
use linux_object::file::OpenFile;
use linux_object::locks::{LockKind, LockOwner, LockRange, RecordRequest, WholeRequest};

use super::descriptor;
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Outcome, attempt};

pub fn flock(call: &mut Call<'_>, fd: Fd, operation: i32) -> Result<Outcome, Errno> {
    let kind = match operation & !LOCK_NB {
        LOCK_SH => Some(LockKind::Shared),
        LOCK_EX => Some(LockKind::Exclusive),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let request = WholeRequest { file: descriptor(call, fd)?, kind, process: call.thread.process().id() };
    let may_wait = operation & LOCK_NB == 0;
    Ok(attempt(call, move || request.try_set(may_wait)))
}

/// Which bytes are meant.
fn range_of(file: &OpenFile, wanted: &Flock) -> Result<LockRange, Errno> {
    let base = match i32::from(wanted.l_whence) {
        SEEK_SET => 0,
        SEEK_CUR if file.is_seekable() => file.list_position() as i64,
        SEEK_CUR => 0,
        SEEK_END => file.file().end()? as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(wanted.l_start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match wanted.l_len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start.checked_add(len).ok_or(Errno::EINVAL)?, start - 1),
    };
    let first = u64::try_from(first).map_err(|_| Errno::EINVAL)?;
    Ok(LockRange { first, last: last as u64 })
}

fn kind_of(wanted: &Flock) -> Result<Option<LockKind>, Errno> {
    match i32::from(wanted.l_type) {
        F_RDLCK => Ok(Some(LockKind::Shared)),
        F_WRLCK => Ok(Some(LockKind::Exclusive)),
        F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

/// What is told of a lock that is in the way.
fn describe(conflict: Option<(LockKind, LockRange, i32)>, asked: Flock) -> Flock {
    let Some((kind, range, process)) = conflict else { return Flock { l_type: F_UNLCK as i16, ..asked } };
    let len = if range.last == LockRange::END { 0 } else { range.last - range.first + 1 };
    Flock {
        l_type: if kind == LockKind::Exclusive { F_WRLCK } else { F_RDLCK } as i16,
        l_whence: SEEK_SET as i16,
        l_start: range.first as i64,
        l_len: len as i64,
        l_pid: process,
        ..asked
    }
}

/// Who may lock: one writes under an exclusive lock, and reads under a shared one.
fn check_access(file: &OpenFile, kind: Option<LockKind>) -> Result<(), Errno> {
    let access = file.flags() & O_ACCMODE;
    match kind {
        Some(LockKind::Shared) if access == O_WRONLY => Err(Errno::EBADF),
        Some(LockKind::Exclusive) if access == O_RDONLY => Err(Errno::EBADF),
        _ => Ok(()),
    }
}

pub(super) fn lock_range(
    call: &mut Call<'_>,
    fd: Fd,
    file: Arc<OpenFile>,
    command: i32,
    argument: UserAddress,
) -> Result<Outcome, Errno> {
    let is_of_opening = matches!(command, F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW);
    let asks = matches!(command, F_GETLK | F_OFD_GETLK);
    let may_wait = matches!(command, F_SETLKW | F_OFD_SETLKW);
    let (memory, files) = (call.memory(), call.resources.files.clone());
    let process = call.thread.process().id();
    let mut made: Option<(Flock, Option<LockKind>, RecordRequest)> = None;
    Ok(attempt(call, move || {
        let (wanted, kind, request) = match &mut made {
            Some(made) => made,
            none => {
                let wanted: Flock = memory.read(argument.get())?;
                let kind = kind_of(&wanted)?;
                if asks && kind.is_none() || is_of_opening && wanted.l_pid != 0 {
                    return Err(Errno::EINVAL.into());
                }
                let range = range_of(&file, &wanted)?;
                let owner = match is_of_opening {
                    true => LockOwner::Opening,
                    false => LockOwner::Process(files.clone(), process),
                };
                none.insert((wanted, kind, RecordRequest::new(file.clone(), owner, kind, range)))
            }
        };
        if asks {
            return memory.write(argument.get(), &describe(request.conflict(), *wanted)).map(|()| 0);
        }
        check_access(&file, *kind)?;
        let done = request.try_set(may_wait)?;
        if files.get(fd.0).is_ok_and(|current| Arc::ptr_eq(&current, &file)) {
            return Ok(done);
        }
        // It was closed meanwhile, and closing has given up what was locked till then.
        request.give_up();
        Ok(done)
    }))
}
