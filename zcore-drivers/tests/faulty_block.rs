//! The disk's fault injector.

mod common;

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use common::{Pending, Wakes, frame_of, poll_with, start_read, whole};
use kernel_hal::Instant;
use kernel_hal::host::VirtualTime;
use kernel_object::frame::{SharedFrame, host};
use zcore_drivers::InterruptHandler;
use zcore_drivers::block::{BlockDevice, BlockError, FaultPlan, FaultyBlock, TimerHook};
use zcore_drivers::model::{DiskModel, ModelTransport};
use zcore_drivers::virtio::block::VirtioBlock;

/// Remembers who wants to be woken when.
#[derive(Default)]
struct Timers(Mutex<Vec<(Instant, Waker)>>);

impl TimerHook for Timers {
    fn wake_at(&self, deadline: Instant, waker: &Waker) {
        self.0.lock().unwrap().push((deadline, waker.clone()));
    }
}

impl Timers {
    /// Moves the clock to the next deadline and wakes who is due. Returns whether there was one.
    fn advance(&self, time: &VirtualTime) -> bool {
        let mut timers = self.0.lock().unwrap();
        let Some(next) = timers.iter().map(|(deadline, _)| *deadline).min() else { return false };
        time.advance_to(next);
        let due: Vec<_> = timers.extract_if(.., |(deadline, _)| *deadline <= next).collect();
        drop(timers);
        due.into_iter().for_each(|(_, waker)| waker.wake());
        true
    }
}

struct Rig {
    model: DiskModel,
    disk: Arc<VirtioBlock<ModelTransport>>,
    timers: Arc<Timers>,
    faulty: FaultyBlock,
}

fn rig(plan: &str) -> Rig {
    host::use_private(1024);
    let model = DiskModel::new(1024, DiskModel::ALL_FEATURES, 256, 1);
    let disk = Arc::new(VirtioBlock::new(model.transport()).unwrap());
    let timers = Arc::new(Timers::default());
    let faulty = FaultyBlock::new(disk.clone(), timers.clone(), plan.parse().unwrap());
    Rig { model, disk, timers, faulty }
}

/// Reads `count` pages at once; returns results and the moments at which they came, in the order of submission.
fn read_all(rig: &mut Rig, time: &VirtualTime, count: usize) -> Vec<(Result<(), BlockError>, Instant)> {
    let device: &dyn BlockDevice = &rig.faulty;
    let frames: Vec<SharedFrame> = (0..count).map(|_| frame_of(1)).collect();
    let mut reads: Vec<Pending<'_>> =
        frames.iter().map(|frame| start_read(device, 0, whole(frame))).collect();
    let mut results = vec![None; count];
    let (_wakes, waker) = Wakes::new();
    loop {
        for (read, result) in reads.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(found) = poll_with(read.as_mut(), &waker)
            {
                *result = Some((found, Instant::now()));
            }
        }
        if results.iter().all(Option::is_some) {
            return results.into_iter().flatten().collect();
        }
        let answered = rig.model.answer_all() > 0;
        rig.disk.handle_interrupt();
        assert!(rig.timers.advance(time) || answered, "nothing will ever happen again");
    }
}

#[test]
fn without_faults_nothing_changes() {
    let time = VirtualTime::start_at(Instant::from_nanos(1));
    let mut rig = rig("");
    let results = read_all(&mut rig, &time, 10);
    assert!(results.iter().all(|&(result, at)| result == Ok(()) && at == Instant::from_nanos(1)));
}

#[test]
fn every_answer_is_held_back() {
    let time = VirtualTime::start_at(Instant::from_nanos(1));
    let mut rig = rig("delay=50ms");
    for (result, at) in read_all(&mut rig, &time, 10) {
        assert_eq!((result, at), (Ok(()), Instant::from_nanos(1) + Duration::from_millis(50)));
    }
}

#[test]
fn jitter_changes_the_order() {
    let time = VirtualTime::start_at(Instant::from_nanos(1));
    let mut rig = rig("jitter=10ms,seed=4");
    let moments: Vec<Instant> = read_all(&mut rig, &time, 50).into_iter().map(|(_, at)| at).collect();
    assert!(!moments.is_sorted());
    assert!(moments.iter().all(|&at| at <= Instant::from_nanos(1) + Duration::from_millis(10)));
}

#[test]
fn errors_come_at_the_chosen_rate_and_repeat() {
    let time = VirtualTime::start_at(Instant::from_nanos(1));
    let once = |seed: u64| -> Vec<_> {
        let mut rig = rig(&format!("error=100000,short=100000,seed={seed}"));
        (0..10).flat_map(|_| read_all(&mut rig, &time, 100)).map(|(result, _)| result).collect()
    };
    let results = once(1);
    let count = |wanted| results.iter().filter(|&&result| result == wanted).count();
    assert!((60..140).contains(&count(Err(BlockError::Device))));
    assert!((50..130).contains(&count(Err(BlockError::ShortTransfer))));
    assert_eq!(results, once(1));
    assert_ne!(results, once(2));
}

#[test]
fn a_cancelled_request_leaves_nothing_behind() {
    let _time = VirtualTime::start_at(Instant::from_nanos(1));
    let mut rig = rig("delay=50ms");
    let device: &dyn BlockDevice = &rig.faulty;
    let frame = frame_of(0);
    let (_wakes, waker) = Wakes::new();
    let mut read = start_read(device, 0, whole(&frame));
    assert!(poll_with(read.as_mut(), &waker).is_pending());
    rig.model.answer_all();
    rig.disk.handle_interrupt();
    assert!(poll_with(read.as_mut(), &waker).is_pending(), "answered, but held back");
    drop(read);
    assert!(!frame.is_pinned());
}

#[test]
fn plans_are_read_from_text() {
    let plan: FaultPlan = "seed=7,error=10000,short=1,delay=2s,jitter=500us".parse().unwrap();
    let expected = FaultPlan {
        seed: 7,
        error_per_million: 10_000,
        short_per_million: 1,
        delay: Duration::from_secs(2),
        jitter: Duration::from_micros(500),
    };
    assert_eq!(plan, expected);
    for bad in ["error", "error=", "delay=5", "delay=5h", "what=1", "delay=ms"] {
        assert!(bad.parse::<FaultPlan>().is_err(), "{bad}");
    }
}
