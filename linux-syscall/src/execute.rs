//! Executing programs.

use alloc::boxed::Box;
use alloc::vec::Vec;

use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags};
use linux_object::namespace::walk;
use linux_object::obstacle::{Attempt, complete};
use linux_object::process::execute::{ProgramRequest, execute};
use linux_object::user_buffer::UserMemory;

use crate::argument::{Fd, PathAddress, UserAddress};
use crate::call::{Call, Completion, Outcome};
use crate::file::{place_of, start_of};

/// Arguments and environment together may have this many bytes, and one string this many.
const MOST_STRING_BYTES: usize = 2 << 20;
const LONGEST_STRING: usize = 128 << 10;

/// Reads an array of strings that ends with a null pointer.
fn read_strings(memory: &UserMemory, array: UserAddress, left: &mut usize) -> Attempt<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    if array.is_null() {
        return Ok(strings);
    }
    loop {
        let slot = array.0.checked_add(strings.len() * size_of::<usize>()).ok_or(Errno::EFAULT)?;
        let pointer: usize = memory.read(UserAddress(slot).get())?;
        if pointer == 0 {
            return Ok(strings);
        }
        let string = memory.read_string(UserAddress(pointer).get(), LONGEST_STRING, Errno::E2BIG)?;
        let cost = string.len() + 1 + size_of::<usize>();
        *left = left.checked_sub(cost).ok_or(Errno::E2BIG)?;
        strings.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        strings.push(string);
    }
}

pub fn execve(
    call: &mut Call<'_>,
    path: PathAddress,
    arguments: UserAddress,
    environment: UserAddress,
) -> Result<Outcome, Errno> {
    execveat(call, Fd(AT_FDCWD), path, arguments, environment, 0)
}

pub fn execveat(
    call: &mut Call<'_>,
    directory: Fd,
    path: PathAddress,
    arguments: UserAddress,
    environment: UserAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    const ACCEPTED: AtFlags = AtFlags::EMPTY_PATH.union(AtFlags::SYMLINK_NOFOLLOW);
    let flags = AtFlags::from_bits(flags).filter(|&flags| ACCEPTED.contains(flags)).ok_or(Errno::EINVAL)?;
    let is_shared = call.tenancy.is_shared();
    let closes = call.resources.files.is_close_on_exec(directory.0).unwrap_or(false);
    let (memory, resources, thread) = (call.memory(), call.resources.clone(), call.owned_thread());
    Ok(Outcome::Wait(Box::pin(async move {
        let run = async {
            let path = complete(|| memory.read_path(UserAddress(path.0).get())).await?;
            let credentials = thread.credentials();
            let is_descriptor = path.is_empty() && flags.contains(AtFlags::EMPTY_PATH);
            let start = match directory.0 {
                AT_FDCWD => None,
                _ if is_descriptor => Some(place_of(&resources.files.get_place(directory.0)?)),
                _ => start_of(&resources.files, directory, &path)?,
            };
            let place = match &start {
                Some(place) if is_descriptor => place.clone(),
                None if is_descriptor => resources.paths.working_directory(),
                _ => {
                    let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
                    let place = walk(&resources.paths, &credentials, start.as_ref(), &path, follow).await?;
                    if place.file_type() == linux_abi::stat::FileType::SymbolicLink {
                        return Err(Errno::ELOOP);
                    }
                    place
                }
            };
            // As a script's interpreter is told to find it.
            let path = match start {
                None => path,
                Some(_) if is_descriptor => alloc::format!("/dev/fd/{}", directory.0).into_bytes(),
                Some(_) => {
                    let mut whole = alloc::format!("/dev/fd/{}/", directory.0).into_bytes();
                    whole.extend(path);
                    whole
                }
            };
            let is_hidden = closes && path.starts_with(b"/dev/fd/");
            let request = complete(|| {
                let mut left = MOST_STRING_BYTES;
                Ok(ProgramRequest {
                    path: path.clone(),
                    place: Some(place.clone()),
                    path_is_hidden: is_hidden,
                    arguments: read_strings(&memory, arguments, &mut left)?,
                    environment: read_strings(&memory, environment, &mut left)?,
                })
            })
            .await?;
            execute(&thread, &resources, is_shared, request).await
        };
        match run.await {
            Ok(program) => Completion::Program(Box::new(program)),
            Err(errno) => Completion::Error(errno),
        }
    })))
}
