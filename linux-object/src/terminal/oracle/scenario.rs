//! Random scenarios: a person types, a program reads, writes and changes settings, on Linux's terminal and on ours.

use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use linux_abi::terminal::{
    B9600, B38400, B115200, InputModes, LocalModes, OutputModes, Termios2, VEOF, VEOL, VEOL2, VERASE, VINTR,
    VKILL, VLNEXT, VMIN, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP, VTIME, VWERASE,
};

use super::linux::{Pseudoterminal, eventually, without_line};
use crate::terminal::{
    Flow, Flush, LineDiscipline, OutputPort, PSEUDOTERMINAL_TERMIOS, ReadStep, TermiosChange,
};

const STEPS: u64 = 60;

/// Marsaglia's xorshift, from a seed that is spread out first.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

const CHARACTER_INDICES: [usize; 14] =
    [VINTR, VQUIT, VERASE, VKILL, VEOF, VSTART, VSTOP, VSUSP, VEOL, VREPRINT, VWERASE, VLNEXT, VEOL2, VERASE];

/// A screen that notices when it is robbed.
struct Screen<'a> {
    shown: &'a mut Vec<u8>,
    lost_something: bool,
}

impl OutputPort for Screen<'_> {
    fn room(&self) -> usize {
        usize::MAX
    }
    fn put(&mut self, bytes: &[u8]) {
        self.shown.extend_from_slice(bytes);
    }
    fn discard(&mut self) {
        self.lost_something |= !self.shown.is_empty();
        self.shown.clear();
    }
}

struct Scenario {
    random: Random,
    linux: Pseudoterminal,
    ours: LineDiscipline,
}

/// Plays one scenario and tells what it does.
pub(super) fn run(seed: u64, mut tell: impl FnMut(&str)) {
    let mut scenario = Scenario {
        random: Random::new(seed),
        linux: Pseudoterminal::open(),
        ours: LineDiscipline::new(PSEUDOTERMINAL_TERMIOS).unwrap(),
    };
    assert_eq!(scenario.ours.termios(), scenario.linux.termios(), "initial settings");
    let mut history = vec![format!("seed {seed}")];
    for _ in 0..STEPS {
        match scenario.random.below(20) {
            0..10 => scenario.type_some(&mut history, &mut tell),
            10..13 => scenario.write_some(&mut history, &mut tell),
            13..16 => scenario.read_some(&mut history, &mut tell),
            16..18 => scenario.change_settings(&mut history, &mut tell),
            18 => scenario.control_flow(&mut history, &mut tell),
            _ => scenario.flush(&mut history, &mut tell),
        }
    }
    scenario.read_all(&history);
}

fn note(history: &mut Vec<String>, tell: &mut impl FnMut(&str), step: String) {
    tell(&step);
    history.push(step);
}

