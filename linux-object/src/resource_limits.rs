//! What a process may use at most.

use linux_abi::resource::{
    RLIM_INFINITY, RLIM_NLIMITS, RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_STACK, Rlimit,
};

use crate::file::MOST_DESCRIPTORS;

const STACK_BYTES: u64 = 8 << 20;
const LOCKED_BYTES: u64 = 8 << 20;

/// The limits of every process.
pub fn defaults() -> [Rlimit; RLIM_NLIMITS as usize] {
    let mut limits = [Rlimit { rlim_cur: RLIM_INFINITY, rlim_max: RLIM_INFINITY }; RLIM_NLIMITS as usize];
    let mut set = |resource: u32, current, maximum| {
        limits[resource as usize] = Rlimit { rlim_cur: current, rlim_max: maximum };
    };
    set(RLIMIT_STACK as u32, STACK_BYTES, RLIM_INFINITY);
    set(RLIMIT_CORE as u32, 0, RLIM_INFINITY);
    set(RLIMIT_NOFILE as u32, MOST_DESCRIPTORS as u64, MOST_DESCRIPTORS as u64);
    set(RLIMIT_MEMLOCK as u32, LOCKED_BYTES, LOCKED_BYTES);
    limits
}
