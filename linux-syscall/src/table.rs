//! The one table of syscalls: dispatch, strace, counters and `docs/syscalls.md` all read it.
//!
//! A row is `number name(argument: Type, ...) => handler, Support, "note"`. The macro makes of each row a plain `fn` that
//! decodes the registers and calls the handler, and an entry that describes it. A handler is a plain function too; what
//! it returns says whether the call is done ([`IntoOutcome`]).

use crate::argument::{Argument, Bits, Fd, FromRegister, Mode, OpenArgument, PathAddress, UserAddress};
use crate::call::{Call, IntoOutcome, Outcome, is_error};
use crate::strace::Meaning;
use crate::{
    attributes, clone, control, counters, epoll, event, execute, extended_attributes, file, futex, hardware,
    identity, inotify, limits, memory, mount, names, poll, process, process_fd, ring, roots, rseq, schedule,
    shared_memory, signal, socket, system, time, timers, usage, wait,
};
use linux_abi::Errno;

/// How much of what Linux does a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// All of it.
    Full,
    /// Some; the note says what is missing. What is missing is refused with an error, never ignored.
    Partial,
}

/// Prints a register as one kind of argument.
pub type Printer = fn(usize, &mut dyn core::fmt::Write) -> core::fmt::Result;

impl Support {
    /// As listings show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
        }
    }
}

/// One argument of a syscall.
pub struct ArgumentRow {
    /// Its name.
    pub name: &'static str,
    /// How its value is printed.
    pub print: Printer,
    /// What it means beyond that.
    pub meaning: Meaning,
}

/// One syscall.
pub struct Row {
    /// Its number.
    pub number: usize,
    /// Linux's name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static [ArgumentRow],
    /// How much is supported.
    pub support: Support,
    /// What is missing, or worth knowing.
    pub note: &'static str,
}

/// One more than the largest number of the generic table.
pub const NUMBERS: usize = 470;

