//! Timeouts: after a time or a number of completions, once or again and again.

use alloc::sync::Arc;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use kernel_hal::Instant;
use linux_abi::Errno;
use linux_abi::io_uring::{Opcode, RequestFlags, TimeoutFlags};
use linux_abi::time::Timespec;
use linux_object::clock::{self, Clock};
use linux_object::obstacle::Attempt;

use super::transfer::address;
use super::{Begun, Issue, Prepared, Waiting};
use crate::request::{Details, Identity, Outcome, Request};
use crate::ring::Ring;

/// When a timeout ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    time: Duration,
    clock: Clock,
    is_absolute: bool,
}

/// Waits for a time, or for so many completions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeout {
    when: When,
    /// Completions, or repetitions; 0 for no bound.
    count: u64,
    is_multishot: bool,
    is_success: bool,
}

fn read_when(issue: &Issue<'_>, at: u64, flags: TimeoutFlags) -> Attempt<When> {
    let span = issue.memory().read::<Timespec>(address(at))?;
    if span.tv_sec < 0 || span.tv_nsec < 0 {
        return Err(Errno::EINVAL.into());
    }
    let clock = match flags & (TimeoutFlags::BOOTTIME | TimeoutFlags::REALTIME) {
        TimeoutFlags::REALTIME => Clock::Real,
        both if both == TimeoutFlags::BOOTTIME | TimeoutFlags::REALTIME => return Err(Errno::EINVAL.into()),
        _ => Clock::Monotonic,
    };
    let time = Duration::from_secs(span.tv_sec as u64) + Duration::from_nanos(span.tv_nsec as u64);
    Ok(When { time, clock, is_absolute: flags.contains(TimeoutFlags::ABS) })
}

impl When {
    async fn wait(self, begun: Instant) {
        if self.is_absolute && self.clock.can_be_set() {
            clock::sleep_until(self.clock, self.time).await;
        } else if self.is_absolute {
            executor::sleep_until(self.clock.moment(self.time)).await;
        } else {
            executor::sleep_until(begun + self.time).await;
        }
    }
}

fn prepare_as(issue: &Issue<'_>, is_limit: bool) -> Attempt<Timeout> {
    let entry = issue.entry;
    if entry.buf_index != 0 || entry.len != 1 || entry.file_index != 0 || (is_limit && entry.off != 0) {
        return Err(Errno::EINVAL.into());
    }
    let flags = TimeoutFlags::from_bits(entry.rw_flags).ok_or(Errno::EINVAL)?;
    let known = TimeoutFlags::ABS
        | TimeoutFlags::BOOTTIME
        | TimeoutFlags::REALTIME
        | TimeoutFlags::ETIME_SUCCESS
        | TimeoutFlags::MULTISHOT;
    let is_multishot = flags.contains(TimeoutFlags::MULTISHOT);
    if !known.contains(flags) || (is_multishot && (is_limit || flags.contains(TimeoutFlags::ABS))) {
        return Err(Errno::EINVAL.into());
    }
    let is_success = flags.contains(TimeoutFlags::ETIME_SUCCESS);
    let when = read_when(issue, entry.addr, flags)?;
    Ok(Timeout { when, count: u64::from(entry.off as u32), is_multishot, is_success })
}

pub(super) fn prepare(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_as(issue, false).map(Prepared::Timeout)
}

/// A time limit for the request before it in its chain.
pub(super) fn prepare_limit(issue: &Issue<'_>) -> Attempt<Prepared> {
    prepare_as(issue, true).map(Prepared::LinkTimeout)
}

