//! `siginfo_t`: why a signal was sent.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::signal::Signal;
use crate::table::{constants, layout};

constants! { SIGNAL_CODE_TABLE: i32 {
    SI_USER = 0;
    SI_KERNEL = 0x80;
    SI_QUEUE = -1;
    SI_TIMER = -2;
    SI_MESGQ = -3;
    SI_ASYNCIO = -4;
    SI_SIGIO = -5;
    SI_TKILL = -6;
    SI_DETHREAD = -7;
    SI_ASYNCNL = -60;
    ILL_ILLOPC = 1;
    ILL_ILLOPN = 2;
    ILL_ILLADR = 3;
    ILL_ILLTRP = 4;
    ILL_PRVOPC = 5;
    ILL_PRVREG = 6;
    ILL_COPROC = 7;
    ILL_BADSTK = 8;
    FPE_INTDIV = 1;
    FPE_INTOVF = 2;
    FPE_FLTDIV = 3;
    FPE_FLTOVF = 4;
    FPE_FLTUND = 5;
    FPE_FLTRES = 6;
    FPE_FLTINV = 7;
    FPE_FLTSUB = 8;
    SEGV_MAPERR = 1;
    SEGV_ACCERR = 2;
    BUS_ADRALN = 1;
    BUS_ADRERR = 2;
    BUS_OBJERR = 3;
    TRAP_BRKPT = 1;
    TRAP_TRACE = 2;
    CLD_EXITED = 1;
    CLD_KILLED = 2;
    CLD_DUMPED = 3;
    CLD_TRAPPED = 4;
    CLD_STOPPED = 5;
    CLD_CONTINUED = 6;
    POLL_IN = 1;
    POLL_OUT = 2;
    POLL_MSG = 3;
    POLL_ERR = 4;
    POLL_PRI = 5;
    POLL_HUP = 6;
    SYS_SECCOMP = 1;
    SYS_USER_DISPATCH = 2;
} }

/// The part of `siginfo_t` that is ever set. The fields after the code are a union in C; the constructors fill in the
/// member that fits.
///
/// The padding after the code holds a mark of the kernel's own while the signal is queued; programs see zero.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalInfo {
    pub si_signo: i32,
    pub si_errno: i32,
    pub si_code: i32,
    padding_after_code: u32,
    fields: [u64; 4],
}

/// All of `siginfo_t`, as a program has it in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UserSignalInfo {
    pub info: SignalInfo,
    /// Room for members of the future.
    expansion: [u64; 10],
}

impl From<SignalInfo> for UserSignalInfo {
    fn from(info: SignalInfo) -> Self {
        Self { info, expansion: [0; 10] }
    }
}

impl UserSignalInfo {
    /// Whether nothing is said beyond what the kernel keeps.
    pub fn fits(&self) -> bool {
        self.info.has_known_members() || self.expansion == [0; 10]
    }
}

layout!(SignalInfo, 48 { si_signo: 0, si_errno: 4, si_code: 8 });
layout!(UserSignalInfo, 128 { info: 0, expansion: 48 });

/// Where C has the members, those of the union too; for the comparison with the headers.
#[cfg(test)]
pub(crate) const SIGNAL_INFO_MEMBERS: crate::table::Layout = crate::table::Layout {
    c_type: "siginfo_t",
    size: 128,
    fields: &[
        ("si_signo", 0),
        ("si_errno", 4),
        ("si_code", 8),
        ("si_pid", 16),
        ("si_uid", 20),
        ("si_value", 24),
        ("si_status", 24),
        ("si_utime", 32),
        ("si_stime", 40),
        ("si_tid", 16),
        ("si_overrun", 20),
        ("si_addr", 16),
        ("si_band", 16),
        ("si_fd", 24),
        ("si_call_addr", 16),
        ("si_syscall", 24),
        ("si_arch", 28),
    ],
};

/// Two 32-bit members side by side.
const fn pair(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

/// `struct signalfd_siginfo`: what a read of a `signalfd` gets of each signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignalfdInfo {
    pub ssi_signo: u32,
    pub ssi_errno: i32,
    pub ssi_code: i32,
    pub ssi_pid: u32,
    pub ssi_uid: u32,
    pub ssi_fd: i32,
    pub ssi_tid: u32,
    pub ssi_band: u32,
    pub ssi_overrun: u32,
    pub ssi_trapno: u32,
    pub ssi_status: i32,
    pub ssi_int: i32,
    pub ssi_ptr: u64,
    pub ssi_utime: u64,
    pub ssi_stime: u64,
    pub ssi_addr: u64,
    pub ssi_addr_lsb: u16,
    padding_after_addr_lsb: u16,
    pub ssi_syscall: i32,
    pub ssi_call_addr: u64,
    pub ssi_arch: u32,
    padding_at_end: [u32; 7],
}

