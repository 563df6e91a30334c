//! Operations that wait for other threads: futexes, and the ends of children.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;

use linux_abi::Errno;
use linux_abi::futex::{FUTEX2_PRIVATE, FUTEX2_SIZE_MASK, FUTEX2_SIZE_U32, FutexWaitv};
use linux_object::futex::{self, Waiter, Word};
use linux_object::obstacle::{Attempt, Obstacle, complete};
use linux_object::process::try_wait;
use linux_object::process::wait_call::{WaitCall, try_tell};
use linux_object::user_buffer::UserMemory;

use super::{Begun, Issue, Prepared, Waiting, address, finish_unless_cancelled};
use crate::request::Outcome;

/// A word, and what it is to hold.
struct Expected {
    word: Word,
    value: u32,
    bits: u32,
    waiter: Arc<Waiter>,
}

/// Waits for one of several words.
pub(crate) struct FutexWait {
    expected: Vec<Expected>,
    /// The result is the number of the word.
    tells_which: bool,
}

/// Wakes who waits for a word.
pub(crate) struct FutexWake {
    word: Word,
    bits: u32,
    count: usize,
}

/// A word as the newer calls describe it: of 32 bits, which is the only size that there is.
fn word_of(at: u64, flags: u32) -> Result<Word, Errno> {
    if flags & !(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE) != 0 || flags & FUTEX2_SIZE_MASK != FUTEX2_SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    Word::new(address(at), flags & FUTEX2_PRIVATE != 0)
}

/// Values and masks have as many bits as the word.
fn narrow(value: u64) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

fn check_fields(issue: &Issue<'_>) -> Result<(), Errno> {
    let entry = issue.entry;
    let is_plain = entry.len == 0 && entry.rw_flags == 0 && entry.buf_index == 0 && entry.file_index == 0;
    if is_plain { Ok(()) } else { Err(Errno::EINVAL) }
}

pub(super) fn prepare_futex_wait(issue: &Issue<'_>) -> Attempt<Prepared> {
    check_fields(issue)?;
    let entry = issue.entry;
    let word = word_of(entry.addr, entry.fd as u32)?;
    let (value, bits) = (narrow(entry.off)?, narrow(entry.addr3)?);
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    let expected = alloc::vec![Expected { word, value, bits, waiter: Waiter::new() }];
    Ok(Prepared::FutexWait(FutexWait { expected, tells_which: false }))
}

pub(super) fn prepare_futex_wake(issue: &Issue<'_>) -> Attempt<Prepared> {
    check_fields(issue)?;
    let entry = issue.entry;
    let word = word_of(entry.addr, entry.fd as u32)?;
    let bits = narrow(entry.addr3)?;
    if bits == 0 {
        return Err(Errno::EINVAL.into());
    }
    let count = entry.off.min(i32::MAX as u64) as usize;
    Ok(Prepared::FutexWake(FutexWake { word, bits, count }))
}

pub(super) fn prepare_futex_wait_several(issue: &Issue<'_>) -> Attempt<Prepared> {
    const MOST_WORDS: usize = 128;
    let entry = issue.entry;
    let is_plain = entry.fd == 0 && entry.buf_index == 0 && entry.file_index == 0 && entry.off == 0;
    let count = entry.len as usize;
    if !is_plain || entry.rw_flags != 0 || entry.addr3 != 0 || !(1..=MOST_WORDS).contains(&count) {
        return Err(Errno::EINVAL.into());
    }
    let given: Vec<FutexWaitv> = issue.memory().read_array(address(entry.addr), count)?;
    let mut expected = Vec::with_capacity(count);
    for FutexWaitv { val, uaddr, flags, reserved } in given {
        if reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        let (word, value) = (word_of(uaddr, flags)?, narrow(val)?);
        expected.push(Expected { word, value, bits: futex::ANY_BITS, waiter: Waiter::new() });
    }
    Ok(Prepared::FutexWait(FutexWait { expected, tells_which: true }))
}

impl FutexWait {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let memory = issue.memory();
        // It begins with the request's own first poll: whoever wakes the word has to wake the request.
        Ok(Begun::Waits(Waiting::for_events(None, async move {
            self.wait(&memory).await.map_or_else(Outcome::error, Outcome::value)
        })))
    }

    async fn wait(&self, memory: &UserMemory) -> Result<usize, Errno> {
        let mut places = Vec::with_capacity(self.expected.len());
        for Expected { word, value, bits, waiter } in &self.expected {
            let place = loop {
                let begin = poll_fn(|context| {
                    Poll::Ready(futex::begin_wait(memory, waiter, context.waker(), *word, *value, *bits))
                });
                match begin.await {
                    Ok(place) => break place,
                    Err(Obstacle::Error(errno)) => return Err(errno),
                    Err(Obstacle::Wait(page) | Obstacle::Event(page)) => page.await?,
                    Err(_) => return Err(Errno::EFAULT),
                }
            };
            places.push(place);
        }
        let which = poll_fn(|_| {
            let woken = places.iter().position(futex::Waiting::is_woken);
            woken.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        Ok(if self.tells_which { which } else { 0 })
    }
}

impl FutexWake {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let space = &issue.resources.address_space;
        let woken = match self.count {
            0 => 0,
            count => futex::wake(space, self.word, self.bits, count)?,
        };
        Ok(Begun::Ended(Outcome::value(woken)))
    }
}

/// Waits for a child.
pub(crate) struct ChildWait {
    call: WaitCall,
    info: u64,
}

pub(super) fn prepare_child_wait(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if entry.addr != 0 || entry.buf_index != 0 || entry.addr3 != 0 || entry.rw_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (kind, id, options) = (entry.len, entry.fd, entry.file_index);
    let call = WaitCall::decode(issue.thread, &issue.resources.files, (kind, id), options)?;
    Ok(Prepared::ChildWait(Box::new(ChildWait { call, info: entry.off })))
}

impl ChildWait {
    pub(super) fn begin(self: Box<Self>, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let (thread, memory) = (issue.thread.clone(), issue.memory());
        let look = {
            let thread = thread.clone();
            move |call: &WaitCall| try_wait(&thread, &call.request).transpose()
        };
        let is_patient = !self.call.request.flags.contains(linux_abi::process::WaitFlags::NOHANG);
        Ok(finish_unless_cancelled(None, async move {
            let child = match look(&self.call) {
                None if is_patient => {
                    Some(thread.process().child_event().wait_until(|| look(&self.call)).await)
                }
                other => other,
            };
            let child = child.transpose()?;
            let tell = || {
                let Self { call, info } = &*self;
                try_tell(&memory, child.as_ref(), call.is_impatient, address(*info), address(0))
            };
            complete(tell).await
        }))
    }
}
