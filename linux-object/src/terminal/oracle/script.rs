//! What random scenarios seldom reach: a full queue, in each mode, and speeds without a code.

use std::vec;
use std::vec::Vec;

use linux_abi::terminal::{BOTHER, CBAUD, LocalModes, VMIN};

use super::linux::{Pseudoterminal, eventually};
use crate::terminal::{
    LineDiscipline, OutputPort, PSEUDOTERMINAL_TERMIOS, TermiosChange, with_speeds_resolved,
};

struct Both {
    linux: Pseudoterminal,
    ours: LineDiscipline,
    /// What did not fit into ours yet.
    held_back: Vec<u8>,
}

impl Both {
    fn open(canonical: bool, echo: bool) -> Self {
        let mut termios = PSEUDOTERMINAL_TERMIOS;
        termios.c_cc[VMIN] = 1;
        if !canonical {
            termios.c_lflag &= !(LocalModes::ICANON | LocalModes::ISIG).bits();
        }
        if !echo {
            termios.c_lflag &= !LocalModes::ECHO.bits();
        }
        let both = Self {
            linux: Pseudoterminal::open(),
            ours: LineDiscipline::new(termios).unwrap(),
            held_back: Vec::new(),
        };
        both.linux.set_termios(&termios, TermiosChange::Now);
        both
    }

    fn type_bytes(&mut self, bytes: &[u8], port: &mut impl OutputPort) {
        for piece in bytes.chunks(1000) {
            assert_eq!(self.linux.type_bytes(piece), piece.len());
        }
        self.held_back.extend_from_slice(bytes);
        self.offer(port);
    }

    fn offer(&mut self, port: &mut impl OutputPort) {
        let received = self.ours.receive(&self.held_back, port);
        self.held_back.drain(..received.consumed);
    }

    /// Reads from both until neither has anything, and compares.
    fn read_all(&mut self) -> Vec<u8> {
        let mut ours = Vec::new();
        let mut linux = Vec::new();
        let mut buffer = vec![0; 1000];
        while let Some(length) = self.ours.read(&mut buffer) {
            ours.extend_from_slice(&buffer[..length]);
            self.offer(&mut Vec::new());
        }
        eventually(|| {
            while let Some(bytes) = self.linux.read(1000) {
                linux.extend_from_slice(&bytes);
            }
            linux.len() >= ours.len()
        });
        assert_eq!(ours.escape_ascii().to_string(), linux.escape_ascii().to_string());
        ours
    }
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| b'a' + (index % 23) as u8).collect()
}

#[test]
fn a_line_that_is_too_long_loses_its_last_bytes_and_still_ends() {
    // A full queue takes any byte in place of its last one: an erase character then erases one more.
    let cases = [
        (4094, "\n", 4095),
        (4095, "\n", 4096),
        (5000, "\n", 4096),
        (4094, "\x7f\n", 4094),
        (5000, "\x7f\n", 4095),
    ];
    for (length, ending, line_length) in cases {
        let mut both = Both::open(true, true);
        let mut echo = Vec::new();
        both.type_bytes(&text(length), &mut echo);
        assert!(both.held_back.is_empty());
        assert_eq!(both.ours.is_readable(), both.linux.is_readable());
        let mut linux_echo = Vec::new();
        eventually(|| {
            linux_echo.extend(both.linux.screen());
            linux_echo.len() >= echo.len()
        });
        assert_eq!(echo.len(), linux_echo.len());
        both.type_bytes(ending.as_bytes(), &mut echo);
        assert_eq!(both.read_all().len(), line_length);
        both.type_bytes(b"next\n", &mut echo);
        assert_eq!(both.read_all(), b"next\n");
    }
}

#[test]
fn bytes_that_do_not_fit_wait_for_the_reader() {
    let mut both = Both::open(false, false);
    both.type_bytes(&text(9000), &mut Vec::new());
    assert_eq!(both.ours.readable(), 4095);
    eventually(|| both.linux.readable() == 4095);
    assert_eq!(both.linux.readable(), 4095);
    assert_eq!(both.read_all(), text(9000));
}

#[test]
fn finished_lines_are_not_overwritten() {
    let mut both = Both::open(true, false);
    let mut lines = Vec::new();
    for length in 1..120 {
        lines.extend_from_slice(&text(length));
        lines.push(b'\n');
    }
    both.type_bytes(&lines, &mut Vec::new());
    assert!(!both.held_back.is_empty());
    eventually(|| both.ours.readable() == both.linux.readable());
    assert_eq!(both.ours.readable(), both.linux.readable());
    assert_eq!(both.read_all(), lines);
}

#[test]
fn flow_control_is_obeyed_in_front_of_a_full_queue() {
    let mut both = Both::open(false, false);
    both.type_bytes(&text(4095), &mut Vec::new());
    eventually(|| both.linux.readable() == 4095);
    both.type_bytes(b"x\x13y", &mut Vec::new());
    assert_eq!(both.held_back, b"x\x13y");
    assert!(both.ours.is_output_stopped());
    eventually(|| {
        both.linux.screen();
        both.linux.write(b"?") == 0
    });
    assert_eq!(both.linux.write(b"?"), 0);
    both.type_bytes(b"\x11z", &mut Vec::new());
    assert!(!both.ours.is_output_stopped());
    eventually(|| both.linux.write(b"!") == 1);
    // What was obeyed is not obeyed again when it comes to its turn.
    let all = both.read_all();
    assert!(all.ends_with(b"xyz"));
    assert!(!both.ours.is_output_stopped());
    assert_eq!(both.linux.write(b"!"), 1);
}

#[test]
fn any_speed_can_be_had() {
    let linux = Pseudoterminal::open();
    for (input, output) in [(38400, 38400), (9600, 115_200), (12345, 250_000), (4_000_000, 57600), (0, 0)] {
        linux.set_odd_speeds(input, output);
        let theirs = linux.termios();
        let mut stale = theirs;
        if theirs.c_cflag & CBAUD != BOTHER {
            stale.c_ospeed = 1;
        }
        assert_eq!(with_speeds_resolved(stale).c_ospeed, theirs.c_ospeed);
        assert_eq!(with_speeds_resolved(theirs), theirs);
    }
}