layout!(SIGNALFD_INFO_LAYOUT = "struct signalfd_siginfo": SignalfdInfo, 128 {
    ssi_signo: 0, ssi_errno: 4, ssi_code: 8, ssi_pid: 12, ssi_uid: 16, ssi_fd: 20, ssi_tid: 24, ssi_band: 28,
    ssi_overrun: 32, ssi_trapno: 36, ssi_status: 40, ssi_int: 44, ssi_ptr: 48, ssi_utime: 56, ssi_stime: 64,
    ssi_addr: 72, ssi_addr_lsb: 80, ssi_syscall: 84, ssi_call_addr: 88, ssi_arch: 96,
});

/// Which members of the union in `siginfo_t` are meant.
enum Kind {
    Sender,
    Queued,
    Timer,
    Child,
    Fault,
    Poll,
    Call,
}

/// How a child changed state, for [`SignalInfo::child`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildReport {
    /// One of the `CLD_` codes.
    pub code: i32,
    pub process: i32,
    pub user: u32,
    /// The exit code, or the number of the signal.
    pub status: i32,
    /// Clock ticks in user mode.
    pub user_ticks: i64,
    /// Clock ticks in the kernel.
    pub system_ticks: i64,
}

impl SignalInfo {
    const fn with_fields(signal: Signal, code: i32, first: &[u64]) -> Self {
        let mut fields = [0; 4];
        let mut index = 0;
        while index < first.len() {
            fields[index] = first[index];
            index += 1;
        }
        Self { si_signo: signal.number() as i32, si_errno: 0, si_code: code, padding_after_code: 0, fields }
    }

    /// Sent by `kill`.
    pub const fn kill(signal: Signal, sender: i32, user: u32) -> Self {
        Self::with_fields(signal, SI_USER, &[pair(sender as u32, user)])
    }

    /// Sent by `tkill` or `tgkill`.
    pub const fn thread_kill(signal: Signal, sender: i32, user: u32) -> Self {
        Self::with_fields(signal, SI_TKILL, &[pair(sender as u32, user)])
    }

    /// Sent by `sigqueue`, with a value.
    pub const fn queued(signal: Signal, sender: i32, user: u32, value: u64) -> Self {
        Self::with_fields(signal, SI_QUEUE, &[pair(sender as u32, user), value])
    }

    /// Sent by the kernel itself, for no more special reason.
    pub const fn kernel(signal: Signal) -> Self {
        Self::with_fields(signal, SI_KERNEL, &[])
    }

    /// The thread did something that cannot be done, at `address`.
    pub const fn fault(signal: Signal, code: i32, address: u64) -> Self {
        Self::with_fields(signal, code, &[address])
    }

    /// A child changed state.
    pub const fn child(report: ChildReport) -> Self {
        Self::with_fields(
            Signal::SIGCHLD,
            report.code,
            &[
                pair(report.process as u32, report.user),
                report.status as u32 as u64,
                report.user_ticks as u64,
                report.system_ticks as u64,
            ],
        )
    }

    /// A POSIX timer fired.
    pub const fn timer(signal: Signal, timer: i32, overrun: i32, value: u64) -> Self {
        Self::with_fields(signal, SI_TIMER, &[pair(timer as u32, overrun as u32), value])
    }

    /// With a mark that the kernel finds again when the signal is taken. 0: none.
    pub const fn marked(self, mark: u32) -> Self {
        Self { padding_after_code: mark, ..self }
    }

    /// The mark.
    pub const fn mark(&self) -> u32 {
        self.padding_after_code
    }

    /// With this overrun count, of a timer's signal.
    pub const fn with_overrun(mut self, overrun: i32) -> Self {
        self.fields[0] = pair(self.fields[0] as u32, overrun as u32);
        self
    }

