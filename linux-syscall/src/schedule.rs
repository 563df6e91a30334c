//! How threads share the harts.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use kernel_hal::{HartId, HartMask};
use linux_abi::Errno;
use linux_abi::resource::{PRIO_PGRP, PRIO_PROCESS, PRIO_USER};
use linux_abi::schedule::{
    REAL_TIME_PRIORITIES, SCHED_ATTR_SIZE_VER0, SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO, SCHED_IDLE,
    SCHED_NORMAL, SCHED_RESET_ON_FORK, SCHED_RR, SchedAttr, SchedParam, ScheduleFlags,
};
use linux_abi::time::Timespec;
use linux_object::credentials::Capabilities;
use linux_object::process::{all_processes, find_thread};
use linux_object::schedule::{self, Schedule, is_real_time};
use linux_object::thread::Thread;
use zerocopy::{FromZeros, IntoBytes};

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt};

const NICE_OF_ZERO: i32 = 20;
/// Bytes in a mask of harts, in words as Linux counts them.
const MASK_BYTES: usize = size_of::<u64>();

fn target(call: &Call<'_>, id: i32) -> Result<Arc<Thread>, Errno> {
    match id {
        0 => Ok(call.owned_thread()),
        1.. => find_thread(id).ok_or(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sched_yield(_call: &mut Call<'_>) -> Outcome {
    Outcome::Yield(0)
}

pub fn sched_setscheduler(
    call: &mut Call<'_>,
    id: i32,
    policy: i32,
    parameter: UserAddress,
) -> Result<Outcome, Errno> {
    let policy = u32::try_from(policy).map_err(|_| Errno::EINVAL)?;
    if parameter.is_null() || id < 0 {
        return Err(Errno::EINVAL);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    let target = target(call, id);
    Ok(attempt(call, move || {
        let SchedParam { sched_priority } = memory.read(parameter.get())?;
        let target = target.as_ref().map_err(|&errno| errno)?;
        let mut new = target.schedule().with_policy(policy & !SCHED_RESET_ON_FORK, sched_priority)?;
        new.resets_on_fork = policy & SCHED_RESET_ON_FORK != 0;
        schedule::change(&thread, target, new)?;
        Ok(0)
    }))
}

pub fn sched_setparam(call: &mut Call<'_>, id: i32, parameter: UserAddress) -> Result<Outcome, Errno> {
    if parameter.is_null() || id < 0 {
        return Err(Errno::EINVAL);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    let target = target(call, id);
    Ok(attempt(call, move || {
        let SchedParam { sched_priority } = memory.read(parameter.get())?;
        let target = target.as_ref().map_err(|&errno| errno)?;
        let present = target.schedule();
        schedule::change(&thread, target, present.with_policy(present.policy(), sched_priority)?)?;
        Ok(0)
    }))
}

pub fn sched_getscheduler(call: &mut Call<'_>, id: i32) -> Result<usize, Errno> {
    let schedule = target(call, id)?.schedule();
    let flag = if schedule.resets_on_fork { SCHED_RESET_ON_FORK } else { 0 };
    Ok((schedule.policy() | flag) as usize)
}

pub fn sched_getparam(call: &mut Call<'_>, id: i32, parameter: UserAddress) -> Result<Outcome, Errno> {
    if parameter.is_null() {
        return Err(Errno::EINVAL);
    }
    let priority = SchedParam { sched_priority: target(call, id)?.schedule().priority() };
    let memory = call.memory();
    Ok(attempt(call, move || memory.write(parameter.get(), &priority).map(|()| 0)))
}

pub fn sched_setattr(
    call: &mut Call<'_>,
    id: i32,
    attributes: UserAddress,
    flags: u32,
) -> Result<Outcome, Errno> {
    if attributes.is_null() || id < 0 || flags != 0 {
        return Err(Errno::EINVAL);
    }
    let (memory, thread) = (call.memory(), call.owned_thread());
    let target = target(call, id);
    Ok(attempt(call, move || {
        let size: u32 = memory.read(attributes.get())?;
        let size = if size == 0 { SCHED_ATTR_SIZE_VER0 } else { size } as usize;
        let known = size.min(size_of::<SchedAttr>());
        let mut wanted = SchedAttr::new_zeroed();
        let mut is_too_large = !(SCHED_ATTR_SIZE_VER0 as usize..=kernel_hal::PAGE_SIZE).contains(&size);
        if !is_too_large {
            memory.read_bytes(attributes.get(), &mut wanted.as_mut_bytes()[..known])?;
            for offset in known..size {
                is_too_large |= memory.read::<u8>(attributes.get() + offset)? != 0;
            }
        }
        if is_too_large {
            // The caller is told how much there is.
            memory.write(attributes.get(), &(size_of::<SchedAttr>() as u32))?;
            return Err(Errno::E2BIG.into());
        }
        if (wanted.sched_policy as i32) < 0 {
            return Err(Errno::EINVAL.into());
        }
        let target = target.as_ref().map_err(|&errno| errno)?;
        schedule::change(&thread, target, decode(&target.schedule(), &wanted)?)?;
        Ok(0)
    }))
}

fn decode(present: &Schedule, wanted: &SchedAttr) -> Result<Schedule, Errno> {
    const SUPPORTED: ScheduleFlags =
        ScheduleFlags::RESET_ON_FORK.union(ScheduleFlags::KEEP_POLICY).union(ScheduleFlags::KEEP_PARAMS);
    let flags = ScheduleFlags::from_bits(wanted.sched_flags).ok_or(Errno::EINVAL)?;
    if !SUPPORTED.contains(flags) || wanted.sched_policy == SCHED_DEADLINE {
        return Err(Errno::EINVAL);
    }
    let keeps_policy = flags.contains(ScheduleFlags::KEEP_POLICY);
    let policy = if keeps_policy { present.policy() } else { wanted.sched_policy };
    let (priority, nice) = match flags.contains(ScheduleFlags::KEEP_PARAMS) {
        true => (present.priority(), present.nice()),
        false => (i32::try_from(wanted.sched_priority).map_err(|_| Errno::EINVAL)?, wanted.sched_nice),
    };
    let mut new = present.with_policy(policy, priority)?;
    if !is_real_time(policy) {
        new = new.with_nice(nice);
    }
    new.resets_on_fork = flags.contains(ScheduleFlags::RESET_ON_FORK);
    Ok(new)
}

pub fn sched_getattr(
    call: &mut Call<'_>,
    id: i32,
    attributes: UserAddress,
    size: u32,
    flags: u32,
) -> Result<Outcome, Errno> {
    let size = size as usize;
    let sizes = SCHED_ATTR_SIZE_VER0 as usize..=kernel_hal::PAGE_SIZE;
    if attributes.is_null() || id < 0 || flags != 0 || !sizes.contains(&size) {
        return Err(Errno::EINVAL);
    }
    let schedule = target(call, id)?.schedule();
    let known = size.min(size_of::<SchedAttr>());
    let mut flags = ScheduleFlags::empty();
    flags.set(ScheduleFlags::RESET_ON_FORK, schedule.resets_on_fork);
    let found = SchedAttr {
        size: known as u32,
        sched_policy: schedule.policy(),
        sched_flags: flags.bits(),
        sched_nice: if is_real_time(schedule.policy()) { 0 } else { schedule.nice() },
        sched_priority: schedule.priority() as u32,
        ..SchedAttr::new_zeroed()
    };
    let memory = call.memory();
    Ok(attempt(call, move || {
        memory.write_bytes(attributes.get(), &found.as_bytes()[..known])?;
        Ok(0)
    }))
}

pub fn sched_setaffinity(
    call: &mut Call<'_>,
    id: i32,
    len: u32,
    mask: UserAddress,
) -> Result<Outcome, Errno> {
    let (memory, thread) = (call.memory(), call.owned_thread());
    let target = target(call, id).map_err(|_| Errno::ESRCH);
    Ok(attempt(call, move || {
        let mut bytes = [0; MASK_BYTES];
        let known = (len as usize).min(MASK_BYTES);
        memory.read_bytes(mask.get(), &mut bytes[..known])?;
        let harts = HartMask::from_bits(u64::from_le_bytes(bytes) as u32);
        let target = target.as_ref().map_err(|&errno| errno)?;
        schedule::set_affinity(&thread, target, harts)?;
        // A thread that runs where it may not any more moves before it is back in user mode.
        Ok(0)
    }))
}

pub fn sched_getaffinity(
    call: &mut Call<'_>,
    id: i32,
    len: u32,
    mask: UserAddress,
) -> Result<Outcome, Errno> {
    let len = len as usize;
    if len * 8 < HartId::count() || !len.is_multiple_of(MASK_BYTES) {
        return Err(Errno::EINVAL);
    }
    let harts = u64::from(target(call, id).map_err(|_| Errno::ESRCH)?.schedule().affinity().bits());
    let memory = call.memory();
    Ok(attempt(call, move || {
        memory.write(mask.get(), &harts)?;
        Ok(MASK_BYTES)
    }))
}

pub fn sched_get_priority_max(_call: &mut Call<'_>, policy: u32) -> Result<usize, Errno> {
    priority_bound(policy, *REAL_TIME_PRIORITIES.end())
}

pub fn sched_get_priority_min(_call: &mut Call<'_>, policy: u32) -> Result<usize, Errno> {
    priority_bound(policy, *REAL_TIME_PRIORITIES.start())
}

fn priority_bound(policy: u32, real_time: i32) -> Result<usize, Errno> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok(real_time as usize),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

pub fn sched_rr_get_interval(call: &mut Call<'_>, id: i32, result: UserAddress) -> Result<Outcome, Errno> {
    let interval = match target(call, id)?.schedule().policy() {
        SCHED_RR => executor::ROUND_ROBIN_TURN,
        SCHED_FIFO => Duration::ZERO,
        _ => executor::FAIR_SLICE,
    };
    let (memory, interval) = (call.memory(), Timespec::from_duration(interval));
    Ok(attempt(call, move || memory.write(result.get(), &interval).map(|()| 0)))
}

/// The threads that `getpriority` and `setpriority` mean.
fn chosen(call: &Call<'_>, which: i32, who: i32) -> Result<Vec<Arc<Thread>>, Errno> {
    let own = call.thread.process();
    let threads_of = |wanted: &dyn Fn(&linux_object::process::Process) -> bool| {
        all_processes()
            .iter()
            .filter(|process| wanted(process))
            .flat_map(|process| process.threads())
            .collect()
    };
    let threads: Vec<_> = match which {
        PRIO_PROCESS if who == 0 => alloc::vec![call.owned_thread()],
        PRIO_PROCESS => find_thread(who).into_iter().collect(),
        PRIO_PGRP => {
            let group = if who == 0 { own.group() } else { who };
            threads_of(&|process| process.group() == group)
        }
        PRIO_USER => {
            let user = if who == 0 { own.credentials().real_user } else { who as u32 };
            threads_of(&|process| process.credentials().real_user == user)
        }
        _ => return Err(Errno::EINVAL),
    };
    if threads.is_empty() { Err(Errno::ESRCH) } else { Ok(threads) }
}

pub fn getpriority(call: &mut Call<'_>, which: i32, who: i32) -> Result<usize, Errno> {
    let nice = chosen(call, which, who)?.iter().map(|thread| thread.schedule().nice()).min();
    Ok((NICE_OF_ZERO - nice.unwrap_or(0)) as usize)
}

pub fn setpriority(call: &mut Call<'_>, which: i32, who: i32, nice: i32) -> Result<usize, Errno> {
    let mut outcome = Ok(0);
    for target in chosen(call, which, who)? {
        let new = target.schedule().with_nice(nice);
        let own = call.thread;
        outcome = if !schedule::may_change(own, &target) {
            Err(Errno::EPERM)
        } else if !own.credentials().has(Capabilities::SYS_NICE)
            && !schedule::may_have_nice(&target, new.nice())
        {
            Err(Errno::EACCES)
        } else {
            schedule::change(own, &target, new).map(|()| 0).and(outcome)
        };
    }
    outcome
}

pub fn getcpu(call: &mut Call<'_>, hart: UserAddress, node: UserAddress) -> Outcome {
    let memory = call.memory();
    attempt(call, move || {
        if !hart.is_null() {
            memory.write(hart.get(), &(HartId::current().index() as u32))?;
        }
        if !node.is_null() {
            memory.write(node.get(), &0u32)?;
        }
        Ok(0)
    })
}
