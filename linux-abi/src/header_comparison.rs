//! Compares this crate with Linux's exported headers: a C file of static assertions, given to a cross compiler.
//!
//! Where no cross compiler is installed the test says so and has nothing to compare; it cannot fail there.

use std::format;
use std::io::Write;
use std::process::{Command, Stdio};
use std::string::String;
use std::{eprintln, println};

use bitflags::Flags;

use crate::table::Layout;

const COMPILER: &str = "riscv64-linux-gnu-gcc";

const HEADERS: &[&str] = &[
    "stddef.h",
    "linux/types.h",
    "asm/stat.h",
    "asm/statfs.h",
    "asm/fcntl.h",
    "linux/signal.h",
    "asm/sigcontext.h",
    "asm/ucontext.h",
    "asm/termbits.h",
    "asm/termios.h",
    "asm/mman.h",
    "asm/poll.h",
    "asm/resource.h",
    "asm/unistd.h",
    "asm/errno.h",
    "asm/auxvec.h",
    "asm/hwcap.h",
    "linux/auxvec.h",
    "linux/capability.h",
    "linux/close_range.h",
    "linux/eventpoll.h",
    "linux/falloc.h",
    "linux/fcntl.h",
    "linux/fs.h",
    "linux/futex.h",
    "linux/inotify.h",
    "linux/io_uring.h",
    "linux/ipc.h",
    "linux/limits.h",
    "linux/magic.h",
    "linux/membarrier.h",
    "linux/memfd.h",
    "linux/mman.h",
    "linux/mount.h",
    "linux/openat2.h",
    "linux/pidfd.h",
    "linux/prctl.h",
    "linux/random.h",
    "linux/reboot.h",
    "linux/resource.h",
    "linux/rseq.h",
    "linux/sched.h",
    "linux/sched/types.h",
    "linux/securebits.h",
    "linux/signalfd.h",
    "linux/stat.h",
    "linux/sysinfo.h",
    "linux/time.h",
    "linux/timerfd.h",
    "linux/times.h",
    "linux/tty.h",
    "linux/uio.h",
    "linux/utsname.h",
    "linux/wait.h",
    // It brings headers of the C library, and then linux/stat.h would leave its constants to them.
    "linux/shm.h",
];

struct Comparison {
    source: String,
    assertions: usize,
}

impl Comparison {
    fn assert(&mut self, condition: &str) {
        self.source.push_str(&format!("_Static_assert({condition}, \"{}\");\n", condition.replace('"', "'")));
        self.assertions += 1;
    }

    /// Constants are compared as 32-bit numbers where they fit: C gives the upper half of them no uniform sign.
    fn constant(&mut self, name: &str, value: i128) {
        if u32::try_from(value).is_ok() || i32::try_from(value).is_ok() {
            self.assert(&format!("(unsigned int)({name}) == {}u", value as u32));
        } else {
            self.assert(&format!("(unsigned long)({name}) == {}ul", value as u64));
        }
    }

    fn constants(&mut self, table: &[(&str, i128)]) {
        for (name, value) in table {
            self.constant(name, *value);
        }
    }

    fn flags<F: Flags>(&mut self, prefix: &str)
    where
        F::Bits: TryInto<i128>,
    {
        for flag in F::FLAGS {
            let value = flag.value().bits().try_into().ok().expect("flags fit");
            self.constant(&format!("{prefix}{}", flag.name()), value);
        }
    }

    /// Flags of which old headers know some: those that are macros there are compared.
    fn known_flags<F: Flags>(&mut self, prefix: &str)
    where
        F::Bits: TryInto<i128>,
    {
        for flag in F::FLAGS {
            let name = format!("{prefix}{}", flag.name());
            let value = flag.value().bits().try_into().ok().expect("flags fit");
            self.source.push_str(&format!("#ifdef {name}\n"));
            self.constant(&name, value);
            self.source.push_str("#endif\n");
        }
    }

    fn layout(&mut self, layout: &Layout) {
        self.assert(&format!("sizeof({}) == {}", layout.c_type, layout.size));
        for (field, offset) in layout.fields {
            self.assert(&format!("offsetof({}, {field}) == {offset}", layout.c_type));
        }
    }
}

