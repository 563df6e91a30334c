//! A queue of bytes: what has been sent and not yet received.
//!
//! Bytes are copied once on their way in and once on their way out. They lie in segments: small ones from the heap, page
//! frames if more comes at once. A small segment that was read empty stays for what comes next, so requests and answers
//! that take turns allocate nothing, and a connection that rests keeps little.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::{Frame, FrameKind};
use linux_abi::Errno;

/// Where bytes come from or go to: a program's memory. What has been moved before a stop stays moved.
pub trait Bytes {
    /// What may stop a copy.
    type Stop: From<Errno>;

    /// Bytes still to be moved.
    fn remaining(&self) -> usize;

    /// Bytes moved so far.
    fn done(&self) -> usize;

    /// Counts bytes as moved without looking at them.
    fn skip(&mut self, bytes: usize);

    /// Moves bytes into a slice, as many as there are and fit.
    fn take_to_slice(&mut self, destination: &mut [u8]) -> Result<(), Self::Stop>;

    /// Moves at most `most` bytes into a frame.
    fn take_to_frame(&mut self, frame: &mut Frame, offset: usize, most: usize) -> Result<(), Self::Stop>;

    /// Moves bytes out of a slice, as many as there is room for.
    fn put_slice(&mut self, source: &[u8]) -> Result<(), Self::Stop>;

    /// Moves at most `most` bytes out of a frame.
    fn put_frame(&mut self, frame: &Frame, offset: usize, most: usize) -> Result<(), Self::Stop>;
}

const SMALL_BYTES: usize = 1024;

enum Storage {
    Small(Box<[u8]>),
    Page(Frame),
}

struct Segment {
    storage: Storage,
    start: usize,
    end: usize,
}

impl Segment {
    fn for_bytes(bytes: usize) -> Result<Self, Errno> {
        let storage = if bytes <= SMALL_BYTES {
            let mut small = Vec::new();
            small.try_reserve_exact(SMALL_BYTES).map_err(|_| Errno::ENOMEM)?;
            small.resize(SMALL_BYTES, 0);
            Storage::Small(small.into_boxed_slice())
        } else {
            Storage::Page(Frame::allocate(FrameKind::Kernel).map_err(|_| Errno::ENOMEM)?)
        };
        Ok(Self { storage, start: 0, end: 0 })
    }

    fn room(&self) -> usize {
        let size = if let Storage::Small(bytes) = &self.storage { bytes.len() } else { PAGE_SIZE };
        size - self.end
    }

    fn fill<B: Bytes>(&mut self, source: &mut B, most: usize) -> Result<(), B::Stop> {
        let most = most.min(self.room());
        let before = source.done();
        let outcome = match &mut self.storage {
            Storage::Small(bytes) => source.take_to_slice(&mut bytes[self.end..self.end + most]),
            Storage::Page(frame) => source.take_to_frame(frame, self.end, most),
        };
        self.end += source.done() - before;
        outcome
    }

    fn copy_out<B: Bytes>(&self, skip: usize, sink: &mut B) -> Result<(), B::Stop> {
        let start = self.start + skip;
        match &self.storage {
            Storage::Small(bytes) => sink.put_slice(&bytes[start..self.end]),
            Storage::Page(frame) => sink.put_frame(frame, start, self.end - start),
        }
    }
}

/// The queue.
#[derive(Default)]
pub struct ByteQueue {
    segments: VecDeque<Segment>,
    bytes: usize,
    total: u64,
}

impl ByteQueue {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes that ever came in.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Takes in at most `most` bytes.
    pub fn fill<B: Bytes>(&mut self, source: &mut B, most: usize) -> Result<(), B::Stop> {
        let mut left = most.min(source.remaining());
        while left > 0 {
            let needs_segment = self.segments.back().is_none_or(|segment| segment.room() == 0);
            if needs_segment {
                self.segments.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.segments.push_back(Segment::for_bytes(left)?);
            }
            let Some(segment) = self.segments.back_mut() else { break };
            let before = segment.end;
            let outcome = segment.fill(source, left);
            let moved = segment.end - before;
            left -= moved;
            self.bytes += moved;
            self.total += moved as u64;
            outcome?;
        }
        Ok(())
    }

