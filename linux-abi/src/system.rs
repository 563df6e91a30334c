//! The machine and the kernel as a whole: `uname`, `sysinfo`, `reboot`, `syslog`, `getrandom`, `riscv_hwprobe`.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

/// Bytes in each string of [`Utsname`], with its final NUL.
pub const UTSNAME_FIELD_LENGTH: usize = 65;

/// `struct new_utsname`, of `uname`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Utsname {
    pub sysname: [u8; UTSNAME_FIELD_LENGTH],
    pub nodename: [u8; UTSNAME_FIELD_LENGTH],
    pub release: [u8; UTSNAME_FIELD_LENGTH],
    pub version: [u8; UTSNAME_FIELD_LENGTH],
    pub machine: [u8; UTSNAME_FIELD_LENGTH],
    pub domainname: [u8; UTSNAME_FIELD_LENGTH],
}

layout!(UTSNAME_LAYOUT = "struct new_utsname": Utsname, 390 {
    sysname: 0, nodename: 65, release: 130, version: 195, machine: 260, domainname: 325,
});

/// `struct sysinfo`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sysinfo {
    pub uptime: i64,
    pub loads: [u64; 3],
    pub totalram: u64,
    pub freeram: u64,
    pub sharedram: u64,
    pub bufferram: u64,
    pub totalswap: u64,
    pub freeswap: u64,
    pub procs: u16,
    pub padding_after_procs: [u16; 3],
    pub totalhigh: u64,
    pub freehigh: u64,
    pub mem_unit: u32,
    pub padding_at_end: u32,
}

layout!(SYSINFO_LAYOUT = "struct sysinfo": Sysinfo, 112 {
    uptime: 0, loads: 8, totalram: 32, freeram: 40, sharedram: 48, bufferram: 56, totalswap: 64, freeswap: 72,
    procs: 80, totalhigh: 88, freehigh: 96, mem_unit: 104,
});

constants! { SYSTEM_TABLE: u32 {
    /// Load averages in [`Sysinfo`] are fixed-point numbers with this many fraction bits.
    SI_LOAD_SHIFT = 16;
    LINUX_REBOOT_MAGIC1 = 0xfee1_dead;
    LINUX_REBOOT_MAGIC2 = 672_274_793;
    LINUX_REBOOT_MAGIC2A = 85_072_278;
    LINUX_REBOOT_MAGIC2B = 369_367_448;
    LINUX_REBOOT_MAGIC2C = 537_993_216;
    LINUX_REBOOT_CMD_RESTART = 0x0123_4567;
    LINUX_REBOOT_CMD_HALT = 0xcdef_0123;
    LINUX_REBOOT_CMD_CAD_ON = 0x89ab_cdef;
    LINUX_REBOOT_CMD_CAD_OFF = 0;
    LINUX_REBOOT_CMD_POWER_OFF = 0x4321_fedc;
    LINUX_REBOOT_CMD_RESTART2 = 0xa1b2_c3d4;
    LINUX_REBOOT_CMD_SW_SUSPEND = 0xd000_fce2;
    LINUX_REBOOT_CMD_KEXEC = 0x4558_4543;
} }

constants! { i32 {
    SYSLOG_ACTION_CLOSE = 0;
    SYSLOG_ACTION_OPEN = 1;
    SYSLOG_ACTION_READ = 2;
    SYSLOG_ACTION_READ_ALL = 3;
    SYSLOG_ACTION_READ_CLEAR = 4;
    SYSLOG_ACTION_CLEAR = 5;
    SYSLOG_ACTION_CONSOLE_OFF = 6;
    SYSLOG_ACTION_CONSOLE_ON = 7;
    SYSLOG_ACTION_CONSOLE_LEVEL = 8;
    SYSLOG_ACTION_SIZE_UNREAD = 9;
    SYSLOG_ACTION_SIZE_BUFFER = 10;
} }

bitflags! {
    /// Flags of `getrandom` (`GRND_`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct GetrandomFlags: u32 {
        const NONBLOCK = 1;
        const RANDOM = 2;
        const INSECURE = 4;
    }
}

/// `struct riscv_hwprobe`: one key and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HardwareProbe {
    /// A key; the kernel answers -1 for one that it does not know.
    pub key: i64,
    pub value: u64,
}

layout!(HardwareProbe, 16 { key: 0, value: 8 });

constants! { i64 {
    RISCV_HWPROBE_KEY_MVENDORID = 0;
    RISCV_HWPROBE_KEY_MARCHID = 1;
    RISCV_HWPROBE_KEY_MIMPID = 2;
    RISCV_HWPROBE_KEY_BASE_BEHAVIOR = 3;
    RISCV_HWPROBE_KEY_IMA_EXT_0 = 4;
    RISCV_HWPROBE_KEY_CPUPERF_0 = 5;
    RISCV_HWPROBE_KEY_ZICBOZ_BLOCK_SIZE = 6;
    RISCV_HWPROBE_KEY_HIGHEST_VIRT_ADDRESS = 7;
    RISCV_HWPROBE_KEY_TIME_CSR_FREQ = 8;
    RISCV_HWPROBE_KEY_MISALIGNED_SCALAR_PERF = 9;
} }

constants! { u64 {
    /// The base that every Linux machine has: rv64ima.
    RISCV_HWPROBE_BASE_BEHAVIOR_IMA = 1;
    RISCV_HWPROBE_IMA_FD = 1 << 0;
    RISCV_HWPROBE_IMA_C = 1 << 1;
    RISCV_HWPROBE_IMA_V = 1 << 2;
    RISCV_HWPROBE_EXT_ZBA = 1 << 3;
    RISCV_HWPROBE_EXT_ZBB = 1 << 4;
    RISCV_HWPROBE_EXT_ZBS = 1 << 5;
    RISCV_HWPROBE_EXT_ZICBOZ = 1 << 6;
    RISCV_HWPROBE_MISALIGNED_UNKNOWN = 0;
    RISCV_HWPROBE_MISALIGNED_EMULATED = 1;
    RISCV_HWPROBE_MISALIGNED_SLOW = 2;
    RISCV_HWPROBE_MISALIGNED_FAST = 3;
    RISCV_HWPROBE_MISALIGNED_UNSUPPORTED = 4;
    /// Flag of the call itself: find the harts that have the given values.
    RISCV_HWPROBE_WHICH_CPUS = 1;
} }
