//! What a process may use at most.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel_object::address_space::Limits;
use ksync::{Rank, SpinLock};
use linux_abi::Errno;
use linux_abi::resource::{
    RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_MEMLOCK,
    RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RTPRIO, RLIMIT_SIGPENDING,
    RLIMIT_STACK, Rlimit,
};

use crate::file::MOST_DESCRIPTORS;
use crate::thread::Resources;

const STACK_BYTES: u64 = 8 << 20;
const LOCKED_BYTES: u64 = 8 << 20;
const MESSAGE_QUEUE_BYTES: u64 = 819_200;
/// Memory that one thread is reckoned with, for the number of threads that make sense.
const BYTES_PER_THREAD: u64 = 128 << 10;

const COUNT: usize = RLIM_NLIMITS as usize;

/// The limits of a process.
pub struct ResourceLimits {
    limits: SpinLock<[Rlimit; COUNT]>,
    /// The limits that hot paths look at.
    signals: AtomicU64,
    file_size: AtomicU64,
    /// Whether somebody looks at the time that the process uses.
    is_watched: AtomicBool,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self::with(defaults())
    }
}

impl ResourceLimits {
    fn with(limits: [Rlimit; COUNT]) -> Self {
        let own = Self {
            limits: SpinLock::new(Rank::FILE, limits),
            signals: AtomicU64::new(RLIM_INFINITY),
            file_size: AtomicU64::new(RLIM_INFINITY),
            is_watched: AtomicBool::new(false),
        };
        own.publish(&limits);
        own
    }

    fn publish(&self, limits: &[Rlimit; COUNT]) {
        self.signals.store(limits[RLIMIT_SIGPENDING as usize].rlim_cur, Ordering::Relaxed);
        let file_size = limits[linux_abi::resource::RLIMIT_FSIZE as usize].rlim_cur;
        self.file_size.store(file_size, Ordering::Relaxed);
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self::with(*self.limits.lock())
    }

    /// A limit, by its number, which must exist.
    pub fn get(&self, resource: u32) -> Rlimit {
        self.limits.lock()[resource as usize]
    }

    /// All of them, by number.
    pub fn all(&self) -> [Rlimit; COUNT] {
        *self.limits.lock()
    }

    /// How many signals may be queued.
    pub fn queued_signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// How large a file may become.
    pub fn file_size(&self) -> u64 {
        self.file_size.load(Ordering::Relaxed)
    }

    /// Replaces a limit; returns what it was. Only who is privileged may raise a maximum.
    pub fn set(&self, resource: u32, new: Rlimit, is_privileged: bool) -> Result<Rlimit, Errno> {
        if new.rlim_cur > new.rlim_max {
            return Err(Errno::EINVAL);
        }
        // Nobody may have more descriptors than there are numbers for.
        if resource == RLIMIT_NOFILE as u32 && new.rlim_max > MOST_DESCRIPTORS as u64 {
            return Err(Errno::EPERM);
        }
        let mut limits = self.limits.lock();
        let slot = limits.get_mut(resource as usize).ok_or(Errno::EINVAL)?;
        if new.rlim_max > slot.rlim_max && !is_privileged {
            return Err(Errno::EPERM);
        }
        let former = core::mem::replace(slot, new);
        self.publish(&limits);
        Ok(former)
    }

    /// Whether this call is the first that finds a limit of time: then somebody must watch it.
    pub(crate) fn must_be_watched(&self) -> bool {
        let limit = self.get(RLIMIT_CPU as u32);
        limit.rlim_cur.min(limit.rlim_max) != RLIM_INFINITY && !self.is_watched.swap(true, Ordering::Relaxed)
    }

    /// Nobody watches any more.
    pub(crate) fn is_no_longer_watched(&self) {
        self.is_watched.store(false, Ordering::Relaxed);
    }

    /// Lets the limits take effect where they are kept apart.
    pub fn apply_to(&self, resources: &Resources) {
        let bytes = |resource: i32| usize::try_from(self.get(resource as u32).rlim_cur).unwrap_or(usize::MAX);
        resources.files.set_limit(bytes(RLIMIT_NOFILE));
        resources.address_space.set_limits(Limits {
            address_space: bytes(RLIMIT_AS),
            data: bytes(RLIMIT_DATA),
            stack: bytes(RLIMIT_STACK),
            locked: bytes(RLIMIT_MEMLOCK),
        });
    }
}

/// The first process's limits.
fn defaults() -> [Rlimit; COUNT] {
    let mut limits = [Rlimit { rlim_cur: RLIM_INFINITY, rlim_max: RLIM_INFINITY }; COUNT];
    let mut set = |resource: i32, current, maximum| {
        limits[resource as usize] = Rlimit { rlim_cur: current, rlim_max: maximum };
    };
    let memory = (kernel_object::frame::statistics().total * kernel_hal::PAGE_SIZE) as u64;
    let threads = (memory / BYTES_PER_THREAD / 2).max(1);
    set(RLIMIT_STACK, STACK_BYTES, RLIM_INFINITY);
    set(RLIMIT_CORE, 0, RLIM_INFINITY);
    set(RLIMIT_NOFILE, 1024, 4096);
    set(RLIMIT_MEMLOCK, LOCKED_BYTES, LOCKED_BYTES);
    set(RLIMIT_NPROC, threads, threads);
    set(RLIMIT_SIGPENDING, threads, threads);
    set(RLIMIT_MSGQUEUE, MESSAGE_QUEUE_BYTES, MESSAGE_QUEUE_BYTES);
    set(RLIMIT_NICE, 0, 0);
    set(RLIMIT_RTPRIO, 0, 0);
    limits
}