    /// Takes in bytes that lie in memory of their own already.
    pub fn adopt(&mut self, bytes: Vec<u8>) -> Result<(), Errno> {
        self.segments.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let end = bytes.len();
        self.segments.push_back(Segment { storage: Storage::Small(bytes.into_boxed_slice()), start: 0, end });
        self.bytes += end;
        self.total += end as u64;
        Ok(())
    }

    /// Gives out bytes, as many as there is room for.
    pub fn drain<B: Bytes>(&mut self, sink: &mut B) -> Result<(), B::Stop> {
        while self.bytes > 0 && sink.remaining() > 0 {
            let Some(segment) = self.segments.front() else { break };
            let before = sink.done();
            let outcome = segment.copy_out(0, sink);
            self.consume(sink.done() - before);
            outcome?;
        }
        Ok(())
    }

    /// Copies bytes from the beginning without taking them out.
    pub fn peek<B: Bytes>(&self, sink: &mut B) -> Result<(), B::Stop> {
        self.segments.iter().try_for_each(|segment| segment.copy_out(0, sink))
    }

    /// Takes out bytes without looking at them.
    pub fn discard(&mut self, mut bytes: usize) -> usize {
        let before = self.bytes;
        while bytes > 0
            && let Some(segment) = self.segments.front()
            && self.bytes > 0
        {
            let step = bytes.min(segment.end - segment.start);
            self.consume(step);
            bytes -= step;
        }
        before - self.bytes
    }

    /// Takes bytes out of the first segment.
    fn consume(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let is_only = self.segments.len() == 1;
        let Some(segment) = self.segments.front_mut() else { return };
        segment.start += bytes;
        if segment.start < segment.end {
            return;
        }
        if is_only
            && let Storage::Small(bytes) = &segment.storage
            && bytes.len() == SMALL_BYTES
        {
            (segment.start, segment.end) = (0, 0);
        } else {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Memory;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut queue = ByteQueue::default();
        let mut expected = Vec::new();
        for round in 0..200usize {
            let piece: Vec<u8> = (0..(round * 37) % 9000).map(|index| (index + round) as u8).collect();
            queue.fill(&mut Memory::of(&piece), usize::MAX).unwrap();
            expected.extend_from_slice(&piece);
            let mut sink = Memory::room((round * 53) % 8000);
            let mut looked = Memory::room(sink.remaining());
            queue.peek(&mut looked).unwrap();
            queue.drain(&mut sink).unwrap();
            assert_eq!(looked.moved(), sink.moved());
            let rest = expected.split_off(sink.done());
            assert_eq!(sink.moved(), &expected[..]);
            expected = rest;
            assert_eq!(queue.len(), expected.len());
        }
        assert_eq!(queue.discard(usize::MAX), expected.len());
        assert!(queue.is_empty() && queue.segments.len() <= 1);
    }

    #[test]
    fn what_takes_turns_stays_in_one_segment() {
        let mut queue = ByteQueue::default();
        for _ in 0..100 {
            queue.fill(&mut Memory::of(&[7; 64]), usize::MAX).unwrap();
            queue.drain(&mut Memory::room(64)).unwrap();
            assert_eq!(queue.segments.len(), 1);
            assert!(matches!(queue.segments[0].storage, Storage::Small(_)));
        }
        assert_eq!(queue.total(), 6400);
    }

    #[test]
    fn a_stop_loses_nothing() {
        let mut queue = ByteQueue::default();
        let bytes: Vec<u8> = (0..5000u32).map(|index| index as u8).collect();
        let mut source = Memory::of(&bytes).stopping_after(3000);
        assert!(queue.fill(&mut source, usize::MAX).is_err());
        assert_eq!((queue.len(), source.done()), (3000, 3000));
        queue.fill(&mut source, usize::MAX).unwrap();
        let mut sink = Memory::room(5000).stopping_after(100);
        assert!(queue.drain(&mut sink).is_err());
        assert_eq!(queue.len(), 4900);
        queue.drain(&mut sink).unwrap();
        assert_eq!(sink.moved(), &bytes[..]);
    }
}
