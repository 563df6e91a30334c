//! A disk in the host's memory, for tests: answers when it is kicked, fails where it is told to.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use kernel_hal::Instant;
use ksync::WaitQueue;
use zcore_drivers::block::{
    BlockDevice, BlockError, BlockInformation, BlockRequest, BlockResult, BlockStatistics, Operation,
    SECTOR_BYTES, Segments, SubmitError, Ticket,
};

const DEPTH: usize = 8;

/// The disk.
pub(crate) struct MemoryDisk {
    state: Mutex<State>,
    free: WaitQueue,
}

struct State {
    content: Vec<u8>,
    results: [Option<BlockResult>; DEPTH],
    /// First sector and number of sectors of each read.
    reads: Vec<(u64, usize)>,
    bad_sectors: BTreeSet<u64>,
}

impl MemoryDisk {
    pub(crate) fn new(content: Vec<u8>) -> Arc<Self> {
        let state =
            State { content, results: [None; DEPTH], reads: Vec::new(), bad_sectors: BTreeSet::new() };
        Arc::new(Self { state: Mutex::new(state), free: WaitQueue::new("memory disk") })
    }

    /// What was read since the last call.
    pub(crate) fn take_reads(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.state.lock().unwrap().reads)
    }

    /// Requests for this sector fail from now on.
    pub(crate) fn spoil(&self, sector: u64) {
        self.state.lock().unwrap().bad_sectors.insert(sector);
    }

    /// What is stored.
    pub(crate) fn content(&self) -> Vec<u8> {
        self.state.lock().unwrap().content.clone()
    }
}

impl BlockDevice for MemoryDisk {
    fn information(&self) -> BlockInformation {
        BlockInformation {
            sectors: (self.state.lock().unwrap().content.len() / SECTOR_BYTES) as u64,
            logical_block_bytes: SECTOR_BYTES as u32,
            physical_block_bytes: SECTOR_BYTES as u32,
            read_only: false,
            needs_flush: false,
            max_segments: 32,
            max_discard_sectors: 0,
            max_write_zeroes_sectors: 0,
            queue_depth: DEPTH,
        }
    }

    fn statistics(&self) -> BlockStatistics {
        BlockStatistics::default()
    }

    fn submit(
        &self,
        request: BlockRequest,
        segments: &mut Segments,
        _waker: Option<&Waker>,
    ) -> Result<Ticket, SubmitError> {
        let mut state = self.state.lock().unwrap();
        let Some(slot) = state.results.iter().position(Option::is_none) else {
            return Err(SubmitError::Full);
        };
        let start = request.sector as usize * SECTOR_BYTES;
        let bytes = segments.bytes();
        if start + bytes > state.content.len() || !bytes.is_multiple_of(SECTOR_BYTES) || bytes == 0 {
            return Err(SubmitError::Refused(BlockError::Invalid));
        }
        let sectors = request.sector..request.sector + (bytes / SECTOR_BYTES) as u64;
        let is_bad = state.bad_sectors.range(sectors).next().is_some();
        let mut at = start;
        for segment in segments.as_slice() {
            let offset = segment.address().as_usize() - segment.frame().address().as_usize();
            let range = at..at + segment.bytes();
            match request.operation {
                Operation::Read if !is_bad => segment.frame().write(offset, &state.content[range]),
                Operation::Write if !is_bad => segment.frame().read(offset, &mut state.content[range]),
                _ => {}
            }
            at += segment.bytes();
        }
        if request.operation == Operation::Read {
            state.reads.push((request.sector, bytes / SECTOR_BYTES));
        }
        state.results[slot] = Some(if is_bad { Err(BlockError::Device) } else { Ok(()) });
        *segments = Segments::new();
        Ok(Ticket { slot: slot as u16, generation: 0 })
    }

    fn kick(&self) {}

    fn poll_result(&self, ticket: &Ticket, _waker: &Waker) -> Poll<BlockResult> {
        let result = self.state.lock().unwrap().results[usize::from(ticket.slot)].take();
        self.free.wake_one();
        Poll::Ready(result.expect("a ticket is shown once"))
    }

    fn abandon(&self, ticket: Ticket) {
        self.state.lock().unwrap().results[usize::from(ticket.slot)] = None;
        self.free.wake_one();
    }

    fn slots_free(&self) -> &WaitQueue {
        &self.free
    }

    fn check_timeouts(&self, _now: Instant) {}
}

/// Polls a future until it is ready. There must be an end to it.
pub(crate) fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    for _ in 0..10_000_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
    panic!("the operation does not come to its end");
}
