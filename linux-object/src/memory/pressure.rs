//! When memory runs out.
//!
//! Who finds no memory for a program's page waits here. First pages of files that can be brought again are given up. If
//! there are none, the process that holds most is ended, as `/proc/PID/oom_score_adj` corrects it, and the waiter tries
//! again when its memory has come back. One process is ended at a time: while one is on its way, the others wait for it.
//! A process that was chosen does not wait for itself: its requests fail, and it ends.

use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use kernel_hal::{Instant, PAGE_SIZE};
use kernel_object::address_space::{AddressSpace, Usage};
use kernel_object::frame;
use ksync::{Once, Rank, SpinLock, WaitQueue};
use linux_abi::Errno;
use linux_abi::signal::Signal;

use crate::process::{Process, all_processes};
use crate::signal::killed_by;
use crate::thread::{Interrupted, Thread};

/// Pages that must be free before somebody who waited tries again: each hart takes them in batches.
const ENOUGH_PAGES: usize = 64;
/// Pages of files that are given up at a time.
const RECLAIMED_PAGES: usize = 256;
/// How long the end of a process may take before another one is chosen.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PROCESS: i32 = 1;
/// What a process's correction says if it must not be ended.
const NEVER: i32 = -1000;
const WHOLE: isize = 1000;

static MEMORY_RETURNED: WaitQueue = WaitQueue::new("memory returned");
static WAITING: AtomicUsize = AtomicUsize::new(0);
static KILLS: AtomicU64 = AtomicU64::new(0);
/// One choice at a time.
static CHOOSING: SpinLock<()> = SpinLock::new(Rank::OUT_OF_MEMORY, ());

static RECLAIMER: Once<fn(usize) -> usize> = Once::new();

/// Says what gives pages of files up: it gets the number of pages that would help, and returns how many it was.
pub fn set_reclaimer(reclaimer: fn(usize) -> usize) {
    RECLAIMER.call_once(|| reclaimer);
}

fn reclaim(most: usize) -> usize {
    RECLAIMER.get().map_or(0, |reclaimer| reclaimer(most))
}

/// How many processes were ended for want of memory.
pub fn kills() -> u64 {
    KILLS.load(Ordering::Relaxed)
}

/// Gives up every name that was only remembered and every page of a file that can be brought again
/// (`/proc/sys/vm/drop_caches`). Returns how many pages were.
pub fn drop_caches() -> usize {
    crate::namespace::drop_names();
    crate::socket::garbage::collect();
    drop_pages()
}

/// The pages alone.
pub fn drop_pages() -> usize {
    let mut dropped = 0;
    loop {
        let now = reclaim(RECLAIMED_PAGES);
        dropped += now;
        if now == 0 {
            frame::drain_cache();
            return dropped;
        }
    }
}

/// Tells who waits that memory has come back: an address space was cleared.
pub fn note_memory_returned() {
    if WAITING.load(Ordering::SeqCst) != 0 {
        MEMORY_RETURNED.wake_all();
    }
}

/// Waits until there is memory again, for a thread that does not wait on when it is told to end. An error if there
/// will be none for it.
pub async fn make_room_for(thread: &Thread) -> Result<(), Errno> {
    let space = thread.resources().address_space;
    match thread.interruptible_by_end(make_room(space)).await {
        Ok(result) => result,
        Err(Interrupted) => Err(Errno::ENOMEM),
    }
}

/// Waits until there is memory again, for somebody who works on this address space. An error if there will be none.
pub async fn make_room(space: Arc<AddressSpace>) -> Result<(), Errno> {
    loop {
        if space.is_condemned() {
            return Err(Errno::ENOMEM);
        }
        if reclaim(RECLAIMED_PAGES) > 0 || frame::has_room(ENOUGH_PAGES) {
            return Ok(());
        }
        let victim = choose().ok_or(Errno::ENOMEM)?;
        if Arc::ptr_eq(&victim.space, &space) {
            return Err(Errno::ENOMEM);
        }
        let process = victim.process;
        drop(victim.space);
        WAITING.fetch_add(1, Ordering::SeqCst);
        let has_ended = || (frame::has_room(ENOUGH_PAGES) || process.fate().is_some()).then_some(());
        let waited =
            executor::timeout(Instant::now() + PATIENCE, MEMORY_RETURNED.wait_until(has_ended)).await;
        WAITING.fetch_sub(1, Ordering::SeqCst);
        if waited.is_err() {
            log::warn!("process {} does not end although memory is short", process.id());
            process.give_up_waiting_for_memory();
        }
    }
}

struct Candidate {
    process: Arc<Process>,
    space: Arc<AddressSpace>,
    usage: Usage,
    badness: isize,
}

/// How much would be gained by ending a process, in pages, corrected by what its owner thinks of it.
fn badness(usage: &Usage, adjustment: i32) -> isize {
    let pages = usage.resident + usage.tables;
    pages as isize + adjustment as isize * (frame::total() as isize / WHOLE)
}

fn memory_of(process: &Process) -> Option<Arc<AddressSpace>> {
    process.threads().first().map(|thread| thread.resources().address_space)
}

/// The process whose end is to be awaited: one that is ending already, or the worst, which is told to end.
fn choose() -> Option<Candidate> {
    let _one_at_a_time = CHOOSING.lock();
    let mut worst: Option<Candidate> = None;
    for process in all_processes() {
        if process.id() == FIRST_PROCESS || process.fate().is_some() {
            continue;
        }
        let Some(space) = memory_of(&process) else { continue };
        let usage = space.usage();
        let adjustment = process.oom_adjustment();
        if process.ending().is_some() {
            if !process.is_given_up() && usage.resident > 0 {
                return Some(Candidate { process, space, usage, badness: 0 });
            }
            continue;
        }
        if adjustment == NEVER || space.is_condemned() {
            continue;
        }
        let badness = badness(&usage, adjustment);
        if usage.resident > 0 && worst.as_ref().is_none_or(|worst| badness > worst.badness) {
            worst = Some(Candidate { process, space, usage, badness });
        }
    }
    let worst = worst?;
    end(&worst);
    Some(worst)
}

/// Ends a process and all others that share its memory.
fn end(victim: &Candidate) {
    let Candidate { process, space, usage, .. } = victim;
    let kilobytes = |pages: usize| pages * PAGE_SIZE / 1024;
    let name = process.threads().first().map(|thread| thread.name()).unwrap_or_default();
    let name = String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
    log::error!(
        "Out of memory: Killed process {} ({name}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB, \
         UID:{} pgtables:{}kB oom_score_adj:{}",
        process.id(),
        kilobytes(usage.mapped),
        kilobytes(usage.anonymous),
        kilobytes(usage.file),
        kilobytes(usage.shared_memory),
        process.credentials().real_user,
        kilobytes(usage.tables),
        process.oom_adjustment(),
    );
    KILLS.fetch_add(1, Ordering::Relaxed);
    space.condemn();
    let shares_memory = |other: &Arc<Process>| {
        other.id() != FIRST_PROCESS && memory_of(other).is_some_and(|other| Arc::ptr_eq(&other, space))
    };
    all_processes()
        .into_iter()
        .filter(shares_memory)
        .for_each(|other| other.request_exit(killed_by(Signal::SIGKILL)));
    process.request_exit(killed_by(Signal::SIGKILL));
}
