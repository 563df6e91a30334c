//! Taking submissions.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{IoUringSqe, Opcode, RequestFlags, SetupFlags};
use linux_object::thread::{Resources, Thread};

use super::memory::Entry;
use super::{Ring, Went};
use crate::operation::{Begun, Issue, Prepared};
use crate::request::{Chain, Details, Identity, Link, Outcome};

/// Whether an operation can take a provided buffer.
fn chooses_buffers(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Recv)
}

/// Links that were submitted and wait for the end of their chain.
#[derive(Default)]
struct Gathered {
    links: VecDeque<Link>,
    /// One of them was refused: none is begun.
    is_broken: bool,
}

impl Ring {
    /// Takes so many submissions at most and begins them; returns how many were taken. `None`: somebody else is at it,
    /// see [`Ring::until_submission_is_free`].
    pub fn try_submit(
        self: &Arc<Self>,
        wanted: u32,
        thread: &Arc<Thread>,
        resources: &Resources,
    ) -> Option<u32> {
        let mut head = self.submissions.try_lock()?;
        let ready = self.memory.submission_tail().wrapping_sub(*head).min(self.geometry().submissions);
        let wanted = wanted.min(ready);
        let mut taken = 0;
        let mut gathered = Gathered::default();
        let mut has_posted = false;
        while taken < wanted {
            let entry = self.memory.submission(*head);
            *head = head.wrapping_add(1);
            let entry = match entry {
                Entry::Request(entry) => entry,
                Entry::BadIndex => {
                    self.memory.count_dropped();
                    break;
                }
            };
            taken += 1;
            let issue = Issue { ring: self, thread, resources, entry: &entry };
            let is_accepted = self.take(&issue, &mut gathered, &mut has_posted);
            if !is_accepted && !self.flags.contains(SetupFlags::SUBMIT_ALL) {
                break;
            }
        }
        self.memory.tell_submission_head(*head);
        drop(head);
        self.begin_chain(thread, resources, &mut gathered);
        if has_posted {
            self.announce();
        }
        Some(taken)
    }

    /// Waits until whoever submits is done.
    pub async fn until_submission_is_free(&self) {
        self.submissions.until_free().await;
    }

    /// Takes one submission. Whether it was in order; if not, its completion says why.
    fn take(self: &Arc<Self>, issue: &Issue<'_>, gathered: &mut Gathered, has_posted: &mut bool) -> bool {
        let entry = issue.entry;
        let flags = issue.flags();
        let is_linked = flags.intersects(RequestFlags::IO_LINK | RequestFlags::IO_HARDLINK);
        if gathered.is_broken {
            gathered.is_broken = is_linked;
            self.post(&Identity::of_refused(entry), Outcome::error(Errno::ECANCELED));
            *has_posted = true;
            return true;
        }
        let prepared = self.check(entry).and_then(|opcode| Ok((opcode, Prepared::new(issue, opcode)?)));
        // The usual case first: a request by itself.
        if let Ok((opcode, operation)) = prepared {
            let identity = Identity {
                user_data: entry.user_data,
                opcode,
                file: None,
                details: Details::None,
                skips_success: flags.contains(RequestFlags::CQE_SKIP_SUCCESS),
            };
            if !is_linked && gathered.links.is_empty() {
                match operation.begin(issue) {
                    Begun::Ended(outcome) => *has_posted |= self.post(&identity, outcome),
                    Begun::Waits(waiting) => {
                        self.keep(identity, waiting, None);
                    }
                }
                return true;
            }
            gathered.links.push_back(Link { entry: *entry, identity, operation });
            if !is_linked {
                self.begin_chain(issue.thread, issue.resources, gathered);
            }
            return true;
        }
        let errno = prepared.err().unwrap_or(Errno::EINVAL);
        // What was linked before it is not begun; it fails first.
        for link in gathered.links.drain(..) {
            self.post(&link.identity, Outcome::error(Errno::ECANCELED));
        }
        gathered.is_broken = is_linked;
        self.post(&Identity::of_refused(entry), Outcome::error(errno));
        *has_posted = true;
        false
    }

    /// What every operation has in common.
    fn check(&self, entry: &IoUringSqe) -> Result<Opcode, Errno> {
        let opcode = Opcode::from_number(entry.opcode).ok_or(Errno::EINVAL)?;
        let flags = RequestFlags::from_bits(entry.flags).ok_or(Errno::EINVAL)?;
        if flags.contains(RequestFlags::IO_DRAIN) {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags.contains(RequestFlags::BUFFER_SELECT) && !chooses_buffers(opcode) {
            return Err(Errno::EOPNOTSUPP);
        }
        if entry.personality != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(opcode)
    }

    /// Begins the first of a chain, which takes the others along.
    fn begin_chain(self: &Arc<Self>, thread: &Arc<Thread>, resources: &Resources, gathered: &mut Gathered) {
        let mut links = core::mem::take(&mut gathered.links);
        let Some(first) = links.pop_front() else { return };
        let chain = Box::new(Chain { thread: thread.clone(), is_soft: first.is_soft(), links });
        if let Went::Over { chain, is_success } = self.begin(thread, resources, first, chain) {
            chain.go_on(self, is_success);
        }
    }
}
