//! Futexes, and what belongs to them.

use alloc::boxed::Box;
use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::futex::{
    FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT,
    FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP, RobustListHead,
};
use linux_abi::time::Timespec;
use linux_object::clock;
use linux_object::credentials::Capabilities;
use linux_object::futex::{self, ANY_BITS, WakeOperation, Word};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::process::find_thread;
use linux_object::thread::Thread;
use linux_object::user_buffer::UserMemory;

use crate::argument::UserAddress;
use crate::call::{Call, Completion, Outcome, WaitEnd, WordWait, attempt};

const COMMAND_MASK: u32 = !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);

/// `timeout` is a number for the calls that move waiters, and `value3` whatever the command makes of it.
pub fn futex(
    call: &mut Call<'_>,
    address: UserAddress,
    operation: u32,
    value: u32,
    timeout: UserAddress,
    other: UserAddress,
    value3: u32,
) -> Result<Outcome, Errno> {
    let command = operation & COMMAND_MASK;
    let is_private = operation & FUTEX_PRIVATE_FLAG != 0;
    let has_clock = matches!(command, FUTEX_WAIT | FUTEX_WAIT_BITSET);
    if operation & FUTEX_CLOCK_REALTIME != 0 && !has_clock {
        return Err(Errno::ENOSYS);
    }
    let word = |address: UserAddress| Word::new(address.get(), is_private);
    // A negative number of waiters means one, as on Linux.
    let count = (value as i32).max(1) as usize;
    match command {
        FUTEX_WAIT => wait(call, operation, word(address)?, value, ANY_BITS, timeout),
        FUTEX_WAIT_BITSET if value3 == 0 => Err(Errno::EINVAL),
        FUTEX_WAIT_BITSET => wait(call, operation, word(address)?, value, value3, timeout),
        FUTEX_WAKE => wake(call, word(address)?, ANY_BITS, count),
        FUTEX_WAKE_BITSET if value3 == 0 => Err(Errno::EINVAL),
        FUTEX_WAKE_BITSET => wake(call, word(address)?, value3, count),
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE => {
            let (from, to) = (word(address)?, word(other)?);
            let most = |count: i32| usize::try_from(count).map_err(|_| Errno::EINVAL);
            let (wake_count, move_count) = (most(value as i32)?, most(timeout.0 as i32)?);
            let is_comparing = command == FUTEX_CMP_REQUEUE;
            let expected = is_comparing.then_some(value3);
            let memory = call.memory();
            Ok(attempt(call, move || {
                let (woken, moved) = futex::try_requeue(&memory, from, to, wake_count, move_count, expected)?;
                Ok(if is_comparing { woken + moved } else { woken })
            }))
        }
        FUTEX_WAKE_OP => {
            let (first, second) = (word(address)?, word(other)?);
            let operation = WakeOperation::decode(value3)?;
            let other_count = (timeout.0 as i32).max(1) as usize;
            let memory = call.memory();
            Ok(attempt(call, move || {
                futex::try_wake_two(&memory, first, second, count, other_count, operation)
            }))
        }
        // Priority inheritance, and commands that do not exist.
        _ => Err(Errno::ENOSYS),
    }
}

fn wake(call: &Call<'_>, word: Word, bits: u32, count: usize) -> Result<Outcome, Errno> {
    futex::wake(&call.resources.address_space, word, bits, count).map(Outcome::Done)
}

/// When a wait ends that was given a timeout.
fn wait_end(
    call: &Call<'_>,
    memory: &UserMemory,
    operation: u32,
    timeout: UserAddress,
) -> Result<WaitEnd, Errno> {
    let timeout = match memory.read::<Timespec>(timeout.get()) {
        Ok(timeout) => timeout.to_duration()?,
        Err(Obstacle::Error(errno)) => return Err(errno),
        Err(_) => return Err(Errno::EFAULT),
    };
    if operation & COMMAND_MASK == FUTEX_WAIT {
        return Ok(WaitEnd::After(call.thread.deadline_after(timeout)));
    }
    let now = Instant::now();
    let clock = match operation & FUTEX_CLOCK_REALTIME != 0 {
        true => clock::real_time(),
        false => Duration::from_nanos(now.as_nanos()),
    };
    Ok(WaitEnd::At(now + timeout.saturating_sub(clock)))
}

fn wait(
    call: &Call<'_>,
    operation: u32,
    word: Word,
    expected: u32,
    bits: u32,
    timeout: UserAddress,
) -> Result<Outcome, Errno> {
    let memory = call.memory();
    let end = if timeout.is_null() { WaitEnd::Never } else { wait_end(call, &memory, operation, timeout)? };
    match begin_wait(call.thread, &memory, word, expected, bits) {
        Ok(waiting) => Ok(Outcome::WaitForWord(WordWait { waiting, end })),
        Err(Obstacle::Error(errno)) => Err(errno),
        // The word's page has to be brought first.
        Err(obstacle) => {
            let thread = call.owned_thread();
            Ok(Outcome::Wait(Box::pin(async move {
                let mut first = Some(obstacle);
                let begin = || match first.take() {
                    Some(obstacle) => Err(obstacle),
                    None => begin_wait(&thread, &memory, word, expected, bits),
                };
                match complete(begin).await {
                    Ok(waiting) => {
                        let wait = WordWait { waiting, end };
                        wait.complete(&thread).await
                    }
                    Err(errno) => Completion::Error(errno),
                }
            })))
        }
    }
}

fn begin_wait(
    thread: &Thread,
    memory: &UserMemory,
    word: Word,
    expected: u32,
    bits: u32,
) -> Attempt<futex::Waiting> {
    let task = thread.task().ok_or(Errno::ESRCH)?;
    futex::begin_wait(memory, thread.futex_waiter(), task.waker(), word, expected, bits)
}

pub fn set_robust_list(call: &mut Call<'_>, head: UserAddress, size: usize) -> Result<usize, Errno> {
    if size != size_of::<RobustListHead>() {
        return Err(Errno::EINVAL);
    }
    call.thread.set_robust_list(head.0);
    Ok(0)
}

pub fn get_robust_list(
    call: &mut Call<'_>,
    thread: i32,
    head: UserAddress,
    size: UserAddress,
) -> Result<Outcome, Errno> {
    let target = match thread {
        0 => call.owned_thread(),
        _ => find_thread(thread).ok_or(Errno::ESRCH)?,
    };
    let own = call.thread.credentials();
    let other = target.credentials();
    if !own.has(Capabilities::SYS_PTRACE) && own.real_user != other.real_user {
        return Err(Errno::EPERM);
    }
    let memory = call.memory();
    let list = target.robust_list();
    let tell = move || -> Attempt {
        memory.write(size.get(), &size_of::<RobustListHead>())?;
        memory.write(head.get(), &list)?;
        Ok(0)
    };
    Ok(attempt(call, tell))
}
