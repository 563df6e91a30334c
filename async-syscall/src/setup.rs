//! `io_uring_setup`: what a program asks for, made a ring.

use alloc::sync::Arc;
use core::time::Duration;

use kernel_hal::{HartId, HartMask};
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::io_uring::{CompletionOffsets, Features, IoUringParams, SetupFlags, SubmissionOffsets};
use linux_object::file::OpenFile;
use linux_object::obstacle::Attempt;
use linux_object::thread::{Resources, Thread};

use crate::register::pin;
use crate::ring::memory::RingMemory;
use crate::ring::poller::{Poller, Submitter};
use crate::ring::{Geometry, Ring, RingFile, ring_of};

const MOST_SUBMISSIONS: u32 = 32768;
const MOST_COMPLETIONS: u32 = 2 * MOST_SUBMISSIONS;

/// What rings of this kernel do, and nothing else.
pub(crate) const FEATURES: Features = Features::SINGLE_MMAP
    .union(Features::NODROP)
    .union(Features::SUBMIT_STABLE)
    .union(Features::RW_CUR_POS)
    .union(Features::CUR_PERSONALITY)
    .union(Features::FAST_POLL)
    .union(Features::POLL_32BITS)
    .union(Features::SQPOLL_NONFIXED)
    .union(Features::EXT_ARG)
    .union(Features::NATIVE_WORKERS)
    .union(Features::RSRC_TAGS)
    .union(Features::CQE_SKIP)
    .union(Features::LINKED_FILE)
    .union(Features::REG_REG_RING)
    .union(Features::MIN_TIMEOUT);

/// What can be asked for.
pub(crate) const SUPPORTED: SetupFlags = SetupFlags::IOPOLL
    .union(SetupFlags::SQPOLL)
    .union(SetupFlags::SQ_AFF)
    .union(SetupFlags::ATTACH_WQ)
    .union(SetupFlags::CQSIZE)
    .union(SetupFlags::CLAMP)
    .union(SetupFlags::R_DISABLED)
    .union(SetupFlags::SUBMIT_ALL)
    .union(SetupFlags::COOP_TASKRUN)
    .union(SetupFlags::TASKRUN_FLAG)
    .union(SetupFlags::SQE128)
    .union(SetupFlags::CQE32)
    .union(SetupFlags::SINGLE_ISSUER)
    .union(SetupFlags::DEFER_TASKRUN)
    .union(SetupFlags::NO_MMAP)
    .union(SetupFlags::REGISTERED_FD_ONLY)
    .union(SetupFlags::NO_SQARRAY);

/// A ring that was made.
pub struct Made {
    /// Its opening.
    pub file: Arc<OpenFile>,
    /// What the program is told.
    pub told: IoUringParams,
    /// It gets no descriptor, but a place among the thread's registered rings.
    pub is_registered: bool,
}

/// A new ring: its opening, and what the program is told.
pub fn set_up(
    thread: &Arc<Thread>,
    resources: &Resources,
    entries: u32,
    given: &IoUringParams,
) -> Attempt<Made> {
    if given.resv != [0; 3] {
        return Err(Errno::EINVAL.into());
    }
    let flags = SetupFlags::from_bits(given.flags).filter(|&flags| SUPPORTED.contains(flags));
    let flags = flags.ok_or(Errno::EINVAL)?;
    check_combination(flags)?;
    let (submissions, completions) = sizes(entries, given, flags)?;
    let geometry = Geometry::new(submissions, completions, flags);
    let memory = if flags.contains(SetupFlags::NO_MMAP) {
        RingMemory::new(
            geometry,
            pin(resources, given.cq_off.user_addr, geometry.rings_bytes())?,
            pin(resources, given.sq_off.user_addr, geometry.requests_bytes())?,
        )
    } else {
        RingMemory::allocate(geometry).map_err(|_| Errno::ENOMEM)?
    };
    let ring = Ring::new(memory, flags)?;
    if ring.is_enabled() {
        ring.note_issuer(thread)?;
    }
    let attached = attached_to(resources, given, flags)?;
    if flags.contains(SetupFlags::SQPOLL) {
        start_polling(&ring, attached.as_deref(), thread, resources, given)?;
    }
    let told = IoUringParams {
        sq_entries: submissions,
        cq_entries: completions,
        features: FEATURES.bits(),
        sq_off: SubmissionOffsets { user_addr: given.sq_off.user_addr, ..geometry.submission_offsets() },
        cq_off: CompletionOffsets { user_addr: given.cq_off.user_addr, ..geometry.completion_offsets() },
        ..*given
    };
    let file = OpenFile::new(RingFile::new(ring), None, OpenFlags::RDWR);
    Ok(Made { file, told, is_registered: flags.contains(SetupFlags::REGISTERED_FD_ONLY) })
}

