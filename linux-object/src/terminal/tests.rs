//! What termios(3) promises, in the order of its sections, and what no pseudoterminal can show.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use linux_abi::signal::{Signal, SignalSet};
use linux_abi::terminal::{InputModes, LocalModes, OutputModes, Termios2, VERASE, VMIN, VTIME, Winsize};

use super::*;

struct Terminal {
    discipline: LineDiscipline,
    screen: Vec<u8>,
}

impl Terminal {
    fn new() -> Self {
        Self { discipline: LineDiscipline::new(STANDARD_TERMIOS).unwrap(), screen: Vec::new() }
    }

    fn with(change: impl FnOnce(&mut Termios2)) -> Self {
        let mut terminal = Self::new();
        terminal.change(change);
        terminal
    }

    fn change(&mut self, change: impl FnOnce(&mut Termios2)) {
        let mut termios = self.discipline.termios();
        change(&mut termios);
        let _effects = self.discipline.set_termios(&termios, TermiosChange::Now, &mut self.screen);
    }

    fn raw(minimum: u8, deciseconds: u8) -> Self {
        Self::with(|termios| {
            termios.c_iflag = 0;
            termios.c_lflag = 0;
            termios.c_cc[VMIN] = minimum;
            termios.c_cc[VTIME] = deciseconds;
        })
    }

    fn type_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        let _effects = self.press(bytes);
    }

    fn press(&mut self, bytes: impl AsRef<[u8]>) -> Effects {
        let bytes = bytes.as_ref();
        let received = self.discipline.receive(bytes, &mut self.screen);
        assert_eq!(received.consumed, bytes.len());
        received.effects
    }

    /// What appeared on the screen since the last call.
    fn screen(&mut self) -> String {
        core::mem::take(&mut self.screen).escape_ascii().to_string()
    }

    fn read(&mut self) -> Option<String> {
        let mut buffer = [0; 100];
        let length = self.discipline.read(&mut buffer)?;
        Some(buffer[..length].escape_ascii().to_string())
    }
}

fn line(text: &str) -> Option<String> {
    Some(text.to_string())
}

#[test]
fn a_line_is_read_when_it_ends() {
    let mut terminal = Terminal::new();
    assert!(!terminal.press("ls").became_readable);
    assert_eq!((terminal.read(), terminal.discipline.is_readable()), (None, false));
    assert!(terminal.press(" -l\recho").became_readable);
    assert_eq!(terminal.discipline.readable(), 6);
    assert_eq!(terminal.read(), line("ls -l\\n"));
    assert_eq!(terminal.read(), None);
    assert_eq!(terminal.screen(), "ls -l\\r\\necho");
}

#[test]
fn end_of_file_is_an_empty_read_or_ends_a_line_unseen() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("a\x04\x04b\n");
    assert_eq!(terminal.discipline.readable(), 3);
    assert_eq!(terminal.read(), line("a"));
    assert_eq!(terminal.read(), line(""));
    assert_eq!(terminal.read(), line("b\\n"));
    assert_eq!(terminal.read(), None);
}

#[test]
fn a_read_that_just_fits_takes_the_end_of_file_along() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("abc\x04");
    assert_eq!(terminal.discipline.read(&mut [0; 3]), Some(3));
    assert_eq!(terminal.read(), None);
    terminal.type_bytes("abc\x04");
    assert_eq!(terminal.discipline.read(&mut [0; 2]), Some(2));
    assert_eq!(terminal.read(), line("c"));
    assert_eq!(terminal.read(), None);
}

#[test]
fn a_read_of_nothing_takes_nothing() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("\x04");
    assert_eq!(terminal.discipline.read(&mut []), None);
    assert_eq!(terminal.discipline.read_step(0, 0, false), ReadStep::Return);
    assert_eq!(terminal.read(), line(""));
}

#[test]
fn characters_words_and_lines_are_erased() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("ab\x7f");
    assert_eq!(terminal.screen(), "ab\\x08 \\x08");
    terminal.type_bytes("\x01\x7f");
    assert_eq!(terminal.screen(), "^A\\x08 \\x08\\x08 \\x08");
    terminal.type_bytes(" two three  \x17");
    assert_eq!(terminal.screen(), [" two three  ", &"\\x08 \\x08".repeat(7)].concat());
    terminal.type_bytes("\n");
    assert_eq!(terminal.read(), line("a two \\n"));
    terminal.screen();
    terminal.type_bytes("abc\x15d\n");
    assert_eq!(terminal.screen(), ["abc", &"\\x08 \\x08".repeat(3), "d\\r\\n"].concat());
    assert_eq!(terminal.read(), line("d\\n"));
}

