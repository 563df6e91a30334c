//! Restartable sequences: code that starts again if something came between.
//!
//! A thread's area says on which hart it runs; that is brought up to date when the thread has moved. A sequence that was left
//! by preemption or a signal is aborted on the way back to user mode. A wait inside of one is the program's own mistake,
//! as on Linux.

use core::mem::offset_of;

use kernel_hal::{HartId, USER_END, VirtAddr};
use linux_abi::Errno;
use linux_abi::rseq::{
    RSEQ_ALIGNMENT, RSEQ_CPU_ID_UNINITIALIZED, RSEQ_FLAG_UNREGISTER, RSEQ_ORIGINAL_SIZE, Rseq,
    RseqCriticalSection,
};
use linux_object::obstacle::Attempt;
use linux_object::thread::{Thread, Work};
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

pub fn rseq(
    call: &mut Call<'_>,
    area: UserAddress,
    len: u32,
    flags: i32,
    signature: u32,
) -> Result<Outcome, Errno> {
    let thread = call.owned_thread();
    let present = thread.rseq();
    let len = len as usize;
    if flags & RSEQ_FLAG_UNREGISTER != 0 {
        if flags != RSEQ_FLAG_UNREGISTER || present == 0 || present != area.0 || len != RSEQ_ORIGINAL_SIZE {
            return Err(Errno::EINVAL);
        }
        if signature != thread.rseq_signature() {
            return Err(Errno::EPERM);
        }
        let memory = call.memory();
        return Ok(attempt(call, move || {
            let unregistered = RSEQ_CPU_ID_UNINITIALIZED as u32;
            write_numbers(&memory, present, [0, unregistered, 0, 0])?;
            thread.set_rseq(0, 0);
            Ok(0)
        }));
    }
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if present != 0 {
        return Err(match () {
            () if present != area.0 || len != RSEQ_ORIGINAL_SIZE => Errno::EINVAL,
            () if signature != thread.rseq_signature() => Errno::EPERM,
            () => Errno::EBUSY,
        });
    }
    if len != RSEQ_ORIGINAL_SIZE || !area.0.is_multiple_of(RSEQ_ALIGNMENT) {
        return Err(Errno::EINVAL);
    }
    if area.is_null() || !area.get().is_user_range(len) {
        return Err(Errno::EFAULT);
    }
    thread.set_rseq(area.0, signature);
    thread.add_work(Work::PREEMPTED);
    Ok(Outcome::Done(0))
}

/// The hart's number twice, the memory node's, and a number that no other running thread of the memory has.
fn write_numbers(
    memory: &UserMemory,
    area: usize,
    [start, hart, node, concurrency]: [u32; 4],
) -> Attempt<()> {
    let at = |offset: usize| VirtAddr::new(area + offset);
    memory.write(at(offset_of!(Rseq, cpu_id_start)), &[start, hart])?;
    memory.write(at(offset_of!(Rseq, node_id)), &[node, concurrency])
}

/// What is done before the thread goes back to user mode after something came between: its numbers are brought up to date if
/// it has moved, and a sequence it was in is aborted. Returns where it goes on, or an error for an area that makes no sense.
pub(crate) fn try_settle(thread: &Thread, memory: &UserMemory, program_counter: usize) -> Attempt<usize> {
    let area = thread.rseq();
    if area == 0 {
        return Ok(program_counter);
    }
    let goes_on_at = try_abort(thread, memory, area, program_counter)?;
    let hart = HartId::current();
    if !thread.rseq_says(hart) {
        let hart_number = hart.index() as u32;
        // Harts are numbered from 0, and a hart runs one thread at a time: its number serves as both.
        write_numbers(memory, area, [hart_number, hart_number, 0, hart_number])?;
        thread.note_rseq_says(hart);
    }
    Ok(goes_on_at)
}

fn try_abort(thread: &Thread, memory: &UserMemory, area: usize, program_counter: usize) -> Attempt<usize> {
    let slot = VirtAddr::new(area + offset_of!(Rseq, rseq_cs));
    let section: u64 = memory.read(slot)?;
    if section == 0 {
        return Ok(program_counter);
    }
    let section: RseqCriticalSection = memory.read(VirtAddr::new(section as usize))?;
    let end = section.start_ip.checked_add(section.post_commit_offset).ok_or(Errno::EINVAL)?;
    let is_in_user_space = |address: u64| address < USER_END as u64;
    let is_sane = section.version == 0
        && is_in_user_space(section.start_ip)
        && is_in_user_space(end)
        && is_in_user_space(section.abort_ip)
        && !(section.start_ip..end).contains(&section.abort_ip);
    if !is_sane || section.abort_ip < size_of::<u32>() as u64 {
        return Err(Errno::EINVAL.into());
    }
    let before_abort = VirtAddr::new(section.abort_ip as usize - size_of::<u32>());
    let signature: u32 = memory.read(before_abort)?;
    if signature != thread.rseq_signature() {
        return Err(Errno::EINVAL.into());
    }
    let is_inside = (section.start_ip..end).contains(&(program_counter as u64));
    if is_inside {
        let area_flags: u32 = memory.read(VirtAddr::new(area + offset_of!(Rseq, flags)))?;
        if section.flags != 0 || area_flags != 0 {
            return Err(Errno::EINVAL.into());
        }
    }
    memory.write(slot, &0u64)?;
    Ok(if is_inside { section.abort_ip as usize } else { program_counter })
}