    /// As `signalfd` tells it.
    pub fn for_descriptor(&self) -> SignalfdInfo {
        let mut told = SignalfdInfo {
            ssi_signo: self.si_signo as u32,
            ssi_errno: self.si_errno,
            ssi_code: self.si_code,
            ..SignalfdInfo::default()
        };
        match self.kind() {
            Kind::Sender => (told.ssi_pid, told.ssi_uid) = (self.process() as u32, self.user()),
            Kind::Queued => {
                (told.ssi_pid, told.ssi_uid) = (self.process() as u32, self.user());
                (told.ssi_ptr, told.ssi_int) = (self.value(), self.value() as i32);
            }
            Kind::Timer => {
                (told.ssi_tid, told.ssi_overrun) = (self.process() as u32, self.user());
                (told.ssi_ptr, told.ssi_int) = (self.value(), self.value() as i32);
            }
            Kind::Child => {
                (told.ssi_pid, told.ssi_uid) = (self.process() as u32, self.user());
                (told.ssi_status, told.ssi_utime, told.ssi_stime) =
                    (self.status(), self.fields[2], self.fields[3]);
            }
            Kind::Fault => told.ssi_addr = self.address(),
            Kind::Poll => (told.ssi_band, told.ssi_fd) = (self.fields[0] as u32, self.fields[1] as i32),
            Kind::Call => {
                told.ssi_call_addr = self.fields[0];
                (told.ssi_syscall, told.ssi_arch) = (self.fields[1] as i32, (self.fields[1] >> 32) as u32);
            }
        }
        told
    }

    /// Which members of the union are meant: the code says so, with the signal.
    fn kind(&self) -> Kind {
        let signal = Signal::new(self.si_signo);
        match self.si_code {
            SI_TIMER => Kind::Timer,
            SI_SIGIO => Kind::Poll,
            ..0 => Kind::Queued,
            SI_USER | SI_KERNEL.. => Kind::Sender,
            _ => match signal {
                Some(
                    Signal::SIGILL | Signal::SIGFPE | Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGTRAP,
                ) => Kind::Fault,
                Some(Signal::SIGCHLD) => Kind::Child,
                Some(Signal::SIGSYS) => Kind::Call,
                _ if self.si_code <= POLL_HUP => Kind::Poll,
                _ => Kind::Sender,
            },
        }
    }

    /// A file became ready (`F_SETSIG`).
    pub const fn poll(signal: Signal, code: i32, band: i64, file: i32) -> Self {
        Self::with_fields(signal, code, &[band as u64, file as u32 as u64])
    }

    /// A system call was refused (seccomp).
    pub const fn system_call(code: i32, call_address: u64, number: i32, architecture: u32) -> Self {
        Self::with_fields(Signal::SIGSYS, code, &[call_address, pair(number as u32, architecture)])
    }

    /// Whether the members are known that a signal with this code has; of one that is not, all of `siginfo_t` may mean
    /// something.
    const fn has_known_members(&self) -> bool {
        const SIGILL: i32 = Signal::SIGILL.number() as i32;
        const SIGFPE: i32 = Signal::SIGFPE.number() as i32;
        const SIGSEGV: i32 = Signal::SIGSEGV.number() as i32;
        let last = match self.si_signo {
            SIGILL => 11,
            SIGFPE => 15,
            SIGSEGV => 10,
            _ => POLL_HUP,
        };
        matches!(self.si_code, SI_KERNEL | SI_ASYNCNL) || SI_DETHREAD <= self.si_code && self.si_code <= last
    }

    /// The sender's process id, or the timer's id, in the kinds that have one.
    pub const fn process(&self) -> i32 {
        self.fields[0] as u32 as i32
    }

    /// The sender's user id, or the timer's overrun count, in the kinds that have one.
    pub const fn user(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// The address, in the kinds that have one.
    pub const fn address(&self) -> u64 {
        self.fields[0]
    }

    /// The queued value, in the kinds that have one.
    pub const fn value(&self) -> u64 {
        self.fields[1]
    }

    /// The status, of a child's report.
    pub const fn status(&self) -> i32 {
        self.fields[1] as u32 as i32
    }
}

impl fmt::Debug for SignalInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalInfo")
            .field("signo", &self.si_signo)
            .field("code", &self.si_code)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_land_where_c_reads_them() {
        let word = |info: &SignalInfo, offset: usize| {
            u32::from_le_bytes(info.as_bytes()[offset..offset + 4].try_into().unwrap())
        };
        let info = SignalInfo::child(ChildReport {
            code: CLD_EXITED,
            process: 42,
            user: 1000,
            status: 3,
            user_ticks: 5,
            system_ticks: 6,
        });
        assert_eq!([word(&info, 0), word(&info, 4), word(&info, 8)], [17, 0, 1]);
        assert_eq!(
            [word(&info, 16), word(&info, 20), word(&info, 24), word(&info, 32), word(&info, 40)],
            [42, 1000, 3, 5, 6]
        );
        let info = SignalInfo::system_call(SYS_SECCOMP, 0x1234, 7, 0xc000_00f3);
        assert_eq!([word(&info, 16), word(&info, 24), word(&info, 28)], [0x1234, 7, 0xc000_00f3]);
        let info = SignalInfo::timer(Signal::SIGALRM, 9, 2, 77);
        assert_eq!((info.process(), info.user(), info.value()), (9, 2, 77));
    }
}
