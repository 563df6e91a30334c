//! Readiness: `poll`, `select` and `epoll`.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

bitflags! {
    /// What a file is ready for (`POLL`, and the same bits of `EPOLL`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PollEvents: u32 {
        const IN = 0x0001;
        const PRI = 0x0002;
        const OUT = 0x0004;
        const ERR = 0x0008;
        const HUP = 0x0010;
        const NVAL = 0x0020;
        const RDNORM = 0x0040;
        const RDBAND = 0x0080;
        const WRNORM = 0x0100;
        const WRBAND = 0x0200;
        const MSG = 0x0400;
        const RDHUP = 0x2000;
    }

    /// How an `epoll` registration behaves (`EPOLL`), beside the events it waits for.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct EpollBehaviour: u32 {
        const EXCLUSIVE = 1 << 28;
        const WAKEUP = 1 << 29;
        const ONESHOT = 1 << 30;
        const ET = 1 << 31;
    }
}

constants! { POLL_TABLE: i32 {
    EPOLL_CLOEXEC = 0o2000000;
    EPOLL_CTL_ADD = 1;
    EPOLL_CTL_DEL = 2;
    EPOLL_CTL_MOD = 3;
} }

/// Descriptors in the bit sets of `select`.
pub const FD_SETSIZE: usize = 1024;

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pollfd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

layout!(POLLFD_LAYOUT = "struct pollfd": Pollfd, 8 { fd: 0, events: 4, revents: 6 });

/// `struct epoll_event`; not packed, unlike on x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EpollEvent {
    pub events: u32,
    pub padding_after_events: u32,
    pub data: u64,
}

layout!(EPOLL_EVENT_LAYOUT = "struct epoll_event": EpollEvent, 16 { events: 0, data: 8 });
