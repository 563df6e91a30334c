//! The settings of a terminal: `termios2` as programs see it, and what follows from it for each received byte.

use linux_abi::terminal::{
    B38400, ControlModes, InputModes, LocalModes, NCCS, OutputModes, Termios2, VEOF, VEOL, VEOL2, VERASE,
    VINTR, VKILL, VLNEXT, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP, VWERASE,
};

use super::characters::{ByteSet, continues_utf8};

const fn control(letter: u8) -> u8 {
    letter & 0x1f
}

/// In order of index: INTR, QUIT, ERASE, KILL, EOF, TIME, MIN, SWTC, START, STOP, SUSP, EOL, REPRINT, DISCARD, WERASE,
/// LNEXT, EOL2.
const STANDARD_CHARACTERS: [u8; NCCS] = [
    control(b'C'),
    control(b'\\'),
    0x7f,
    control(b'U'),
    control(b'D'),
    0,
    1,
    0,
    control(b'Q'),
    control(b'S'),
    control(b'Z'),
    0,
    control(b'R'),
    control(b'O'),
    control(b'W'),
    control(b'V'),
    0,
    0,
    0,
];

/// What a terminal is opened with.
pub const STANDARD_TERMIOS: Termios2 = Termios2 {
    c_iflag: InputModes::ICRNL.union(InputModes::IXON).bits(),
    c_oflag: OutputModes::OPOST.union(OutputModes::ONLCR).bits(),
    c_cflag: B38400 | ControlModes::CS8.union(ControlModes::CREAD).union(ControlModes::HUPCL).bits(),
    c_lflag: LocalModes::ISIG
        .union(LocalModes::ICANON)
        .union(LocalModes::ECHO)
        .union(LocalModes::ECHOE)
        .union(LocalModes::ECHOK)
        .union(LocalModes::ECHOCTL)
        .union(LocalModes::ECHOKE)
        .union(LocalModes::IEXTEN)
        .bits(),
    c_line: 0,
    c_cc: STANDARD_CHARACTERS,
    c_ispeed: 38400,
    c_ospeed: 38400,
};

/// What the slave of a pseudoterminal is opened with: there is no line to hang up.
pub const PSEUDOTERMINAL_TERMIOS: Termios2 =
    Termios2 { c_cflag: B38400 | ControlModes::CS8.union(ControlModes::CREAD).bits(), ..STANDARD_TERMIOS };

/// [`Termios2`], taken apart.
pub(super) struct Settings {
    pub(super) termios: Termios2,
    pub(super) input: InputModes,
    pub(super) output: OutputModes,
    pub(super) local: LocalModes,
    /// Bytes that are more than data, and so deserve a closer look.
    special: ByteSet,
    /// Nothing at all is done to input.
    pub(super) is_raw: bool,
}

impl Settings {
    pub(super) fn new(termios: Termios2) -> Self {
        let mut settings = Self {
            termios,
            input: InputModes::from_bits_retain(termios.c_iflag),
            output: OutputModes::from_bits_retain(termios.c_oflag),
            local: LocalModes::from_bits_retain(termios.c_lflag),
            special: ByteSet::default(),
            is_raw: false,
        };
        settings.is_raw =
            !settings.input.intersects(
                InputModes::ISTRIP
                    | InputModes::IUCLC
                    | InputModes::IGNCR
                    | InputModes::ICRNL
                    | InputModes::INLCR
                    | InputModes::IXON
                    | InputModes::PARMRK,
            ) && !settings.local.intersects(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO);
        settings.special = settings.special_bytes();
        settings
    }

    fn special_bytes(&self) -> ByteSet {
        let mut special = ByteSet::default();
        let mut add =
            |indices: &[usize]| indices.iter().for_each(|&index| special.insert(self.termios.c_cc[index]));
        if self.local.contains(LocalModes::ICANON) {
            add(&[VERASE, VKILL, VEOF, VEOL]);
            if self.local.contains(LocalModes::IEXTEN) {
                add(&[VWERASE, VLNEXT, VEOL2]);
                if self.echoes() {
                    add(&[VREPRINT]);
                }
            }
        }
        if self.input.contains(InputModes::IXON) {
            add(&[VSTART, VSTOP]);
        }
        if self.local.contains(LocalModes::ISIG) {
            add(&[VINTR, VQUIT, VSUSP]);
        }
        if self.input.intersects(InputModes::IGNCR | InputModes::ICRNL) {
            special.insert(b'\r');
        }
        if self.input.contains(InputModes::INLCR) || self.local.contains(LocalModes::ICANON) {
            special.insert(b'\n');
        }
        // A control character of zero is switched off.
        special.remove(0);
        special
    }

    pub(super) fn is_special(&self, byte: u8) -> bool {
        self.special.contains(byte)
    }

    /// Whether this byte is the control character with that index.
    pub(super) fn is_character(&self, byte: u8, index: usize) -> bool {
        byte != 0 && self.termios.c_cc[index] == byte
    }

    /// The same, for a character that needs `IEXTEN`.
    pub(super) fn is_extended_character(&self, byte: u8, index: usize) -> bool {
        self.local.contains(LocalModes::IEXTEN) && self.is_character(byte, index)
    }

    pub(super) fn echoes(&self) -> bool {
        self.local.contains(LocalModes::ECHO)
    }

    pub(super) fn is_canonical(&self) -> bool {
        self.local.contains(LocalModes::ICANON)
    }

    /// Whether readers get lines. With `EXTPROC` the other end edits them, and readers get what comes.
    pub(super) fn reads_lines(&self) -> bool {
        self.is_canonical() && !self.local.contains(LocalModes::EXTPROC)
    }

    /// Whether this byte belongs to the character before it.
    pub(super) fn is_continuation(&self, byte: u8) -> bool {
        self.input.contains(InputModes::IUTF8) && continues_utf8(byte)
    }
}
