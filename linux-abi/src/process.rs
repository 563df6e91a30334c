//! Processes and threads: `clone`, `wait`, `prctl`.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

bitflags! {
    /// Flags of `clone`, `clone3`, `unshare` and `setns` (`CLONE_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CloneFlags: u64 {
        /// `clone3`, `unshare` and `setns` only: in `clone` the bit belongs to the exit signal.
        const NEWTIME = 0x0000_0080;
        const VM = 0x0000_0100;
        const FS = 0x0000_0200;
        const FILES = 0x0000_0400;
        const SIGHAND = 0x0000_0800;
        const PIDFD = 0x0000_1000;
        const PTRACE = 0x0000_2000;
        const VFORK = 0x0000_4000;
        const PARENT = 0x0000_8000;
        const THREAD = 0x0001_0000;
        const NEWNS = 0x0002_0000;
        const SYSVSEM = 0x0004_0000;
        const SETTLS = 0x0008_0000;
        const PARENT_SETTID = 0x0010_0000;
        const CHILD_CLEARTID = 0x0020_0000;
        const DETACHED = 0x0040_0000;
        const UNTRACED = 0x0080_0000;
        const CHILD_SETTID = 0x0100_0000;
        const NEWCGROUP = 0x0200_0000;
        const NEWUTS = 0x0400_0000;
        const NEWIPC = 0x0800_0000;
        const NEWUSER = 0x1000_0000;
        const NEWPID = 0x2000_0000;
        const NEWNET = 0x4000_0000;
        const IO = 0x8000_0000;
        /// `clone3` only.
        const CLEAR_SIGHAND = 0x1_0000_0000;
        /// `clone3` only.
        const INTO_CGROUP = 0x2_0000_0000;
    }

    /// Options of `wait4` and `waitid` (`W`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct WaitFlags: u32 {
        const NOHANG = 0x0000_0001;
        /// For `waitid` the same bit is `WSTOPPED`.
        const UNTRACED = 0x0000_0002;
        const EXITED = 0x0000_0004;
        const CONTINUED = 0x0000_0008;
        const NOWAIT = 0x0100_0000;
    }
}

constants! { PROCESS_TABLE: u64 {
    /// The bits of `clone`'s flags that hold the exit signal.
    CSIGNAL = 0xff;
    CLONE_ARGS_SIZE_VER0 = 64;
    CLONE_ARGS_SIZE_VER1 = 80;
    CLONE_ARGS_SIZE_VER2 = 88;
} }

constants! { WAIT_TABLE: u32 {
    /// Only children of the calling thread.
    __WNOTHREAD = 0x2000_0000;
    /// All children, whatever their exit signal.
    __WALL = 0x4000_0000;
    /// Only children whose exit signal is not SIGCHLD.
    __WCLONE = 0x8000_0000;
    P_ALL = 0;
    P_PID = 1;
    P_PGID = 2;
    P_PIDFD = 3;
    PIDFD_NONBLOCK = 0o4000;
} }

constants! { u32 {
    /// Linux 6.9, `pidfd_send_signal`: to the process.
    PIDFD_SIGNAL_THREAD_GROUP = 2;
} }

/// `struct clone_args`, of `clone3`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

layout!(CLONE_ARGS_LAYOUT = "struct clone_args": CloneArgs, 88 {
    flags: 0, pidfd: 8, child_tid: 16, parent_tid: 24, exit_signal: 32, stack: 40, stack_size: 48, tls: 56,
    set_tid: 64, set_tid_size: 72, cgroup: 80,
});

/// How a child changed state: the `status` word of `wait4`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitStatus {
    /// It ended by `exit` with this code.
    Exited(u8),
    /// It was ended by this signal.
    Killed {
        /// The signal's number.
        signal: u8,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
    /// It was stopped by this signal.
    Stopped(u8),
    /// It was continued by SIGCONT.
    Continued,
}

