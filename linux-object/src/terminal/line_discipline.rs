//! The state of a terminal's line discipline, and what is done to it from outside the streams of bytes.

use alloc::collections::TryReserveError;

use linux_abi::signal::SignalSet;
use linux_abi::terminal::{InputModes, LocalModes, Termios2, VSTART, VSTOP, Winsize};

use super::echo::EchoQueue;
use super::input_queue::InputQueue;
use super::output::{Columns, OutputPort};
use super::settings::Settings;
use super::speed::with_speeds_resolved;

/// What the terminal around the line discipline has to do after a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Signals for the foreground process group.
    pub signals: SignalSet,
    /// A reader, or a poll for reading, may find more than before.
    pub became_readable: bool,
    /// Output stopped: device and pseudoterminal masters in packet mode want to know.
    pub output_stopped: bool,
    /// Output goes on: writers may try again.
    pub output_resumed: bool,
    /// Unread input was thrown away. What the caller still holds back stays if a received byte did it, and goes too
    /// otherwise.
    pub input_discarded: bool,
    /// The port was told to forget what it had not sent.
    pub output_discarded: bool,
}

/// When new settings take effect: `TCSETS`, `TCSETSW`, `TCSETSF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermiosChange {
    /// At once.
    Now,
    /// When all output has been sent; for that the caller waits before the call.
    Drain,
    /// Like `Drain`, and unread input is thrown away. Linux does so before it waits: so may a caller, by
    /// [`LineDiscipline::flush`].
    Flush,
}

/// What to throw away: `TCIFLUSH`, `TCOFLUSH`, `TCIOFLUSH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// What has been received and not been read.
    Input,
    /// What has been written and not been sent.
    Output,
    /// Both.
    Both,
}

/// Flow control by a program: `TCOOFF`, `TCOON`, `TCIOFF`, `TCION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Stop output.
    StopOutput,
    /// Let output go on; only this undoes `StopOutput`.
    ResumeOutput,
    /// Ask the other side to stop.
    StopInput,
    /// Ask the other side to go on.
    ResumeInput,
}

/// A terminal's line discipline. See the [module](super).
pub struct LineDiscipline {
    pub(super) settings: Settings,
    pub(super) input: InputQueue,
    pub(super) echo: EchoQueue,
    pub(super) columns: Columns,
    /// The next byte is data, whatever it is (`VLNEXT`).
    pub(super) literal_next: bool,
    /// Erased characters are being printed (`ECHOPRT`): a slash has to end them.
    pub(super) printing_erased: bool,
    stopped: bool,
    stopped_by_program: bool,
    /// How many of the bytes that did not fit have already been searched for flow control.
    pub(super) looked_ahead: usize,
    /// The other side should not send more for the moment.
    pub(super) is_throttled: bool,
    pub(super) throttle_character: Option<u8>,
    /// How often input was thrown away: tells a reader whether what it peeked at is still there.
    pub(super) discards: u32,
    initial_termios: Termios2,
    window_size: Winsize,
}

impl LineDiscipline {
    /// A terminal as it is when first opened: with [`STANDARD_TERMIOS`](super::STANDARD_TERMIOS), or what its kind of
    /// terminal begins with.
    pub fn new(termios: Termios2) -> Result<Self, TryReserveError> {
        let termios = with_speeds_resolved(termios);
        let mut discipline = Self {
            settings: Settings::new(termios),
            input: InputQueue::new()?,
            echo: EchoQueue::new()?,
            columns: Columns::default(),
            literal_next: false,
            printing_erased: false,
            stopped: false,
            stopped_by_program: false,
            looked_ahead: 0,
            is_throttled: false,
            throttle_character: None,
            discards: 0,
            initial_termios: termios,
            window_size: Winsize::default(),
        };
        discipline.input.switch_lines(discipline.settings.is_canonical());
        Ok(discipline)
    }

    /// The settings.
    pub fn termios(&self) -> Termios2 {
        self.settings.termios
    }