fn add_constants(comparison: &mut Comparison) {
    use crate::*;
    for table in [
        capability::CAPABILITY_TABLE,
        stat::MODE_TABLE,
        statfs::MAGIC_TABLE,
        time::CLOCK_TABLE,
        file::OPEN_TABLE,
        file::FILE_TABLE,
        limits::LIMITS_TABLE,
        memory::MAP_TABLE,
        memory::ADVICE_TABLE,
        process::PROCESS_TABLE,
        process::WAIT_TABLE,
        process::PRCTL_TABLE,
        resource::RESOURCE_TABLE,
        schedule::SCHEDULE_TABLE,
        poll::POLL_TABLE,
        system::SYSTEM_TABLE,
        futex::FUTEX_TABLE,
        ipc::IPC_TABLE,
        rseq::RSEQ_TABLE,
        auxiliary_vector::AUXILIARY_TABLE,
        terminal::CONTROL_CHARACTER_TABLE,
        terminal::TERMINAL_TABLE,
        terminal::BLOCK_TABLE,
        signal::SIGNAL_TABLE,
        signal::SIGNAL_CALL_TABLE,
        signal_info::SIGNAL_CODE_TABLE,
    ] {
        comparison.constants(table);
    }
    for errno in Errno::ALL {
        comparison.constant(errno.name(), i128::from(errno.code()));
    }
    for (number, name) in syscall::ALL {
        if syscall::NEWER_THAN_OLD_HEADERS.contains(name) {
            comparison.source.push_str(&format!("#ifdef __NR_{name}\n"));
        }
        comparison.constant(&format!("__NR_{name}"), *number as i128);
        if syscall::NEWER_THAN_OLD_HEADERS.contains(name) {
            comparison.source.push_str("#endif\n");
        }
    }
}

fn add_flags(comparison: &mut Comparison) {
    use crate::*;
    comparison.flags::<capability::SecureBits>("SECBIT_");
    for capability in capability::Capabilities::FLAGS {
        let number = capability.value().bits().trailing_zeros();
        comparison.constant(&format!("CAP_{}", capability.name()), number.into());
    }
    comparison.flags::<stat::StatxMask>("STATX_");
    comparison.flags::<stat::StatxAttributes>("STATX_ATTR_");
    comparison.flags::<statfs::MountFlags>("MS_");
    comparison.flags::<file::OpenFlags>("O_");
    comparison.flags::<file::AtFlags>("AT_");
    comparison.flags::<file::ResolveFlags>("RESOLVE_");
    comparison.flags::<file::RenameFlags>("RENAME_");
    comparison.flags::<file::FallocateFlags>("FALLOC_FL_");
    comparison.flags::<file::Seals>("F_SEAL_");
    comparison.known_flags::<file::ReadWriteFlags>("RWF_");
    comparison.flags::<file::MemfdFlags>("MFD_");
    comparison.flags::<file::CloseRangeFlags>("CLOSE_RANGE_");
    comparison.flags::<file::SyncFileRangeFlags>("SYNC_FILE_RANGE_");
    comparison.flags::<inotify::WatchMask>("IN_");
    comparison.flags::<memory::Protection>("PROT_");
    comparison.flags::<memory::MapFlags>("MAP_");
    comparison.flags::<memory::RemapFlags>("MREMAP_");
    comparison.flags::<memory::SyncFlags>("MS_");
    comparison.flags::<memory::LockAllFlags>("MCL_");
    comparison.flags::<process::CloneFlags>("CLONE_");
    comparison.flags::<process::WaitFlags>("W");
    comparison.flags::<schedule::ScheduleFlags>("SCHED_FLAG_");
    comparison.flags::<poll::PollEvents>("POLL");
    comparison.flags::<poll::PollEvents>("EPOLL");
    comparison.flags::<poll::EpollBehaviour>("EPOLL");
    comparison.flags::<system::GetrandomFlags>("GRND_");
    comparison.flags::<signal::ActionFlags>("SA_");
    comparison.flags::<terminal::InputModes>("");
    comparison.flags::<terminal::OutputModes>("");
    comparison.flags::<terminal::ControlModes>("");
    comparison.flags::<terminal::LocalModes>("");
}

/// Operations are an enumeration of the header, so what is newer than the header cannot be asked for: the first ones are
/// compared, up to the last that Linux 6.1 has.
fn add_rings(comparison: &mut Comparison) {
    use crate::io_uring::*;
    for operation in &Opcode::ALL[..=Opcode::SendmsgZc as usize] {
        comparison.constant(&format!("IORING_OP_{}", operation.name()), *operation as i128);
    }
    for (number, name) in
        REGISTER_OPERATIONS.iter().filter(|(number, _)| *number <= IORING_REGISTER_FILE_ALLOC_RANGE)
    {
        comparison.constant(name, (*number).into());
    }
    comparison.known_flags::<SetupFlags>("IORING_SETUP_");
    comparison.known_flags::<Features>("IORING_FEAT_");
    comparison.known_flags::<RequestFlags>("IOSQE_");
    comparison.known_flags::<CompletionFlags>("IORING_CQE_F_");
    comparison.known_flags::<SubmissionState>("IORING_SQ_");
    comparison.known_flags::<EnterFlags>("IORING_ENTER_");
    comparison.known_flags::<TimeoutFlags>("IORING_TIMEOUT_");
    comparison.known_flags::<PollFlags>("IORING_POLL_");
    comparison.known_flags::<CancelFlags>("IORING_ASYNC_CANCEL_");
    comparison.known_flags::<SocketFlags>("IORING_RECVSEND_");
    comparison.known_flags::<SocketFlags>("IORING_RECV_");
    comparison.known_flags::<AcceptFlags>("IORING_ACCEPT_");
    comparison.known_flags::<MessageFlags>("IORING_MSG_RING_");
    comparison.known_flags::<ResourceFlags>("IORING_RSRC_REGISTER_");
    for layout in [
        &SQE_LAYOUT,
        &CQE_LAYOUT,
        &PARAMS_LAYOUT,
        &SUBMISSION_OFFSETS_LAYOUT,
        &COMPLETION_OFFSETS_LAYOUT,
        &GETEVENTS_LAYOUT,
        &PROBE_OPERATION_LAYOUT,
        &PROBE_LAYOUT,
        &RESOURCE_REGISTER_LAYOUT,
        &RESOURCE_UPDATE_LAYOUT,
        &RESOURCE_UPDATE2_LAYOUT,
        &FILE_INDEX_RANGE_LAYOUT,
        &PROVIDED_BUFFER_LAYOUT,
        &BUFFER_RING_REGISTER_LAYOUT,
        &RESTRICTION_LAYOUT,
        &RECEIVED_MESSAGE_LAYOUT,
    ] {
        comparison.layout(layout);
    }
}

