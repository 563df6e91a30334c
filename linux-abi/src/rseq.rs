//! Restartable sequences, and `membarrier`, which belongs to them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

/// `struct rseq` of Linux 6.12: the area that a thread shares with the kernel.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct Rseq {
    pub cpu_id_start: u32,
    pub cpu_id: u32,
    pub rseq_cs: u64,
    pub flags: u32,
    pub node_id: u32,
    pub mm_cid: u32,
    pub padding_at_end: u32,
}

layout!(RSEQ_LAYOUT = "struct rseq": Rseq, 32 { cpu_id_start: 0, cpu_id: 4, rseq_cs: 8, flags: 16 }
    newer { node_id: 20, mm_cid: 24 });

/// Bytes of [`Rseq`] that the kernel fills in (`AT_RSEQ_FEATURE_SIZE`).
pub const RSEQ_FEATURE_SIZE: usize = 28;
/// Alignment of [`Rseq`] (`AT_RSEQ_ALIGN`).
pub const RSEQ_ALIGNMENT: usize = align_of::<Rseq>();
/// Bytes of the first version, which may still be registered.
pub const RSEQ_ORIGINAL_SIZE: usize = 32;

/// `struct rseq_cs`: one critical section.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct RseqCriticalSection {
    pub version: u32,
    pub flags: u32,
    pub start_ip: u64,
    pub post_commit_offset: u64,
    pub abort_ip: u64,
}

layout!(RSEQ_CS_LAYOUT = "struct rseq_cs": RseqCriticalSection, 32 {
    version: 0, flags: 4, start_ip: 8, post_commit_offset: 16, abort_ip: 24,
});

constants! { RSEQ_TABLE: i32 {
    RSEQ_CPU_ID_UNINITIALIZED = -1;
    RSEQ_CPU_ID_REGISTRATION_FAILED = -2;
    RSEQ_FLAG_UNREGISTER = 1;
    RSEQ_CS_FLAG_NO_RESTART_ON_PREEMPT = 1;
    RSEQ_CS_FLAG_NO_RESTART_ON_SIGNAL = 2;
    RSEQ_CS_FLAG_NO_RESTART_ON_MIGRATE = 4;
    MEMBARRIER_CMD_QUERY = 0;
    MEMBARRIER_CMD_GLOBAL = 1 << 0;
    MEMBARRIER_CMD_GLOBAL_EXPEDITED = 1 << 1;
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED = 1 << 2;
    MEMBARRIER_CMD_PRIVATE_EXPEDITED = 1 << 3;
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED = 1 << 4;
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 5;
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 1 << 6;
    MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ = 1 << 7;
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ = 1 << 8;
    MEMBARRIER_CMD_FLAG_CPU = 1;
} }

constants! { i32 {
    /// Linux 6.3.
    MEMBARRIER_CMD_GET_REGISTRATIONS = 1 << 9;
} }
