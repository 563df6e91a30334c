//! `io_uring`: rings, requests and completions.
//!
//! The offsets of the shared rings are not part of the exported headers: the kernel tells them at set-up. Ours are
//! those of Linux 6.12. The file is long because it is one header of Linux, which has one topic.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

bitflags! {
    /// How a ring is set up (`IORING_SETUP_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SetupFlags: u32 {
        const IOPOLL = 1 << 0;
        const SQPOLL = 1 << 1;
        const SQ_AFF = 1 << 2;
        const CQSIZE = 1 << 3;
        const CLAMP = 1 << 4;
        const ATTACH_WQ = 1 << 5;
        const R_DISABLED = 1 << 6;
        const SUBMIT_ALL = 1 << 7;
        const COOP_TASKRUN = 1 << 8;
        const TASKRUN_FLAG = 1 << 9;
        const SQE128 = 1 << 10;
        const CQE32 = 1 << 11;
        const SINGLE_ISSUER = 1 << 12;
        const DEFER_TASKRUN = 1 << 13;
        const NO_MMAP = 1 << 14;
        const REGISTERED_FD_ONLY = 1 << 15;
        const NO_SQARRAY = 1 << 16;
    }

    /// What the kernel can do (`IORING_FEAT_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Features: u32 {
        const SINGLE_MMAP = 1 << 0;
        const NODROP = 1 << 1;
        const SUBMIT_STABLE = 1 << 2;
        const RW_CUR_POS = 1 << 3;
        const CUR_PERSONALITY = 1 << 4;
        const FAST_POLL = 1 << 5;
        const POLL_32BITS = 1 << 6;
        const SQPOLL_NONFIXED = 1 << 7;
        const EXT_ARG = 1 << 8;
        const NATIVE_WORKERS = 1 << 9;
        const RSRC_TAGS = 1 << 10;
        const CQE_SKIP = 1 << 11;
        const LINKED_FILE = 1 << 12;
        const REG_REG_RING = 1 << 13;
        const RECVSEND_BUNDLE = 1 << 14;
        const MIN_TIMEOUT = 1 << 15;
    }

    /// What a request asks for beside its operation (`IOSQE_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RequestFlags: u8 {
        const FIXED_FILE = 1 << 0;
        const IO_DRAIN = 1 << 1;
        const IO_LINK = 1 << 2;
        const IO_HARDLINK = 1 << 3;
        const ASYNC = 1 << 4;
        const BUFFER_SELECT = 1 << 5;
        const CQE_SKIP_SUCCESS = 1 << 6;
    }

    /// What a completion says beside its result (`IORING_CQE_F_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CompletionFlags: u32 {
        const BUFFER = 1 << 0;
        const MORE = 1 << 1;
        const SOCK_NONEMPTY = 1 << 2;
        const NOTIF = 1 << 3;
        const BUF_MORE = 1 << 4;
    }

    /// What the kernel tells in the submission ring (`IORING_SQ_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SubmissionState: u32 {
        const NEED_WAKEUP = 1 << 0;
        const CQ_OVERFLOW = 1 << 1;
        const TASKRUN = 1 << 2;
    }

    /// What `io_uring_enter` is asked for (`IORING_ENTER_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct EnterFlags: u32 {
        const GETEVENTS = 1 << 0;
        const SQ_WAKEUP = 1 << 1;
        const SQ_WAIT = 1 << 2;
        const EXT_ARG = 1 << 3;
        const REGISTERED_RING = 1 << 4;
        const ABS_TIMER = 1 << 5;
    }

    /// Of timeouts (`IORING_TIMEOUT_`), of link timeouts and of their updates.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct TimeoutFlags: u32 {
        const ABS = 1 << 0;
        const UPDATE = 1 << 1;
        const BOOTTIME = 1 << 2;
        const REALTIME = 1 << 3;
        const LINK_UPDATE = 1 << 4;
        const ETIME_SUCCESS = 1 << 5;
        const MULTISHOT = 1 << 6;
    }

    /// Of polls (`IORING_POLL_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PollFlags: u32 {
        const ADD_MULTI = 1 << 0;
        const UPDATE_EVENTS = 1 << 1;
        const UPDATE_USER_DATA = 1 << 2;
        const ADD_LEVEL = 1 << 3;
    }

    /// Which requests a cancellation means (`IORING_ASYNC_CANCEL_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CancelFlags: u32 {
        const ALL = 1 << 0;
        const FD = 1 << 1;
        const ANY = 1 << 2;
        const FD_FIXED = 1 << 3;
        const USERDATA = 1 << 4;
        const OP = 1 << 5;
    }

    /// Of sends and receives (`IORING_RECVSEND_`, `IORING_RECV_`, `IORING_SEND_`); they are in the priority field.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SocketFlags: u16 {
        const POLL_FIRST = 1 << 0;
        const MULTISHOT = 1 << 1;
        const FIXED_BUF = 1 << 2;
        const ZC_REPORT_USAGE = 1 << 3;
        const BUNDLE = 1 << 4;
    }

    /// Of accepts (`IORING_ACCEPT_`); they are in the priority field.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct AcceptFlags: u16 {
        const MULTISHOT = 1 << 0;
        const DONTWAIT = 1 << 1;
        const POLL_FIRST = 1 << 2;
    }

    /// Of messages between rings (`IORING_MSG_RING_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MessageFlags: u32 {
        const CQE_SKIP = 1 << 0;
        const FLAGS_PASS = 1 << 1;
    }

    /// Of rings of provided buffers (`IOU_PBUF_RING_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct BufferRingFlags: u16 {
        const MMAP = 1 << 0;
        const INC = 1 << 1;
    }

    /// Of registered resources (`IORING_RSRC_REGISTER_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ResourceFlags: u32 {
        const SPARSE = 1 << 0;
    }
}

