//! What the driver tests share: wakers that count, and polling by hand.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use kernel_hal::PAGE_SIZE;
use kernel_object::frame::{Frame, FrameKind, SharedFrame};
use zcore_drivers::block::{BlockDevice, BlockRequest, BlockResult, Operation, Segment, Segments};

/// Counts how often it was woken.
#[derive(Default)]
pub struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    pub fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), wakes.into())
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Polls once, with a waker nobody listens to.
pub fn poll_once<P: DerefMut<Target: Future>>(future: Pin<P>) -> Poll<<P::Target as Future>::Output> {
    poll_with(future, &Wakes::new().1)
}

pub fn poll_with<P: DerefMut<Target: Future>>(
    mut future: Pin<P>,
    waker: &Waker,
) -> Poll<<P::Target as Future>::Output> {
    future.as_mut().poll(&mut Context::from_waker(waker))
}

/// The result of a future that must be ready.
pub fn ready<P: DerefMut<Target: Future>>(future: Pin<P>) -> <P::Target as Future>::Output {
    match poll_once(future) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the future is not ready"),
    }
}

/// A frame full of one byte.
pub fn frame_of(byte: u8) -> SharedFrame {
    let frame = SharedFrame::from(Frame::allocate(FrameKind::Object).expect("memory"));
    frame.write(0, &[byte; PAGE_SIZE]);
    frame
}

/// Whether a frame is full of one byte.
pub fn is_full_of(frame: &SharedFrame, byte: u8) -> bool {
    let mut content = [0; PAGE_SIZE];
    frame.read(0, &mut content);
    content.iter().all(|&found| found == byte)
}

/// The whole frame as a request's memory.
pub fn whole(frame: &SharedFrame) -> Segments {
    Segments::one(frame.pin())
}

/// The first bytes of a frame as a request's memory.
pub fn part(frame: &SharedFrame, bytes: usize) -> Segments {
    let mut segments = Segments::new();
    segments.push(Segment::new(frame.pin(), 0, bytes)).expect("room");
    segments
}

/// How many iterations a fuzz test makes: `usual`, or what `ZCORE_FUZZ_ITERATIONS` says.
pub fn iterations(usual: usize) -> usize {
    if cfg!(miri) {
        return (usual / 100).clamp(1, 30);
    }
    std::env::var("ZCORE_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A request that is on its way, with its memory.
pub type Pending<'d> = Pin<Box<dyn Future<Output = BlockResult> + 'd>>;

pub fn start<'d>(
    device: &'d dyn BlockDevice,
    operation: Operation,
    sector: u64,
    mut segments: Segments,
) -> Pending<'d> {
    Box::pin(async move { device.execute(BlockRequest { operation, sector }, &mut segments).await })
}

pub fn start_read<'d>(device: &'d dyn BlockDevice, sector: u64, segments: Segments) -> Pending<'d> {
    start(device, Operation::Read, sector, segments)
}

pub fn start_write<'d>(device: &'d dyn BlockDevice, sector: u64, segments: Segments) -> Pending<'d> {
    start(device, Operation::Write, sector, segments)
}
