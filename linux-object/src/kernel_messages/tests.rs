use super::*;
use std::boxed::Box;
use std::string::String;
use std::sync::Mutex;

/// A log of a few records.
struct Source {
    records: Mutex<Range<u64>>,
    readers: WaitQueue,
}

impl KernelLogSource for Source {
    fn sequences(&self) -> Range<u64> {
        self.records.lock().unwrap().clone()
    }

    fn read(&self, sequence: u64, text: &mut [u8]) -> Option<Header> {
        let content = format!("test: number {sequence}\nwith a\ttab");
        text[..content.len()].copy_from_slice(content.as_bytes());
        let header =
            Header { micros: 1_000_000 + sequence, severity: Severity::Warning, text_bytes: content.len() };
        self.sequences().contains(&sequence).then_some(header)
    }

    fn capacity_bytes(&self) -> usize {
        4096
    }

    fn readers(&self) -> &WaitQueue {
        &self.readers
    }
}

fn source(records: Range<u64>) -> &'static Source {
    Box::leak(Box::new(Source { records: Mutex::new(records), readers: WaitQueue::new("test") }))
}

fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap()
}

#[test]
fn a_record_is_one_line_with_what_would_break_it_escaped() {
    let opening = KernelMessages::new(source(7..8));
    let (sequence, line) = opening.next_line().unwrap().unwrap();
    assert_eq!(sequence, 7);
    assert_eq!(text(line), "4,7,1000007,-;test: number 7\\x0awith a\\x09tab\n");
}

#[test]
fn a_reader_that_was_too_slow_is_told_once() {
    let log = source(0..5);
    let opening = KernelMessages::new(log);
    *log.records.lock().unwrap() = 3..9;
    assert_eq!(opening.ready(), PollEvents::IN | PollEvents::RDNORM | PollEvents::ERR);
    assert_eq!(opening.next_line().unwrap_err(), Errno::EPIPE);
    let (sequence, _) = opening.next_line().unwrap().unwrap();
    assert_eq!(sequence, 3);
}

#[test]
fn behind_the_newest_record_there_is_nothing_yet() {
    let opening = KernelMessages::new(source(4..4));
    assert!(opening.next_line().unwrap().is_none());
    assert_eq!(opening.ready(), PollEvents::empty());
}

#[test]
fn syslog_returns_the_newest_records_that_fit() {
    register(source(0..3));
    let one = "<4>[    1.000002] test: number 2\n<4>[    1.000002] with a\ttab\n";
    assert_eq!(text(read_all(one.len()).unwrap()), one);
    assert_eq!(text(read_all(one.len() - 1).unwrap()), "");
    assert_eq!(size_unread().unwrap(), 3 * one.len());
    assert_eq!(read_all(usize::MAX).unwrap().len(), 3 * one.len());
    assert_eq!(size_buffer().unwrap(), 4096);
}