#[track_caller]
fn agree<T: PartialEq + std::fmt::Debug>(history: &[String], what: &str, ours: T, linux: T) {
    assert!(ours == linux, "{what}: ours {ours:?}, Linux {linux:?}, after\n{}", history.join("\n"));
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

impl Scenario {
    fn text(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = if self.random.one_in(12) { 100 } else { 1 + self.random.below(12) };
        while (bytes.len() as u64) < length {
            let characters = self.ours.termios().c_cc;
            match self.random.below(40) {
                0..14 => bytes.push(self.random.pick(b"abcxyzABC019_")),
                14..17 => bytes.push(self.random.pick(b" .-+")),
                17..20 => bytes.push(b'\t'),
                20..22 => bytes.push(b'\n'),
                22 => bytes.push(b'\r'),
                23..25 => bytes.extend_from_slice(self.random.pick(&["é", "€", "ß", "😀", "ÿ"]).as_bytes()),
                25 => bytes.push(
                    self.random.pick(&[0, 1, 7, 8, 0x1b, 0x7f, 0x80, 0xa0, 0xb5, 0xc3, 0xd7, 0xdf, 0xff]),
                ),
                26..28 => bytes.push(self.random.byte()),
                28..32 => bytes.push(characters[VERASE]),
                32 => bytes.push(characters[VWERASE]),
                _ => bytes.push(characters[self.random.pick(&CHARACTER_INDICES)]),
            }
        }
        bytes
    }

    fn type_some(&mut self, history: &mut Vec<String>, tell: &mut impl FnMut(&str)) {
        let bytes = self.text();
        if self.may_signal(&bytes) {
            // What comes after the signal may look just like what was thrown away.
            self.read_all(history);
        }
        let was_readable = self.ours.is_readable();
        let readable_before = self.linux.readable();
        let mut echo = Vec::new();
        let mut screen = Screen { shown: &mut echo, lost_something: false };
        let received = self.ours.receive(&bytes, &mut screen);
        let may_show_more = screen.lost_something;
        agree(history, "bytes received", received.consumed, bytes.len());
        let step = format!(
            "type \"{}\", echo \"{}\", readable {}",
            shown(&bytes),
            shown(&echo),
            self.ours.readable()
        );
        note(history, tell, step);

        agree(history, "bytes typed", bytes.len(), self.linux.type_bytes(&bytes));
        let mut linux_echo = Vec::new();
        if !was_readable {
            // Either Linux reports input that just came, or it has looked at everything.
            self.linux.is_readable();
        } else if !echo.is_empty() || self.ours.readable() != readable_before {
            // It reports what was there before; so whether it has looked shows only by the result.
            eventually(|| {
                linux_echo.extend(self.linux.screen());
                !linux_echo.is_empty() || self.linux.readable() != readable_before
            });
        } else {
            self.read_all(history);
        }
        if received.effects.input_discarded {
            // For this Linux interrupts its work, and lets itself be asked in the middle of it.
            eventually(|| {
                linux_echo.extend(self.linux.screen());
                linux_echo.ends_with(&echo) && self.linux.readable() == self.ours.readable()
            });
        }
        // Asked before the screen: the question waits for the end of the work.
        agree(history, "readable after typing", self.ours.readable(), self.linux.readable());
        linux_echo.extend(self.linux.screen());
        if may_show_more && linux_echo.ends_with(&echo) {
            // What was sent before the signal: on Linux it was read already, or it was not.
            linux_echo = echo.clone();
        }
        agree(history, "echo", shown(&echo), shown(&linux_echo));
        agree(history, "poll", self.ours.is_readable(), self.linux.is_readable());
    }

    fn may_signal(&self, bytes: &[u8]) -> bool {
        let termios = self.ours.termios();
        let translates = termios.c_iflag & (InputModes::ISTRIP | InputModes::IUCLC).bits() != 0;
        let is_signal = |byte| [VINTR, VQUIT, VSUSP].iter().any(|&index| termios.c_cc[index] == byte);
        translates || bytes.iter().any(|&byte| is_signal(byte))
    }

    fn write_some(&mut self, history: &mut Vec<String>, tell: &mut impl FnMut(&str)) {
        let bytes = self.text();
        let mut sent = Vec::new();
        let taken = self.ours.process_output(&bytes, &mut sent);
        note(history, tell, format!("write \"{}\", taken {taken}, sent \"{}\"", shown(&bytes), shown(&sent)));
        agree(history, "output taken", taken, self.linux.write(&bytes));
        agree(history, "output", shown(&sent), shown(&self.linux.screen()));
    }

    fn read_some(&mut self, history: &mut Vec<String>, tell: &mut impl FnMut(&str)) {
        let size = self.random.pick(&[1, 2, 3, 5, 64, 65, 100, 4096]);
        let ours = self.read_ours(size);
        note(history, tell, format!("read {size}: {:?}", ours.as_deref().map(shown)));
        let linux = self.linux.read(size);
        agree(history, "read", ours.as_deref().map(shown), linux.as_deref().map(shown));
        agree(history, "readable after reading", self.ours.readable(), self.linux.readable());
    }

    /// Like a non-blocking read, in pieces and with copies that fail midway.
    fn read_ours(&mut self, size: usize) -> Option<Vec<u8>> {
        let mut taken = Vec::new();
        let mut is_first = true;
        while taken.len() < size {
            // As large as Linux's, since what external processing calls an end of file must be alone in a piece.
            let is_external = self.ours.termios().c_lflag & LocalModes::EXTPROC.bits() != 0;
            let piece_size = if is_external { 64 } else { 7 + self.random.below(64) as usize };
            let mut piece = vec![0; piece_size.min(size - taken.len())];
            let Some(peeked) = self.ours.peek(&mut piece) else { break };
            is_first = false;
            let copied =
                if !is_external && self.random.one_in(3) { peeked.length / 2 } else { peeked.length };
            self.ours.consume(peeked, copied);
            taken.extend_from_slice(&piece[..copied]);
            if peeked.is_complete && copied == peeked.length {
                break;
            }
        }
        let never_waits = self.ours.read_step(0, size, false) == ReadStep::Return;
        if is_first && !never_waits { None } else { Some(taken) }
    }

    fn read_all(&mut self, history: &[String]) {
        while self.ours.peek(&mut [0; 1]).is_some() {
            let ours = self.read_ours(4096);
            let linux = self.linux.read(4096);
            agree(history, "final read", ours.as_deref().map(shown), linux.as_deref().map(shown));
        }
        let linux = self.linux.read(4096);
        agree(history, "read at the end", self.read_ours(4096), linux);
    }

    fn change_settings(&mut self, history: &mut Vec<String>, tell: &mut impl FnMut(&str)) {
        let termios = self.random_settings();
        let when = self.random.pick(&[TermiosChange::Now, TermiosChange::Drain, TermiosChange::Flush]);
        let mut sent = Vec::new();
        let _effects = self.ours.set_termios(&without_line(termios), when, &mut sent);
        let step = format!(
            "{when:?} {:?} {:?} {:?} {:x?}",
            InputModes::from_bits_retain(termios.c_iflag),
            OutputModes::from_bits_retain(termios.c_oflag),
            LocalModes::from_bits_retain(termios.c_lflag),
            termios.c_cc
        );
        note(history, tell, step);
        self.linux.set_termios(&termios, when);
        agree(history, "settings", self.ours.termios(), self.linux.termios());
        agree(history, "echo after settings", shown(&sent), shown(&self.linux.screen()));
        agree(history, "readable after settings", self.ours.readable(), self.linux.readable());
        agree(history, "poll after settings", self.ours.is_readable(), self.linux.is_readable());
    }

    fn random_settings(&mut self) -> Termios2 {
        let random = &mut self.random;
        let mut termios = if random.one_in(3) { PSEUDOTERMINAL_TERMIOS } else { self.ours.termios() };
        for _ in 0..random.below(5) {
            let input = InputModes::all() - InputModes::IGNBRK;
            termios.c_iflag ^= input.bits() & (1 << random.below(15));
            termios.c_lflag ^= LocalModes::all().bits() & (1 << random.below(17));
            termios.c_oflag ^= OutputModes::all().bits() & (1 << random.below(8));
        }
        if random.one_in(3) {
            termios.c_oflag ^= OutputModes::XTABS.bits();
        }
        if random.one_in(4) {
            termios.c_lflag ^= LocalModes::ICANON.bits();
        }
        // Without them there is little to see.
        if random.one_in(2) {
            termios.c_lflag |= (LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN).bits();
            termios.c_lflag &= !LocalModes::EXTPROC.bits();
        }
        if random.one_in(3) {
            let index = random.pick(&CHARACTER_INDICES);
            termios.c_cc[index] = match random.below(4) {
                0 => 0,
                1 => random.pick(b"\n\r\tab\xff\xc3\xa9"),
                2 => termios.c_cc[random.pick(&CHARACTER_INDICES)],
                _ => random.byte(),
            };
        }
        if termios.c_lflag & LocalModes::ICANON.bits() == 0 {
            // A program that does not wait cannot see the timer, but poll asks for it.
            (termios.c_cc[VMIN], termios.c_cc[VTIME]) =
                random.pick(&[(1, 0), (0, 0), (5, 0), (60, 0), (3, 2), (0, 2)]);
        } else {
            // They may share their places with others; not on Linux.
            (termios.c_cc[VMIN], termios.c_cc[VTIME]) = (1, 0);
        }
        let has = |mode: LocalModes| termios.c_lflag & mode.bits() != 0;
        if !has(LocalModes::ECHOCTL) && (has(LocalModes::ECHOPRT) || self.ours.printing_erased) {
            // Linux has a fault here: see the list of differences.
            termios.c_cc[VLNEXT] = 0;
        }
        termios.c_cflag =
            without_line(PSEUDOTERMINAL_TERMIOS).c_cflag & !B38400 | random.pick(&[B38400, B9600, B115200]);
        termios
    }

    fn control_flow(&mut self, history: &mut Vec<String>, tell: &mut impl FnMut(&str)) {
        let flow =
            self.random.pick(&[Flow::StopOutput, Flow::ResumeOutput, Flow::StopInput, Flow::ResumeInput]);
        if matches!(flow, Flow::StopInput | Flow::ResumeInput) && self.ours.is_output_stopped() {
            // Linux starts output to send the character, and loses it if a program had stopped output.
            return;
        }
        let (character, effects) = self.ours.control_flow(flow);
        let sent = Vec::from_iter(character);
        note(history, tell, format!("{flow:?}: {effects:?}"));
        self.linux.control_flow(flow);
        agree(history, "flow control", shown(&sent), shown(&self.linux.screen()));
    }

    fn flush(&mut self, history: &mut Vec<String>, tell: &mut impl FnMut(&str)) {
        let what = self.random.pick(&[Flush::Input, Flush::Output, Flush::Both]);
        let _effects = self.ours.flush(what, &mut Vec::new());
        note(history, tell, format!("flush {what:?}"));
        self.linux.flush(what);
        agree(history, "readable after a flush", self.ours.readable(), self.linux.readable());
        agree(history, "output after a flush", String::new(), shown(&self.linux.screen()));
    }
}
