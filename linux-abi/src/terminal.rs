//! Terminals: `termios`, window sizes, and the `ioctl` numbers of terminals and of descriptors in general.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::table::{constants, layout};

/// Control characters in [`Termios`].
pub const NCCS: usize = 19;

/// `struct termios` as the kernel knows it; the C library's is longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios {
    pub c_iflag: u32,
    pub c_oflag: u32,
    pub c_cflag: u32,
    pub c_lflag: u32,
    pub c_line: u8,
    pub c_cc: [u8; NCCS],
}

layout!(TERMIOS_LAYOUT = "struct termios": Termios, 36 {
    c_iflag: 0, c_oflag: 4, c_cflag: 8, c_lflag: 12, c_line: 16, c_cc: 17,
});

/// `struct termios2`: with the speeds as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Termios2 {
    pub c_iflag: u32,
    pub c_oflag: u32,
    pub c_cflag: u32,
    pub c_lflag: u32,
    pub c_line: u8,
    pub c_cc: [u8; NCCS],
    pub c_ispeed: u32,
    pub c_ospeed: u32,
}

layout!(TERMIOS2_LAYOUT = "struct termios2": Termios2, 44 {
    c_iflag: 0, c_oflag: 4, c_cflag: 8, c_lflag: 12, c_line: 16, c_cc: 17, c_ispeed: 36, c_ospeed: 40,
});

/// `struct winsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Winsize {
    pub ws_row: u16,
    pub ws_col: u16,
    pub ws_xpixel: u16,
    pub ws_ypixel: u16,
}

layout!(WINSIZE_LAYOUT = "struct winsize": Winsize, 8 { ws_row: 0, ws_col: 2, ws_xpixel: 4, ws_ypixel: 6 });

bitflags! {
    /// `c_iflag`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct InputModes: u32 {
        const IGNBRK = 0x0001;
        const BRKINT = 0x0002;
        const IGNPAR = 0x0004;
        const PARMRK = 0x0008;
        const INPCK = 0x0010;
        const ISTRIP = 0x0020;
        const INLCR = 0x0040;
        const IGNCR = 0x0080;
        const ICRNL = 0x0100;
        const IUCLC = 0x0200;
        const IXON = 0x0400;
        const IXANY = 0x0800;
        const IXOFF = 0x1000;
        const IMAXBEL = 0x2000;
        const IUTF8 = 0x4000;
    }

    /// `c_oflag`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OutputModes: u32 {
        const OPOST = 0x01;
        const OLCUC = 0x02;
        const ONLCR = 0x04;
        const OCRNL = 0x08;
        const ONOCR = 0x10;
        const ONLRET = 0x20;
        const OFILL = 0x40;
        const OFDEL = 0x80;
        /// Both bits of the tab delay: expand tabs.
        const XTABS = 0x1800;
    }

    /// `c_cflag`, without the speed.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ControlModes: u32 {
        const CS6 = 0x10;
        const CS7 = 0x20;
        const CS8 = 0x30;
        const CSTOPB = 0x40;
        const CREAD = 0x80;
        const PARENB = 0x100;
        const PARODD = 0x200;
        const HUPCL = 0x400;
        const CLOCAL = 0x800;
        const CRTSCTS = 0x8000_0000;
    }

    /// `c_lflag`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct LocalModes: u32 {
        const ISIG = 0x0_0001;
        const ICANON = 0x0_0002;
        const XCASE = 0x0_0004;
        const ECHO = 0x0_0008;
        const ECHOE = 0x0_0010;
        const ECHOK = 0x0_0020;
        const ECHONL = 0x0_0040;
        const NOFLSH = 0x0_0080;
        const TOSTOP = 0x0_0100;
        const ECHOCTL = 0x0_0200;
        const ECHOPRT = 0x0_0400;
        const ECHOKE = 0x0_0800;
        const FLUSHO = 0x0_1000;
        const PENDIN = 0x0_4000;
        const IEXTEN = 0x0_8000;
        const EXTPROC = 0x1_0000;
    }
}

constants! { CONTROL_CHARACTER_TABLE: usize {
    VINTR = 0;
    VQUIT = 1;
    VERASE = 2;
    VKILL = 3;
    VEOF = 4;
    VTIME = 5;
    VMIN = 6;
    VSWTC = 7;
    VSTART = 8;
    VSTOP = 9;
    VSUSP = 10;
    VEOL = 11;
    VREPRINT = 12;
    VDISCARD = 13;
    VWERASE = 14;
    VLNEXT = 15;
    VEOL2 = 16;
} }

