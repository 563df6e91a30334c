//! A pseudoterminal of the host, with the means to know that Linux has digested what was typed: it does so behind the
//! writer's back, in a worker.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::string::String;
use std::thread;
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use linux_abi::terminal::{ControlModes, NCCS, Termios2};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::ioctl_fionread;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    Action, ControlModes as RealControlModes, InputModes, LocalModes, OptionalActions, OutputModes,
    QueueSelector, SpecialCodeIndex, tcflow, tcflush, tcgetattr, tcsetattr,
};

use crate::terminal::{Flow, Flush, TermiosChange};

/// How long Linux may take for what it does behind our back.
const PATIENCE: Duration = Duration::from_secs(10);

/// In the order of Linux's own numbers.
const CHARACTERS: [SpecialCodeIndex; 17] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// What a pseudoterminal, having no line, makes of the settings of one.
pub(super) fn without_line(mut termios: Termios2) -> Termios2 {
    let fixed = ControlModes::CS8 | ControlModes::CREAD;
    termios.c_cflag &= !(fixed | ControlModes::PARENB).bits();
    termios.c_cflag |= fixed.bits();
    termios
}

pub(super) struct Pseudoterminal {
    keyboard: File,
    program: File,
}

impl Pseudoterminal {
    pub(super) fn open() -> Self {
        let keyboard: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the host has no /dev/ptmx");
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        fcntl_setfl(&keyboard, OFlags::NONBLOCK).unwrap();
        let name = String::from_utf8(ptsname(&keyboard, Vec::new()).unwrap().into_bytes()).unwrap();
        let program =
            open(Path::new(&name), OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        Self { keyboard: keyboard.into(), program: program.into() }
    }

    pub(super) fn termios(&self) -> Termios2 {
        let real = tcgetattr(&self.program).unwrap();
        let mut characters = [0; NCCS];
        for (place, index) in characters.iter_mut().zip(CHARACTERS) {
            *place = real.special_codes[index];
        }
        Termios2 {
            c_iflag: real.input_modes.bits(),
            c_oflag: real.output_modes.bits(),
            c_cflag: real.control_modes.bits(),
            c_lflag: real.local_modes.bits(),
            c_line: real.line_discipline,
            c_cc: characters,
            c_ispeed: real.input_speed(),
            c_ospeed: real.output_speed(),
        }
    }

    /// The speeds must be ones that have codes.
    pub(super) fn set_termios(&self, termios: &Termios2, when: TermiosChange) {
        let mut real = tcgetattr(&self.program).unwrap();
        real.input_modes = InputModes::from_bits_retain(termios.c_iflag);
        real.output_modes = OutputModes::from_bits_retain(termios.c_oflag);
        real.control_modes = RealControlModes::from_bits_retain(termios.c_cflag);
        real.local_modes = LocalModes::from_bits_retain(termios.c_lflag);
        for (&character, index) in termios.c_cc.iter().zip(CHARACTERS) {
            real.special_codes[index] = character;
        }
        let action = match when {
            TermiosChange::Now => OptionalActions::Now,
            TermiosChange::Drain => OptionalActions::Drain,
            TermiosChange::Flush => OptionalActions::Flush,
        };
        tcsetattr(&self.program, action, &real).unwrap();
    }

    pub(super) fn set_odd_speeds(&self, input: u32, output: u32) {
        let mut real = tcgetattr(&self.program).unwrap();
        real.set_input_speed(input).unwrap();
        real.set_output_speed(output).unwrap();
        tcsetattr(&self.program, OptionalActions::Now, &real).unwrap();
    }

    pub(super) fn flush(&self, what: Flush) {
        let queue = match what {
            Flush::Input => QueueSelector::IFlush,
            Flush::Output => QueueSelector::OFlush,
            Flush::Both => QueueSelector::IOFlush,
        };
        tcflush(&self.program, queue).unwrap();
    }

    pub(super) fn control_flow(&self, flow: Flow) {
        let action = match flow {
            Flow::StopOutput => Action::OOff,
            Flow::ResumeOutput => Action::OOn,
            Flow::StopInput => Action::IOff,
            Flow::ResumeInput => Action::IOn,
        };
        tcflow(&self.program, action).unwrap();
    }

    /// How many bytes Linux took, which is less than all when its buffers are full.
    pub(super) fn type_bytes(&mut self, bytes: &[u8]) -> usize {
        or_would_block(self.keyboard.write(bytes)).unwrap_or(0)
    }

    /// How many bytes Linux took.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        or_would_block(self.program.write(bytes)).unwrap_or(0)
    }

    /// `None`: nothing there.
    pub(super) fn read(&mut self, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        let length = or_would_block(self.program.read(&mut bytes))?;
        bytes.truncate(length);
        Some(bytes)
    }

    /// All that appeared on the screen since the last call.
    pub(super) fn screen(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        let mut buffer = [0; 4096];
        // An empty read has Linux finish its delivery first, and look again.
        while let Some(length @ 1..) = or_would_block(self.keyboard.read(&mut buffer)) {
            shown.extend_from_slice(&buffer[..length]);
        }
        shown
    }

    /// `FIONREAD`. It waits until typed bytes that are being looked at have all been looked at.
    pub(super) fn readable(&self) -> usize {
        ioctl_fionread(&self.program).unwrap() as usize
    }

    /// Whether poll reports input. If there is none, Linux looks at all that was typed, and then again.
    pub(super) fn is_readable(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.program, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        descriptors[0].revents().contains(PollFlags::IN)
    }
}

/// Waits for Linux to come to the same result, for which it may take its time; that it does the caller checks.
pub(super) fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() && Instant::now() < deadline {
        thread::yield_now();
    }
}

fn or_would_block(result: io::Result<usize>) -> Option<usize> {
    match result {
        Ok(length) => Some(length),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}
