//! System V's shared memory.

use linux_abi::Errno;
use linux_abi::ipc::{
    IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, SHM_INFO, SHM_LOCK, SHM_STAT, SHM_STAT_ANY, SHM_UNLOCK,
    ShmidStatus,
};
use linux_object::ipc::shared_memory::{self, Segment};

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

pub fn shmget(call: &mut Call<'_>, key: i32, size: usize, flags: i32) -> Result<usize, Errno> {
    let process = call.thread.process();
    shared_memory::get(key, size, flags, &call.thread.credentials(), process.id())
}

pub fn shmat(call: &mut Call<'_>, id: i32, address: UserAddress, flags: i32) -> Result<usize, Errno> {
    let (space, process) = (&call.resources.address_space, call.thread.process());
    shared_memory::attach(space, id, address.get(), flags, &call.thread.credentials(), process.id())
}

pub fn shmdt(call: &mut Call<'_>, address: UserAddress) -> Result<usize, Errno> {
    let process = call.thread.process();
    shared_memory::detach(&call.resources.address_space, address.get(), process.id()).map(|()| 0)
}

pub fn shmctl(call: &mut Call<'_>, id: i32, command: i32, buffer: UserAddress) -> Result<Outcome, Errno> {
    let (memory, credentials) = (call.memory(), call.thread.credentials());
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL);
    }
    match command {
        IPC_INFO => Ok(attempt(call, move || {
            memory.write(buffer.get(), &shared_memory::limits())?;
            Ok(shared_memory::largest_index())
        })),
        SHM_INFO => Ok(attempt(call, move || {
            memory.write(buffer.get(), &shared_memory::usage())?;
            Ok(shared_memory::largest_index())
        })),
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let segment = match command {
                IPC_STAT => Segment::readable(id, &credentials)?,
                _ => shared_memory::at_index(id)?,
            };
            if command == SHM_STAT {
                segment.check_readable(&credentials)?;
            }
            let value = if command == IPC_STAT { 0 } else { segment.id() as usize };
            Ok(attempt(call, move || {
                memory.write(buffer.get(), &segment.status())?;
                Ok(value)
            }))
        }
        IPC_SET => Ok(attempt(call, move || {
            let new = memory.read::<ShmidStatus>(buffer.get())?;
            shared_memory::change(id, &new.shm_perm, &credentials)?;
            Ok(0)
        })),
        IPC_RMID => shared_memory::remove(id, &credentials).map(|()| Outcome::Done(0)),
        SHM_LOCK | SHM_UNLOCK => {
            shared_memory::set_locked(id, command == SHM_LOCK, &credentials).map(|()| Outcome::Done(0))
        }
        _ => Err(Errno::EINVAL),
    }
}
