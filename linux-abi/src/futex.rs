//! Futexes and the list of robust ones.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

constants! { FUTEX_TABLE: u32 {
    FUTEX_WAIT = 0;
    FUTEX_WAKE = 1;
    FUTEX_FD = 2;
    FUTEX_REQUEUE = 3;
    FUTEX_CMP_REQUEUE = 4;
    FUTEX_WAKE_OP = 5;
    FUTEX_LOCK_PI = 6;
    FUTEX_UNLOCK_PI = 7;
    FUTEX_TRYLOCK_PI = 8;
    FUTEX_WAIT_BITSET = 9;
    FUTEX_WAKE_BITSET = 10;
    FUTEX_WAIT_REQUEUE_PI = 11;
    FUTEX_CMP_REQUEUE_PI = 12;
    FUTEX_LOCK_PI2 = 13;
    FUTEX_PRIVATE_FLAG = 128;
    FUTEX_CLOCK_REALTIME = 256;
    /// In a futex word: somebody waits.
    FUTEX_WAITERS = 0x8000_0000;
    /// In a futex word: its owner died.
    FUTEX_OWNER_DIED = 0x4000_0000;
    /// In a futex word: the owner's thread id.
    FUTEX_TID_MASK = 0x3fff_ffff;
    FUTEX_BITSET_MATCH_ANY = 0xffff_ffff;
    FUTEX_OP_SET = 0;
    FUTEX_OP_ADD = 1;
    FUTEX_OP_OR = 2;
    FUTEX_OP_ANDN = 3;
    FUTEX_OP_XOR = 4;
    /// Added to an operation: use `1 << argument`.
    FUTEX_OP_OPARG_SHIFT = 8;
    FUTEX_OP_CMP_EQ = 0;
    FUTEX_OP_CMP_NE = 1;
    FUTEX_OP_CMP_LT = 2;
    FUTEX_OP_CMP_LE = 3;
    FUTEX_OP_CMP_GT = 4;
    FUTEX_OP_CMP_GE = 5;
    /// Futexes in one `futex_waitv`.
    FUTEX_WAITV_MAX = 128;
    /// Entries of a robust list that the kernel follows.
    ROBUST_LIST_LIMIT = 2048;
} }

constants! { u32 {
    /// Linux 6.7, `futex_wait` and its kin: the size of the word.
    FUTEX2_SIZE_U8 = 0;
    FUTEX2_SIZE_U16 = 1;
    FUTEX2_SIZE_U32 = 2;
    FUTEX2_SIZE_U64 = 3;
    FUTEX2_NUMA = 4;
    FUTEX2_PRIVATE = 128;
    FUTEX2_SIZE_MASK = 3;
} }

/// `struct robust_list_head`; the list's links are addresses in user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RobustListHead {
    /// The first entry; the head's own address where the list is empty.
    pub list: u64,
    pub futex_offset: i64,
    pub list_op_pending: u64,
}

layout!(ROBUST_LIST_HEAD_LAYOUT = "struct robust_list_head": RobustListHead, 24 {
    list: 0, futex_offset: 8, list_op_pending: 16,
});

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FutexWaitv {
    pub val: u64,
    pub uaddr: u64,
    pub flags: u32,
    pub reserved: u32,
}

layout!(FUTEX_WAITV_LAYOUT = "struct futex_waitv": FutexWaitv, 24 { val: 0, uaddr: 8, flags: 16 });
