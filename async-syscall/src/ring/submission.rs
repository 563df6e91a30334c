//! Taking submissions.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::io_uring::{IoUringSqe, Opcode, RequestFlags, SetupFlags};
use linux_object::thread::{Resources, Thread};

use super::Ring;
use super::memory::Entry;
use crate::operation::{Begun, Issue, Prepared};
use crate::request::{Details, Identity, Link, Outcome};

/// Whether an operation can take a provided buffer.
fn chooses_buffers(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Readv
            | Opcode::Recvmsg
            | Opcode::Read
            | Opcode::Recv
            | Opcode::ReadMultishot
            | Opcode::Send
            | Opcode::Sendmsg
    )
}

/// Whether rings whose completions are polled for take an operation, as on Linux.
fn is_pollable(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Nop
            | Opcode::Readv
            | Opcode::Writev
            | Opcode::ReadFixed
            | Opcode::WriteFixed
            | Opcode::Read
            | Opcode::Write
            | Opcode::FilesUpdate
            | Opcode::ProvideBuffers
            | Opcode::RemoveBuffers
            | Opcode::MsgRing
            | Opcode::UringCmd
    )
}

/// Whether an operation makes anything of the field of priorities, where some have their flags.
fn uses_priority(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Readv
            | Opcode::Writev
            | Opcode::ReadFixed
            | Opcode::WriteFixed
            | Opcode::Sendmsg
            | Opcode::Recvmsg
            | Opcode::Accept
            | Opcode::Read
            | Opcode::Write
            | Opcode::Send
            | Opcode::Recv
            | Opcode::SendZc
            | Opcode::SendmsgZc
    )
}

/// Links that were submitted and wait for the end of their chain.
#[derive(Default)]
struct Gathered {
    links: VecDeque<Link>,
    /// One of them was refused: none is begun.
    is_broken: bool,
    /// Nor is the end of any of them told, but that of the first.
    is_quiet: bool,
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
        self.note_submitter(thread);
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
            self.announce(false);
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
            if !gathered.is_quiet {
                self.post(&Identity::of_refused(entry), Outcome::error(Errno::ECANCELED));
                *has_posted = true;
            }
            return true;
        }
        let prepared =
            self.check(entry, gathered).and_then(|opcode| Ok((opcode, Prepared::new(issue, opcode)?)));
        // The usual case first: a request by itself.
        if let Ok((opcode, operation)) = prepared {
            let identity = Identity {
                user_data: entry.user_data,
                thread: issue.thread.id(),
                opcode,
                file: None,
                details: Details::None,
                skips_success: flags.contains(RequestFlags::CQE_SKIP_SUCCESS),
            };
            let is_alone = !is_linked && gathered.links.is_empty();
            if is_alone && !flags.contains(RequestFlags::IO_DRAIN) && !self.drain.is_active() {
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
        // What was linked before it is not begun; it fails first. If success of the first was not to be told, only the
        // failure of the first is.
        let skips_success = flags.contains(RequestFlags::CQE_SKIP_SUCCESS);
        let first = gathered.links.front();
        let is_first = first.is_none();
        gathered.is_quiet = first.map_or(skips_success, |first| first.identity.skips_success);
        for (index, link) in gathered.links.drain(..).enumerate() {
            if index == 0 || !gathered.is_quiet {
                self.post(&link.identity, Outcome::error(Errno::ECANCELED));
            }
        }
        gathered.is_broken = is_linked;
        if is_first || !gathered.is_quiet {
            self.post(&Identity::of_refused(entry), Outcome::error(errno));
        }
        *has_posted = true;
        // The rest of a chain is taken all the same.
        is_linked
    }

    /// What every operation has in common.
    fn check(&self, entry: &IoUringSqe, gathered: &Gathered) -> Result<Opcode, Errno> {
        let opcode = Opcode::from_number(entry.opcode).ok_or(Errno::EINVAL)?;
        let flags = RequestFlags::from_bits(entry.flags).ok_or(Errno::EINVAL)?;
        if entry.ioprio != 0 && !uses_priority(opcode) {
            return Err(Errno::EINVAL);
        }
        if self.flags.contains(SetupFlags::IOPOLL) && !is_pollable(opcode) {
            return Err(Errno::EINVAL);
        }
        if opcode == Opcode::LinkTimeout
            && gathered.links.back().is_none_or(|last| last.identity.opcode == Opcode::LinkTimeout)
        {
            return Err(Errno::EINVAL);
        }
        if flags.contains(RequestFlags::BUFFER_SELECT) && !chooses_buffers(opcode) {
            return Err(Errno::EOPNOTSUPP);
        }
        if entry.personality != 0 {
            self.registered.personalities.get(entry.personality)?;
        }
        self.registered.restrictions.check_request(opcode, entry.flags)?;
        Ok(opcode)
    }

    /// Begins what was gathered, or lets it wait behind a barrier.
    fn begin_chain(self: &Arc<Self>, thread: &Arc<Thread>, resources: &Resources, gathered: &mut Gathered) {
        let links = core::mem::take(&mut gathered.links);
        if links.is_empty() {
            return;
        }
        if self.drain.is_active() || links.iter().any(Link::is_barrier) {
            self.defer(thread, links);
        } else {
            self.begin_links(thread, resources, links);
        }
    }
}