    /// Changes the settings. What a device cannot do the caller takes out before; the speeds are brought in line with
    /// the codes in `c_cflag`. Readers, writers and polls look again afterwards: what they wait for may have changed.
    pub fn set_termios(
        &mut self,
        termios: &Termios2,
        when: TermiosChange,
        port: &mut impl OutputPort,
    ) -> Effects {
        let mut effects = Effects { became_readable: true, ..Effects::default() };
        if when == TermiosChange::Flush {
            self.discard_input(&mut effects);
        }
        let old = core::mem::replace(&mut self.settings, Settings::new(with_speeds_resolved(*termios)));
        if (old.local ^ self.settings.local).intersects(LocalModes::ICANON | LocalModes::EXTPROC) {
            self.input.switch_lines(self.settings.is_canonical());
            self.printing_erased = false;
            self.literal_next = false;
        }
        // Nobody could type the character any more that lets output go on.
        let lost_flow_control =
            old.input.contains(InputModes::IXON) && !self.settings.input.contains(InputModes::IXON);
        if lost_flow_control && !self.stopped_by_program {
            self.resume_output(&mut effects);
            self.send_echo(port);
        }
        effects
    }

    /// The window's size, which the line discipline only keeps.
    pub fn window_size(&self) -> Winsize {
        self.window_size
    }

    /// Sets the window's size; whether it is another than before, which `SIGWINCH` announces.
    pub fn set_window_size(&mut self, size: Winsize) -> bool {
        core::mem::replace(&mut self.window_size, size) != size
    }

    /// Throws away input, output or both.
    pub fn flush(&mut self, what: Flush, port: &mut impl OutputPort) -> Effects {
        let mut effects = Effects::default();
        if what != Flush::Output {
            self.discard_input(&mut effects);
        }
        if what != Flush::Input {
            port.discard();
            effects.output_discarded = true;
        }
        effects
    }

    /// Obeys a program's flow control. The character returned goes out at once, even while output is stopped. Echo that
    /// waited follows with the next byte in either direction, as on Linux.
    pub fn control_flow(&mut self, flow: Flow) -> (Option<u8>, Effects) {
        let mut effects = Effects::default();
        let character = match flow {
            Flow::StopOutput => {
                self.stop_output(&mut effects);
                self.stopped_by_program = true;
                None
            }
            Flow::ResumeOutput => {
                if self.stopped_by_program {
                    self.stopped_by_program = false;
                    self.resume_output(&mut effects);
                }
                None
            }
            Flow::StopInput => Some(self.settings.termios.c_cc[VSTOP]),
            Flow::ResumeInput => Some(self.settings.termios.c_cc[VSTART]),
        };
        (character.filter(|&character| character != 0), effects)
    }

    /// Makes the terminal one that nobody has used: for a hang-up. Open files of a terminal that hung up stay dead (they
    /// read end of file, and `EIO` meets what they write) although the terminal may be opened anew: so it is they, above,
    /// who remember it.
    pub fn hang_up(&mut self, port: &mut impl OutputPort) -> Effects {
        let mut effects = self.flush(Flush::Both, port);
        self.echo.clear();
        self.columns = Columns::default();
        self.literal_next = false;
        self.stopped_by_program = false;
        self.resume_output(&mut effects);
        self.settings = Settings::new(self.initial_termios);
        self.input.switch_lines(self.settings.is_canonical());
        self.throttle_character = None;
        self.is_throttled = false;
        effects.became_readable = true;
        effects
    }

    /// Whether output waits for the START character or for [`Flow::ResumeOutput`].
    pub fn is_output_stopped(&self) -> bool {
        self.stopped
    }

    /// Output that was stopped by the STOP character, as opposed to by a program.
    pub(super) fn is_stopped_by_character(&self) -> bool {
        self.stopped && !self.stopped_by_program
    }

    pub(super) fn stop_output(&mut self, effects: &mut Effects) {
        effects.output_stopped |= !self.stopped;
        self.stopped = true;
    }

    /// Lets output go on, unless a program stopped it.
    pub(super) fn resume_output(&mut self, effects: &mut Effects) {
        if self.is_stopped_by_character() {
            self.stopped = false;
            effects.output_resumed = true;
        }
    }

    pub(super) fn discard_input(&mut self, effects: &mut Effects) {
        self.input.clear();
        self.printing_erased = false;
        self.looked_ahead = 0;
        self.discards = self.discards.wrapping_add(1);
        effects.input_discarded = true;
        self.unthrottle();
    }
}
