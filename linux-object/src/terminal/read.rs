//! The reader's side: how much there is, one line or some bytes of it, and when a read is over.

use linux_abi::terminal::{VEOF, VMIN, VTIME};

use super::LineDiscipline;

/// What [`LineDiscipline::peek`] copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Peeked {
    /// How many bytes. None, for an end of file.
    pub length: usize,
    /// The read ends here, however much more the program would take: the line, or the file, does.
    pub is_complete: bool,
    /// The byte behind it says that it is complete, and goes with it unseen.
    hides_next: bool,
    discards: u32,
}

/// What a reader does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Returns with what it has, be it nothing.
    Return,
    /// Waits for input, or until a timer has run so many tenths of a second since the reader last took something (or
    /// since it began). A reader that must not wait returns what it has, or `EAGAIN` if it has nothing.
    Wait {
        /// The timer, if there is one.
        deciseconds: Option<u8>,
    },
}

impl LineDiscipline {
    /// How many bytes a program could read (`FIONREAD`): finished lines, or all there is.
    pub fn readable(&self) -> usize {
        if !self.settings.reads_lines() {
            return self.input.len();
        }
        let finished = self.input.finished_len();
        finished - (0..finished).filter(|&offset| self.input.is_end_of_file(offset)).count()
    }

    /// Whether poll reports input: a line or an end of file; or else a byte, or as many as `VMIN` demands if no timer
    /// would end the read before.
    pub fn is_readable(&self) -> bool {
        if self.settings.reads_lines() {
            return self.input.finished_len() > 0;
        }
        let minimum = if self.timer_deciseconds() == 0 { self.minimum() } else { 1 };
        self.input.len() >= minimum.max(1)
    }

    fn minimum(&self) -> usize {
        usize::from(self.settings.termios.c_cc[VMIN])
    }

    fn timer_deciseconds(&self) -> u8 {
        self.settings.termios.c_cc[VTIME]
    }

    /// Copies what a read would return next, and leaves it where it is. `None`: there is nothing, or no place for it.
    pub fn peek(&self, destination: &mut [u8]) -> Option<Peeked> {
        let by_lines = self.settings.reads_lines();
        let available = if by_lines { self.input.finished_len() } else { self.input.len() };
        if available == 0 || destination.is_empty() {
            return None;
        }
        let mut length = 0;
        let mut is_complete = false;
        while length < available.min(destination.len()) && !is_complete && !self.is_hidden(length) {
            destination[length] = self.input.byte(length);
            is_complete = by_lines && self.input.ends_line(length);
            length += 1;
        }
        // An end of file right behind a full buffer goes with it: the next read shall not take it for its own.
        let hides_next = !is_complete && length < available && self.is_hidden(length);
        Some(Peeked { length, is_complete: is_complete || hides_next, hides_next, discards: self.discards })
    }

    /// Whether readers see an end of file in place of the byte that is so many after the oldest. With `EXTPROC` the
    /// other end sends the character for it, alone.
    fn is_hidden(&self, offset: usize) -> bool {
        if self.settings.reads_lines() {
            return self.input.is_end_of_file(offset);
        }
        let is_alone = offset == 0 && self.input.len() == 1;
        is_alone && self.settings.is_canonical() && self.input.byte(0) == self.settings.termios.c_cc[VEOF]
    }

    /// Takes out of the queue what was peeked at, after all or the first part of it reached the program. Does nothing if
    /// the input has been thrown away meanwhile.
    pub fn consume(&mut self, peeked: Peeked, copied: usize) {
        if peeked.discards != self.discards {
            return;
        }
        let hidden = usize::from(peeked.hides_next && copied >= peeked.length);
        self.input.remove_oldest(copied.min(peeked.length) + hidden);
        self.unthrottle();
    }

    /// [`peek`](Self::peek) and [`consume`](Self::consume) at once, for memory that cannot fault.
    pub fn read(&mut self, destination: &mut [u8]) -> Option<usize> {
        let peeked = self.peek(destination)?;
        self.consume(peeked, peeked.length);
        Some(peeked.length)
    }

    /// What a reader does that has taken so many bytes of those it wants, found nothing more, and whose timer has run
    /// out or not.
    ///
    /// By lines, it waits for one. Else `VMIN` and `VTIME` decide: with both, the timer runs from byte to byte and not
    /// before the first; with the timer alone, it runs from the beginning and any byte ends the read; with neither, a
    /// read never waits.
    pub fn read_step(&self, taken: usize, wanted: usize, timer_ran_out: bool) -> ReadStep {
        let (enough, deciseconds) = if self.settings.is_canonical() {
            (1, None)
        } else {
            let timer = Some(self.timer_deciseconds()).filter(|&deciseconds| deciseconds != 0);
            match (self.minimum(), timer) {
                (0, None) => (0, None),
                (0, timer) => (1, timer),
                (minimum, timer) => (minimum, timer.filter(|_| taken > 0)),
            }
        };
        if taken >= enough.min(wanted) || timer_ran_out {
            ReadStep::Return
        } else {
            ReadStep::Wait { deciseconds }
        }
    }
}