/// The ring with which this one is to share what works behind it.
fn attached_to(
    resources: &Resources,
    given: &IoUringParams,
    flags: SetupFlags,
) -> Result<Option<Arc<OpenFile>>, Errno> {
    if !flags.contains(SetupFlags::ATTACH_WQ) {
        return Ok(None);
    }
    let file = resources.files.get(given.wq_fd as i32).map_err(|_| Errno::ENXIO)?;
    ring_of(&file).map_err(|_| Errno::EINVAL)?;
    Ok(Some(file))
}

/// Lets a task take the ring's submissions: a new one, or that of the ring it is attached to.
fn start_polling(
    ring: &Arc<Ring>,
    attached: Option<&OpenFile>,
    thread: &Arc<Thread>,
    resources: &Resources,
    given: &IoUringParams,
) -> Result<(), Errno> {
    const USUAL_IDLE: Duration = Duration::from_secs(1);
    let idle = match given.sq_thread_idle {
        0 => USUAL_IDLE,
        milliseconds => Duration::from_millis(u64::from(milliseconds)),
    };
    let shared = match attached {
        Some(file) => ring_of(file)?.submitter().map(|submitter| submitter.poller.clone()),
        None => None,
    };
    let poller = match shared {
        Some(poller) => poller,
        None if given.flags & SetupFlags::SQ_AFF.bits() != 0 => {
            let hart = given.sq_thread_cpu as usize;
            if hart >= HartId::count() {
                return Err(Errno::EINVAL);
            }
            Poller::start(idle, Some(HartMask::only(HartId::new(hart))))
        }
        None => Poller::start(idle, None),
    };
    ring.set_submitter(Submitter::new(poller.clone(), thread.clone(), resources.clone()));
    poller.add(ring, idle);
    Ok(())
}

/// Flags that make sense only with others.
fn check_combination(flags: SetupFlags) -> Result<(), Errno> {
    let has_task_work_flag = flags.intersects(SetupFlags::COOP_TASKRUN | SetupFlags::DEFER_TASKRUN);
    if flags.contains(SetupFlags::TASKRUN_FLAG) && !has_task_work_flag {
        return Err(Errno::EINVAL);
    }
    let polls = flags.contains(SetupFlags::SQPOLL);
    if polls && (has_task_work_flag || flags.contains(SetupFlags::TASKRUN_FLAG)) {
        return Err(Errno::EINVAL);
    }
    let has_only_index = flags.contains(SetupFlags::REGISTERED_FD_ONLY);
    if has_only_index && !flags.contains(SetupFlags::NO_MMAP) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(SetupFlags::SQ_AFF) && !polls {
        return Err(Errno::EINVAL);
    }
    if flags.contains(SetupFlags::DEFER_TASKRUN) && !flags.contains(SetupFlags::SINGLE_ISSUER) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn sizes(entries: u32, given: &IoUringParams, flags: SetupFlags) -> Result<(u32, u32), Errno> {
    let clamp = flags.contains(SetupFlags::CLAMP);
    let bounded = |wanted: u32, most: u32| match wanted {
        0 => Err(Errno::EINVAL),
        wanted if wanted <= most => Ok(wanted.next_power_of_two()),
        _ if clamp => Ok(most),
        _ => Err(Errno::EINVAL),
    };
    let submissions = bounded(entries, MOST_SUBMISSIONS)?;
    if !flags.contains(SetupFlags::CQSIZE) {
        return Ok((submissions, 2 * submissions));
    }
    let completions = bounded(given.cq_entries, MOST_COMPLETIONS)?;
    if completions < submissions { Err(Errno::EINVAL) } else { Ok((submissions, completions)) }
}
