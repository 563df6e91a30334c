//! `getsockopt` and `setsockopt`.

use linux_abi::Errno;
use linux_object::socket::socket_of;

use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Outcome, attempt};
use crate::file::descriptor;

/// No option has a longer value that a family here looks at.
const MOST_VALUE_BYTES: usize = 256;

pub fn getsockopt(
    call: &mut Call<'_>,
    fd: Fd,
    level: i32,
    option: i32,
    value: UserAddress,
    len: UserAddress,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    socket_of(&file)?;
    let memory = call.memory();
    let mut answer = None;
    Ok(attempt(call, move || {
        let room: i32 = memory.read(len.get())?;
        let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
        let answer = match &answer {
            Some(answer) => answer,
            // Once only: to tell an error takes it away.
            None => answer.insert(socket_of(&file)?.option(level, option)?),
        };
        let told = &answer[..room.min(answer.len())];
        memory.write_bytes(value.get(), told)?;
        memory.write(len.get(), &(told.len() as u32))?;
        Ok(0)
    }))
}

pub fn setsockopt(
    call: &mut Call<'_>,
    fd: Fd,
    level: i32,
    option: i32,
    value: UserAddress,
    len: i32,
) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    socket_of(&file)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?.min(MOST_VALUE_BYTES);
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(attempt(call, move || {
        let mut bytes = [0; MOST_VALUE_BYTES];
        memory.read_bytes(value.get(), &mut bytes[..len])?;
        socket_of(&file)?.set_option(level, option, &bytes[..len], &thread)?;
        Ok(0)
    }))
}
