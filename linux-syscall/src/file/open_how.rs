//! `openat2`: opening with flags that must all be known, and with limits to where the path may lead.

use linux_abi::Errno;
use linux_abi::file::{FASYNC, O_ACCMODE, OpenFlags, ResolveFlags};
use linux_object::obstacle::{Attempt, complete};
use linux_object::user_buffer::UserMemory;

use super::open::{Opening, PATH_FLAGS, TMPFILE_ALONE, check_creation};
use crate::argument::{Fd, PathAddress, UserAddress};
use crate::call::{Call, Completion, Outcome, start};

/// Words of `struct open_how`: flags, mode, limits.
const WORDS: usize = 3;
const LEAST_BYTES: usize = WORDS * size_of::<u64>();
const MOST_BYTES: usize = 4096;
const PERMISSIONS: u64 = 0o7777;

fn read_how(memory: &UserMemory, address: UserAddress, size: usize) -> Attempt<[u64; WORDS]> {
    let how = memory.read(address.get())?;
    for offset in LEAST_BYTES..size {
        // What a later version has must ask for nothing.
        if memory.read::<u8>(address.get() + offset)? != 0 {
            return Err(Errno::E2BIG.into());
        }
    }
    Ok(how)
}

/// What is asked for, if it makes sense.
fn opening(directory: Fd, path: PathAddress, how: [u64; WORDS]) -> Result<Opening, Errno> {
    let [flags, mode, resolve] = how;
    let known = OpenFlags::all().bits() | O_ACCMODE | FASYNC;
    let flags = u32::try_from(flags).ok().filter(|flags| flags & !known == 0).ok_or(Errno::EINVAL)?;
    let flags = OpenFlags::from_bits_retain(flags);
    let resolve = ResolveFlags::from_bits(resolve).ok_or(Errno::EINVAL)?;
    if resolve.contains(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let creates = flags.intersects(OpenFlags::CREAT | TMPFILE_ALONE);
    if mode & !(if creates { PERMISSIONS } else { 0 }) != 0 {
        return Err(Errno::EINVAL);
    }
    if creates {
        check_creation(flags)?;
    }
    if flags.contains(OpenFlags::PATH) && !PATH_FLAGS.contains(flags) {
        return Err(Errno::EINVAL);
    }
    if resolve.contains(ResolveFlags::CACHED) && (creates || flags.contains(OpenFlags::TRUNC)) {
        return Err(Errno::EAGAIN);
    }
    Ok(Opening { directory, path, flags, permissions: mode as u32, resolve })
}

pub fn openat2(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    how: UserAddress,
    size: usize,
) -> Result<Outcome, Errno> {
    if size < LEAST_BYTES {
        return Err(Errno::EINVAL);
    }
    if size > MOST_BYTES {
        return Err(Errno::E2BIG);
    }
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(start(async move {
        let how = match complete(|| read_how(&memory, how, size)).await {
            Ok(how) => how,
            Err(errno) => return Completion::Error(errno),
        };
        match opening(directory, path, how) {
            Ok(opening) => opening.run(&memory, &resources, &thread).await,
            Err(errno) => Completion::Error(errno),
        }
    }))
}