#[test]
fn erasing_stops_at_the_beginning_of_the_line() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("a\nb\x7f\x7f\x7fc\n");
    assert_eq!(terminal.screen(), "a\\r\\nb\\x08 \\x08c\\r\\n");
    assert_eq!((terminal.read(), terminal.read()), (line("a\\n"), line("c\\n")));
}

#[test]
fn a_tab_is_erased_to_where_it_began() {
    let mut terminal = Terminal::new();
    assert_eq!(terminal.discipline.process_output(b"name: ", &mut terminal.screen), 6);
    terminal.type_bytes("a\t\x7f");
    assert_eq!(terminal.screen(), "name: a\\t\\x08");
    terminal.type_bytes("b\tc\t\x7f");
    assert_eq!(terminal.screen(), ["b\\tc\\t", &"\\x08".repeat(7)].concat());
}

#[test]
fn a_utf8_character_is_erased_whole() {
    let mut terminal = Terminal::with(|termios| termios.c_iflag |= InputModes::IUTF8.bits());
    terminal.type_bytes("a€\x7f\n");
    assert_eq!(terminal.screen(), "a\\xe2\\x82\\xac\\x08 \\x08\\r\\n");
    assert_eq!(terminal.read(), line("a\\n"));
}

#[test]
fn the_next_character_can_be_taken_literally() {
    let mut terminal = Terminal::new();
    let effects = terminal.press("\x16\x03\x16\x7f\x16\x16\n");
    assert_eq!(effects.signals, SignalSet::EMPTY);
    assert_eq!(terminal.screen(), "^\\x08^C^\\x08^?^\\x08^V\\r\\n");
    assert_eq!(terminal.read(), line("\\x03\\x7f\\x16\\n"));
}

#[test]
fn an_unfinished_line_can_be_printed_again() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("done\nab\x12");
    assert_eq!(terminal.screen(), "done\\r\\nab^R\\r\\nab");
}

#[test]
fn erased_characters_can_be_printed() {
    let mut terminal = Terminal::with(|termios| termios.c_lflag |= LocalModes::ECHOPRT.bits());
    terminal.type_bytes("abc\x7f\x7fx\n");
    assert_eq!(terminal.screen(), "abc\\\\cb/x\\r\\n");
    assert_eq!(terminal.read(), line("ax\\n"));
}

#[test]
fn signal_characters_signal_and_throw_away() {
    for (byte, signal, shown) in
        [(3, Signal::SIGINT, "^C"), (0x1c, Signal::SIGQUIT, "^\\\\"), (0x1a, Signal::SIGTSTP, "^Z")]
    {
        let mut terminal = Terminal::new();
        terminal.type_bytes("line\nunfinished");
        let effects = terminal.press([byte]);
        assert_eq!(effects.signals, SignalSet::of(signal));
        assert!(effects.input_discarded && effects.output_discarded);
        assert_eq!(terminal.screen(), shown);
        terminal.type_bytes("x\n");
        assert_eq!(terminal.read(), line("x\\n"));

        let mut terminal = Terminal::with(|termios| termios.c_lflag |= LocalModes::NOFLSH.bits());
        terminal.type_bytes("line\n");
        let effects = terminal.press([b'a', byte]);
        assert_eq!((effects.signals, effects.input_discarded), (SignalSet::of(signal), false));
        assert_eq!(terminal.read(), line("line\\n"));
    }
}

#[test]
fn output_and_echo_stop_and_go_on() {
    let mut terminal = Terminal::new();
    assert!(terminal.press("\x13").output_stopped);
    assert_eq!(terminal.discipline.process_output(b"text", &mut terminal.screen), 0);
    terminal.type_bytes("ab");
    assert_eq!(terminal.screen(), "");
    assert!(terminal.press("\x11").output_resumed);
    assert_eq!(terminal.discipline.process_output(b"text", &mut terminal.screen), 4);
    assert_eq!(terminal.screen(), "abtext");
}

