//! Memory mapping: `mmap`, `mprotect`, `mremap`, `madvise` and their like.

use bitflags::bitflags;

use crate::table::constants;

bitflags! {
    /// Protection of a mapping (`PROT_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Protection: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXEC = 4;
        const SEM = 8;
        const GROWSDOWN = 0x0100_0000;
        const GROWSUP = 0x0200_0000;
    }

    /// Flags of `mmap` beside the type of mapping (`MAP_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MapFlags: u32 {
        const FIXED = 0x10;
        const ANONYMOUS = 0x20;
        const GROWSDOWN = 0x0100;
        const DENYWRITE = 0x0800;
        const EXECUTABLE = 0x1000;
        const LOCKED = 0x2000;
        const NORESERVE = 0x4000;
        const POPULATE = 0x8000;
        const NONBLOCK = 0x1_0000;
        const STACK = 0x2_0000;
        const HUGETLB = 0x4_0000;
        const SYNC = 0x8_0000;
        const FIXED_NOREPLACE = 0x10_0000;
        const UNINITIALIZED = 0x400_0000;
    }

    /// Flags of `mremap` (`MREMAP_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RemapFlags: u32 {
        const MAYMOVE = 1;
        const FIXED = 2;
        const DONTUNMAP = 4;
    }

    /// Flags of `msync` (`MS_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SyncFlags: u32 {
        const ASYNC = 1;
        const INVALIDATE = 2;
        const SYNC = 4;
    }

    /// Flags of `mlockall` (`MCL_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct LockAllFlags: u32 {
        const CURRENT = 1;
        const FUTURE = 2;
        const ONFAULT = 4;
    }
}

constants! { MAP_TABLE: u32 {
    /// The bits of `mmap`'s flags that hold the type of mapping.
    MAP_TYPE = 0x0f;
    MAP_FILE = 0;
    MAP_SHARED = 1;
    MAP_PRIVATE = 2;
    MAP_SHARED_VALIDATE = 3;
    MAP_HUGE_SHIFT = 26;
    MAP_HUGE_MASK = 0x3f;
    MLOCK_ONFAULT = 1;
} }

constants! { u32 {
    /// Linux 6.11: memory that the kernel may drop under pressure.
    MAP_DROPPABLE = 8;
} }

constants! { ADVICE_TABLE: i32 {
    MADV_NORMAL = 0;
    MADV_RANDOM = 1;
    MADV_SEQUENTIAL = 2;
    MADV_WILLNEED = 3;
    MADV_DONTNEED = 4;
    MADV_FREE = 8;
    MADV_REMOVE = 9;
    MADV_DONTFORK = 10;
    MADV_DOFORK = 11;
    MADV_MERGEABLE = 12;
    MADV_UNMERGEABLE = 13;
    MADV_HUGEPAGE = 14;
    MADV_NOHUGEPAGE = 15;
    MADV_DONTDUMP = 16;
    MADV_DODUMP = 17;
    MADV_WIPEONFORK = 18;
    MADV_KEEPONFORK = 19;
    MADV_COLD = 20;
    MADV_PAGEOUT = 21;
    MADV_POPULATE_READ = 22;
    MADV_POPULATE_WRITE = 23;
    MADV_DONTNEED_LOCKED = 24;
    MADV_COLLAPSE = 25;
    MADV_HWPOISON = 100;
    MADV_SOFT_OFFLINE = 101;
} }
