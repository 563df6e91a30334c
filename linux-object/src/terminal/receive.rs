//! The way of a received byte: flow control, signals, translation, line editing, the queue; and its echo.

use linux_abi::signal::Signal;
use linux_abi::terminal::{
    InputModes, LocalModes, VEOF, VEOL, VEOL2, VINTR, VLNEXT, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP,
};

use super::characters::{BACKSPACE, is_control, to_lower};
use super::echo::EchoStep;
use super::input_queue::CAPACITY;
use super::line_discipline::{Effects, LineDiscipline};
use super::output::OutputPort;

/// The byte that `PARMRK` announces damage with.
const DAMAGE_MARK: u8 = 0xff;
/// With less room than this the other side is asked to stop, and with no more input than this to go on.
const THROTTLE_BYTES: usize = 128;

/// What came of received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Received {
    /// How many were taken. The rest did not fit: the caller keeps them (or drops them) and offers them first when a
    /// reader has consumed something. Flow-control characters among them have already been obeyed.
    pub consumed: usize,
    /// What else is to be done.
    pub effects: Effects,
}

impl LineDiscipline {
    /// Takes bytes that the terminal sent, as they came in.
    pub fn receive(&mut self, bytes: &[u8], port: &mut impl OutputPort) -> Received {
        let mut received = Received::default();
        while received.consumed < bytes.len() {
            let rest = &bytes[received.consumed..];
            let room = self.make_room();
            if room == 0 {
                self.look_ahead(rest, port, &mut received.effects);
                break;
            }
            let batch = &rest[..rest.len().min(room)];
            received.consumed += batch.len();
            self.receive_batch(batch, port, &mut received.effects);
        }
        self.throttle();
        received
    }

    /// Takes a break: the line was held low for longer than a byte.
    pub fn receive_break(&mut self, port: &mut impl OutputPort) -> Effects {
        let mut effects = Effects::default();
        let has = |discipline: &Self, mode| discipline.settings.input.contains(mode);
        if has(self, InputModes::IGNBRK) {
        } else if has(self, InputModes::BRKINT) {
            self.signal(Signal::SIGINT, port, &mut effects);
        } else if self.make_room() > 0 {
            if has(self, InputModes::PARMRK) {
                self.enqueue(DAMAGE_MARK, &mut effects);
                self.enqueue(0, &mut effects);
            }
            self.enqueue(0, &mut effects);
        }
        self.literal_next = false;
        effects
    }

    /// Takes a byte with a parity or framing error.
    pub fn receive_damaged(&mut self, byte: u8) -> Effects {
        let mut effects = Effects::default();
        let has = |discipline: &Self, mode| discipline.settings.input.contains(mode);
        self.literal_next = false;
        if has(self, InputModes::INPCK) && has(self, InputModes::IGNPAR) || self.make_room() == 0 {
            return effects;
        }
        if !has(self, InputModes::INPCK) {
            self.enqueue(byte, &mut effects);
        } else if has(self, InputModes::PARMRK) {
            self.enqueue(DAMAGE_MARK, &mut effects);
            self.enqueue(0, &mut effects);
            self.enqueue(byte, &mut effects);
        } else {
            self.enqueue(0, &mut effects);
        }
        effects
    }

    /// How many bytes can be received, whatever they are. A line that fills the queue must still be able to end: its
    /// last byte gives way to each new one.
    fn make_room(&mut self) -> usize {
        let free = CAPACITY - self.input.len();
        // Damage is marked with two more bytes.
        let worst_case =
            if self.settings.input.contains(InputModes::PARMRK) { free.div_ceil(3) } else { free };
        if worst_case > 1 {
            return worst_case - 1;
        }
        if !self.settings.is_canonical() || self.input.finished_len() != 0 {
            return 0;
        }
        if worst_case == 0 {
            self.input.shorten(1);
        }
        1
    }

    fn receive_batch(&mut self, batch: &[u8], port: &mut impl OutputPort, effects: &mut Effects) {
        let already_obeyed = self.looked_ahead.min(batch.len());
        self.looked_ahead -= already_obeyed;
        let translates = self.settings.input.contains(InputModes::ISTRIP)
            || self.settings.input.contains(InputModes::IUCLC)
                && self.settings.local.contains(LocalModes::IEXTEN);
        let external = self.settings.local.contains(LocalModes::EXTPROC);
        if self.settings.is_raw || external && !translates {
            batch.iter().for_each(|&byte| self.enqueue(byte, effects));
            return;
        }
        for (index, &byte) in batch.iter().enumerate() {
            self.receive_byte(byte, index < already_obeyed, port, effects);
            if self.echo.has_block() {
                self.send_echo(port);
            }
        }
        // Older echo that had to wait goes on waiting: for new echo, for a program's output, for a START.
        if self.echo.has_news() && self.settings.local.intersects(LocalModes::ECHO | LocalModes::ECHONL) {
            self.send_echo(port);
        }
    }

