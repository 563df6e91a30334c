//! What is sent to the terminal: programs' output with `OPOST` done to it, and echo. Both keep count of the column.

use alloc::vec::Vec;

use linux_abi::terminal::OutputModes;

use super::LineDiscipline;
use super::characters::{BACKSPACE, is_control, to_upper};
use super::echo::EchoStep;
use super::settings::Settings;

const TAB_WIDTH: u32 = 8;
const SPACES: [u8; TAB_WIDTH as usize] = [b' '; TAB_WIDTH as usize];

/// Where output goes: a device's transmit buffer, or the reading side of a pseudoterminal.
pub trait OutputPort {
    /// How many bytes it takes at once now.
    fn room(&self) -> usize;
    /// Takes bytes, never more than there is room for.
    fn put(&mut self, bytes: &[u8]);
    /// Forgets what has been put and not been sent: an interrupt character was typed.
    fn discard(&mut self);
}

/// Takes everything.
impl OutputPort for Vec<u8> {
    fn room(&self) -> usize {
        usize::MAX
    }
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
    fn discard(&mut self) {
        self.clear();
    }
}

/// Columns of the terminal, as far as can be known.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Columns {
    /// Where the next character appears.
    pub(super) current: u32,
    /// Where the line that is being typed begins.
    pub(super) line_start: u32,
}

impl Columns {
    fn forward(&mut self, count: u32) {
        self.current = self.current.wrapping_add(count);
    }

    fn back(&mut self) {
        self.current = self.current.saturating_sub(1);
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// What a byte of output becomes.
enum Rendered {
    Nothing,
    Byte(u8),
    NewLine,
    Spaces(usize),
}

impl Rendered {
    fn len(&self) -> usize {
        match self {
            Rendered::Nothing => 0,
            Rendered::Byte(_) => 1,
            Rendered::NewLine => 2,
            Rendered::Spaces(count) => *count,
        }
    }
}

impl Settings {
    /// What `OPOST` makes of a byte, and where the cursor is after it.
    fn render(&self, byte: u8, mut columns: Columns) -> (Rendered, Columns) {
        let has = |mode| self.output.contains(mode);
        let mut rendered = Rendered::Byte(byte);
        match byte {
            b'\n' if has(OutputModes::ONLCR) => {
                columns.reset();
                rendered = Rendered::NewLine;
            }
            b'\n' => {
                if has(OutputModes::ONLRET) {
                    columns.current = 0;
                }
                columns.line_start = columns.current;
            }
            b'\r' if has(OutputModes::ONOCR) && columns.current == 0 => rendered = Rendered::Nothing,
            b'\r' if has(OutputModes::OCRNL) => {
                if has(OutputModes::ONLRET) {
                    columns.reset();
                }
                rendered = Rendered::Byte(b'\n');
            }
            b'\r' => columns.reset(),
            b'\t' => {
                let width = TAB_WIDTH - columns.current % TAB_WIDTH;
                columns.forward(width);
                if has(OutputModes::XTABS) {
                    rendered = Rendered::Spaces(width as usize);
                }
            }
            BACKSPACE => columns.back(),
            _ if is_control(byte) => {}
            _ => {
                let shown = if has(OutputModes::OLCUC) { to_upper(byte) } else { byte };
                if !self.is_continuation(shown) {
                    columns.forward(1);
                }
                rendered = Rendered::Byte(shown);
            }
        }
        (rendered, columns)
    }
}

fn put(rendered: &Rendered, port: &mut impl OutputPort) {
    match *rendered {
        Rendered::Nothing => {}
        Rendered::Byte(byte) => port.put(&[byte]),
        Rendered::NewLine => port.put(b"\r\n"),
        Rendered::Spaces(count) => port.put(&SPACES[..count]),
    }
}

impl LineDiscipline {
    /// Sends a program's output: pending echo first, then as many of the bytes as output goes on and the port has room
    /// for. Returns how many were taken.
    pub fn process_output(&mut self, bytes: &[u8], port: &mut impl OutputPort) -> usize {
        self.send_echo(port);
        if self.is_output_stopped() {
            return 0;
        }
        if !self.settings.output.contains(OutputModes::OPOST) {
            let taken = bytes.len().min(port.room());
            port.put(&bytes[..taken]);
            return taken;
        }
        let mut room = port.room();
        let mut run_start = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            let (rendered, columns) = self.settings.render(byte, self.columns);
            if room == 0 || rendered.len() > room {
                port.put(&bytes[run_start..index]);
                return index;
            }
            self.columns = columns;
            room -= rendered.len();
            // Bytes that stay what they are leave together.
            if !matches!(rendered, Rendered::Byte(shown) if shown == byte) {
                port.put(&bytes[run_start..index]);
                put(&rendered, port);
                run_start = index + 1;
            }
        }
        port.put(&bytes[run_start..]);
        bytes.len()
    }

    /// Sends echo that had to wait: for a terminal to call when its port has room again.
    pub fn send_echo(&mut self, port: &mut impl OutputPort) {
        self.echo.attempt();
        while let Some(step) = self.echo.front() {
            let room = if self.is_output_stopped() { 0 } else { port.room() };
            if !self.send_echo_step(step, room, port) {
                return;
            }
            self.echo.pop();
        }
    }

    /// Whether there was room for it.
    fn send_echo_step(&mut self, step: EchoStep, room: usize, port: &mut impl OutputPort) -> bool {
        match step {
            EchoStep::MarkLineStart => self.columns.line_start = self.columns.current,
            EchoStep::BackOneColumn => self.columns.back(),
            // Linux sends this byte as it is, since it is the escape character of its echo buffer.
            EchoStep::Byte(0xff) => {
                if room == 0 {
                    return false;
                }
                self.columns.forward(1);
                port.put(&[0xff]);
            }
            EchoStep::Byte(byte) => {
                let (rendered, columns) = if self.settings.output.contains(OutputModes::OPOST) {
                    self.settings.render(byte, self.columns)
                } else {
                    (Rendered::Byte(byte), self.columns)
                };
                if room == 0 || rendered.len() > room {
                    return false;
                }
                self.columns = columns;
                put(&rendered, port);
            }
            EchoStep::Caret(byte) => {
                if room < 2 {
                    return false;
                }
                self.columns.forward(2);
                port.put(&[b'^', byte ^ 0x40]);
            }
            EchoStep::BackOverTabAfterTab(columns) => {
                return self.back_over_tab(u32::from(columns), room, port);
            }
            EchoStep::BackOverTabAfterLineStart(columns) => {
                return self.back_over_tab(
                    u32::from(columns).wrapping_add(self.columns.line_start),
                    room,
                    port,
                );
            }
        }
        true
    }

    fn back_over_tab(&mut self, column_of_tab: u32, room: usize, port: &mut impl OutputPort) -> bool {
        let width = TAB_WIDTH - column_of_tab % TAB_WIDTH;
        if room < width as usize {
            return false;
        }
        for _ in 0..width {
            self.columns.back();
            port.put(&[BACKSPACE]);
        }
        true
    }
}