#[test]
fn what_a_program_stopped_no_character_resumes() {
    let mut terminal = Terminal::with(|termios| termios.c_iflag |= InputModes::IXANY.bits());
    assert!(terminal.discipline.control_flow(Flow::StopOutput).1.output_stopped);
    assert!(!terminal.press("a\x11").output_resumed);
    assert!(terminal.discipline.is_output_stopped());
    assert!(terminal.discipline.control_flow(Flow::ResumeOutput).1.output_resumed);
    terminal.type_bytes("\x13");
    assert!(terminal.press("a").output_resumed);
    assert_eq!(terminal.discipline.control_flow(Flow::StopInput).0, Some(0x13));
}

#[test]
fn turning_flow_control_off_resumes_output() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("\x13");
    terminal.change(|termios| termios.c_iflag &= !InputModes::IXON.bits());
    assert!(!terminal.discipline.is_output_stopped());
}

#[test]
fn output_is_processed() {
    let render = |modes: OutputModes, bytes: &[u8]| {
        let mut terminal = Terminal::with(|termios| termios.c_oflag = modes.bits());
        assert_eq!(terminal.discipline.process_output(bytes, &mut terminal.screen), bytes.len());
        terminal.screen()
    };
    let opost = OutputModes::OPOST;
    assert_eq!(render(OutputModes::ONLCR, b"a\n"), "a\\n");
    assert_eq!(render(opost, b"a\n"), "a\\n");
    assert_eq!(render(opost | OutputModes::ONLCR, b"a\nb\n\n"), "a\\r\\nb\\r\\n\\r\\n");
    assert_eq!(render(opost | OutputModes::OCRNL, b"a\rb"), "a\\nb");
    assert_eq!(render(opost | OutputModes::ONOCR, b"\ra\r\rb"), "a\\rb");
    assert_eq!(render(opost | OutputModes::ONOCR | OutputModes::ONLRET, b"a\n\rb"), "a\\nb");
    assert_eq!(render(opost | OutputModes::OLCUC, b"aZ1"), "AZ1");
    assert_eq!(render(opost | OutputModes::XTABS, b"ab\t\tc"), ["ab", &" ".repeat(14), "c"].concat());
    assert_eq!(render(opost | OutputModes::XTABS, b"ab\x08\tc"), ["ab\\x08", &" ".repeat(7), "c"].concat());
}

/// A device with a small buffer.
struct SmallPort {
    sent: Vec<u8>,
    room: usize,
}

impl OutputPort for SmallPort {
    fn room(&self) -> usize {
        self.room
    }
    fn put(&mut self, bytes: &[u8]) {
        self.room = self.room.checked_sub(bytes.len()).expect("more than there is room for");
        self.sent.extend_from_slice(bytes);
    }
    fn discard(&mut self) {}
}