    fn receive_byte(
        &mut self,
        byte: u8,
        flow_obeyed: bool,
        port: &mut impl OutputPort,
        effects: &mut Effects,
    ) {
        let mut byte = byte;
        if self.settings.input.contains(InputModes::ISTRIP) {
            byte &= 0x7f;
        }
        if self.settings.input.contains(InputModes::IUCLC) && self.settings.local.contains(LocalModes::IEXTEN)
        {
            byte = to_lower(byte);
        }
        if core::mem::take(&mut self.literal_next) {
            self.receive_data(byte, port, effects);
        } else if self.settings.local.contains(LocalModes::EXTPROC) {
            self.enqueue(byte, effects);
        } else if self.settings.is_special(byte) {
            self.receive_special(byte, flow_obeyed, port, effects);
        } else {
            self.receive_data(byte, port, effects);
        }
    }

    /// A byte without a meaning of its own.
    fn receive_data(&mut self, byte: u8, port: &mut impl OutputPort, effects: &mut Effects) {
        self.resume_by_any(port, effects);
        if self.settings.echoes() {
            self.finish_printing_erased();
            self.echo_on_line(byte);
        }
        self.enqueue_data(byte, effects);
    }

    fn receive_special(
        &mut self,
        byte: u8,
        flow_obeyed: bool,
        port: &mut impl OutputPort,
        effects: &mut Effects,
    ) {
        if self.settings.input.contains(InputModes::IXON) && self.is_flow_control(byte) {
            if !flow_obeyed {
                self.obey_flow_control(byte, port, effects);
            }
            return;
        }
        if self.settings.local.contains(LocalModes::ISIG) {
            for (index, signal) in
                [(VINTR, Signal::SIGINT), (VQUIT, Signal::SIGQUIT), (VSUSP, Signal::SIGTSTP)]
            {
                if self.settings.is_character(byte, index) {
                    return self.receive_signal_character(byte, signal, port, effects);
                }
            }
        }
        self.resume_by_any(port, effects);
        let byte = match byte {
            b'\r' if self.settings.input.contains(InputModes::IGNCR) => return,
            b'\r' if self.settings.input.contains(InputModes::ICRNL) => b'\n',
            b'\n' if self.settings.input.contains(InputModes::INLCR) => b'\r',
            other => other,
        };
        if self.settings.is_canonical() && self.receive_editing(byte, effects) {
            return;
        }
        if self.settings.echoes() {
            self.finish_printing_erased();
            if byte == b'\n' {
                self.echo.push(EchoStep::Byte(byte));
            } else {
                self.echo_on_line(byte);
            }
        }
        self.enqueue_data(byte, effects);
    }

    /// Whether the byte edited or ended the line.
    fn receive_editing(&mut self, byte: u8, effects: &mut Effects) -> bool {
        if let Some(erasure) = self.erasure_by(byte) {
            self.erase(erasure, byte);
        } else if self.settings.is_extended_character(byte, VLNEXT) {
            self.literal_next = true;
            if self.settings.echoes() {
                self.finish_printing_erased();
                if self.settings.local.contains(LocalModes::ECHOCTL) {
                    // A caret, under the cursor, until the character comes.
                    self.echo.push(EchoStep::Byte(b'^'));
                    self.echo.push(EchoStep::Byte(BACKSPACE));
                }
            }
        } else if self.settings.echoes() && self.settings.is_extended_character(byte, VREPRINT) {
            self.finish_printing_erased();
            self.echo_character(byte);
            self.echo.push(EchoStep::Byte(b'\n'));
            for offset in 0..self.input.unfinished_len() {
                self.echo_character(self.input.unfinished_byte(offset));
            }
        } else if byte == b'\n' {
            if self.settings.local.intersects(LocalModes::ECHO | LocalModes::ECHONL) {
                self.echo.push(EchoStep::Byte(byte));
            }
            self.finish_line(byte, effects);
        } else if self.settings.is_character(byte, VEOF) {
            self.finish_line(0, effects);
        } else if self.settings.is_character(byte, VEOL) || self.settings.is_extended_character(byte, VEOL2) {
            if self.settings.echoes() {
                self.echo_on_line(byte);
            }
            if byte == DAMAGE_MARK && self.settings.input.contains(InputModes::PARMRK) {
                self.input.push(byte);
            }
            self.finish_line(byte, effects);
        } else {
            return false;
        }
        true
    }

    fn finish_line(&mut self, byte: u8, effects: &mut Effects) {
        self.input.finish_line(byte);
        effects.became_readable = true;
    }

