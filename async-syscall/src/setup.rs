//! `io_uring_setup`: what a program asks for, made a ring.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::io_uring::{Features, IoUringParams, SetupFlags};
use linux_object::file::OpenFile;
use linux_object::thread::Thread;

use crate::ring::{Geometry, Ring, RingFile};

const MOST_SUBMISSIONS: u32 = 32768;
const MOST_COMPLETIONS: u32 = 2 * MOST_SUBMISSIONS;

/// What rings of this kernel do, and nothing else.
const FEATURES: Features = Features::SINGLE_MMAP
    .union(Features::NODROP)
    .union(Features::SUBMIT_STABLE)
    .union(Features::RW_CUR_POS)
    .union(Features::CUR_PERSONALITY)
    .union(Features::FAST_POLL)
    .union(Features::POLL_32BITS)
    .union(Features::EXT_ARG)
    .union(Features::NATIVE_WORKERS)
    .union(Features::CQE_SKIP)
    .union(Features::LINKED_FILE);

/// What can be asked for.
const SUPPORTED: SetupFlags = SetupFlags::CQSIZE
    .union(SetupFlags::CLAMP)
    .union(SetupFlags::R_DISABLED)
    .union(SetupFlags::SUBMIT_ALL)
    .union(SetupFlags::COOP_TASKRUN)
    .union(SetupFlags::TASKRUN_FLAG)
    .union(SetupFlags::SQE128)
    .union(SetupFlags::CQE32)
    .union(SetupFlags::SINGLE_ISSUER)
    .union(SetupFlags::DEFER_TASKRUN)
    .union(SetupFlags::NO_SQARRAY);

/// A new ring: its opening, and what the program is told.
pub fn set_up(
    thread: &Thread,
    entries: u32,
    given: &IoUringParams,
) -> Result<(Arc<OpenFile>, IoUringParams), Errno> {
    if given.resv != [0; 3] {
        return Err(Errno::EINVAL);
    }
    let flags = SetupFlags::from_bits(given.flags).filter(|&flags| SUPPORTED.contains(flags));
    let flags = flags.ok_or(Errno::EINVAL)?;
    check_combination(flags)?;
    let (submissions, completions) = sizes(entries, given, flags)?;
    let geometry = Geometry::new(submissions, completions, flags);
    let ring = Ring::new(geometry, flags)?;
    if ring.is_enabled() {
        ring.note_issuer(thread)?;
    }
    let told = IoUringParams {
        sq_entries: submissions,
        cq_entries: completions,
        features: FEATURES.bits(),
        sq_off: geometry.submission_offsets(),
        cq_off: geometry.completion_offsets(),
        ..*given
    };
    Ok((OpenFile::new(RingFile::new(ring), None, OpenFlags::RDWR), told))
}

/// Flags that make sense only with others.
fn check_combination(flags: SetupFlags) -> Result<(), Errno> {
    let has_task_work_flag = flags.intersects(SetupFlags::COOP_TASKRUN | SetupFlags::DEFER_TASKRUN);
    if flags.contains(SetupFlags::TASKRUN_FLAG) && !has_task_work_flag {
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