macro_rules! opcodes {
    ($( $name:ident = $number:literal $constant:ident; )*) => {
        /// What a request asks for (`IORING_OP_`).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Opcode { $( $name = $number, )* }

        impl Opcode {
            /// All of Linux 6.12, in the order of their numbers.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// Linux's name, without its prefix.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($constant), )* }
            }
        }
    };
}

opcodes! {
    Nop = 0 NOP;
    Readv = 1 READV;
    Writev = 2 WRITEV;
    Fsync = 3 FSYNC;
    ReadFixed = 4 READ_FIXED;
    WriteFixed = 5 WRITE_FIXED;
    PollAdd = 6 POLL_ADD;
    PollRemove = 7 POLL_REMOVE;
    SyncFileRange = 8 SYNC_FILE_RANGE;
    Sendmsg = 9 SENDMSG;
    Recvmsg = 10 RECVMSG;
    Timeout = 11 TIMEOUT;
    TimeoutRemove = 12 TIMEOUT_REMOVE;
    Accept = 13 ACCEPT;
    AsyncCancel = 14 ASYNC_CANCEL;
    LinkTimeout = 15 LINK_TIMEOUT;
    Connect = 16 CONNECT;
    Fallocate = 17 FALLOCATE;
    Openat = 18 OPENAT;
    Close = 19 CLOSE;
    FilesUpdate = 20 FILES_UPDATE;
    Statx = 21 STATX;
    Read = 22 READ;
    Write = 23 WRITE;
    Fadvise = 24 FADVISE;
    Madvise = 25 MADVISE;
    Send = 26 SEND;
    Recv = 27 RECV;
    Openat2 = 28 OPENAT2;
    EpollCtl = 29 EPOLL_CTL;
    Splice = 30 SPLICE;
    ProvideBuffers = 31 PROVIDE_BUFFERS;
    RemoveBuffers = 32 REMOVE_BUFFERS;
    Tee = 33 TEE;
    Shutdown = 34 SHUTDOWN;
    Renameat = 35 RENAMEAT;
    Unlinkat = 36 UNLINKAT;
    Mkdirat = 37 MKDIRAT;
    Symlinkat = 38 SYMLINKAT;
    Linkat = 39 LINKAT;
    MsgRing = 40 MSG_RING;
    Fsetxattr = 41 FSETXATTR;
    Setxattr = 42 SETXATTR;
    Fgetxattr = 43 FGETXATTR;
    Getxattr = 44 GETXATTR;
    Socket = 45 SOCKET;
    UringCmd = 46 URING_CMD;
    SendZc = 47 SEND_ZC;
    SendmsgZc = 48 SENDMSG_ZC;
    ReadMultishot = 49 READ_MULTISHOT;
    Waitid = 50 WAITID;
    FutexWait = 51 FUTEX_WAIT;
    FutexWake = 52 FUTEX_WAKE;
    FutexWaitv = 53 FUTEX_WAITV;
    FixedFdInstall = 54 FIXED_FD_INSTALL;
    Ftruncate = 55 FTRUNCATE;
    Bind = 56 BIND;
    Listen = 57 LISTEN;
}

