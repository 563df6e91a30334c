//! Line editing: a character, a word or the whole line is erased, from the queue and from the screen.

use linux_abi::terminal::{LocalModes, VERASE, VKILL, VWERASE};

use super::LineDiscipline;
use super::characters::{BACKSPACE, is_control, is_word};
use super::echo::EchoStep;

/// How much is erased.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Erasure {
    Character,
    Word,
    Line,
}

impl LineDiscipline {
    /// What the byte erases.
    pub(super) fn erasure_by(&self, byte: u8) -> Option<Erasure> {
        if self.settings.is_character(byte, VERASE) {
            return Some(Erasure::Character);
        }
        let erases =
            self.settings.is_character(byte, VKILL) || self.settings.is_extended_character(byte, VWERASE);
        // A byte that is both erases a word, be that character enabled or not.
        let erasure = if self.settings.is_character(byte, VWERASE) { Erasure::Word } else { Erasure::Line };
        erases.then_some(erasure)
    }

    /// Erases from the end of the unfinished line, because of the typed `byte`.
    pub(super) fn erase(&mut self, erasure: Erasure, byte: u8) {
        let has = |mode| self.settings.local.contains(mode);
        self.echo.touch();
        let length = self.input.unfinished_len();
        if length == 0 {
            return;
        }
        if erasure == Erasure::Line {
            let shows_each = has(LocalModes::ECHOK | LocalModes::ECHOKE | LocalModes::ECHOE);
            if !self.settings.echoes() || !shows_each {
                let starts_new_line = has(LocalModes::ECHOK);
                self.input.shorten(length);
                if self.settings.echoes() {
                    self.finish_printing_erased();
                    self.echo_character(byte);
                    if starts_new_line {
                        self.echo.push(EchoStep::Byte(b'\n'));
                    }
                }
                return;
            }
        }
        let mut inside_word = false;
        while let Some((first, size)) = self.last_character() {
            if erasure == Erasure::Word {
                if is_word(first) {
                    inside_word = true;
                } else if inside_word {
                    break;
                }
            }
            self.erase_character(erasure, first, size);
            if erasure == Erasure::Character {
                break;
            }
        }
        if self.input.unfinished_len() == 0 && self.settings.echoes() {
            self.finish_printing_erased();
        }
    }

    /// The first byte and the length of the last character of the line; `None` if there is none, or only a part of one.
    fn last_character(&self) -> Option<(u8, usize)> {
        let length = self.input.unfinished_len();
        (1..=length)
            .map(|size| (self.input.unfinished_byte(length - size), size))
            .find(|&(byte, _)| !self.settings.is_continuation(byte))
    }

    fn erase_character(&mut self, erasure: Erasure, first: u8, size: usize) {
        let start = self.input.unfinished_len() - size;
        if !self.settings.echoes() {
        } else if self.settings.local.contains(LocalModes::ECHOPRT) {
            self.print_erased(start, first, size);
        } else if erasure == Erasure::Character && !self.settings.local.contains(LocalModes::ECHOE) {
            self.echo_character(self.settings.termios.c_cc[VERASE]);
        } else if first == b'\t' {
            self.erase_tab_from_screen(start);
        } else {
            for _ in 0..self.columns_of(first) {
                for byte in [BACKSPACE, b' ', BACKSPACE] {
                    self.echo.push(EchoStep::Byte(byte));
                }
            }
        }
        self.input.shorten(size);
    }

    /// How many columns a character other than a tab took when it was echoed.
    fn columns_of(&self, first: u8) -> u8 {
        match (is_control(first), self.settings.local.contains(LocalModes::ECHOCTL)) {
            (false, _) => 1,
            (true, true) => 2,
            (true, false) => 0,
        }
    }

    /// `ECHOPRT`: what is erased appears between a backslash and a slash.
    fn print_erased(&mut self, start: usize, first: u8, size: usize) {
        if !self.printing_erased {
            self.printing_erased = true;
            self.echo.push(EchoStep::Byte(b'\\'));
        }
        self.echo_character(first);
        for offset in start + 1..start + size {
            self.echo.push(EchoStep::Byte(self.input.unfinished_byte(offset)));
            self.echo.push(EchoStep::BackOneColumn);
        }
    }

    pub(super) fn finish_printing_erased(&mut self) {
        if self.printing_erased {
            self.printing_erased = false;
            self.echo.push(EchoStep::Byte(b'/'));
        }
    }

    /// How wide a tab was follows from the columns before it, back to the tab before or to where the line began.
    fn erase_tab_from_screen(&mut self, start: usize) {
        let mut columns = 0_u8;
        for offset in (0..start).rev() {
            let byte = self.input.unfinished_byte(offset);
            if byte == b'\t' {
                self.echo.push(EchoStep::BackOverTabAfterTab(columns));
                return;
            }
            if !self.settings.is_continuation(byte) {
                columns = (columns + self.columns_of(byte)) % 8;
            }
        }
        self.echo.push(EchoStep::BackOverTabAfterLineStart(columns));
    }
}
