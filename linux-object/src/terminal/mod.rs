//! Terminals: the line discipline, which is all that stands between a keyboard and a program that reads lines.
//!
//! [`LineDiscipline`] is Linux's `N_TTY` as synchronous logic. It turns received bytes into lines, echoes, signals and
//! flow control, and what programs write into what a terminal is sent. It takes no lock, wakes nobody, starts no timer
//! and knows no process: the terminal that owns it (a serial console, a pseudoterminal) calls it under its own lock,
//! moves bytes between it and the device, and does what the returned [`Effects`] say.
//!
//! # How it is used
//! * Bytes from the device go to [`LineDiscipline::receive`]; the echo goes to the [`OutputPort`] handed along. What
//!   did not fit stays with the caller, who offers it again after a reader has consumed something.
//! * A reader loops over [`peek`](LineDiscipline::peek), a copy to the program (unlocked: it may fault), and
//!   [`consume`](LineDiscipline::consume). Between them readers must be serialised; receiving goes on freely.
//!   [`read_step`](LineDiscipline::read_step) says whether a read returns or waits, and on which timer.
//! * A writer calls [`process_output`](LineDiscipline::process_output) until everything is taken, and waits for
//!   [`Effects::output_resumed`] or for room in the port when it is not.
//!
//! # Judged by Linux
//! `oracle` replays seeded random settings and input on a pseudoterminal of the machine the tests run on and compares
//! every echoed byte, every line read, every count and the speeds. What differs, and why:
//! * A `\377` doubled by `PARMRK` at the very end of a full queue makes Linux's ring overtake itself by one byte. Here
//!   the last byte is replaced instead.
//! * Linux hands out input in pieces of 64 bytes, and that shows: a read with a `VMIN` above 64 returns with 64 bytes.
//!   Here it waits for `VMIN` of them, as termios(3) says.
//! * On Linux, `VLNEXT` while erased characters are printed (`ECHOPRT`) without `ECHOCTL` makes the next write send the
//!   whole ring of old echo, since the slash that ends them is sent without being accounted for. Here it is not.
//! * `XCASE`, `OFILL`, `PENDIN`, `FLUSHO` and the delays other than `XTABS` are stored and have no effect; nor do
//!   `VDISCARD` and `VSWTC`; `IMAXBEL` rings no bell. Linux is the same, its manual notwithstanding on the last.
//! * Packet mode, job control (`TOSTOP`, reading from the background), the lock of the settings and `TIOCSTI` belong
//!   to the terminal around it.

mod characters;
mod echo;
mod editing;
mod input_queue;
mod line_discipline;
mod output;
mod read;
mod receive;
mod settings;
mod speed;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub use line_discipline::{Effects, Flow, Flush, LineDiscipline, TermiosChange};
pub use output::OutputPort;
pub use read::{Peeked, ReadStep};
pub use receive::Received;
pub use settings::{PSEUDOTERMINAL_TERMIOS, STANDARD_TERMIOS};
pub use speed::with_speeds_resolved;
