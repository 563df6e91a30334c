//! What the arguments of calls mean, where that is more than a number: by the position that the ABI gives them.

use bitflags::Flags;
use linux_abi::file::{AtFlags, OpenFlags, RenameFlags};
use linux_abi::memory::{MapFlags, Protection, RemapFlags};
use linux_abi::process::{CloneFlags, WaitFlags};
use linux_abi::statfs::MountFlags;
use linux_abi::system::GetrandomFlags;

use crate::table::Row;

/// Names of values.
pub type Names = &'static [(usize, &'static str)];

/// What an argument means.
#[derive(Clone, Copy)]
pub enum Meaning {
    /// A value of its type.
    Plain,
    /// The address of a path or another string.
    Path,
    /// The address of an array of addresses of strings.
    Strings,
    /// Bytes for the kernel, as many as the argument with this index says.
    Input(usize),
    /// Bytes from the kernel, as many as the result says.
    Output,
    /// Pieces of memory; the argument with this index says how many.
    Vectors(usize),
    /// A set of flags.
    Flags(fn(usize, &mut dyn FnMut(&'static str)) -> usize),
    /// One of these.
    One(Names),
    /// The low bits one of these, the rest flags.
    OneAndFlags(Names, fn(usize, &mut dyn FnMut(&'static str)) -> usize),
    /// A number in octal.
    Octal,
    /// An address, also where the row has a number.
    Address,
    /// The number of a signal.
    Signal,
    /// A set of signals.
    Signals,
    /// A set of signals that the kernel fills.
    SignalsOut,
    /// What a signal does.
    Action,
    /// The same, filled by the kernel.
    ActionOut,
    /// Seconds and nanoseconds.
    Time,
    /// The same, filled by the kernel.
    TimeOut,
    /// A pair of descriptors, filled by the kernel.
    PairOut,
    /// How a child ended, filled by the kernel.
    StatusOut,
    /// What a file is, filled by the kernel.
    StatOut,
    /// A 64-bit limit and its maximum.
    Limit,
    /// The same, filled by the kernel.
    LimitOut,
    /// A 32-bit number.
    Word,
    /// The same, filled by the kernel.
    WordOut,
    /// Descriptors to poll; the argument with this index says how many.
    Polls(usize),
    /// An event to wait for.
    Event,
    /// Events, as many as the result says.
    EventsOut,
    /// A socket's address, as long as the argument with this index says.
    SocketAddress(usize),
}

impl Meaning {
    /// Whether only the result fills it.
    pub(super) const fn is_output(self) -> bool {
        matches!(
            self,
            Self::Output
                | Self::SignalsOut
                | Self::ActionOut
                | Self::TimeOut
                | Self::PairOut
                | Self::StatusOut
                | Self::StatOut
                | Self::LimitOut
                | Self::WordOut
                | Self::EventsOut
                | Self::Polls(_)
        )
    }
}

/// Calls `name` for every flag in `bits`; returns what is left.
fn names_of<F: Flags<Bits: Into<u64>>>(bits: usize, name: &mut dyn FnMut(&'static str)) -> usize {
    let mut left = bits as u64;
    for flag in F::FLAGS {
        let value: u64 = flag.value().bits().into();
        if value != 0 && left & value == value && !flag.name().is_empty() {
            name(flag.name());
            left &= !value;
        }
    }
    left as usize
}

const OPEN: Meaning = Meaning::OneAndFlags(
    &[(0, "RDONLY"), (1, "WRONLY"), (2, "RDWR"), (3, "NOACCESS")],
    names_of::<OpenFlags>,
);
const AT: Meaning = Meaning::Flags(names_of::<AtFlags>);
const PROTECTION: Meaning = Meaning::Flags(names_of::<Protection>);
const MAP: Meaning =
    Meaning::OneAndFlags(&[(1, "SHARED"), (2, "PRIVATE"), (3, "SHARED_VALIDATE")], names_of::<MapFlags>);
const REMAP: Meaning = Meaning::Flags(names_of::<RemapFlags>);
const CLONE: Meaning = Meaning::Flags(names_of::<CloneFlags>);
const WAIT: Meaning = Meaning::Flags(names_of::<WaitFlags>);
const RENAME: Meaning = Meaning::Flags(names_of::<RenameFlags>);
const MOUNT: Meaning = Meaning::Flags(names_of::<MountFlags>);
const RANDOM: Meaning = Meaning::Flags(names_of::<GetrandomFlags>);
const ACCESS: Meaning = Meaning::Flags(|bits, name| {
    [(4, "R"), (2, "W"), (1, "X")].iter().filter(|(bit, _)| bits & bit != 0).for_each(|(_, flag)| name(flag));
    bits & !7
});
const SEEK: Meaning =
    Meaning::One(&[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")]);
const CLOCK: Meaning = Meaning::One(&[
    (0, "CLOCK_REALTIME"),
    (1, "CLOCK_MONOTONIC"),
    (2, "CLOCK_PROCESS_CPUTIME_ID"),
    (3, "CLOCK_THREAD_CPUTIME_ID"),
    (4, "CLOCK_MONOTONIC_RAW"),
    (5, "CLOCK_REALTIME_COARSE"),
    (6, "CLOCK_MONOTONIC_COARSE"),
    (7, "CLOCK_BOOTTIME"),
    (8, "CLOCK_REALTIME_ALARM"),
    (9, "CLOCK_BOOTTIME_ALARM"),
    (11, "CLOCK_TAI"),
]);
const MASK_CHANGE: Meaning = Meaning::One(&[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")]);
const RESOURCE: Meaning = Meaning::One(&[
    (0, "RLIMIT_CPU"),
    (1, "RLIMIT_FSIZE"),
    (2, "RLIMIT_DATA"),
    (3, "RLIMIT_STACK"),
    (4, "RLIMIT_CORE"),
    (5, "RLIMIT_RSS"),
    (6, "RLIMIT_NPROC"),
    (7, "RLIMIT_NOFILE"),
    (8, "RLIMIT_MEMLOCK"),
    (9, "RLIMIT_AS"),
    (10, "RLIMIT_LOCKS"),
    (11, "RLIMIT_SIGPENDING"),
    (12, "RLIMIT_MSGQUEUE"),
    (13, "RLIMIT_NICE"),
    (14, "RLIMIT_RTPRIO"),
    (15, "RLIMIT_RTTIME"),
]);
const FUTEX_FLAGS: fn(usize, &mut dyn FnMut(&'static str)) -> usize = |bits, name| {
    [(128, "PRIVATE"), (256, "CLOCK_REALTIME")]
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .for_each(|(_, flag)| name(flag));
    bits & !384
};
const FUTEX: Meaning = Meaning::OneAndFlags(
    &[
        (0, "WAIT"),
        (1, "WAKE"),
        (3, "REQUEUE"),
        (4, "CMP_REQUEUE"),
        (5, "WAKE_OP"),
        (6, "LOCK_PI"),
        (7, "UNLOCK_PI"),
        (9, "WAIT_BITSET"),
        (10, "WAKE_BITSET"),
    ],
    FUTEX_FLAGS,
);
const FCNTL: Meaning = Meaning::One(&[
    (0, "F_DUPFD"),
    (1, "F_GETFD"),
    (2, "F_SETFD"),
    (3, "F_GETFL"),
    (4, "F_SETFL"),
    (5, "F_GETLK"),
    (6, "F_SETLK"),
    (7, "F_SETLKW"),
    (8, "F_SETOWN"),
    (9, "F_GETOWN"),
    (36, "F_OFD_GETLK"),
    (37, "F_OFD_SETLK"),
    (38, "F_OFD_SETLKW"),
    (1024, "F_SETLEASE"),
    (1030, "F_DUPFD_CLOEXEC"),
    (1031, "F_SETPIPE_SZ"),
    (1032, "F_GETPIPE_SZ"),
    (1033, "F_ADD_SEALS"),
    (1034, "F_GET_SEALS"),
]);
const IOCTL: Meaning = Meaning::One(&[
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x5403, "TCSETSW"),
    (0x5404, "TCSETSF"),
    (0x540b, "TCFLSH"),
    (0x540e, "TIOCSCTTY"),
    (0x540f, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"),
    (0x5421, "FIONBIO"),
    (0x5422, "TIOCNOTTY"),
    (0x5429, "TIOCGSID"),
]);
const EPOLL: Meaning = Meaning::One(&[(1, "EPOLL_CTL_ADD"), (2, "EPOLL_CTL_DEL"), (3, "EPOLL_CTL_MOD")]);
const ADVICE: Meaning = Meaning::One(&[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (18, "MADV_WIPEONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
]);

use Meaning::{
    Action, ActionOut, Address, Event, EventsOut, Input, Limit, LimitOut, Octal, Output, PairOut, Path,
    Plain, Polls, Signal, Signals, SignalsOut, SocketAddress, StatOut, StatusOut, Strings, Time, TimeOut,
    Vectors, Word, WordOut,
};

/// The meanings of the arguments of a call, as far as they are special; those after the last are plain.
const VOCABULARY: &[(&str, &[Meaning])] = &[
    ("accept4", &[Plain, Address, Address, OPEN]),
    ("bind", &[Plain, SocketAddress(2)]),
    ("clock_getres", &[CLOCK, TimeOut]),
    ("clock_gettime", &[CLOCK, TimeOut]),
    ("clock_nanosleep", &[CLOCK, Plain, Time]),
    ("clone", &[CLONE]),
    ("connect", &[Plain, SocketAddress(2)]),
    ("dup3", &[Plain, Plain, OPEN]),
    ("epoll_ctl", &[Plain, EPOLL, Plain, Event]),
    ("epoll_pwait", &[Plain, EventsOut]),
    ("execve", &[Path, Strings]),
    ("execveat", &[Plain, Path, Strings, Plain, AT]),
    ("faccessat", &[Plain, Path, ACCESS]),
    ("faccessat2", &[Plain, Path, ACCESS, AT]),
    ("fcntl", &[Plain, FCNTL, Address]),
    ("fstat", &[Plain, StatOut]),
    ("futex", &[Address, FUTEX, Plain, Address]),
    ("getcwd", &[Output]),
    ("getdents64", &[Plain, Address]),
    ("getrandom", &[Address, Plain, RANDOM]),
    ("ioctl", &[Plain, IOCTL]),
    ("kill", &[Plain, Signal]),
    ("lseek", &[Plain, Plain, SEEK]),
    ("madvise", &[Plain, Plain, ADVICE]),
    ("memfd_create", &[Path]),
    ("mknodat", &[Plain, Path, Octal]),
    ("mmap", &[Plain, Plain, PROTECTION, MAP, Plain, Address]),
    ("mount", &[Path, Path, Path, MOUNT, Path]),
    ("mprotect", &[Plain, Plain, PROTECTION]),
    ("mremap", &[Plain, Plain, Plain, REMAP]),
    ("nanosleep", &[Time]),
    ("newfstatat", &[Plain, Path, StatOut, AT]),
    ("openat", &[Plain, Path, OPEN]),
    ("pipe2", &[PairOut, OPEN]),
    ("ppoll", &[Polls(1), Plain, Time]),
    ("pread64", &[Plain, Output]),
    ("prlimit64", &[Plain, RESOURCE, Limit, LimitOut]),
    ("pwrite64", &[Plain, Input(2)]),
    ("read", &[Plain, Output]),
    ("readlinkat", &[Plain, Path, Output]),
    ("readv", &[Plain, Vectors(2)]),
    ("recvfrom", &[Plain, Output]),
    ("renameat2", &[Plain, Path, Plain, Path, RENAME]),
    ("rt_sigaction", &[Signal, Action, ActionOut]),
    ("rt_sigpending", &[SignalsOut]),
    ("rt_sigprocmask", &[MASK_CHANGE, Signals, SignalsOut]),
    ("rt_sigsuspend", &[Signals]),
    ("rt_sigtimedwait", &[Signals, Address, Time]),
    ("sendto", &[Plain, Input(2), Plain, Plain, SocketAddress(5)]),
    ("sethostname", &[Input(1)]),
    ("socketpair", &[Plain, Plain, Plain, PairOut]),
    ("statx", &[Plain, Path, AT]),
    ("tgkill", &[Plain, Plain, Signal]),
    ("unlinkat", &[Plain, Path, AT]),
    ("utimensat", &[Plain, Path, Time, AT]),
    ("wait4", &[Plain, StatusOut, WAIT]),
    ("waitid", &[Plain, Plain, Address, WAIT]),
    ("write", &[Plain, Input(2)]),
    ("writev", &[Plain, Vectors(2)]),
    ("set_robust_list", &[Address]),
    ("setitimer", &[Plain, Time]),
    ("settimeofday", &[Time]),
    ("timerfd_settime", &[Plain, Plain, Time]),
    ("sched_setscheduler", &[Plain, Plain, Word]),
    ("sched_getparam", &[Plain, WordOut]),
];

/// Calls whose result is an address.
const ADDRESSES: [&str; 4] = ["brk", "mmap", "mremap", "shmat"];

/// The special meanings of a call's arguments.
pub(crate) fn meanings(name: &str) -> &'static [Meaning] {
    VOCABULARY.iter().find(|(known, _)| *known == name).map_or(&[], |(_, meanings)| meanings)
}

pub(super) fn returns_address(name: &str) -> bool {
    ADDRESSES.contains(&name)
}

/// The index of a call's first argument that only the result fills.
pub(super) fn first_output(row: &Row) -> usize {
    meanings(row.name).iter().position(|meaning| meaning.is_output()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::ROWS;

    #[test]
    fn no_entry_has_more_arguments_than_its_call() {
        for row in ROWS {
            assert!(meanings(row.name).len() <= row.arguments.len(), "{}", row.name);
        }
    }

    #[test]
    fn every_entry_is_a_call_of_linux_and_no_call_has_two() {
        for (index, (name, _)) in VOCABULARY.iter().enumerate() {
            assert!(linux_abi::syscall::ALL.iter().any(|(_, known)| known == name), "{name}");
            assert!(VOCABULARY[..index].iter().all(|(other, _)| other != name), "{name} twice");
        }
    }

    #[test]
    fn flags_are_named_and_the_rest_is_kept() {
        let mut seen = Vec::new();
        let left = names_of::<Protection>(0x1003, &mut |name| seen.push(name));
        assert_eq!((seen, left), (vec!["READ", "WRITE"], 0x1000));
    }
}