impl Opcode {
    /// The operation with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

macro_rules! register_operations {
    ($( $name:ident = $number:literal; )*) => {
        constants! { u32 { $( $name = $number; )* } }

        /// The operations of `io_uring_register` with their names.
        pub const REGISTER_OPERATIONS: &[(u32, &str)] = &[ $( ($number, stringify!($name)), )* ];
    };
}

register_operations! {
    IORING_REGISTER_BUFFERS = 0;
    IORING_UNREGISTER_BUFFERS = 1;
    IORING_REGISTER_FILES = 2;
    IORING_UNREGISTER_FILES = 3;
    IORING_REGISTER_EVENTFD = 4;
    IORING_UNREGISTER_EVENTFD = 5;
    IORING_REGISTER_FILES_UPDATE = 6;
    IORING_REGISTER_EVENTFD_ASYNC = 7;
    IORING_REGISTER_PROBE = 8;
    IORING_REGISTER_PERSONALITY = 9;
    IORING_UNREGISTER_PERSONALITY = 10;
    IORING_REGISTER_RESTRICTIONS = 11;
    IORING_REGISTER_ENABLE_RINGS = 12;
    IORING_REGISTER_FILES2 = 13;
    IORING_REGISTER_FILES_UPDATE2 = 14;
    IORING_REGISTER_BUFFERS2 = 15;
    IORING_REGISTER_BUFFERS_UPDATE = 16;
    IORING_REGISTER_IOWQ_AFF = 17;
    IORING_UNREGISTER_IOWQ_AFF = 18;
    IORING_REGISTER_IOWQ_MAX_WORKERS = 19;
    IORING_REGISTER_RING_FDS = 20;
    IORING_UNREGISTER_RING_FDS = 21;
    IORING_REGISTER_PBUF_RING = 22;
    IORING_UNREGISTER_PBUF_RING = 23;
    IORING_REGISTER_SYNC_CANCEL = 24;
    IORING_REGISTER_FILE_ALLOC_RANGE = 25;
    IORING_REGISTER_PBUF_STATUS = 26;
    IORING_REGISTER_NAPI = 27;
    IORING_UNREGISTER_NAPI = 28;
    IORING_REGISTER_CLOCK = 29;
    IORING_REGISTER_CLONE_BUFFERS = 30;
}

constants! { u32 {
    /// Added to a registering operation: the descriptor is the index of a registered ring.
    IORING_REGISTER_USE_REGISTERED_RING = 1 << 31;
    /// The result of a `fsync` request is that of `fdatasync`.
    IORING_FSYNC_DATASYNC = 1;
    /// The index at which the kernel is to choose a free place among the registered files.
    IORING_FILE_INDEX_ALLOC = u32::MAX;
    /// In a completion's flags, the number of the buffer that was used begins here.
    IORING_CQE_BUFFER_SHIFT = 16;
    /// An operation is supported.
    IO_URING_OP_SUPPORTED = 1;
    /// The completion ring tells that the registered eventfd is not to be told.
    IORING_CQ_EVENTFD_DISABLED = 1;
    /// The flags of a splice whose source is a registered file.
    SPLICE_F_FD_IN_FIXED = 1 << 31;
} }

constants! { u64 {
    /// Where the rings are mapped.
    IORING_OFF_SQ_RING = 0;
    IORING_OFF_CQ_RING = 0x800_0000;
    IORING_OFF_SQES = 0x1000_0000;
    IORING_OFF_PBUF_RING = 0x8000_0000;
    IORING_OFF_PBUF_SHIFT = 16;
    IORING_OFF_MMAP_MASK = 0xf800_0000;
} }

/// A registered file that is to stay as it is.
pub const IORING_REGISTER_FILES_SKIP: i32 = -2;

/// `struct io_uring_sqe`: a request. Fields whose meaning depends on the operation have the name of the first in Linux's union.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoUringSqe {
    pub opcode: u8,
    pub flags: u8,
    pub ioprio: u16,
    pub fd: i32,
    pub off: u64,
    pub addr: u64,
    pub len: u32,
    pub rw_flags: u32,
    pub user_data: u64,
    pub buf_index: u16,
    pub personality: u16,
    pub file_index: u32,
    pub addr3: u64,
    pub padding: u64,
}

