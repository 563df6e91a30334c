//! `ioctl`: requests that every descriptor understands are answered here, all others by the file.

use linux_abi::Errno;
use linux_abi::file::{FASYNC, OpenFlags};
use linux_abi::stat::FileType;
use linux_abi::terminal::{FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD};
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;
use linux_object::user_buffer::UserMemory;

use super::descriptor;
use super::owner::{self, FIOGETOWN, FIOSETOWN, SIOCGPGRP, SIOCSPGRP};
use crate::argument::{Fd, UserAddress};
use crate::call::{Call, Outcome, attempt};

pub fn ioctl(call: &mut Call<'_>, fd: Fd, request: u32, argument: UserAddress) -> Result<Outcome, Errno> {
    let file = descriptor(call, fd)?;
    let memory = call.memory();
    match request {
        FIOCLEX | FIONCLEX => {
            call.resources.files.set_close_on_exec(fd.0, request == FIOCLEX)?;
            return Ok(Outcome::Done(0));
        }
        FIONBIO => return Ok(attempt(call, move || set_nonblocking(&file, argument, &memory))),
        FIOASYNC => {
            return Ok(attempt(call, move || {
                let wanted = memory.read::<i32>(argument.get())? != 0;
                if wanted != (file.flags() & FASYNC != 0) {
                    file.set_signal_driven(wanted, fd.0)?;
                }
                Ok(0)
            }));
        }
        FIOSETOWN | SIOCSPGRP | FIOGETOWN | SIOCGPGRP if file.file().as_socket().is_some() => {
            return owner::control_socket(call, file, request, argument);
        }
        FIONREAD if file.inode().is_some_and(|inode| inode.file_type() == FileType::Regular) => {
            return Ok(attempt(call, move || {
                let rest = file.file().end()? as i64 - file.list_position() as i64;
                memory.write(argument.get(), &(rest as i32))?;
                Ok(0)
            }));
        }
        _ => {}
    }
    let thread = call.owned_thread();
    Ok(attempt(call, move || file.file().try_control(request, argument.0, &memory, &thread)))
}

fn set_nonblocking(file: &OpenFile, argument: UserAddress, memory: &UserMemory) -> Attempt {
    let wanted = memory.read::<i32>(argument.get())? != 0;
    let mut flags = OpenFlags::from_bits_retain(file.flags());
    flags.set(OpenFlags::NONBLOCK, wanted);
    file.set_flags(flags)?;
    Ok(0)
}