#[test]
fn output_waits_for_room_and_divides_no_sequence() {
    let text = b"one\ttwo\n\nthree\n";
    let mut whole = Vec::new();
    let mut terminal = Terminal::with(|termios| termios.c_oflag |= OutputModes::XTABS.bits());
    terminal.discipline.process_output(text, &mut whole);
    for room in 8..12 {
        let mut terminal = Terminal::with(|termios| termios.c_oflag |= OutputModes::XTABS.bits());
        let mut port = SmallPort { sent: Vec::new(), room: 0 };
        let mut written = 0;
        let _received = terminal.discipline.receive(b"\x01", &mut port);
        assert!(port.sent.is_empty());
        while written < text.len() {
            port.room = room;
            let taken = terminal.discipline.process_output(&text[written..], &mut port);
            assert!(taken > 0);
            written += taken;
        }
        // The echo came first, and took two columns of the tab.
        let mut expected = b"^A".to_vec();
        expected.extend_from_slice(&whole);
        expected.drain(7..9);
        assert_eq!(port.sent.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

#[test]
fn echo_waits_for_room() {
    let mut terminal = Terminal::new();
    let mut port = SmallPort { sent: Vec::new(), room: 1 };
    let _received = terminal.discipline.receive(b"a\x01b", &mut port);
    assert_eq!(port.sent, b"a");
    port.room = 10;
    terminal.discipline.send_echo(&mut port);
    assert_eq!(port.sent, b"a^Ab");
}

#[test]
fn raw_bytes_are_read_as_they_come() {
    let mut terminal = Terminal::raw(1, 0);
    assert!(terminal.press("\x03\r\x7f\x04").became_readable);
    assert_eq!(terminal.read(), line("\\x03\\r\\x7f\\x04"));
    assert_eq!(terminal.screen(), "");
}

#[test]
fn poll_counts_to_the_minimum_unless_a_timer_runs() {
    for (minimum, deciseconds, needed) in [(0, 0, 1), (1, 0, 1), (3, 0, 3), (3, 5, 1), (0, 5, 1)] {
        let mut terminal = Terminal::raw(minimum, deciseconds);
        for count in 0..5 {
            assert_eq!(terminal.discipline.is_readable(), count >= needed, "{minimum} {deciseconds} {count}");
            terminal.type_bytes("x");
        }
    }
}

#[test]
fn reads_wait_as_minimum_and_time_say() {
    let step = |minimum, deciseconds, taken, wanted, timer_ran_out| {
        Terminal::raw(minimum, deciseconds).discipline.read_step(taken, wanted, timer_ran_out)
    };
    let wait = |deciseconds| ReadStep::Wait { deciseconds };
    // Neither: polling read.
    assert_eq!(step(0, 0, 0, 10, false), ReadStep::Return);
    // MIN alone: blocking read.
    assert_eq!(step(3, 0, 2, 10, false), wait(None));
    assert_eq!(step(3, 0, 3, 10, false), ReadStep::Return);
    assert_eq!(step(3, 0, 2, 2, false), ReadStep::Return);
    // TIME alone: read with timeout.
    assert_eq!(step(0, 5, 0, 10, false), wait(Some(5)));
    assert_eq!(step(0, 5, 1, 10, false), ReadStep::Return);
    assert_eq!(step(0, 5, 0, 10, true), ReadStep::Return);
    // Both: the timer runs between bytes.
    assert_eq!(step(3, 5, 0, 10, false), wait(None));
    assert_eq!(step(3, 5, 1, 10, false), wait(Some(5)));
    assert_eq!(step(3, 5, 1, 10, true), ReadStep::Return);
    // Lines.
    assert_eq!(Terminal::new().discipline.read_step(0, 10, false), wait(None));
}

#[test]
fn input_survives_a_change_of_mode() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("one\ntwo\x04thr");
    terminal.change(|termios| termios.c_lflag &= !LocalModes::ICANON.bits());
    // The end of file is a zero to those who do not read lines.
    assert_eq!(terminal.discipline.readable(), 11);
    assert_eq!(terminal.discipline.read(&mut [0; 4]), Some(4));
    terminal.change(|termios| termios.c_lflag |= LocalModes::ICANON.bits());
    assert_eq!(terminal.read(), line("two\\x00thr"));
    terminal.type_bytes("ee\n");
    assert_eq!(terminal.read(), line("ee\\n"));
}

#[test]
fn what_was_thrown_away_while_it_was_copied_is_not_consumed() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("old\n");
    let mut buffer = [0; 10];
    let peeked = terminal.discipline.peek(&mut buffer).unwrap();
    assert_eq!((peeked.length, peeked.is_complete), (4, true));
    terminal.type_bytes("\x03new\n");
    terminal.discipline.consume(peeked, 4);
    assert_eq!(terminal.read(), line("new\\n"));
}

#[test]
fn a_copy_that_fails_midway_loses_nothing() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("abcd\x04x\n");
    let mut buffer = [0; 10];
    let peeked = terminal.discipline.peek(&mut buffer).unwrap();
    terminal.discipline.consume(peeked, 1);
    assert_eq!(terminal.read(), line("bcd"));
    assert_eq!(terminal.read(), line("x\\n"));
}