layout!(SQE_LAYOUT = "struct io_uring_sqe": IoUringSqe, 64 {
    opcode: 0, flags: 1, ioprio: 2, fd: 4, off: 8, addr: 16, len: 24, rw_flags: 28, user_data: 32, buf_index: 40,
    personality: 42, file_index: 44, addr3: 48,
});

/// `struct io_uring_cqe`: a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoUringCqe {
    pub user_data: u64,
    pub res: i32,
    pub flags: u32,
}

layout!(CQE_LAYOUT = "struct io_uring_cqe": IoUringCqe, 16 { user_data: 0, res: 8, flags: 12 });

/// `struct io_sqring_offsets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SubmissionOffsets {
    pub head: u32,
    pub tail: u32,
    pub ring_mask: u32,
    pub ring_entries: u32,
    pub flags: u32,
    pub dropped: u32,
    pub array: u32,
    pub resv1: u32,
    pub user_addr: u64,
}

layout!(SUBMISSION_OFFSETS_LAYOUT = "struct io_sqring_offsets": SubmissionOffsets, 40 {
    head: 0, tail: 4, ring_mask: 8, ring_entries: 12, flags: 16, dropped: 20, array: 24, resv1: 28,
} newer { user_addr: 32 });

/// `struct io_cqring_offsets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompletionOffsets {
    pub head: u32,
    pub tail: u32,
    pub ring_mask: u32,
    pub ring_entries: u32,
    pub overflow: u32,
    pub cqes: u32,
    pub flags: u32,
    pub resv1: u32,
    pub user_addr: u64,
}

layout!(COMPLETION_OFFSETS_LAYOUT = "struct io_cqring_offsets": CompletionOffsets, 40 {
    head: 0, tail: 4, ring_mask: 8, ring_entries: 12, overflow: 16, cqes: 20, flags: 24, resv1: 28,
} newer { user_addr: 32 });

/// `struct io_uring_params`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoUringParams {
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub flags: u32,
    pub sq_thread_cpu: u32,
    pub sq_thread_idle: u32,
    pub features: u32,
    pub wq_fd: u32,
    pub resv: [u32; 3],
    pub sq_off: SubmissionOffsets,
    pub cq_off: CompletionOffsets,
}

layout!(PARAMS_LAYOUT = "struct io_uring_params": IoUringParams, 120 {
    sq_entries: 0, cq_entries: 4, flags: 8, sq_thread_cpu: 12, sq_thread_idle: 16, features: 20, wq_fd: 24, resv: 28,
    sq_off: 40, cq_off: 80,
});

/// `struct io_uring_getevents_arg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GeteventsArgument {
    pub sigmask: u64,
    pub sigmask_sz: u32,
    pub min_wait_usec: u32,
    pub ts: u64,
}

layout!(GETEVENTS_LAYOUT = "struct io_uring_getevents_arg": GeteventsArgument, 24 { sigmask: 0, sigmask_sz: 8, ts: 16 }
    newer { min_wait_usec: 12 });

/// `struct io_uring_probe_op`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProbeOperation {
    pub op: u8,
    pub resv: u8,
    pub flags: u16,
    pub resv2: u32,
}

layout!(PROBE_OPERATION_LAYOUT = "struct io_uring_probe_op": ProbeOperation, 8 { op: 0, resv: 1, flags: 2, resv2: 4 });

/// `struct io_uring_probe`, without the operations that follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProbeHeader {
    pub last_op: u8,
    pub ops_len: u8,
    pub resv: u16,
    pub resv2: [u32; 3],
}

layout!(PROBE_LAYOUT = "struct io_uring_probe": ProbeHeader, 16 { last_op: 0, ops_len: 1, resv: 2, resv2: 4 });

/// `struct io_uring_rsrc_register`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResourceRegister {
    pub nr: u32,
    pub flags: u32,
    pub resv2: u64,
    pub data: u64,
    pub tags: u64,
}

layout!(RESOURCE_REGISTER_LAYOUT = "struct io_uring_rsrc_register": ResourceRegister, 32 {
    nr: 0, flags: 4, resv2: 8, data: 16, tags: 24,
});

/// `struct io_uring_files_update` and `struct io_uring_rsrc_update`, which are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResourceUpdate {
    pub offset: u32,
    pub resv: u32,
    pub data: u64,
}

