//! Syscalls that change what is known about a file: permissions, owner, times.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags, OpenFlags};
use linux_abi::time::Timespec;
use linux_object::credentials::Credentials;
use linux_object::namespace::{Place, TimesChange};
use linux_object::obstacle::complete;
use rcore_fs::TimeChange;

use crate::argument::{Fd, Mode, PathAddress, UserAddress};
use crate::call::{Call, Caller, Outcome, slow};
use crate::file::{descriptor, try_place};

const NANOSECONDS: i64 = 1_000_000_000;
const UTIME_NOW: i64 = (1 << 30) - 1;
const UTIME_OMIT: i64 = (1 << 30) - 2;

/// `EROFS` where nothing can be changed.
fn check_changeable(place: &Place) -> Result<(), Errno> {
    if place.mount().is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
}

/// The place of an opening, for changing its attributes.
fn place_of(call: &Call<'_>, fd: Fd) -> Result<Place, Errno> {
    let file = descriptor(call, fd)?;
    if file.flags() & OpenFlags::PATH.bits() != 0 {
        return Err(Errno::EBADF);
    }
    // What has no name has no attributes to change either.
    file.place().cloned().ok_or(Errno::EINVAL)
}

fn on_path<F>(
    call: &Call<'_>,
    directory: Fd,
    path: PathAddress,
    flags: u32,
    change: impl FnOnce(Place, Arc<Credentials>) -> F + Send + 'static,
) -> Result<Outcome, Errno>
where
    F: Future<Output = Result<(), Errno>> + Send,
{
    let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&flags| known.contains(flags)).ok_or(Errno::EINVAL)?;
    let (resources, thread) = (call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let caller = Caller { thread: &thread, resources: &resources };
        let credentials = thread.credentials();
        let place = complete(|| try_place(caller, &credentials, directory, path, flags)).await?;
        check_changeable(&place)?;
        change(place, credentials).await.map(|()| 0)
    }))
}

pub fn fchmod(call: &mut Call<'_>, fd: Fd, mode: Mode) -> Result<Outcome, Errno> {
    let (place, credentials) = (place_of(call, fd)?, call.thread.credentials());
    Ok(slow(async move {
        check_changeable(&place)?;
        place.change_permissions(&credentials, mode.0).await.map(|()| 0)
    }))
}

pub fn fchmodat(call: &mut Call<'_>, directory: Fd, path: PathAddress, mode: Mode) -> Result<Outcome, Errno> {
    fchmodat2(call, directory, path, mode, 0)
}

pub fn fchmodat2(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    mode: Mode,
    flags: u32,
) -> Result<Outcome, Errno> {
    on_path(call, directory, path, flags, move |place, credentials| async move {
        place.change_permissions(&credentials, mode.0).await
    })
}

fn given(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

pub fn fchown(call: &mut Call<'_>, fd: Fd, user: u32, group: u32) -> Result<Outcome, Errno> {
    let (place, credentials) = (place_of(call, fd)?, call.thread.credentials());
    Ok(slow(async move {
        check_changeable(&place)?;
        place.change_owner(&credentials, given(user), given(group)).await.map(|()| 0)
    }))
}

pub fn fchownat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    user: u32,
    group: u32,
    flags: u32,
) -> Result<Outcome, Errno> {
    on_path(call, directory, path, flags, move |place, credentials| async move {
        place.change_owner(&credentials, given(user), given(group)).await
    })
}

fn time_change(time: Timespec) -> Result<Option<TimeChange>, Errno> {
    match time.tv_nsec {
        UTIME_NOW => Ok(Some(TimeChange::Now)),
        UTIME_OMIT => Ok(None),
        0..NANOSECONDS => Ok(Some(TimeChange::To(time))),
        _ => Err(Errno::EINVAL),
    }
}

pub fn utimensat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    times: UserAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    // Without a path it is the descriptor's own file.
    let own = match path.0 {
        0 if directory.0 != AT_FDCWD => {
            if flags != 0 {
                return Err(Errno::EINVAL);
            }
            Some(place_of(call, directory)?)
        }
        _ => None,
    };
    let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = AtFlags::from_bits(flags).filter(|&flags| known.contains(flags)).ok_or(Errno::EINVAL)?;
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(slow(async move {
        let change = if times.is_null() {
            TimesChange::Touch
        } else {
            let both: [Timespec; 2] = [
                complete(|| memory.read(times.get())).await?,
                complete(|| memory.read(times.get() + size_of::<Timespec>())).await?,
            ];
            match (time_change(both[0])?, time_change(both[1])?) {
                // Nothing at all is to be done, not even with the path.
                (None, None) => return Ok(0),
                (Some(TimeChange::Now), Some(TimeChange::Now)) => TimesChange::Touch,
                (accessed, modified) => TimesChange::Set(accessed, modified),
            }
        };
        let place = match own {
            Some(place) => place,
            None => {
                let caller = Caller { thread: &thread, resources: &resources };
                complete(|| try_place(caller, &thread.credentials(), directory, path, flags)).await?
            }
        };
        check_changeable(&place)?;
        place.change_times(&thread.credentials(), change).await.map(|()| 0)
    }))
}