#[test]
fn damaged_bytes_and_breaks_arrive_as_set() {
    let receive = |modes: InputModes| {
        let mut terminal = Terminal::raw(1, 0);
        terminal.change(|termios| termios.c_iflag = modes.bits());
        terminal.type_bytes([0xff]);
        let _effects = terminal.discipline.receive_damaged(b'd');
        let effects = terminal.discipline.receive_break(&mut terminal.screen);
        (terminal.read(), effects.signals)
    };
    let none = SignalSet::EMPTY;
    assert_eq!(receive(InputModes::empty()), (line("\\xffd\\x00"), none));
    assert_eq!(receive(InputModes::INPCK), (line("\\xff\\x00\\x00"), none));
    assert_eq!(receive(InputModes::INPCK | InputModes::IGNPAR), (line("\\xff\\x00"), none));
    assert_eq!(
        receive(InputModes::INPCK | InputModes::PARMRK),
        (line("\\xff\\xff\\xff\\x00d\\xff\\x00\\x00"), none)
    );
    assert_eq!(receive(InputModes::IGNBRK | InputModes::BRKINT), (line("\\xffd"), none));
    assert_eq!(receive(InputModes::BRKINT), (None, SignalSet::of(Signal::SIGINT)));
}

#[test]
fn the_other_side_is_asked_to_wait_and_to_go_on() {
    let mut terminal = Terminal::raw(1, 0);
    terminal.change(|termios| termios.c_iflag |= InputModes::IXOFF.bits());
    terminal.type_bytes(vec![b'x'; 3900]);
    assert_eq!(terminal.discipline.take_throttle_character(), None);
    terminal.type_bytes(vec![b'x'; 100]);
    assert_eq!(terminal.discipline.take_throttle_character(), Some(0x13));
    terminal.type_bytes(vec![b'x'; 20]);
    assert_eq!(terminal.discipline.take_throttle_character(), None);
    let mut buffer = vec![0; 4020 - 129];
    terminal.discipline.read(&mut buffer);
    assert_eq!(terminal.discipline.take_throttle_character(), None);
    terminal.discipline.read(&mut [0]);
    assert_eq!(terminal.discipline.take_throttle_character(), Some(0x11));

    // An unfinished line makes room only by going on.
    let mut terminal = Terminal::with(|termios| termios.c_iflag |= InputModes::IXOFF.bits());
    terminal.type_bytes(vec![b'x'; 4090]);
    assert_eq!(terminal.discipline.take_throttle_character(), None);
}

#[test]
fn a_flush_throws_away_what_it_names() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("line\nhalf");
    let effects = terminal.discipline.flush(Flush::Output, &mut terminal.screen);
    assert_eq!((effects.input_discarded, effects.output_discarded), (false, true));
    assert_eq!((terminal.screen(), terminal.discipline.readable()), (String::new(), 5));
    let effects = terminal.discipline.flush(Flush::Input, &mut terminal.screen);
    assert_eq!((effects.input_discarded, effects.output_discarded), (true, false));
    terminal.type_bytes("x\n");
    assert_eq!((terminal.read(), terminal.read()), (line("x\\n"), None));
}

#[test]
fn settings_can_throw_input_away() {
    let mut terminal = Terminal::new();
    terminal.type_bytes("line\n");
    let termios = terminal.discipline.termios();
    let effects = terminal.discipline.set_termios(&termios, TermiosChange::Flush, &mut terminal.screen);
    assert!(effects.input_discarded);
    assert_eq!(terminal.read(), None);
}

#[test]
fn a_terminal_that_hung_up_is_as_new() {
    let mut terminal = Terminal::with(|termios| termios.c_cc[VERASE] = b'#');
    terminal.type_bytes("line\n\x16\x13");
    let _flow = terminal.discipline.control_flow(Flow::StopOutput);
    let effects = terminal.discipline.hang_up(&mut terminal.screen);
    assert!(effects.became_readable && effects.output_resumed && effects.input_discarded);
    assert_eq!(terminal.discipline.termios(), STANDARD_TERMIOS);
    terminal.type_bytes("a\x7f\n");
    assert_eq!((terminal.read(), terminal.screen()), (line("\\n"), "a\\x08 \\x08\\r\\n".to_string()));
}

#[test]
fn the_window_has_a_size() {
    let mut terminal = Terminal::new();
    let size = Winsize { ws_row: 24, ws_col: 80, ..Winsize::default() };
    assert!(terminal.discipline.set_window_size(size));
    assert!(!terminal.discipline.set_window_size(size));
    assert_eq!(terminal.discipline.window_size(), size);
}
