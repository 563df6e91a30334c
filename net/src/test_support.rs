//! A program's memory for tests.

use std::vec::Vec;

use kernel_object::frame::Frame;
use linux_abi::Errno;

use crate::bytes::Bytes;

/// Bytes to be sent, or room for bytes to be received.
pub struct Memory {
    bytes: Vec<u8>,
    done: usize,
    stop_at: Option<usize>,
}

impl Memory {
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), done: 0, stop_at: None }
    }

    pub fn room(bytes: usize) -> Self {
        Self { bytes: std::vec![0; bytes], done: 0, stop_at: None }
    }

    /// A copy stops once after so many bytes.
    pub fn stopping_after(mut self, bytes: usize) -> Self {
        self.stop_at = Some(bytes);
        self
    }

    pub fn moved(&self) -> &[u8] {
        &self.bytes[..self.done]
    }

    fn step(&mut self, most: usize) -> (core::ops::Range<usize>, Result<(), Errno>) {
        let mut end = self.bytes.len().min(self.done.saturating_add(most));
        let mut outcome = Ok(());
        if let Some(stop) = self.stop_at
            && end > stop
        {
            end = stop;
            self.stop_at = None;
            outcome = Err(Errno::EFAULT);
        }
        let range = self.done..end;
        self.done = end;
        (range, outcome)
    }
}

impl Bytes for Memory {
    type Stop = Errno;

    fn remaining(&self) -> usize {
        self.bytes.len() - self.done
    }

    fn done(&self) -> usize {
        self.done
    }

    fn skip(&mut self, bytes: usize) {
        self.done += bytes;
    }

    fn take_to_slice(&mut self, destination: &mut [u8]) -> Result<(), Errno> {
        let (range, outcome) = self.step(destination.len());
        destination[..range.len()].copy_from_slice(&self.bytes[range]);
        outcome
    }

    fn take_to_frame(&mut self, frame: &mut Frame, offset: usize, most: usize) -> Result<(), Errno> {
        let (range, outcome) = self.step(most);
        frame.write(offset, &self.bytes[range]);
        outcome
    }

    fn put_slice(&mut self, source: &[u8]) -> Result<(), Errno> {
        let (range, outcome) = self.step(source.len());
        let len = range.len();
        self.bytes[range].copy_from_slice(&source[..len]);
        outcome
    }

    fn put_frame(&mut self, frame: &Frame, offset: usize, most: usize) -> Result<(), Errno> {
        let (range, outcome) = self.step(most);
        frame.read(offset, &mut self.bytes[range]);
        outcome
    }
}