impl WaitStatus {
    /// The word that `wait4` stores.
    pub const fn encode(self) -> u32 {
        match self {
            Self::Exited(code) => (code as u32) << 8,
            Self::Killed { signal, core_dumped } => {
                (signal as u32 & 0x7f) | if core_dumped { 0x80 } else { 0 }
            }
            Self::Stopped(signal) => ((signal as u32) << 8) | 0x7f,
            Self::Continued => 0xffff,
        }
    }
}

constants! { PRCTL_TABLE: i32 {
    PR_SET_PDEATHSIG = 1;
    PR_GET_PDEATHSIG = 2;
    PR_GET_DUMPABLE = 3;
    PR_SET_DUMPABLE = 4;
    PR_GET_KEEPCAPS = 7;
    PR_SET_KEEPCAPS = 8;
    PR_GET_TIMING = 13;
    PR_SET_TIMING = 14;
    PR_SET_NAME = 15;
    PR_GET_NAME = 16;
    PR_GET_SECCOMP = 21;
    PR_SET_SECCOMP = 22;
    PR_CAPBSET_READ = 23;
    PR_CAPBSET_DROP = 24;
    PR_GET_SECUREBITS = 27;
    PR_SET_SECUREBITS = 28;
    PR_SET_TIMERSLACK = 29;
    PR_GET_TIMERSLACK = 30;
    PR_TASK_PERF_EVENTS_DISABLE = 31;
    PR_TASK_PERF_EVENTS_ENABLE = 32;
    PR_MCE_KILL = 33;
    PR_MCE_KILL_GET = 34;
    PR_SET_MM = 35;
    PR_SET_CHILD_SUBREAPER = 36;
    PR_GET_CHILD_SUBREAPER = 37;
    PR_SET_NO_NEW_PRIVS = 38;
    PR_GET_NO_NEW_PRIVS = 39;
    PR_GET_TID_ADDRESS = 40;
    PR_SET_THP_DISABLE = 41;
    PR_GET_THP_DISABLE = 42;
    PR_CAP_AMBIENT = 47;
    PR_CAP_AMBIENT_IS_SET = 1;
    PR_CAP_AMBIENT_RAISE = 2;
    PR_CAP_AMBIENT_LOWER = 3;
    PR_CAP_AMBIENT_CLEAR_ALL = 4;
    PR_GET_SPECULATION_CTRL = 52;
    PR_SET_SPECULATION_CTRL = 53;
    PR_SET_TAGGED_ADDR_CTRL = 55;
    PR_GET_TAGGED_ADDR_CTRL = 56;
    PR_SET_IO_FLUSHER = 57;
    PR_GET_IO_FLUSHER = 58;
    PR_SET_SYSCALL_USER_DISPATCH = 59;
    PR_SCHED_CORE = 62;
    PR_SET_VMA = 0x5356_4d41;
    PR_SET_VMA_ANON_NAME = 0;
    PR_SET_PTRACER = 0x5961_6d61;
} }

constants! { i32 {
    /// Linux 6.3.
    PR_SET_MDWE = 65;
    PR_GET_MDWE = 66;
    /// Linux 6.4.
    PR_SET_MEMORY_MERGE = 67;
    PR_GET_MEMORY_MERGE = 68;
    /// riscv's own: vector unit control.
    PR_RISCV_V_SET_CONTROL = 69;
    PR_RISCV_V_GET_CONTROL = 70;
    PR_RISCV_SET_ICACHE_FLUSH_CTX = 71;
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_what_the_c_macros_decode() {
        assert_eq!(WaitStatus::Exited(3).encode(), 0x300);
        assert_eq!(WaitStatus::Killed { signal: 11, core_dumped: true }.encode(), 0x8b);
        assert_eq!(WaitStatus::Stopped(19).encode(), 0x137f);
        assert_eq!(WaitStatus::Continued.encode(), 0xffff);
    }
}