type Handler = fn(&mut Call<'_>) -> Outcome;

macro_rules! syscall_table {
    ($( $number:literal $name:ident ( $($argument:ident : $kind:ty),* ) => $handler:path, $support:ident, $note:literal; )*) => {
        mod decode {
            use super::*;
            $(
                #[inline(never)]
                pub(super) fn $name(call: &mut Call<'_>) -> Outcome {
                    #[allow(unused_mut, unused_variables, reason = "a row may have no arguments")]
                    let mut registers = call.context.syscall_arguments().into_iter();
                    $( let $argument = <$kind>::from_register(registers.next().unwrap_or(0)); )*
                    $handler(call $(, $argument)*).into_outcome()
                }
            )*
        }

        /// Every row, in ascending order of numbers.
        pub static ROWS: &[Row] = &[ $( Row {
            number: $number,
            name: stringify!($name),
            arguments: &[ $( ArgumentRow {
                name: stringify!($argument),
                print: <$kind as Argument>::print,
                meaning: <$kind as Argument>::MEANING,
            } ),* ],
            support: Support::$support,
            note: $note,
        } ),* ];

        static HANDLERS: [Handler; NUMBERS] = {
            let mut handlers: [Handler; NUMBERS] = [unknown; NUMBERS];
            $( handlers[$number] = decode::$name; )*
            handlers
        };
    };
}

syscall_table! {
    5 setxattr(path: PathAddress, name: UserAddress) => extended_attributes::setxattr, Partial, "no filesystem has extended attributes";
    6 lsetxattr(path: PathAddress, name: UserAddress) => extended_attributes::lsetxattr, Partial, "no filesystem has extended attributes";
    7 fsetxattr(fd: Fd, name: UserAddress) => extended_attributes::fsetxattr, Partial, "no filesystem has extended attributes";
    8 getxattr(path: PathAddress, name: UserAddress) => extended_attributes::setxattr, Partial, "no filesystem has extended attributes";
    9 lgetxattr(path: PathAddress, name: UserAddress) => extended_attributes::lsetxattr, Partial, "no filesystem has extended attributes";
    10 fgetxattr(fd: Fd, name: UserAddress) => extended_attributes::fsetxattr, Partial, "no filesystem has extended attributes";
    11 listxattr(path: PathAddress, list: UserAddress, size: usize) => extended_attributes::listxattr, Full, "";
    12 llistxattr(path: PathAddress, list: UserAddress, size: usize) => extended_attributes::llistxattr, Full, "";
    13 flistxattr(fd: Fd, list: UserAddress, size: usize) => extended_attributes::flistxattr, Full, "";
    14 removexattr(path: PathAddress, name: UserAddress) => extended_attributes::setxattr, Partial, "no filesystem has extended attributes";
    15 lremovexattr(path: PathAddress, name: UserAddress) => extended_attributes::lsetxattr, Partial, "no filesystem has extended attributes";
    16 fremovexattr(fd: Fd, name: UserAddress) => extended_attributes::fsetxattr, Partial, "no filesystem has extended attributes";
    17 getcwd(buffer: UserAddress, size: usize) => file::getcwd, Full, "";
    19 eventfd2(count: u32, flags: i32) => event::eventfd2, Full, "";
    20 epoll_create1(flags: i32) => epoll::epoll_create1, Full, "";
    21 epoll_ctl(epoll: Fd, operation: i32, fd: Fd, event: UserAddress) => epoll::epoll_ctl, Full, "";
    22 epoll_pwait(epoll: Fd, events: UserAddress, count: i32, timeout: i32, mask: UserAddress, set_size: usize) => epoll::epoll_pwait, Full, "";
    23 dup(fd: Fd) => file::dup, Full, "";
    24 dup3(old: Fd, new: Fd, flags: OpenArgument) => file::dup3, Full, "";
    25 fcntl(fd: Fd, command: i32, argument: usize) => file::fcntl, Partial, "no leases";
    26 inotify_init1(flags: Bits) => inotify::inotify_init1, Full, "";
    27 inotify_add_watch(fd: Fd, path: PathAddress, mask: Bits) => inotify::inotify_add_watch, Partial, "IN_EXCL_UNLINK is refused; that a file is gone is told when its last name is";
    28 inotify_rm_watch(fd: Fd, watch: i32) => inotify::inotify_rm_watch, Full, "";
    29 ioctl(fd: Fd, request: u32, argument: UserAddress) => file::ioctl, Full, "what is known depends on the file";
    32 flock(fd: Fd, operation: i32) => file::flock, Full, "";
    33 mknodat(directory: Fd, path: PathAddress, mode: Mode, device: u32) => names::mknodat, Full, "";
    34 mkdirat(directory: Fd, path: PathAddress, mode: Mode) => names::mkdirat, Full, "";
    35 unlinkat(directory: Fd, path: PathAddress, flags: u32) => names::unlinkat, Full, "";
    36 symlinkat(target: PathAddress, directory: Fd, path: PathAddress) => names::symlinkat, Full, "";
    37 linkat(old_directory: Fd, old: PathAddress, new_directory: Fd, new: PathAddress, flags: u32) => names::linkat, Partial, "AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH, whoever opened the file";
    39 umount2(target: PathAddress, flags: u32) => mount::umount2, Partial, "MNT_EXPIRE is refused";
    40 mount(source: PathAddress, target: PathAddress, kind: PathAddress, flags: Bits, options: PathAddress) => mount::mount, Partial, "mounts that were bound to each other do not follow one another; MS_SYNCHRONOUS, MS_DIRSYNC, MS_MANDLOCK and MS_LAZYTIME are refused";
    41 pivot_root(new_root: PathAddress, put_old: PathAddress) => mount::pivot_root, Full, "";
    43 statfs(path: PathAddress, result: UserAddress) => names::statfs, Full, "";
    44 fstatfs(fd: Fd, result: UserAddress) => names::fstatfs, Full, "";
    45 truncate(path: PathAddress, size: i64) => names::truncate, Full, "";
    46 ftruncate(fd: Fd, size: i64) => names::ftruncate, Full, "";
    47 fallocate(fd: Fd, mode: u32, offset: i64, len: i64) => file::fallocate, Full, "";
    48 faccessat(directory: Fd, path: PathAddress, mode: u32) => file::faccessat, Full, "";
    49 chdir(path: PathAddress) => file::chdir, Full, "";
    50 fchdir(fd: Fd) => file::fchdir, Full, "";
    51 chroot(path: PathAddress) => roots::chroot, Full, "";
    52 fchmod(fd: Fd, mode: Mode) => attributes::fchmod, Full, "";
    53 fchmodat(directory: Fd, path: PathAddress, mode: Mode) => attributes::fchmodat, Full, "";
    54 fchownat(directory: Fd, path: PathAddress, user: u32, group: u32, flags: u32) => attributes::fchownat, Full, "";
    55 fchown(fd: Fd, user: u32, group: u32) => attributes::fchown, Full, "";
    56 openat(directory: Fd, path: PathAddress, flags: OpenArgument, mode: Mode) => file::openat, Full, "";
    57 close(fd: Fd) => file::close, Full, "";
    59 pipe2(result: UserAddress, flags: OpenArgument) => file::pipe2, Full, "";
    61 getdents64(fd: Fd, buffer: UserAddress, count: u32) => file::getdents64, Full, "";
    62 lseek(fd: Fd, offset: i64, whence: i32) => file::lseek, Full, "";
    63 read(fd: Fd, buffer: UserAddress, count: usize) => file::read, Full, "";
    64 write(fd: Fd, buffer: UserAddress, count: usize) => file::write, Full, "";
    65 readv(fd: Fd, vectors: UserAddress, count: usize) => file::readv, Full, "";
    66 writev(fd: Fd, vectors: UserAddress, count: usize) => file::writev, Full, "";
    67 pread64(fd: Fd, buffer: UserAddress, count: usize, offset: i64) => file::pread64, Full, "";
    68 pwrite64(fd: Fd, buffer: UserAddress, count: usize, offset: i64) => file::pwrite64, Full, "";
    69 preadv(fd: Fd, vectors: UserAddress, count: usize, offset: i64) => file::preadv, Full, "";
    70 pwritev(fd: Fd, vectors: UserAddress, count: usize, offset: i64) => file::pwritev, Full, "";
    71 sendfile(target: Fd, source: Fd, offset: UserAddress, count: usize) => file::sendfile, Partial, "not from a socket";
    72 pselect6(count: i32, reads: UserAddress, writes: UserAddress, exceptions: UserAddress, timeout: UserAddress, mask: UserAddress) => poll::pselect6, Full, "";
    73 ppoll(entries: UserAddress, count: u32, timeout: UserAddress, mask: UserAddress, set_size: usize) => poll::ppoll, Full, "";
    74 signalfd4(fd: Fd, mask: UserAddress, set_size: usize, flags: i32) => event::signalfd4, Full, "";
    78 readlinkat(directory: Fd, path: PathAddress, buffer: UserAddress, size: i32) => file::readlinkat, Full, "";
    79 newfstatat(directory: Fd, path: PathAddress, buffer: UserAddress, flags: u32) => file::newfstatat, Full, "";
    80 fstat(fd: Fd, buffer: UserAddress) => file::fstat, Full, "";
    81 sync() => mount::sync, Full, "";
    82 fsync(fd: Fd) => mount::fsync, Full, "";
    83 fdatasync(fd: Fd) => mount::fdatasync, Full, "";
    84 sync_file_range(fd: Fd, offset: i64, len: i64, flags: u32) => file::sync_file_range, Full, "the whole file is stored";
    85 timerfd_create(clock: i32, flags: i32) => event::timerfd_create, Full, "";
    86 timerfd_settime(fd: Fd, flags: i32, new: UserAddress, old: UserAddress) => event::timerfd_settime, Full, "";
    87 timerfd_gettime(fd: Fd, result: UserAddress) => event::timerfd_gettime, Full, "";
    88 utimensat(directory: Fd, path: PathAddress, times: UserAddress, flags: u32) => attributes::utimensat, Full, "";
    90 capget(header: UserAddress, data: UserAddress) => identity::capget, Full, "";
    91 capset(header: UserAddress, data: UserAddress) => identity::capset, Full, "";
    92 personality(wanted: u32) => control::personality, Partial, "PER_LINUX; of the flags ADDR_NO_RANDOMIZE";
    93 exit(status: i32) => process::exit, Full, "";
    94 exit_group(status: i32) => process::exit_group, Full, "";
    95 waitid(kind: u32, id: i32, info: UserAddress, options: u32, usage: UserAddress) => wait::waitid, Full, "";
    96 set_tid_address(address: UserAddress) => process::set_tid_address, Full, "";
    97 unshare(flags: Bits) => control::unshare, Partial, "no namespaces";
    98 futex(address: UserAddress, operation: u32, value: u32, timeout: UserAddress, other: UserAddress, value3: u32) => futex::futex, Partial, "no priority inheritance";
    99 set_robust_list(head: UserAddress, size: usize) => futex::set_robust_list, Full, "";
    100 get_robust_list(thread: i32, head: UserAddress, size: UserAddress) => futex::get_robust_list, Full, "";
    101 nanosleep(request: UserAddress, rest: UserAddress) => time::nanosleep, Full, "";
    102 getitimer(which: i32, result: UserAddress) => timers::getitimer, Full, "";
    103 setitimer(which: i32, new: UserAddress, old: UserAddress) => timers::setitimer, Full, "";
    107 timer_create(clock: i32, event: UserAddress, result: UserAddress) => timers::timer_create, Full, "";
    108 timer_gettime(timer: i32, result: UserAddress) => timers::timer_gettime, Full, "";
    109 timer_getoverrun(timer: i32) => timers::timer_getoverrun, Full, "";
    110 timer_settime(timer: i32, flags: i32, new: UserAddress, old: UserAddress) => timers::timer_settime, Full, "";
    111 timer_delete(timer: i32) => timers::timer_delete, Full, "";
    112 clock_settime(clock: i32, time: UserAddress) => time::clock_settime, Full, "";
    113 clock_gettime(clock: i32, result: UserAddress) => time::clock_gettime, Partial, "no alarm clocks, no clocks of devices";
    114 clock_getres(clock: i32, result: UserAddress) => time::clock_getres, Partial, "as clock_gettime";
    115 clock_nanosleep(clock: i32, flags: i32, request: UserAddress, rest: UserAddress) => time::clock_nanosleep, Full, "";
    116 syslog(action: i32, buffer: UserAddress, len: i32) => system::syslog, Partial, "READ, READ_CLEAR and CLEAR are refused; the console's level is fixed";
    118 sched_setparam(thread: i32, parameter: UserAddress) => schedule::sched_setparam, Full, "";
    119 sched_setscheduler(thread: i32, policy: i32, parameter: UserAddress) => schedule::sched_setscheduler, Full, "";
    120 sched_getscheduler(thread: i32) => schedule::sched_getscheduler, Full, "";
    121 sched_getparam(thread: i32, parameter: UserAddress) => schedule::sched_getparam, Full, "";
    122 sched_setaffinity(thread: i32, len: u32, mask: UserAddress) => schedule::sched_setaffinity, Full, "";
    123 sched_getaffinity(thread: i32, len: u32, mask: UserAddress) => schedule::sched_getaffinity, Full, "";
    124 sched_yield() => schedule::sched_yield, Full, "";
    125 sched_get_priority_max(policy: u32) => schedule::sched_get_priority_max, Full, "";
    126 sched_get_priority_min(policy: u32) => schedule::sched_get_priority_min, Full, "";
    127 sched_rr_get_interval(thread: i32, result: UserAddress) => schedule::sched_rr_get_interval, Full, "";
    129 kill(process: i32, signal: i32) => signal::kill, Full, "";
    130 tkill(thread: i32, signal: i32) => signal::tkill, Full, "";
    131 tgkill(process: i32, thread: i32, signal: i32) => signal::tgkill, Full, "";
    132 sigaltstack(new: UserAddress, old: UserAddress) => signal::sigaltstack, Full, "";
    133 rt_sigsuspend(mask: UserAddress, set_size: usize) => signal::rt_sigsuspend, Full, "";
    134 rt_sigaction(signal: i32, new: UserAddress, old: UserAddress, set_size: usize) => signal::rt_sigaction, Full, "";
    135 rt_sigprocmask(how: i32, new: UserAddress, old: UserAddress, set_size: usize) => signal::rt_sigprocmask, Full, "";
    136 rt_sigpending(result: UserAddress, set_size: usize) => signal::rt_sigpending, Full, "";
    137 rt_sigtimedwait(set: UserAddress, info: UserAddress, timeout: UserAddress, set_size: usize) => signal::rt_sigtimedwait, Full, "";
    138 rt_sigqueueinfo(process: i32, signal: i32, info: UserAddress) => signal::rt_sigqueueinfo, Full, "";
    139 rt_sigreturn() => signal::rt_sigreturn, Full, "";
    140 setpriority(which: i32, who: i32, nice: i32) => schedule::setpriority, Full, "";
    141 getpriority(which: i32, who: i32) => schedule::getpriority, Full, "";
    142 reboot(magic: u32, magic2: u32, command: u32, argument: UserAddress) => system::reboot, Partial, "power off, halt and restart";
    143 setregid(real: u32, effective: u32) => identity::setregid, Full, "";
    144 setgid(group: u32) => identity::setgid, Full, "";
    145 setreuid(real: u32, effective: u32) => identity::setreuid, Full, "";
    146 setuid(user: u32) => identity::setuid, Full, "";
    147 setresuid(real: u32, effective: u32, saved: u32) => identity::setresuid, Full, "";
    148 getresuid(real: UserAddress, effective: UserAddress, saved: UserAddress) => identity::getresuid, Full, "";
    149 setresgid(real: u32, effective: u32, saved: u32) => identity::setresgid, Full, "";
    150 getresgid(real: UserAddress, effective: UserAddress, saved: UserAddress) => identity::getresgid, Full, "";
    151 setfsuid(user: u32) => identity::setfsuid, Full, "";
    152 setfsgid(group: u32) => identity::setfsgid, Full, "";
    153 times(result: UserAddress) => usage::times, Full, "";
    154 setpgid(process: i32, group: i32) => process::setpgid, Full, "";
    155 getpgid(process: i32) => process::getpgid, Full, "";
    156 getsid(process: i32) => process::getsid, Full, "";
    157 setsid() => process::setsid, Full, "";
    158 getgroups(size: i32, list: UserAddress) => identity::getgroups, Full, "";
    159 setgroups(size: i32, list: UserAddress) => identity::setgroups, Full, "";
    160 uname(result: UserAddress) => system::uname, Full, "";
    161 sethostname(name: UserAddress, len: i32) => system::sethostname, Full, "";
    162 setdomainname(name: UserAddress, len: i32) => system::setdomainname, Full, "";
    163 getrlimit(resource: u32, result: UserAddress) => limits::getrlimit, Full, "";
    164 setrlimit(resource: u32, limit: UserAddress) => limits::setrlimit, Partial, "as prlimit64";
    165 getrusage(who: i32, result: UserAddress) => usage::getrusage, Partial, "major faults and block operations are zero";
    166 umask(mask: Mode) => file::umask, Full, "";
    167 prctl(option: i32, second: usize, third: usize, fourth: usize, fifth: usize) => control::prctl, Partial, "the common options; no seccomp, no memory layout";
    168 getcpu(hart: UserAddress, node: UserAddress) => schedule::getcpu, Full, "";
    169 gettimeofday(time: UserAddress, zone: UserAddress) => time::gettimeofday, Full, "";
    170 settimeofday(time: UserAddress, zone: UserAddress) => time::settimeofday, Partial, "no time zone but that of Greenwich";
    172 getpid() => process::getpid, Full, "";
    173 getppid() => process::getppid, Full, "";
    174 getuid() => identity::getuid, Full, "";
    175 geteuid() => identity::geteuid, Full, "";
    176 getgid() => identity::getgid, Full, "";
    177 getegid() => identity::getegid, Full, "";
    178 gettid() => process::gettid, Full, "";
    179 sysinfo(result: UserAddress) => system::sysinfo, Full, "";
    194 shmget(key: i32, size: usize, flags: i32) => shared_memory::shmget, Partial, "no huge pages";
    195 shmctl(id: i32, command: i32, buffer: UserAddress) => shared_memory::shmctl, Full, "";
    196 shmat(id: i32, address: UserAddress, flags: i32) => shared_memory::shmat, Full, "";
    197 shmdt(address: UserAddress) => shared_memory::shmdt, Full, "";
    198 socket(family: i32, kind: i32, protocol: i32) => socket::socket, Partial, "local; IPv4 and IPv6: TCP and UDP inside the machine; netlink: questions about links, addresses, routes";
    199 socketpair(family: i32, kind: i32, protocol: i32, result: UserAddress) => socket::socketpair, Full, "";
    200 bind(fd: Fd, address: UserAddress, len: u32) => socket::bind, Full, "";
    201 listen(fd: Fd, backlog: i32) => socket::listen, Full, "";
    202 accept(fd: Fd, address: UserAddress, len: UserAddress) => socket::accept, Full, "";
    203 connect(fd: Fd, address: UserAddress, len: u32) => socket::connect, Partial, "TCP does not disconnect by AF_UNSPEC";
    204 getsockname(fd: Fd, address: UserAddress, len: UserAddress) => socket::getsockname, Full, "";
    205 getpeername(fd: Fd, address: UserAddress, len: UserAddress) => socket::getpeername, Full, "";
    206 sendto(fd: Fd, bytes: UserAddress, len: usize, flags: u32, address: UserAddress, address_len: u32) => socket::transfer::sendto, Full, "";
    207 recvfrom(fd: Fd, bytes: UserAddress, len: usize, flags: u32, address: UserAddress, address_len: UserAddress) => socket::transfer::recvfrom, Full, "";
    208 setsockopt(fd: Fd, level: i32, option: i32, value: UserAddress, len: i32) => socket::option::setsockopt, Partial, "unknown options are refused";
    209 getsockopt(fd: Fd, level: i32, option: i32, value: UserAddress, len: UserAddress) => socket::option::getsockopt, Partial, "unknown options are refused";
    210 shutdown(fd: Fd, how: i32) => socket::shutdown, Full, "";
    211 sendmsg(fd: Fd, message: UserAddress, flags: u32) => socket::message::sendmsg, Full, "";
    212 recvmsg(fd: Fd, message: UserAddress, flags: u32) => socket::message::recvmsg, Full, "";
    213 readahead(fd: Fd, offset: i64, count: usize) => file::readahead, Full, "";
    214 brk(end: UserAddress) => memory::brk, Full, "";
    215 munmap(address: UserAddress, len: usize) => memory::munmap, Full, "";
    216 mremap(address: UserAddress, old_len: usize, new_len: usize, flags: u32, new_address: UserAddress) => memory::mremap, Full, "";
    220 clone(flags: Bits, stack: UserAddress, parent_id: UserAddress, thread_pointer: usize, child_id: UserAddress) => clone::clone, Partial, "no namespaces; no pidfd of a thread";
    221 execve(path: PathAddress, arguments: UserAddress, environment: UserAddress) => execute::execve, Full, "";
    222 mmap(address: UserAddress, len: usize, protection: u32, flags: Bits, fd: Fd, offset: usize) => memory::mmap, Partial, "no huge pages: asking for them is ENOMEM";
    223 fadvise64(fd: Fd, offset: i64, len: i64, advice: i32) => file::fadvise64, Full, "advice changes nothing";
    226 mprotect(address: UserAddress, len: usize, protection: u32) => memory::mprotect, Full, "";
    227 msync(address: UserAddress, len: usize, flags: u32) => memory::msync, Full, "";
    228 mlock(address: UserAddress, len: usize) => memory::mlock, Full, "";
    229 munlock(address: UserAddress, len: usize) => memory::munlock, Full, "";
    230 mlockall(flags: u32) => memory::mlockall, Full, "";
    231 munlockall() => memory::munlockall, Full, "";
    232 mincore(address: UserAddress, len: usize, result: UserAddress) => memory::mincore, Full, "";
    233 madvise(address: UserAddress, len: usize, advice: i32) => memory::madvise, Partial, "no merging of pages, no huge pages, no broken memory: EINVAL";
    240 rt_tgsigqueueinfo(process: i32, thread: i32, signal: i32, info: UserAddress) => signal::rt_tgsigqueueinfo, Full, "";
    242 accept4(fd: Fd, address: UserAddress, len: UserAddress, flags: i32) => socket::accept4, Full, "";
    243 recvmmsg(fd: Fd, messages: UserAddress, count: u32, flags: u32, timeout: UserAddress) => socket::message::recvmmsg, Full, "";
    258 riscv_hwprobe(pairs: UserAddress, pair_count: usize, set_bytes: usize, set: UserAddress, flags: u32) => hardware::riscv_hwprobe, Partial, "vendor numbers are zero";
    259 riscv_flush_icache(start: UserAddress, end: UserAddress, flags: usize) => hardware::riscv_flush_icache, Full, "";
    260 wait4(process: i32, status: UserAddress, options: u32, usage: UserAddress) => wait::wait4, Full, "";
    261 prlimit64(process: i32, resource: u32, new: UserAddress, old: UserAddress) => limits::prlimit64, Partial, "RSS, LOCKS, MSGQUEUE, RTTIME and CORE have no effect";
    267 syncfs(fd: Fd) => file::syncfs, Full, "";
    268 setns(fd: Fd, kind: i32) => control::setns, Partial, "there are no namespaces";
    269 sendmmsg(fd: Fd, messages: UserAddress, count: u32, flags: u32) => socket::message::sendmmsg, Full, "";
    270 process_vm_readv(process: i32, own: UserAddress, own_count: usize, other: UserAddress, other_count: usize, flags: usize) => memory::process_vm_readv, Full, "";
    271 process_vm_writev(process: i32, own: UserAddress, own_count: usize, other: UserAddress, other_count: usize, flags: usize) => memory::process_vm_writev, Full, "";
    274 sched_setattr(thread: i32, attributes: UserAddress, flags: u32) => schedule::sched_setattr, Partial, "no deadlines, no clamping of utilization";
    275 sched_getattr(thread: i32, attributes: UserAddress, size: u32, flags: u32) => schedule::sched_getattr, Full, "";
    276 renameat2(old_directory: Fd, old: PathAddress, new_directory: Fd, new: PathAddress, flags: u32) => names::renameat2, Full, "";
    278 getrandom(buffer: UserAddress, count: usize, flags: u32) => system::getrandom, Full, "";
    279 memfd_create(name: PathAddress, flags: u32) => memory::memfd_create, Partial, "no huge pages";
    281 execveat(directory: Fd, path: PathAddress, arguments: UserAddress, environment: UserAddress, flags: u32) => execute::execveat, Full, "";
    283 membarrier(command: i32, flags: u32, hart: i32) => hardware::membarrier, Full, "";
    284 mlock2(address: UserAddress, len: usize, flags: u32) => memory::mlock2, Full, "";
    285 copy_file_range(from: Fd, from_offset: UserAddress, to: Fd, to_offset: UserAddress, len: usize, flags: u32) => file::copy_file_range, Full, "";
    286 preadv2(fd: Fd, vectors: UserAddress, count: usize, offset: i64, high: usize, flags: u32) => file::preadv2, Full, "";
    287 pwritev2(fd: Fd, vectors: UserAddress, count: usize, offset: i64, high: usize, flags: u32) => file::pwritev2, Full, "";
    291 statx(directory: Fd, path: PathAddress, flags: u32, mask: u32, buffer: UserAddress) => file::statx, Full, "";
    293 rseq(area: UserAddress, len: u32, flags: i32, signature: u32) => rseq::rseq, Full, "";
    424 pidfd_send_signal(fd: Fd, signal: i32, info: UserAddress, flags: u32) => process_fd::pidfd_send_signal, Partial, "to the process: not to a thread or a group";
    425 io_uring_setup(entries: u32, parameters: UserAddress) => ring::io_uring_setup, Partial, "no polled or fixed-memory rings: IOPOLL, SQPOLL, ATTACH_WQ, NO_MMAP and REGISTERED_FD_ONLY are refused";
    426 io_uring_enter(fd: Fd, to_submit: u32, least: u32, flags: u32, argument: UserAddress, size: usize) => ring::io_uring_enter, Partial, "no registered rings, no shortest wait";
    427 io_uring_register(fd: Fd, operation: u32, argument: UserAddress, count: u32) => ring::io_uring_register, Partial, "files, an eventfd, probe and enabling";
    434 pidfd_open(process: i32, flags: u32) => process_fd::pidfd_open, Partial, "not of a thread";
    435 clone3(arguments: UserAddress, size: usize) => clone::clone3, Partial, "no namespaces, no control groups; no pidfd of a thread";
    436 close_range(first: u32, last: u32, flags: u32) => file::close_range, Partial, "CLOSE_RANGE_UNSHARE is refused";
    437 openat2(directory: Fd, path: PathAddress, how: UserAddress, size: usize) => file::openat2, Full, "";
    438 pidfd_getfd(fd: Fd, number: i32, flags: u32) => process_fd::pidfd_getfd, Full, "";
    439 faccessat2(directory: Fd, path: PathAddress, mode: u32, flags: u32) => file::faccessat2, Full, "";
    441 epoll_pwait2(epoll: Fd, events: UserAddress, count: i32, timeout: UserAddress, mask: UserAddress, set_size: usize) => epoll::epoll_pwait2, Full, "";
    452 fchmodat2(directory: Fd, path: PathAddress, mode: Mode, flags: u32) => attributes::fchmodat2, Full, "";
}

/// The row of a number.
pub fn row(number: usize) -> Option<&'static Row> {
    ROWS.binary_search_by_key(&number, |row| row.number).ok().map(|index| &ROWS[index])
}

fn unknown(call: &mut Call<'_>) -> Outcome {
    log::debug!("unknown syscall {} by {}", call.context.syscall_number(), call.thread.id());
    Err::<usize, _>(Errno::ENOSYS).into_outcome()
}

/// Answers the syscall that the registers ask for.
#[inline]
pub fn dispatch(call: &mut Call<'_>) -> Outcome {
    let number = call.context.syscall_number();
    counters::count_call(number);
    let outcome = match HANDLERS.get(number) {
        Some(handler) => handler(call),
        None => unknown(call),
    };
    if let Outcome::Done(value) = outcome
        && is_error(value)
    {
        counters::count_error(number);
    }
    outcome
}
