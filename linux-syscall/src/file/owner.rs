//! Who is sent the signals of a file that sends some: `F_SETOWN` and its kin.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::{F_GETOWN, F_GETSIG, F_SETOWN, F_SETOWN_EX, F_SETSIG, FOwnerEx};
use linux_abi::signal::Signal;
use linux_object::file::{OpenFile, Owner};

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

pub(super) const FIOSETOWN: u32 = 0x8901;
pub(super) const SIOCSPGRP: u32 = 0x8902;
pub(super) const FIOGETOWN: u32 = 0x8903;
pub(super) const SIOCGPGRP: u32 = 0x8904;

const F_OWNER_TID: i32 = 0;
const F_OWNER_PID: i32 = 1;
const F_OWNER_PGRP: i32 = 2;

/// A positive number is a process, a negative one a group.
fn owner_of(number: i32) -> Result<Option<Owner>, Errno> {
    match number {
        0 => Ok(None),
        i32::MIN => Err(Errno::EINVAL),
        id if id < 0 => Ok(Some(Owner::Group(-id))),
        id => Ok(Some(Owner::Process(id))),
    }
}

fn number_of(owner: Option<Owner>) -> i32 {
    match owner {
        None => 0,
        Some(Owner::Group(id)) => -id,
        Some(Owner::Process(id) | Owner::Thread(id)) => id,
    }
}

/// The commands of `fcntl`.
pub(super) fn control(
    call: &Call<'_>,
    file: Arc<OpenFile>,
    command: i32,
    argument: usize,
) -> Result<Outcome, Errno> {
    let (memory, thread) = (call.memory(), call.owned_thread());
    let address = UserAddress(argument).get();
    let done = match command {
        F_SETOWN => file.set_owner(owner_of(argument as i32)?, &thread).map(|()| 0)?,
        // A group is a negative number and yet no error.
        F_GETOWN => number_of(file.owner()) as usize,
        F_SETSIG => {
            let signal = match argument {
                0 => None,
                number => Some(i32::try_from(number).ok().and_then(Signal::new).ok_or(Errno::EINVAL)?),
            };
            file.set_owner_signal(signal);
            0
        }
        F_GETSIG => file.owner_signal().map_or(0, |signal| signal.number() as usize),
        F_SETOWN_EX => {
            return Ok(attempt(call, move || {
                let wanted: FOwnerEx = memory.read(address)?;
                let owner = match wanted.r#type {
                    F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP if wanted.pid == 0 => None,
                    F_OWNER_TID => Some(Owner::Thread(wanted.pid)),
                    F_OWNER_PID => Some(Owner::Process(wanted.pid)),
                    F_OWNER_PGRP => Some(Owner::Group(wanted.pid)),
                    _ => return Err(Errno::EINVAL.into()),
                };
                file.set_owner(owner, &thread)?;
                Ok(0)
            }));
        }
        _ => {
            let told = match file.owner() {
                None => FOwnerEx { r#type: F_OWNER_PID, pid: 0 },
                Some(Owner::Thread(pid)) => FOwnerEx { r#type: F_OWNER_TID, pid },
                Some(Owner::Process(pid)) => FOwnerEx { r#type: F_OWNER_PID, pid },
                Some(Owner::Group(pid)) => FOwnerEx { r#type: F_OWNER_PGRP, pid },
            };
            return Ok(attempt(call, move || memory.write(address, &told).map(|()| 0)));
        }
    };
    Ok(Outcome::Done(done))
}

/// The same as `ioctl` does it on sockets.
pub(super) fn control_socket(
    call: &Call<'_>,
    file: Arc<OpenFile>,
    request: u32,
    argument: UserAddress,
) -> Result<Outcome, Errno> {
    let (memory, thread) = (call.memory(), call.owned_thread());
    Ok(attempt(call, move || {
        match request {
            FIOSETOWN | SIOCSPGRP => file.set_owner(owner_of(memory.read(argument.get())?)?, &thread)?,
            _ => memory.write(argument.get(), &number_of(file.owner()))?,
        }
        Ok(0)
    }))
}
