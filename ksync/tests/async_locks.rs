//! Order of arrival, exclusion and cancellation of the asynchronous locks, step by step.
#![cfg(not(loom))]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use ksync::{AsyncMutex, AsyncRwLock};

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: &mut Pin<Box<F>>) -> F::Output {
    match poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future should be ready"),
    }
}

#[test]
fn a_mutex_is_handed_over_in_order_and_cannot_be_snatched() {
    let mutex = AsyncMutex::new(0);
    let mut first = Box::pin(mutex.lock());
    let mut second = Box::pin(mutex.lock());
    let mut third = Box::pin(mutex.lock());
    let guard = ready(&mut first);
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut third).is_pending());
    drop(guard);
    assert!(mutex.try_lock().is_none(), "it belongs to the second already");
    assert!(poll(&mut third).is_pending());
    let guard = ready(&mut second);
    drop(guard);
    drop(ready(&mut third));
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_cancelled_owner_to_be_hands_the_mutex_on() {
    let mutex = AsyncMutex::new(());
    let guard = mutex.try_lock().unwrap();
    let mut second = Box::pin(mutex.lock());
    let mut third = Box::pin(mutex.lock());
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut third).is_pending());
    drop(guard);
    drop(second);
    drop(ready(&mut third));

    let guard = mutex.try_lock().unwrap();
    let mut queued = Box::pin(mutex.lock());
    assert!(poll(&mut queued).is_pending());
    drop(queued);
    drop(guard);
    assert!(mutex.try_lock().is_some(), "nobody is left");
}

#[test]
fn the_mutex_guard_may_live_across_an_await_of_a_send_future() {
    fn spawnable<F: Future + Send>(future: F) -> F {
        future
    }
    let mutex = AsyncMutex::new(1);
    let mut future = Box::pin(spawnable(async {
        let mut guard = mutex.lock().await;
        std::future::ready(()).await;
        *guard += 1;
    }));
    ready(&mut future);
    drop(future);
    assert_eq!(mutex.into_inner(), 2);
}

#[test]
fn readers_share_and_a_waiting_writer_stops_new_readers() {
    let lock = AsyncRwLock::new(0);
    let reader = ready(&mut Box::pin(lock.read()));
    let another = lock.try_read().unwrap();
    let mut writer = Box::pin(lock.write());
    assert!(poll(&mut writer).is_pending());
    assert!(lock.try_read().is_none(), "a reader must not overtake the writer");
    let mut late = Box::pin(lock.read());
    let mut later = Box::pin(lock.read());
    assert!(poll(&mut late).is_pending());
    assert!(poll(&mut later).is_pending());
    drop(reader);
    assert!(poll(&mut writer).is_pending());
    drop(another);
    let mut guard = ready(&mut writer);
    *guard = 5;
    assert!(poll(&mut late).is_pending());
    drop(guard);
    let (late, later) = (ready(&mut late), ready(&mut later));
    assert_eq!((*late, *later), (5, 5));
    drop((late, later));
    assert!(lock.try_write().is_some());
}

#[test]
fn a_cancelled_writer_lets_the_readers_behind_it_in() {
    let lock = AsyncRwLock::new(());
    let reader = lock.try_read().unwrap();
    let mut writer = Box::pin(lock.write());
    let mut behind = Box::pin(lock.read());
    assert!(poll(&mut writer).is_pending());
    assert!(poll(&mut behind).is_pending());
    drop(writer);
    let guard = ready(&mut behind);
    drop((reader, guard));
    assert!(lock.try_write().is_some());
}

#[test]
fn a_cancelled_writer_that_was_chosen_hands_on() {
    let lock = AsyncRwLock::new(());
    let reader = lock.try_read().unwrap();
    let mut writer = Box::pin(lock.write());
    let mut behind = Box::pin(lock.write());
    assert!(poll(&mut writer).is_pending());
    assert!(poll(&mut behind).is_pending());
    drop(reader);
    drop(writer);
    drop(ready(&mut behind));
    assert!(lock.try_write().is_some());
}

#[test]
fn many_readers_are_let_in_together() {
    let lock = AsyncRwLock::new(());
    let writer = lock.try_write().unwrap();
    let mut readers: Vec<_> = (0..20).map(|_| Box::pin(lock.read())).collect();
    assert!(readers.iter_mut().all(|reader| poll(reader).is_pending()));
    drop(writer);
    let guards: Vec<_> = readers.iter_mut().map(ready).collect();
    assert_eq!(guards.len(), 20);
}