fn add_layouts(comparison: &mut Comparison) {
    use crate::*;
    for layout in [
        &capability::CAPABILITY_HEADER_LAYOUT,
        &capability::CAPABILITY_DATA_LAYOUT,
        &stat::STAT_LAYOUT,
        &stat::STATX_TIMESTAMP_LAYOUT,
        &stat::STATX_LAYOUT,
        &statfs::STATFS_LAYOUT,
        &time::TIMESPEC_LAYOUT,
        &time::TIMEVAL_LAYOUT,
        &time::TIMEZONE_LAYOUT,
        &time::ITIMERVAL_LAYOUT,
        &time::ITIMERSPEC_LAYOUT,
        &time::TMS_LAYOUT,
        &file::IOVEC_LAYOUT,
        &file::FLOCK_LAYOUT,
        &file::F_OWNER_EX_LAYOUT,
        &file::OPEN_HOW_LAYOUT,
        &process::CLONE_ARGS_LAYOUT,
        &resource::RLIMIT_LAYOUT,
        &resource::RUSAGE_LAYOUT,
        &schedule::SCHED_PARAM_LAYOUT,
        &schedule::SCHED_ATTR_LAYOUT,
        &poll::POLLFD_LAYOUT,
        &poll::EPOLL_EVENT_LAYOUT,
        &system::UTSNAME_LAYOUT,
        &system::SYSINFO_LAYOUT,
        &futex::ROBUST_LIST_HEAD_LAYOUT,
        &inotify::INOTIFY_EVENT_LAYOUT,
        &futex::FUTEX_WAITV_LAYOUT,
        &ipc::IPC_PERMISSIONS_LAYOUT,
        &ipc::SHMID_STATUS_LAYOUT,
        &ipc::SHM_LIMITS_LAYOUT,
        &ipc::SHM_USAGE_LAYOUT,
        &rseq::RSEQ_LAYOUT,
        &rseq::RSEQ_CS_LAYOUT,
        &terminal::TERMIOS_LAYOUT,
        &terminal::TERMIOS2_LAYOUT,
        &terminal::WINSIZE_LAYOUT,
        &signal::SIGNAL_SET_LAYOUT,
        &signal::SIGACTION_LAYOUT,
        &signal::SIGNAL_STACK_LAYOUT,
        &signal::SIGEVENT_LAYOUT,
        &signal_info::SIGNAL_INFO_MEMBERS,
        &signal_info::SIGNALFD_INFO_LAYOUT,
        &signal_frame::USER_REGISTERS_LAYOUT,
        &signal_frame::FLOATING_POINT_LAYOUT,
        &signal_frame::SIGNAL_CONTEXT_LAYOUT,
        &signal_frame::UCONTEXT_LAYOUT,
    ] {
        comparison.layout(layout);
    }
}

#[test]
fn numbers_are_those_of_the_headers() {
    if Command::new(COMPILER).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("no {COMPILER} here: nothing to compare with");
        return;
    }
    let mut comparison = Comparison { source: String::new(), assertions: 0 };
    for header in HEADERS {
        comparison.source.push_str(&format!("#include <{header}>\n"));
    }
    add_constants(&mut comparison);
    add_flags(&mut comparison);
    add_layouts(&mut comparison);
    add_rings(&mut comparison);

    let mut compiler = Command::new(COMPILER)
        .args(["-x", "c", "-fsyntax-only", "-fmax-errors=0", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the compiler was there a moment ago");
    compiler
        .stdin
        .take()
        .expect("piped")
        .write_all(comparison.source.as_bytes())
        .expect("the compiler reads");
    let output = compiler.wait_with_output().expect("the compiler ends");
    println!("{} assertions", comparison.assertions);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