    fn receive_signal_character(
        &mut self,
        byte: u8,
        signal: Signal,
        port: &mut impl OutputPort,
        effects: &mut Effects,
    ) {
        self.signal(signal, port, effects);
        if self.settings.input.contains(InputModes::IXON) {
            self.resume_output(effects);
        }
        if self.settings.echoes() {
            self.echo_character(byte);
        } else {
            self.send_echo(port);
        }
    }

    fn signal(&mut self, signal: Signal, port: &mut impl OutputPort, effects: &mut Effects) {
        effects.signals.insert(signal);
        if !self.settings.local.contains(LocalModes::NOFLSH) {
            self.echo.clear();
            port.discard();
            effects.output_discarded = true;
            let looked_ahead = self.looked_ahead;
            self.discard_input(effects);
            // The rest of this batch is not thrown away.
            self.looked_ahead = looked_ahead;
        }
    }

    fn is_flow_control(&self, byte: u8) -> bool {
        self.settings.is_character(byte, VSTART) || self.settings.is_character(byte, VSTOP)
    }

    fn obey_flow_control(&mut self, byte: u8, port: &mut impl OutputPort, effects: &mut Effects) {
        if self.settings.is_character(byte, VSTART) {
            self.resume_output(effects);
            self.send_echo(port);
        } else {
            self.stop_output(effects);
        }
    }

    /// Obeys flow control in bytes that do not fit yet: otherwise a program that waits to write before it reads would
    /// never see the START behind its unread input.
    fn look_ahead(&mut self, bytes: &[u8], port: &mut impl OutputPort, effects: &mut Effects) {
        let already_obeyed = core::mem::replace(&mut self.looked_ahead, bytes.len()).min(bytes.len());
        if self.settings.input.contains(InputModes::IXON) {
            for &byte in &bytes[already_obeyed..] {
                if self.is_flow_control(byte) {
                    self.obey_flow_control(byte, port, effects);
                }
            }
        }
    }

    /// `IXANY`.
    fn resume_by_any(&mut self, port: &mut impl OutputPort, effects: &mut Effects) {
        if self.settings.input.contains(InputModes::IXON | InputModes::IXANY)
            && self.is_stopped_by_character()
        {
            self.resume_output(effects);
            self.send_echo(port);
        }
    }

    fn enqueue_data(&mut self, byte: u8, effects: &mut Effects) {
        if byte == DAMAGE_MARK && self.settings.input.contains(InputModes::PARMRK) {
            self.enqueue(byte, effects);
        }
        self.enqueue(byte, effects);
    }

    fn enqueue(&mut self, byte: u8, effects: &mut Effects) {
        self.input.push(byte);
        effects.became_readable |= !self.settings.reads_lines();
    }

    /// Echoes a byte of the line; the first of them marks where the line begins.
    fn echo_on_line(&mut self, byte: u8) {
        if self.input.unfinished_len() == 0 {
            self.echo.push(EchoStep::MarkLineStart);
        }
        self.echo_character(byte);
    }

    pub(super) fn echo_character(&mut self, byte: u8) {
        let shown_as_caret =
            self.settings.local.contains(LocalModes::ECHOCTL) && is_control(byte) && byte != b'\t';
        self.echo.push(if shown_as_caret { EchoStep::Caret(byte) } else { EchoStep::Byte(byte) });
    }

    /// Asks the other side to stop when the queue is nearly full. While the only line is unfinished there is no point:
    /// nothing but more input can make room.
    fn throttle(&mut self) {
        let nothing_to_read = self.settings.is_canonical() && self.input.finished_len() == 0;
        if !self.is_throttled && !nothing_to_read && CAPACITY - self.input.len() <= THROTTLE_BYTES {
            self.is_throttled = true;
            if self.settings.input.contains(InputModes::IXOFF) {
                self.throttle_character = Some(self.settings.termios.c_cc[VSTOP]);
            }
        }
    }

    /// Asks the other side to go on when most of the queue has been read.
    pub(super) fn unthrottle(&mut self) {
        let waiting = if self.settings.reads_lines() { self.input.finished_len() } else { self.input.len() };
        if self.is_throttled && waiting <= THROTTLE_BYTES {
            self.is_throttled = false;
            if self.settings.input.contains(InputModes::IXOFF) {
                // A STOP that has not been sent need not be taken back.
                self.throttle_character = match self.throttle_character {
                    Some(_) => None,
                    None => Some(self.settings.termios.c_cc[VSTART]),
                };
            }
        }
    }

    /// The STOP or START character by which `IXOFF` asks the other side to wait or to go on, if there is one to send
    /// now: at once, even while output is stopped. For serial lines; a pseudoterminal's master waits for room instead.
    pub fn take_throttle_character(&mut self) -> Option<u8> {
        self.throttle_character.take().filter(|&character| character != 0)
    }
}