constants! { TERMINAL_TABLE: u32 {
    /// The bits of `c_cflag` that hold the speed.
    CBAUD = 0x100f;
    CSIZE = 0x30;
    B0 = 0;
    B9600 = 0xd;
    B38400 = 0xf;
    B115200 = 0x1002;
    /// The speed is a number in [`Termios2`].
    BOTHER = 0x1000;
    TCOOFF = 0;
    TCOON = 1;
    TCIOFF = 2;
    TCION = 3;
    TCIFLUSH = 0;
    TCOFLUSH = 1;
    TCIOFLUSH = 2;
    N_TTY = 0;
    TCGETS = 0x5401;
    TCSETS = 0x5402;
    TCSETSW = 0x5403;
    TCSETSF = 0x5404;
    TCGETA = 0x5405;
    TCSETA = 0x5406;
    TCSETAW = 0x5407;
    TCSETAF = 0x5408;
    TCSBRK = 0x5409;
    TCXONC = 0x540a;
    TCFLSH = 0x540b;
    TIOCEXCL = 0x540c;
    TIOCNXCL = 0x540d;
    TIOCSCTTY = 0x540e;
    TIOCGPGRP = 0x540f;
    TIOCSPGRP = 0x5410;
    TIOCOUTQ = 0x5411;
    TIOCSTI = 0x5412;
    TIOCGWINSZ = 0x5413;
    TIOCSWINSZ = 0x5414;
    TIOCMGET = 0x5415;
    TIOCMBIS = 0x5416;
    TIOCMBIC = 0x5417;
    TIOCMSET = 0x5418;
    FIONREAD = 0x541b;
    TIOCLINUX = 0x541c;
    TIOCCONS = 0x541d;
    TIOCGSERIAL = 0x541e;
    TIOCSSERIAL = 0x541f;
    TIOCPKT = 0x5420;
    FIONBIO = 0x5421;
    TIOCNOTTY = 0x5422;
    TIOCSETD = 0x5423;
    TIOCGETD = 0x5424;
    TCSBRKP = 0x5425;
    TIOCGSID = 0x5429;
    TCGETS2 = 0x802c_542a;
    TCSETS2 = 0x402c_542b;
    TCSETSW2 = 0x402c_542c;
    TCSETSF2 = 0x402c_542d;
    TIOCGPTN = 0x8004_5430;
    TIOCSPTLCK = 0x4004_5431;
    TIOCGDEV = 0x8004_5432;
    TIOCSIG = 0x4004_5436;
    TIOCVHANGUP = 0x5437;
    TIOCGPKT = 0x8004_5438;
    TIOCGPTLCK = 0x8004_5439;
    TIOCGEXCL = 0x8004_5440;
    TIOCGPTPEER = 0x5441;
    FIONCLEX = 0x5450;
    FIOCLEX = 0x5451;
    FIOASYNC = 0x5452;
    TIOCPKT_DATA = 0;
    TIOCPKT_FLUSHREAD = 1;
    TIOCPKT_FLUSHWRITE = 2;
    TIOCPKT_STOP = 4;
    TIOCPKT_START = 8;
    TIOCPKT_NOSTOP = 16;
    TIOCPKT_DOSTOP = 32;
    TIOCPKT_IOCTL = 64;
} }

constants! { BLOCK_TABLE: u32 {
    BLKROGET = 0x125e;
    BLKGETSIZE = 0x1260;
    BLKFLSBUF = 0x1261;
    BLKRAGET = 0x1263;
    BLKSSZGET = 0x1268;
    BLKBSZGET = 0x8008_1270;
    BLKGETSIZE64 = 0x8008_1272;
    BLKDISCARD = 0x1277;
    BLKIOMIN = 0x1278;
    BLKIOOPT = 0x1279;
    BLKALIGNOFF = 0x127a;
    BLKPBSZGET = 0x127b;
    FIBMAP = 1;
    FIGETBSZ = 2;
    FICLONE = 0x4004_9409;
    FICLONERANGE = 0x4020_940d;
    FS_IOC_GETFLAGS = 0x8008_6601;
    FS_IOC_SETFLAGS = 0x4008_6602;
} }
