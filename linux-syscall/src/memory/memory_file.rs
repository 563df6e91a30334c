//! `memfd_create`, and `process_vm_readv` and `process_vm_writev`.

use alloc::vec::Vec;

use kernel_hal::VirtAddr;
use linux_abi::Errno;
use linux_abi::file::Iovec;
use linux_object::memory::memory_file::{self, LONGEST_NAME, MemoryFileFlags};
use linux_object::memory::remote::{self, Direction};
use linux_object::obstacle::complete;
use linux_object::process::find_process;
use linux_object::user_buffer::UserMemory;

use crate::argument::{PathAddress, UserAddress};
use crate::call::{Call, Outcome, slow};

/// The most pieces on either side.
const MOST_IOVECS: usize = 1024;

pub fn memfd_create(call: &mut Call<'_>, name: PathAddress, flags: u32) -> Result<Outcome, Errno> {
    let flags = MemoryFileFlags::decode(flags)?;
    let (memory, files) = (call.memory(), call.resources.files.clone());
    let credentials = call.thread.process().credentials();
    Ok(slow(async move {
        // The zero at the end counts.
        let limit = LONGEST_NAME + 1;
        let name = complete(|| memory.read_string(VirtAddr::new(name.0), limit, Errno::EINVAL)).await?;
        let file = memory_file::create(&name, flags, &credentials).await?;
        files.insert(file, 0, flags.close_on_exec).map(|number| number as usize)
    }))
}

async fn pieces(
    memory: &UserMemory,
    vectors: VirtAddr,
    count: usize,
) -> Result<Vec<(VirtAddr, usize)>, Errno> {
    if count > MOST_IOVECS {
        return Err(Errno::EINVAL);
    }
    let vectors: Vec<Iovec> = complete(|| memory.read_array(vectors, count)).await?;
    let mut total = 0_usize;
    let mut pieces = Vec::new();
    pieces.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for vector in vectors {
        let len = vector.iov_len as usize;
        total = total.checked_add(len).filter(|&total| total <= isize::MAX as usize).ok_or(Errno::EINVAL)?;
        pieces.push((VirtAddr::new(vector.iov_base as usize), len));
    }
    Ok(pieces)
}

fn copy(
    call: &Call<'_>,
    process: i32,
    own: (UserAddress, usize),
    other: (UserAddress, usize),
    flags: usize,
    direction: Direction,
) -> Result<Outcome, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (memory, caller) = (call.memory(), call.thread.process().clone());
    Ok(slow(async move {
        let own_pieces = pieces(&memory, own.0.get(), own.1).await?;
        let other_pieces = pieces(&memory, other.0.get(), other.1).await?;
        if own_pieces.iter().all(|piece| piece.1 == 0) {
            return Ok(0);
        }
        let target = find_process(process).ok_or(Errno::ESRCH)?;
        let other = remote::memory_of(&caller, &target)?;
        remote::copy(memory, own_pieces, other, other_pieces, direction).await
    }))
}

pub fn process_vm_readv(
    call: &mut Call<'_>,
    process: i32,
    own: UserAddress,
    own_count: usize,
    other: UserAddress,
    other_count: usize,
    flags: usize,
) -> Result<Outcome, Errno> {
    copy(call, process, (own, own_count), (other, other_count), flags, Direction::Read)
}

pub fn process_vm_writev(
    call: &mut Call<'_>,
    process: i32,
    own: UserAddress,
    own_count: usize,
    other: UserAddress,
    other_count: usize,
    flags: usize,
) -> Result<Outcome, Errno> {
    copy(call, process, (own, own_count), (other, other_count), flags, Direction::Write)
}