layout!(RESOURCE_UPDATE_LAYOUT = "struct io_uring_rsrc_update": ResourceUpdate, 16 { offset: 0, resv: 4, data: 8 });

/// `struct io_uring_rsrc_update2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResourceUpdate2 {
    pub offset: u32,
    pub resv: u32,
    pub data: u64,
    pub tags: u64,
    pub nr: u32,
    pub resv2: u32,
}

layout!(RESOURCE_UPDATE2_LAYOUT = "struct io_uring_rsrc_update2": ResourceUpdate2, 32 {
    offset: 0, resv: 4, data: 8, tags: 16, nr: 24, resv2: 28,
});

/// `struct io_uring_file_index_range`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileIndexRange {
    pub off: u32,
    pub len: u32,
    pub resv: u64,
}

layout!(FILE_INDEX_RANGE_LAYOUT = "struct io_uring_file_index_range": FileIndexRange, 16 { off: 0, len: 4, resv: 8 });

/// `struct io_uring_buf`: one buffer of a ring of provided buffers. The tail of the ring lies in the first one's `resv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProvidedBuffer {
    pub addr: u64,
    pub len: u32,
    pub bid: u16,
    pub resv: u16,
}

layout!(PROVIDED_BUFFER_LAYOUT = "struct io_uring_buf": ProvidedBuffer, 16 { addr: 0, len: 8, bid: 12, resv: 14 });

/// `struct io_uring_buf_reg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BufferRingRegister {
    pub ring_addr: u64,
    pub ring_entries: u32,
    pub bgid: u16,
    pub flags: u16,
    pub resv: [u64; 3],
}

layout!(BUFFER_RING_REGISTER_LAYOUT = "struct io_uring_buf_reg": BufferRingRegister, 40 {
    ring_addr: 0, ring_entries: 8, bgid: 12, resv: 16,
});

/// `struct io_uring_buf_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BufferRingStatus {
    pub buf_group: u32,
    pub head: u32,
    pub resv: [u32; 8],
}

layout!(BufferRingStatus, 40 { buf_group: 0, head: 4, resv: 8 });

/// `struct io_uring_sync_cancel_reg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SyncCancel {
    pub addr: u64,
    pub fd: i32,
    pub flags: u32,
    pub timeout_seconds: i64,
    pub timeout_nanoseconds: i64,
    pub opcode: u8,
    pub pad: [u8; 7],
    pub pad2: [u64; 3],
}

layout!(SyncCancel, 64 { addr: 0, fd: 8, flags: 12, timeout_seconds: 16, timeout_nanoseconds: 24, opcode: 32, pad: 33, pad2: 40 });

/// `struct io_uring_restriction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Restriction {
    pub opcode: u16,
    /// The operation or the flags that are allowed.
    pub register_op: u8,
    pub resv: u8,
    pub resv2: [u32; 3],
}

layout!(RESTRICTION_LAYOUT = "struct io_uring_restriction": Restriction, 16 { opcode: 0, register_op: 2, resv: 3, resv2: 4 });

constants! { u16 {
    IORING_RESTRICTION_REGISTER_OP = 0;
    IORING_RESTRICTION_SQE_OP = 1;
    IORING_RESTRICTION_SQE_FLAGS_ALLOWED = 2;
    IORING_RESTRICTION_SQE_FLAGS_REQUIRED = 3;
} }

/// `struct io_uring_recvmsg_out`: what precedes a message in a buffer of a multishot receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReceivedMessage {
    pub namelen: u32,
    pub controllen: u32,
    pub payloadlen: u32,
    pub flags: u32,
}

layout!(RECEIVED_MESSAGE_LAYOUT = "struct io_uring_recvmsg_out": ReceivedMessage, 16 {
    namelen: 0, controllen: 4, payloadlen: 8, flags: 12,
});

/// `struct io_uring_clock_register`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClockRegister {
    pub clockid: u32,
    pub resv: [u32; 3],
}

layout!(ClockRegister, 16 { clockid: 0, resv: 4 });

/// `struct io_uring_clone_buffers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CloneBuffers {
    pub src_fd: u32,
    pub flags: u32,
    pub pad: [u32; 6],
}

layout!(CloneBuffers, 32 { src_fd: 0, flags: 4, pad: 8 });
