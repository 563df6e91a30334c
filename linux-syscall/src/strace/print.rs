//! Printing arguments: what lies in the program's memory, and names for numbers.

use core::fmt::{self, Write};

use kernel_hal::VirtAddr;
use linux_abi::file::Iovec;
use linux_abi::poll::{EpollBehaviour, EpollEvent, PollEvents, Pollfd};
use linux_abi::resource::Rlimit;
use linux_abi::signal::{ActionFlags, SIG_DFL, SIG_IGN, SigAction, Signal, SignalSet};
use linux_abi::stat::{FileType, Stat};
use linux_abi::time::Timespec;
use linux_object::user_buffer::UserMemory;
use zerocopy::{FromBytes, IntoBytes};

use super::vocabulary::{Meaning, Names};

/// The longest line; the log's records hold no more.
const LONGEST_LINE: usize = 900;
/// Bytes of a buffer that are shown.
const MOST_BYTES: usize = 32;
/// Bytes of a string that are shown.
const MOST_STRING: usize = 160;
/// Elements of an array that are shown.
const MOST_ELEMENTS: usize = 8;

/// A line that is put together; what does not fit is cut.
pub(super) struct Line(heapless::String<LONGEST_LINE>);

impl Line {
    pub fn of_thread(id: i32) -> Self {
        let mut line = Self(heapless::String::new());
        // There is room.
        let _ = write!(line, "[{id}] ");
        line
    }

    /// Prints the end and logs the line.
    pub fn finish(mut self, end: impl FnOnce(&mut Self) -> fmt::Result) {
        let _ = end(&mut self);
        log::info!("{}", self.0);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.0.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Where what arguments point at is read.
pub(super) struct Context<'a> {
    pub memory: &'a UserMemory,
}

impl Context<'_> {
    /// Prints an argument by its meaning. `false`: nothing was printed, because it is no more than a value.
    pub fn print(
        &self,
        line: &mut Line,
        meaning: Meaning,
        arguments: &[usize; 6],
        index: usize,
        result: Option<usize>,
    ) -> Result<bool, fmt::Error> {
        let value = arguments[index];
        let returned = result.filter(|&result| (result as isize) >= 0);
        match meaning {
            Meaning::Plain => return Ok(false),
            Meaning::Flags(names) => flags(line, value, names)?,
            Meaning::One(names) => one(line, value, names)?,
            Meaning::OneAndFlags(names, flags) => one_and_flags(line, value, names, flags)?,
            Meaning::Octal => write!(line, "{value:#o}")?,
            Meaning::Signal => signal(line, value)?,
            Meaning::Address => address(line, value)?,
            _ if value == 0 => line.write_str("NULL")?,
            Meaning::Path => self.string(line, value)?,
            Meaning::Strings => self.strings(line, value)?,
            Meaning::Input(length) => self.bytes(line, value, arguments[length])?,
            Meaning::Vectors(count) => self.vectors(line, value, arguments[count])?,
            Meaning::Signals => self.structure(line, value, signals)?,
            Meaning::Action => self.structure(line, value, action)?,
            Meaning::Time => self.structure(line, value, time)?,
            Meaning::Limit => self.structure(line, value, limit)?,
            Meaning::Word => self.structure(line, value, |line, word: &i32| write!(line, "[{word}]"))?,
            Meaning::Event => self.structure(line, value, event)?,
            Meaning::SocketAddress(length) => self.bytes(line, value, arguments[length])?,
            // What follows has been filled if the call succeeded.
            _ if returned.is_none() => address(line, value)?,
            Meaning::Output => self.bytes(line, value, returned.unwrap_or(0))?,
            Meaning::SignalsOut => self.structure(line, value, signals)?,
            Meaning::ActionOut => self.structure(line, value, action)?,
            Meaning::TimeOut => self.structure(line, value, time)?,
            Meaning::LimitOut => self.structure(line, value, limit)?,
            Meaning::WordOut => self.structure(line, value, |line, word: &i32| write!(line, "[{word}]"))?,
            Meaning::PairOut => {
                self.structure(line, value, |line, pair: &[i32; 2]| {
                    write!(line, "[{}, {}]", pair[0], pair[1])
                })?;
            }
            Meaning::StatusOut if returned == Some(0) => address(line, value)?,
            Meaning::StatusOut => self.structure(line, value, status)?,
            Meaning::StatOut => self.structure(line, value, stat)?,
            Meaning::EventsOut => self.array(line, value, returned.unwrap_or(0), event)?,
            Meaning::Polls(count) => self.array(line, value, arguments[count], poll)?,
        }
        Ok(true)
    }

