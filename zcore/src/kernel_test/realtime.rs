//! Strictness between real-time levels and order within one.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use executor::{Class, TaskHandle, TaskOptions, yield_now};

use super::Entry;
use super::support::{Log, eventually, on, spin_until};

pub const TESTS: &[Entry] = &[
    Entry::new("realtime-order", || Box::pin(order())),
    Entry::new("realtime-strictness", || Box::pin(strictness())),
    Entry::new("realtime-throttle", || Box::pin(throttle())),
];

/// A task that writes its number down twice.
fn start(log: &Arc<Log<64>>, number: u32, class: Class) -> TaskHandle<()> {
    let log = log.clone();
    executor::spawn(TaskOptions::new("ordered").class(class).affinity(on(0)), async move {
        for _ in 0..2 {
            log.push(number);
            yield_now().await;
        }
    })
}

/// Ready tasks run by level, and in a level in the order of arrival, taking turns when they yield.
async fn order() {
    executor::set_realtime_budget(None);
    let log = Arc::new(Log::new());
    let shared = log.clone();
    // The conductor is above all of them, so none runs before all are there.
    let conductor = TaskOptions::new("conductor").class(Class::Fifo(90)).affinity(on(0));
    let conductor = executor::spawn(conductor, async move {
        let classes = [
            Class::NORMAL,
            Class::Fifo(10),
            Class::Fifo(20),
            Class::Fifo(10),
            Class::RoundRobin(20),
            Class::Fifo(89),
        ];
        let handles: Vec<_> =
            (1..).zip(classes).map(|(number, class)| start(&shared, number, class)).collect();
        assert!(shared.entries().is_empty(), "something below the conductor ran before it waited");
        for handle in handles {
            handle.join().await;
        }
    });
    assert!(conductor.join().await.is_some());
    assert_eq!(log.entries(), [6, 6, 3, 5, 3, 5, 2, 4, 2, 4, 1, 1]);
    // A level that becomes free again is not left behind in the bitmap.
    for number in 7..10 {
        start(&log, number, Class::Fifo(number as u8)).join().await;
    }
    assert_eq!(log.entries()[12..], [7, 7, 8, 8, 9, 9]);
}

/// While a real-time task is ready, nothing below it runs on its hart, however often it yields.
async fn strictness() {
    executor::set_realtime_budget(None);
    let steps = Arc::new(AtomicU32::new(0));
    let counter = steps.clone();
    let below = executor::spawn(TaskOptions::new("below").affinity(on(0)), async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    let watcher = steps.clone();
    let above = TaskOptions::new("above").class(Class::RoundRobin(1)).affinity(on(0));
    let above = executor::spawn(above, async move {
        let before = watcher.load(Ordering::Relaxed);
        for _ in 0..500 {
            spin_until(Duration::from_micros(50), || false);
            yield_now().await;
        }
        watcher.load(Ordering::Relaxed) - before
    });
    assert_eq!(above.join().await, Some(0), "a fair task ran although a real-time task was ready");
    let resumed = steps.load(Ordering::Relaxed);
    eventually("the fair task does not go on", || steps.load(Ordering::Relaxed) > resumed).await;
    below.cancel().await;
}

/// With the usual budget a real-time task that never waits leaves a part of each second to the others.
async fn throttle() {
    executor::set_realtime_budget(Some(Duration::from_millis(300)));
    let hog = TaskOptions::new("hog").class(Class::Fifo(50)).affinity(on(0));
    let hog = executor::spawn(hog, async {
        loop {
            spin_until(Duration::from_millis(1), || false);
            yield_now().await;
        }
    });
    let steps = Arc::new(AtomicU32::new(0));
    let counter = steps.clone();
    let fair = executor::spawn(TaskOptions::new("fair").affinity(on(0)), async move {
        while counter.fetch_add(1, Ordering::Relaxed) < 400 {
            spin_until(Duration::from_millis(1), || false);
            yield_now().await;
        }
    });
    let patience = kernel_hal::Instant::now() + Duration::from_secs(30);
    // On one hart this task shares with the hog, too: it goes on only because of the throttle.
    let ended = executor::timeout(patience, fair.join()).await;
    assert!(ended.is_ok(), "after {} steps the fair task starves", steps.load(Ordering::Relaxed));
    hog.cancel().await;
}
