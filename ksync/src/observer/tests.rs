use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::task::{Context, Waker};

use super::*;
use crate::wait_queue::{EVERY_EVENT, Waiter};

const IN: u32 = 1;
const OUT: u32 = 4;

#[derive(Default)]
struct Counter {
    calls: AtomicUsize,
    events: AtomicU32,
    refuses: bool,
}

impl Observer for Counter {
    fn notify(self: Arc<Self>, events: u32) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_or(events, Ordering::Relaxed);
        !self.refuses
    }
}

impl Counter {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

#[test]
fn an_observer_stays_until_its_observation_is_dropped() {
    let queue = WaitQueue::new("test");
    let counter = Arc::new(Counter::default());
    let observation = Observation::new(&queue, counter.clone(), EVERY_EVENT);
    assert_eq!(queue.len(), 1);
    queue.wake_one();
    queue.wake_all();
    assert_eq!(counter.calls(), 2);
    drop(observation);
    assert!(queue.is_empty());
    queue.wake_all();
    assert_eq!(counter.calls(), 2);
    assert_eq!(Arc::strong_count(&counter), 1);
}

#[test]
fn only_events_of_interest_are_told() {
    let queue = WaitQueue::new("test");
    let (reader, writer) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let _reads = Observation::new(&queue, reader.clone(), IN);
    let _writes = Observation::new(&queue, writer.clone(), OUT);
    queue.wake_one_for(IN);
    assert_eq!((reader.calls(), writer.calls()), (1, 0));
    queue.wake_all_for(IN | OUT);
    assert_eq!((reader.calls(), writer.calls()), (2, 1));
    assert_eq!(reader.events.load(Ordering::Relaxed), IN | OUT);
}

#[test]
fn more_observers_than_a_batch_are_each_told_once() {
    let queue = WaitQueue::new("test");
    let counters: Vec<_> = (0..3 * BATCH).map(|_| Arc::new(Counter::default())).collect();
    let mut observations: Vec<_> =
        counters.iter().map(|counter| Observation::new(&queue, counter.clone(), IN)).collect();
    queue.wake_all_for(IN);
    observations.remove(BATCH);
    queue.wake_one_for(IN);
    let expected = |index| if index == BATCH { 1 } else { 2 };
    assert!(counters.iter().enumerate().all(|(index, counter)| counter.calls() == expected(index)));
}

#[test]
fn exclusive_observers_take_turns_and_pass_on_what_they_cannot_use() {
    let queue = WaitQueue::new("test");
    let counters = [false, true, false].map(|refuses| Arc::new(Counter { refuses, ..Counter::default() }));
    let _observations =
        counters.each_ref().map(|counter| Observation::exclusive(&queue, counter.clone(), IN));
    let calls = || counters.each_ref().map(|counter| counter.calls());
    queue.wake_one_for(IN);
    assert_eq!(calls(), [1, 0, 0]);
    queue.wake_one_for(IN);
    assert_eq!(calls(), [1, 1, 1]);
    queue.wake_all_for(IN);
    assert_eq!(calls(), [2, 2, 2]);
}

#[test]
fn a_waiter_that_is_chosen_leaves_nothing_for_exclusive_observers() {
    let queue = WaitQueue::new("test");
    let (shared, exclusive) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let _shared = Observation::new(&queue, shared.clone(), IN);
    let _exclusive = Observation::exclusive(&queue, exclusive.clone(), IN);
    let mut waiter = pin!(Waiter::new_for(&queue, IN));
    assert!(waiter.as_mut().register(Context::from_waker(Waker::noop()).waker()));
    assert!(!queue.wake_one_for(OUT));
    assert!(queue.wake_one_for(IN));
    assert_eq!((shared.calls(), exclusive.calls()), (1, 0));
    waiter.finish();
    assert!(!queue.wake_one_for(IN));
    assert_eq!((shared.calls(), exclusive.calls()), (2, 1));
}

#[test]
fn a_dropped_waiter_tells_the_next_waiter_but_no_observer() {
    let queue = WaitQueue::new("test");
    let counter = Arc::new(Counter::default());
    let _observation = Observation::new(&queue, counter.clone(), EVERY_EVENT);
    let mut first = Box::pin(Waiter::new_for(&queue, IN));
    let mut second = pin!(Waiter::new_for(&queue, IN));
    assert!(first.as_mut().register(Waker::noop()));
    assert!(second.as_mut().register(Waker::noop()));
    queue.wake_one_for(IN);
    drop(first);
    assert!(second.was_woken());
    assert_eq!(counter.calls(), 1);
}