    /// Reads without waiting; what is not there now is not shown.
    fn read<T: FromBytes + IntoBytes>(&self, address: usize) -> Option<T> {
        self.memory.read(VirtAddr::new(address)).ok()
    }

    fn structure<T: FromBytes + IntoBytes>(
        &self,
        line: &mut Line,
        at: usize,
        show: impl FnOnce(&mut Line, &T) -> fmt::Result,
    ) -> fmt::Result {
        match self.read(at) {
            Some(value) => show(line, &value),
            None => address(line, at),
        }
    }

    fn array<T: FromBytes + IntoBytes>(
        &self,
        line: &mut Line,
        at: usize,
        count: usize,
        show: impl Fn(&mut Line, &T) -> fmt::Result,
    ) -> fmt::Result {
        line.write_str("[")?;
        for index in 0..count.min(MOST_ELEMENTS) {
            if index > 0 {
                line.write_str(", ")?;
            }
            self.structure(line, at.wrapping_add(index * size_of::<T>()), &show)?;
        }
        line.write_str(if count > MOST_ELEMENTS { ", ...]" } else { "]" })
    }

    /// A string that a zero ends.
    fn string(&self, line: &mut Line, at: usize) -> fmt::Result {
        let mut bytes = [0; MOST_STRING];
        let mut length = 0;
        while length < MOST_STRING {
            match self.read::<u8>(at.wrapping_add(length)) {
                Some(0) => return quoted(line, &bytes[..length], false),
                Some(byte) => bytes[length] = byte,
                None if length == 0 => return address(line, at),
                None => break,
            }
            length += 1;
        }
        quoted(line, &bytes[..length], true)
    }

    fn strings(&self, line: &mut Line, at: usize) -> fmt::Result {
        line.write_str("[")?;
        for index in 0..=MOST_ELEMENTS {
            let separator = if index > 0 { ", " } else { "" };
            match self.read::<usize>(at.wrapping_add(index * size_of::<usize>())) {
                Some(0) => break,
                Some(_) if index == MOST_ELEMENTS => line.write_str(", ...")?,
                Some(string) => {
                    line.write_str(separator)?;
                    self.string(line, string)?;
                }
                None => {
                    line.write_str(separator)?;
                    line.write_str("?")?;
                    break;
                }
            }
        }
        line.write_str("]")
    }

    fn bytes(&self, line: &mut Line, at: usize, length: usize) -> fmt::Result {
        let mut bytes = [0; MOST_BYTES];
        let shown = &mut bytes[..length.min(MOST_BYTES)];
        match self.memory.read_bytes(VirtAddr::new(at), shown) {
            Ok(()) => quoted(line, shown, length > MOST_BYTES),
            Err(_) => address(line, at),
        }
    }

    fn vectors(&self, line: &mut Line, at: usize, count: usize) -> fmt::Result {
        self.array(line, at, count, |line, piece: &Iovec| {
            address(line, piece.iov_base as usize)?;
            write!(line, "+{}", piece.iov_len)
        })
    }
}

fn address(line: &mut Line, value: usize) -> fmt::Result {
    if value == 0 { line.write_str("NULL") } else { write!(line, "{value:#x}") }
}

fn quoted(line: &mut Line, bytes: &[u8], is_cut: bool) -> fmt::Result {
    write!(line, "\"{}\"{}", bytes.escape_ascii(), if is_cut { "..." } else { "" })
}

