//! Scheduling: policies and their parameters.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

constants! { SCHEDULE_TABLE: u32 {
    /// POSIX calls it `SCHED_OTHER`.
    SCHED_NORMAL = 0;
    SCHED_FIFO = 1;
    SCHED_RR = 2;
    SCHED_BATCH = 3;
    SCHED_IDLE = 5;
    SCHED_DEADLINE = 6;
    /// Added to a policy: children start as `SCHED_NORMAL`.
    SCHED_RESET_ON_FORK = 0x4000_0000;
    SCHED_ATTR_SIZE_VER0 = 48;
    SCHED_ATTR_SIZE_VER1 = 56;
} }

/// Lowest and highest real-time priority.
pub const REAL_TIME_PRIORITIES: core::ops::RangeInclusive<i32> = 1..=99;
/// Highest and lowest nice value, in the order of urgency.
pub const NICE_VALUES: core::ops::RangeInclusive<i32> = -20..=19;

bitflags! {
    /// `sched_flags` of [`SchedAttr`] (`SCHED_FLAG_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ScheduleFlags: u64 {
        const RESET_ON_FORK = 0x01;
        const RECLAIM = 0x02;
        const DL_OVERRUN = 0x04;
        const KEEP_POLICY = 0x08;
        const KEEP_PARAMS = 0x10;
        const UTIL_CLAMP_MIN = 0x20;
        const UTIL_CLAMP_MAX = 0x40;
    }
}

/// `struct sched_param`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedParam {
    pub sched_priority: i32,
}

layout!(SCHED_PARAM_LAYOUT = "struct sched_param": SchedParam, 4 { sched_priority: 0 });

/// `struct sched_attr`, of `sched_setattr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedAttr {
    pub size: u32,
    pub sched_policy: u32,
    pub sched_flags: u64,
    pub sched_nice: i32,
    pub sched_priority: u32,
    pub sched_runtime: u64,
    pub sched_deadline: u64,
    pub sched_period: u64,
    pub sched_util_min: u32,
    pub sched_util_max: u32,
}

layout!(SCHED_ATTR_LAYOUT = "struct sched_attr": SchedAttr, 56 {
    size: 0, sched_policy: 4, sched_flags: 8, sched_nice: 16, sched_priority: 20, sched_runtime: 24,
    sched_deadline: 32, sched_period: 40, sched_util_min: 48, sched_util_max: 52,
});
