//! Signals: numbers, sets, actions and alternate stacks.

use core::fmt;

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

macro_rules! signals {
    ($( $name:ident = $number:literal; )*) => {
        impl Signal {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self($number);
            )*

            /// Linux's name; real-time signals have none of their own.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $number => Some(stringify!($name)), )*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        pub(crate) const SIGNAL_TABLE: &[(&str, i128)] = &[ $( (stringify!($name), $number) ),* ];
    };
}

/// A valid signal number: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Signal(u8);

signals! {
    SIGHUP = 1;
    SIGINT = 2;
    SIGQUIT = 3;
    SIGILL = 4;
    SIGTRAP = 5;
    SIGABRT = 6;
    SIGBUS = 7;
    SIGFPE = 8;
    SIGKILL = 9;
    SIGUSR1 = 10;
    SIGSEGV = 11;
    SIGUSR2 = 12;
    SIGPIPE = 13;
    SIGALRM = 14;
    SIGTERM = 15;
    SIGSTKFLT = 16;
    SIGCHLD = 17;
    SIGCONT = 18;
    SIGSTOP = 19;
    SIGTSTP = 20;
    SIGTTIN = 21;
    SIGTTOU = 22;
    SIGURG = 23;
    SIGXCPU = 24;
    SIGXFSZ = 25;
    SIGVTALRM = 26;
    SIGPROF = 27;
    SIGWINCH = 28;
    SIGIO = 29;
    SIGPWR = 30;
    SIGSYS = 31;
}

impl Signal {
    /// The first real-time signal, as the kernel counts (the C library keeps the first few for itself).
    pub const RT_MIN: Self = Self(32);
    /// The last signal.
    pub const RT_MAX: Self = Self(64);

    /// The signal with this number; `None` outside 1 to 64.
    pub const fn new(number: i32) -> Option<Self> {
        if number >= 1 && number <= 64 { Some(Self(number as u8)) } else { None }
    }

    /// Its number, 1 to 64.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether it is queued, one entry for each sending.
    pub const fn is_real_time(self) -> bool {
        self.0 >= Self::RT_MIN.0
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIGRT_{}", self.0 - Self::RT_MIN.0),
        }
    }
}

/// `sigset_t`: bit n-1 stands for signal n.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SignalSet(u64);

layout!(SIGNAL_SET_LAYOUT = "sigset_t": SignalSet, 8 {});

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);

    /// The set with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// Its bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
    /// The set of one signal.
    pub const fn of(signal: Signal) -> Self {
        Self(1 << (signal.0 - 1))
    }
    /// Whether the signal is in the set.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::of(signal).0 != 0
    }
    /// Adds a signal.
    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= Self::of(signal).0;
    }
    /// Takes a signal out.
    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !Self::of(signal).0;
    }
    /// Signals in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Signals in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Signals of this set that are not in the other.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Whether no signal is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The signal with the lowest number.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Some(Signal(self.0.trailing_zeros() as u8 + 1)) }
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries((1..=64).filter_map(Signal::new).filter(|&signal| self.contains(signal)))
            .finish()
    }
}

bitflags! {
    /// `sa_flags` (`SA_`). riscv64 has no `SA_RESTORER`: the trampoline is in the vDSO.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ActionFlags: u64 {
        const NOCLDSTOP = 0x0000_0001;
        const NOCLDWAIT = 0x0000_0002;
        const SIGINFO = 0x0000_0004;
        const UNSUPPORTED = 0x0000_0400;
        const EXPOSE_TAGBITS = 0x0000_0800;
        const ONSTACK = 0x0800_0000;
        const RESTART = 0x1000_0000;
        const NODEFER = 0x4000_0000;
        const RESETHAND = 0x8000_0000;
    }
}

/// The kernel's `struct sigaction`, of `rt_sigaction`; the C library's is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigAction {
    /// [`SIG_DFL`], [`SIG_IGN`] or the handler's address.
    pub sa_handler: u64,
    /// Bits of [`ActionFlags`].
    pub sa_flags: u64,
    pub sa_mask: SignalSet,
}

layout!(SIGACTION_LAYOUT = "struct sigaction": SigAction, 24 { sa_handler: 0, sa_flags: 8, sa_mask: 16 });

/// Do what is usual for the signal.
pub const SIG_DFL: u64 = 0;
/// Ignore the signal.
pub const SIG_IGN: u64 = 1;

constants! { SIGNAL_CALL_TABLE: i32 {
    SIG_BLOCK = 0;
    SIG_UNBLOCK = 1;
    SIG_SETMASK = 2;
    SS_ONSTACK = 1;
    SS_DISABLE = 2;
    SS_AUTODISARM = i32::MIN;
    MINSIGSTKSZ = 2048;
    SIGEV_SIGNAL = 0;
    SIGEV_NONE = 1;
    SIGEV_THREAD = 2;
    SIGEV_THREAD_ID = 4;
} }

/// `stack_t`, of `sigaltstack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalStack {
    pub ss_sp: u64,
    pub ss_flags: i32,
    pub padding_after_flags: u32,
    pub ss_size: u64,
}

layout!(SIGNAL_STACK_LAYOUT = "stack_t": SignalStack, 24 { ss_sp: 0, ss_flags: 8, ss_size: 16 });

/// `struct sigevent`, of `timer_create`; the thread id is the first word of its union.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigEvent {
    pub sigev_value: u64,
    pub sigev_signo: i32,
    pub sigev_notify: i32,
    pub sigev_notify_thread_id: i32,
    pub padding_at_end: [u32; 11],
}

layout!(SIGEVENT_LAYOUT = "struct sigevent": SigEvent, 64 {
    sigev_value: 0, sigev_signo: 8, sigev_notify: 12, sigev_notify_thread_id: 16,
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn numbers_are_checked() {
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(65), None);
        assert_eq!(Signal::new(9), Some(Signal::SIGKILL));
        assert_eq!(format!("{:?}", Signal::SIGTERM), "SIGTERM");
        assert_eq!(format!("{:?}", Signal::RT_MAX), "SIGRT_32");
    }

    #[test]
    fn sets_hold_the_first_and_the_last() {
        let mut set = SignalSet::of(Signal::RT_MAX);
        set.insert(Signal::SIGHUP);
        assert_eq!(set.bits(), 1 << 63 | 1);
        assert_eq!(set.first(), Some(Signal::SIGHUP));
        set.remove(Signal::SIGHUP);
        assert_eq!(set.first(), Some(Signal::RT_MAX));
        assert_eq!(SignalSet::EMPTY.first(), None);
        assert!(SignalSet::ALL.difference(SignalSet::of(Signal::SIGINT)).contains(Signal::SIGQUIT));
    }
}
