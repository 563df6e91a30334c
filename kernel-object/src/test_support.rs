//! What tests of several modules need: a pager that can be held up, and futures polled by hand.

use std::boxed::Box;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

use kernel_hal::PAGE_SIZE;

use crate::frame::PinnedFrame;
use crate::paged_object::{Pager, PagerError, PagerFuture};

/// Polls a future once.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future until it ends; for futures that need nobody else.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..10_000 {
        if let Poll::Ready(output) = poll_once(future.as_mut()) {
            return output;
        }
    }
    panic!("the future does not end");
}

/// Random numbers that a seed repeats.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

/// What a pager was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Load { first: u64, count: usize },
    WriteBack { first: u64, count: usize },
    PrepareWrite { first: u64 },
}

#[derive(Default)]
struct Shared {
    store: Vec<u8>,
    calls: Vec<Call>,
    held: bool,
    failures: VecDeque<PagerError>,
    wants_prepare_write: bool,
}

/// A pager over a vector.
#[derive(Clone, Default)]
pub(crate) struct TestPager(Arc<Mutex<Shared>>);

impl TestPager {
    /// Pages that each start with their number.
    pub(crate) fn numbered(pages: usize) -> Self {
        let pager = Self::default();
        let mut store = std::vec![0; pages * PAGE_SIZE];
        for (number, page) in store.chunks_mut(PAGE_SIZE).enumerate() {
            page[..8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        pager.0.lock().unwrap().store = store;
        pager
    }

    /// Whether calls wait.
    pub(crate) fn hold(&self, held: bool) {
        self.0.lock().unwrap().held = held;
    }

    /// The next call fails.
    pub(crate) fn fail_next(&self, error: PagerError) {
        self.0.lock().unwrap().failures.push_back(error);
    }

    pub(crate) fn want_prepare_write(&self) {
        self.0.lock().unwrap().wants_prepare_write = true;
    }

    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    pub(crate) fn stored(&self, offset: usize) -> u8 {
        self.0.lock().unwrap().store.get(offset).copied().unwrap_or(0)
    }

    fn begin(&self, call: Call) -> Option<PagerError> {
        let mut shared = self.0.lock().unwrap();
        shared.calls.push(call);
        shared.failures.pop_front()
    }

    async fn wait(&self) {
        poll_fn(|_| if self.0.lock().unwrap().held { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

impl Pager for TestPager {
    fn load(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture {
        Box::pin(async move {
            let failure = self.begin(Call::Load { first, count: frames.len() });
            self.wait().await;
            if let Some(error) = failure {
                return Err(error);
            }
            let shared = self.0.lock().unwrap();
            for (number, frame) in (first as usize..).zip(&frames) {
                let mut page = [0; PAGE_SIZE];
                let start = (number * PAGE_SIZE).min(shared.store.len());
                let end = (start + PAGE_SIZE).min(shared.store.len());
                page[..end - start].copy_from_slice(&shared.store[start..end]);
                frame.write(0, &page);
            }
            Ok(())
        })
    }

    fn write_back(self: Arc<Self>, first: u64, frames: Vec<PinnedFrame>) -> PagerFuture {
        Box::pin(async move {
            let failure = self.begin(Call::WriteBack { first, count: frames.len() });
            self.wait().await;
            if let Some(error) = failure {
                return Err(error);
            }
            let mut shared = self.0.lock().unwrap();
            for (number, frame) in (first as usize..).zip(&frames) {
                let start = number * PAGE_SIZE;
                let len = shared.store.len().max(start + PAGE_SIZE);
                shared.store.resize(len, 0);
                frame.read(0, &mut shared.store[start..start + PAGE_SIZE]);
            }
            Ok(())
        })
    }

    fn wants_prepare_write(&self) -> bool {
        self.0.lock().unwrap().wants_prepare_write
    }

    fn prepare_write(self: Arc<Self>, first: u64, _count: u64) -> PagerFuture {
        Box::pin(async move {
            let failure = self.begin(Call::PrepareWrite { first });
            self.wait().await;
            failure.map_or(Ok(()), Err)
        })
    }
}