impl Timeout {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        Ok(Begun::Waits(self.waiting(issue.ring, issue.entry.user_data)))
    }

    fn waiting(self, ring: &Arc<Ring>, user_data: u64) -> Waiting {
        let ring = Arc::downgrade(ring);
        let begun = Instant::now();
        let waiting = Waiting::for_events(None, async move {
            match ring.upgrade() {
                Some(ring) if self.is_multishot => self.repeat(&ring, user_data, begun).await,
                Some(ring) => self.once(&ring, begun).await,
                None => Outcome::error(Errno::ECANCELED),
            }
        });
        Waiting { details: Details::Timeout(self), ..waiting }
    }

    /// Ends a request when its time is over.
    pub(crate) fn limiting(self, target: &Arc<Request>) -> Waiting {
        let target = Arc::downgrade(target);
        let begun = Instant::now();
        let request = target.clone();
        let waiting = Waiting::for_events(None, async move {
            self.when.wait(begun).await;
            match request.upgrade().ok_or(Errno::ENOENT).and_then(|request| request.cancel()) {
                Ok(()) => self.is_over(),
                Err(errno) => Outcome::error(errno),
            }
        });
        Waiting { details: Details::Timeout(self), target: Some(target), ..waiting }
    }

    fn is_over(self) -> Outcome {
        Outcome { is_success: self.is_success, ..Outcome::error(Errno::ETIME) }
    }

    async fn once(self, ring: &Ring, begun: Instant) -> Outcome {
        let mut sleep = pin!(self.when.wait(begun));
        if self.count == 0 {
            sleep.await;
            return self.is_over();
        }
        let mut counted = pin!(ring.until_completed(self.count));
        core::future::poll_fn(|context| {
            if counted.as_mut().poll(context).is_ready() {
                return Poll::Ready(Outcome::value(0));
            }
            sleep.as_mut().poll(context).map(|()| self.is_over())
        })
        .await
    }

    async fn repeat(self, ring: &Ring, user_data: u64, begun: Instant) -> Outcome {
        let mut left = self.count;
        let mut next = begun;
        loop {
            next = next + self.when.time;
            executor::sleep_until(next).await;
            let is_last = left == 1;
            left = left.saturating_sub(1);
            if is_last || !ring.post_more(user_data, self.is_over()) {
                return self.is_over();
            }
        }
    }
}

/// Ends a timeout, or changes when it ends.
pub(crate) struct Change {
    target: u64,
    new: Option<When>,
    /// It is the limit of a request.
    is_limit: bool,
}

pub(super) fn prepare_change(issue: &Issue<'_>) -> Attempt<Prepared> {
    let entry = issue.entry;
    if issue.flags().intersects(RequestFlags::FIXED_FILE | RequestFlags::BUFFER_SELECT)
        || entry.buf_index != 0
        || entry.len != 0
        || entry.file_index != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let flags = TimeoutFlags::from_bits(entry.rw_flags).ok_or(Errno::EINVAL)?;
    let clocks = TimeoutFlags::BOOTTIME | TimeoutFlags::REALTIME;
    let updates = TimeoutFlags::UPDATE | TimeoutFlags::LINK_UPDATE;
    let is_limit = flags.contains(TimeoutFlags::LINK_UPDATE);
    let new = if flags.intersects(updates) {
        if !(updates | TimeoutFlags::ABS | clocks).contains(flags) {
            return Err(Errno::EINVAL.into());
        }
        Some(read_when(issue, entry.off, flags)?)
    } else if flags.is_empty() {
        None
    } else {
        return Err(Errno::EINVAL.into());
    };
    Ok(Prepared::TimeoutChange(Change { target: entry.addr, new, is_limit }))
}

impl Change {
    pub(super) fn begin(self, issue: &Issue<'_>) -> Result<Begun, Errno> {
        let ring = issue.ring;
        let opcode = if self.is_limit { Opcode::LinkTimeout } else { Opcode::Timeout };
        let found = ring.find(Some(self.target), |request| request.identity.opcode == opcode);
        let request = found.into_iter().next().ok_or(Errno::ENOENT)?;
        let Some(when) = self.new else {
            return request.cancel().map(|()| Begun::Ended(Outcome::value(0)));
        };
        let Details::Timeout(timeout) = request.identity.details else { return Err(Errno::ENOENT) };
        let chain = request.withdraw()?;
        let identity: Identity = request.identity.clone();
        let timeout = Timeout { when, ..timeout };
        if self.is_limit {
            let target = request.target().ok_or(Errno::ENOENT)?;
            ring.limit(&target, identity, timeout);
        } else {
            let user_data = identity.user_data;
            ring.keep(identity, timeout.waiting(ring, user_data), chain);
        }
        Ok(Begun::Ended(Outcome::value(0)))
    }
}
