//! What programs ask and tell the harts.

use kernel_hal::{HartId, HartMask, memory_barrier};
use linux_abi::Errno;
use linux_abi::rseq::{
    MEMBARRIER_CMD_FLAG_CPU, MEMBARRIER_CMD_GET_REGISTRATIONS, MEMBARRIER_CMD_GLOBAL,
    MEMBARRIER_CMD_GLOBAL_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_QUERY,
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
};
use linux_abi::system::{HardwareProbe, RISCV_HWPROBE_WHICH_CPUS};
use linux_object::hardware;
use linux_object::obstacle::Attempt;
use linux_object::thread::Work;
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

/// What a key becomes that does not exist.
const UNKNOWN_KEY: i64 = -1;
const MASK_BYTES: usize = size_of::<u64>();

/// The set of harts at an address, of those that are online; nothing at null stands for all of them.
fn read_set(memory: &UserMemory, address: UserAddress, len: usize) -> Attempt<HartMask> {
    let mut bytes = [0; MASK_BYTES];
    let known = len.min(MASK_BYTES);
    memory.read_bytes(address.get(), &mut bytes[..known])?;
    Ok(HartMask::from_bits(u64::from_le_bytes(bytes) as u32).intersection(HartId::online()))
}

pub fn riscv_hwprobe(
    call: &mut Call<'_>,
    pairs: UserAddress,
    pair_count: usize,
    set_bytes: usize,
    set: UserAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    if u64::from(flags) & !RISCV_HWPROBE_WHICH_CPUS != 0 {
        return Err(Errno::EINVAL);
    }
    let memory = call.memory();
    let asks_which = flags != 0;
    if asks_which && (set.is_null() || set_bytes == 0) {
        return Err(Errno::EINVAL);
    }
    Ok(attempt(call, move || {
        let has_set = !set.is_null() || set_bytes != 0;
        let mut harts = match has_set {
            true => read_set(&memory, set, set_bytes)?,
            false => HartId::online(),
        };
        if harts.is_empty() {
            if !asks_which {
                return Err(Errno::EINVAL.into());
            }
            harts = HartId::online();
        }
        let values = hardware::values_of(harts);
        for index in 0..pair_count {
            let offset = index.checked_mul(size_of::<HardwareProbe>()).ok_or(Errno::EFAULT)?;
            let address = pairs.get().checked_add(offset).ok_or(Errno::EFAULT)?;
            let mut pair: HardwareProbe = memory.read(address)?;
            match hardware::value(&values, pair.key) {
                None => {
                    pair = HardwareProbe { key: UNKNOWN_KEY, value: 0 };
                    harts = if asks_which { HartMask::EMPTY } else { harts };
                }
                Some(_) if asks_which => harts = hardware::harts_with(harts, pair.key, pair.value),
                Some(value) => pair.value = value,
            }
            memory.write(address, &pair)?;
        }
        if asks_which {
            let bytes = u64::from(harts.bits()).to_le_bytes();
            memory.write_bytes(set.get(), &bytes[..set_bytes.min(MASK_BYTES)])?;
            for offset in MASK_BYTES..set_bytes.max(MASK_BYTES) {
                memory.write(set.get() + offset, &0u8)?;
            }
        }
        Ok(0)
    }))
}

/// Only this thread is to see the new instructions.
const FLUSH_LOCALLY: usize = 1;

pub fn riscv_flush_icache(
    _call: &mut Call<'_>,
    _start: UserAddress,
    _end: UserAddress,
    flags: usize,
) -> Result<usize, Errno> {
    if flags & !FLUSH_LOCALLY != 0 {
        return Err(Errno::EINVAL);
    }
    // Wherever the thread goes on, and wherever others of its process run.
    memory_barrier::synchronize_harts(HartId::online());
    Ok(0)
}

const REGISTRATIONS: [(i32, i32); 4] = [
    (MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_GLOBAL_EXPEDITED),
    (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED),
    (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE),
    (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ),
];

pub fn membarrier(call: &mut Call<'_>, command: i32, flags: u32, _hart: i32) -> Result<usize, Errno> {
    let is_about_rseq = command == MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;
    if flags != 0 && !(is_about_rseq && flags == MEMBARRIER_CMD_FLAG_CPU as u32) {
        return Err(Errno::EINVAL);
    }
    let process = call.thread.process();
    if let Some((registration, _)) = REGISTRATIONS.iter().find(|(registration, _)| *registration == command) {
        process.register_for_barriers(*registration);
        return Ok(0);
    }
    match command {
        MEMBARRIER_CMD_QUERY => {
            let known = REGISTRATIONS.iter().fold(0, |known, (register, use_it)| known | register | use_it);
            return Ok((known | MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GET_REGISTRATIONS) as usize);
        }
        MEMBARRIER_CMD_GET_REGISTRATIONS => return Ok(process.barrier_registrations() as usize),
        MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED => {}
        _ => {
            let found = REGISTRATIONS.iter().find(|(_, use_it)| *use_it == command);
            let (registration, _) = found.ok_or(Errno::EINVAL)?;
            if process.barrier_registrations() & registration == 0 {
                return Err(Errno::EPERM);
            }
        }
    }
    if is_about_rseq {
        // Those that run leave user mode, where their sections are looked at.
        process.with_threads(|threads| threads.iter().for_each(|thread| thread.add_work(Work::PREEMPTED)));
    }
    memory_barrier::synchronize_harts(HartId::online());
    Ok(0)
}