fn flags(
    line: &mut Line,
    value: usize,
    names: fn(usize, &mut dyn FnMut(&'static str)) -> usize,
) -> fmt::Result {
    let mut outcome = Ok(());
    let mut is_first = true;
    let mut add = |name: &'static str| {
        let separator = if is_first { "" } else { "|" };
        is_first = false;
        outcome = outcome.and_then(|()| write!(line, "{separator}{name}"));
    };
    let left = names(value, &mut add);
    outcome?;
    match (left, is_first) {
        (0, true) => line.write_str("0"),
        (0, false) => Ok(()),
        (left, true) => write!(line, "{left:#x}"),
        (left, false) => write!(line, "|{left:#x}"),
    }
}

fn one(line: &mut Line, value: usize, names: Names) -> fmt::Result {
    match names.iter().find(|(known, _)| *known == value) {
        Some((_, name)) => line.write_str(name),
        None => write!(line, "{value:#x}"),
    }
}

fn one_and_flags(
    line: &mut Line,
    value: usize,
    names: Names,
    flag_names: fn(usize, &mut dyn FnMut(&'static str)) -> usize,
) -> fmt::Result {
    let low_bits = names.iter().fold(0, |bits, (known, _)| bits | known);
    one(line, value & low_bits, names)?;
    if value & !low_bits == 0 {
        return Ok(());
    }
    line.write_str("|")?;
    flags(line, value & !low_bits, flag_names)
}

fn signal(line: &mut Line, value: usize) -> fmt::Result {
    match i32::try_from(value).ok().and_then(Signal::new) {
        Some(signal) => signal_name(line, signal),
        None => write!(line, "{}", value as i32),
    }
}

fn signal_name(line: &mut Line, signal: Signal) -> fmt::Result {
    match signal.name() {
        Some(name) => line.write_str(name),
        None => write!(line, "SIG{}", signal.number()),
    }
}

fn signals(line: &mut Line, bits: &u64) -> fmt::Result {
    let mut set = SignalSet::from_bits(*bits);
    line.write_str("[")?;
    let mut is_first = true;
    while let Some(signal) = set.first() {
        set.remove(signal);
        if !core::mem::take(&mut is_first) {
            line.write_str(" ")?;
        }
        signal_name(line, signal)?;
    }
    line.write_str("]")
}

fn action(line: &mut Line, action: &SigAction) -> fmt::Result {
    match action.sa_handler {
        SIG_DFL => line.write_str("{SIG_DFL")?,
        SIG_IGN => line.write_str("{SIG_IGN")?,
        handler => write!(line, "{{{handler:#x}")?,
    }
    let flags = ActionFlags::from_bits_retain(action.sa_flags);
    for (name, _) in flags.iter_names() {
        write!(line, " {name}")?;
    }
    line.write_str("}")
}

fn time(line: &mut Line, time: &Timespec) -> fmt::Result {
    write!(line, "{{{}.{:09}}}", time.tv_sec, time.tv_nsec)
}

fn limit(line: &mut Line, limit: &Rlimit) -> fmt::Result {
    let show = |line: &mut Line, value: u64| match value {
        u64::MAX => line.write_str("unlimited"),
        value => write!(line, "{value}"),
    };
    show(line, limit.rlim_cur)?;
    line.write_str("/")?;
    show(line, limit.rlim_max)
}

fn status(line: &mut Line, status: &u32) -> fmt::Result {
    match status & 0x7f {
        0 => write!(line, "[exited with {}]", status >> 8 & 0xff),
        0x7f => write!(line, "[stopped or continued: {status:#x}]"),
        number => {
            line.write_str("[killed by ")?;
            signal(line, number as usize)?;
            line.write_str("]")
        }
    }
}

fn stat(line: &mut Line, stat: &Stat) -> fmt::Result {
    let kind = FileType::from_mode(stat.st_mode);
    write!(line, "{{{kind:?} {:o}, {} bytes}}", stat.st_mode & 0o7777, stat.st_size)
}

fn event(line: &mut Line, event: &EpollEvent) -> fmt::Result {
    let bits = event.events;
    line.write_str("{")?;
    let mut is_first = true;
    let mut left = bits;
    let polls = PollEvents::from_bits_retain(bits).iter_names().map(|(name, flag)| (name, flag.bits()));
    let behaviour =
        EpollBehaviour::from_bits_retain(bits).iter_names().map(|(name, flag)| (name, flag.bits()));
    for (name, bit) in polls.chain(behaviour) {
        left &= !bit;
        write!(line, "{}{name}", if core::mem::take(&mut is_first) { "" } else { "|" })?;
    }
    if left != 0 {
        write!(line, "|{left:#x}")?;
    }
    let data = event.data;
    write!(line, ", {data:#x}}}")
}

fn poll(line: &mut Line, entry: &Pollfd) -> fmt::Result {
    let events = |line: &mut Line, bits: i16| {
        let bits = u32::from(bits as u16);
        let mut is_first = true;
        for (name, _) in PollEvents::from_bits_retain(bits).iter_names() {
            write!(line, "{}{name}", if core::mem::take(&mut is_first) { "" } else { "|" })?;
        }
        if is_first { line.write_str("0") } else { Ok(()) }
    };
    write!(line, "{{{} ", entry.fd)?;
    events(line, entry.events)?;
    line.write_str(" -> ")?;
    events(line, entry.revents)?;
    line.write_str("}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_abi::file::OpenFlags;
    use linux_abi::process::WaitStatus;

    fn shown(print: impl FnOnce(&mut Line) -> fmt::Result) -> String {
        let mut line = Line(heapless::String::new());
        print(&mut line).unwrap();
        line.0.to_string()
    }

    fn open_names(bits: usize, name: &mut dyn FnMut(&'static str)) -> usize {
        for (text, flag) in OpenFlags::from_bits_retain(bits as u32).iter_names() {
            name(text);
            let _ = flag;
        }
        bits & !OpenFlags::all().bits() as usize
    }

    #[test]
    fn values_have_names() {
        const MODES: Names = &[(0, "RDONLY"), (1, "WRONLY"), (2, "RDWR")];
        assert_eq!(shown(|line| one_and_flags(line, 0, MODES, open_names)), "RDONLY");
        let cloexec = OpenFlags::CLOEXEC.bits() as usize;
        assert_eq!(shown(|line| one_and_flags(line, 2 | cloexec, MODES, open_names)), "RDWR|CLOEXEC");
        assert_eq!(shown(|line| one(line, 77, MODES)), "0x4d");
        assert_eq!(shown(|line| signal(line, 9)), "SIGKILL");
        assert_eq!(shown(|line| signal(line, 0)), "0");
        assert_eq!(shown(|line| signals(line, &0b101)), "[SIGHUP SIGQUIT]");
        assert_eq!(shown(|line| quoted(line, b"a\n\0\"", true)), "\"a\\n\\x00\\\"\"...");
    }

    #[test]
    fn structures_are_readable() {
        assert_eq!(shown(|line| time(line, &Timespec { tv_sec: 1, tv_nsec: 5 })), "{1.000000005}");
        assert_eq!(shown(|line| limit(line, &Rlimit { rlim_cur: 8, rlim_max: u64::MAX })), "8/unlimited");
        assert_eq!(shown(|line| status(line, &WaitStatus::Exited(3).encode())), "[exited with 3]");
        let killed = WaitStatus::Killed { signal: 9, core_dumped: false };
        assert_eq!(shown(|line| status(line, &killed.encode())), "[killed by SIGKILL]");
        let entry = Pollfd { fd: 3, events: 5, revents: 0 };
        assert_eq!(shown(|line| poll(line, &entry)), "{3 IN|OUT -> 0}");
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut line = Line::of_thread(1);
        assert!(line.write_str(&"x".repeat(2 * LONGEST_LINE)).is_err());
        assert_eq!(line.0.len(), LONGEST_LINE);
    }
}
