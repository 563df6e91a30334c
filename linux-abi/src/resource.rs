//! Resource limits and usage.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};
use crate::time::Timeval;

constants! { RESOURCE_TABLE: i32 {
    RLIMIT_CPU = 0;
    RLIMIT_FSIZE = 1;
    RLIMIT_DATA = 2;
    RLIMIT_STACK = 3;
    RLIMIT_CORE = 4;
    RLIMIT_RSS = 5;
    RLIMIT_NPROC = 6;
    RLIMIT_NOFILE = 7;
    RLIMIT_MEMLOCK = 8;
    RLIMIT_AS = 9;
    RLIMIT_LOCKS = 10;
    RLIMIT_SIGPENDING = 11;
    RLIMIT_MSGQUEUE = 12;
    RLIMIT_NICE = 13;
    RLIMIT_RTPRIO = 14;
    RLIMIT_RTTIME = 15;
    /// How many limits there are.
    RLIM_NLIMITS = 16;
    RUSAGE_SELF = 0;
    RUSAGE_CHILDREN = -1;
    RUSAGE_THREAD = 1;
    PRIO_PROCESS = 0;
    PRIO_PGRP = 1;
    PRIO_USER = 2;
} }

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

/// `struct rlimit`, and `struct rlimit64`, which is the same here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rlimit {
    pub rlim_cur: u64,
    pub rlim_max: u64,
}

layout!(RLIMIT_LAYOUT = "struct rlimit64": Rlimit, 16 { rlim_cur: 0, rlim_max: 8 });

/// `struct rusage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rusage {
    pub ru_utime: Timeval,
    pub ru_stime: Timeval,
    pub ru_maxrss: i64,
    pub ru_ixrss: i64,
    pub ru_idrss: i64,
    pub ru_isrss: i64,
    pub ru_minflt: i64,
    pub ru_majflt: i64,
    pub ru_nswap: i64,
    pub ru_inblock: i64,
    pub ru_oublock: i64,
    pub ru_msgsnd: i64,
    pub ru_msgrcv: i64,
    pub ru_nsignals: i64,
    pub ru_nvcsw: i64,
    pub ru_nivcsw: i64,
}

layout!(RUSAGE_LAYOUT = "struct rusage": Rusage, 144 {
    ru_utime: 0, ru_stime: 16, ru_maxrss: 32, ru_ixrss: 40, ru_idrss: 48, ru_isrss: 56, ru_minflt: 64, ru_majflt: 72,
    ru_nswap: 80, ru_inblock: 88, ru_oublock: 96, ru_msgsnd: 104, ru_msgrcv: 112, ru_nsignals: 120, ru_nvcsw: 128,
    ru_nivcsw: 136,
});
