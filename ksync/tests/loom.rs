//! Models of the wait queue and the asynchronous locks. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p ksync --release --test loom`.
#![cfg(loom)]

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use ksync::{AsyncMutex, AsyncRwLock, Rank, RawSpinLock, WaitQueue};
use lock_api::RawMutex;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Explores every interleaving with at most this many involuntary switches (three finds what more would, in minutes
/// instead of days).
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

/// Two threads try the raw lock; loom's cell complains if both are inside, or if the second does not see what the
/// first wrote.
#[test]
fn the_raw_spin_lock_excludes() {
    model(|| {
        let shared = Arc::new((RawSpinLock::new(Rank::FILE), UnsafeCell::new(0)));
        let enter = |(lock, value): &(RawSpinLock, UnsafeCell<usize>)| {
            let Some(guard) = lock.try_lock() else { return 0 };
            // SAFETY: the lock is held.
            value.with_mut(|value| unsafe { *value += 1 });
            // SAFETY: as above, with the guard of this acquisition.
            unsafe { lock.unlock(guard) };
            1
        };
        let other = shared.clone();
        let thread = thread::spawn(move || enter(&other));
        let entered = enter(&shared) + thread.join().unwrap();
        // SAFETY: the other thread is gone.
        shared.1.with(|value| assert_eq!(unsafe { *value }, entered));
    });
}

/// A plain relaxed flag, so that only the queue's own fences order it: if a wake-up could be lost, `block_on` would
/// sleep for good and loom would report a deadlock.
#[test]
fn no_wake_up_is_lost() {
    model(|| {
        let shared = Arc::new((WaitQueue::new("model"), AtomicUsize::new(0)));
        let waker = shared.clone();
        let thread = thread::spawn(move || {
            waker.1.store(1, Ordering::Relaxed);
            waker.0.wake_one();
        });
        let (queue, flag) = &*shared;
        block_on(queue.wait_until(|| (flag.load(Ordering::Relaxed) == 1).then_some(())));
        thread.join().unwrap();
        assert!(queue.is_empty());
    });
}

#[test]
fn wake_all_reaches_both_waiters() {
    model(|| {
        let shared = Arc::new((WaitQueue::new("model"), AtomicUsize::new(0)));
        let wait = |shared: &(WaitQueue, AtomicUsize)| {
            block_on(shared.0.wait_until(|| (shared.1.load(Ordering::Relaxed) == 1).then_some(())));
        };
        let other = shared.clone();
        let thread = thread::spawn(move || wait(&other));
        let waker = shared.clone();
        let waking = thread::spawn(move || {
            waker.1.store(1, Ordering::Relaxed);
            waker.0.wake_all();
        });
        wait(&shared);
        thread.join().unwrap();
        waking.join().unwrap();
    });
}

/// Two tokens, each announced to one waiter; one waiter gives up at any moment. The other must get a token.
#[test]
fn a_cancelled_waiter_swallows_no_wake_up() {
    model(|| {
        let shared = Arc::new((WaitQueue::new("model"), AtomicUsize::new(0)));
        let take = |tokens: &AtomicUsize| {
            tokens
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1))
                .ok()
                .map(|_| ())
        };
        let giving_up = shared.clone();
        let first = thread::spawn(move || {
            let (queue, tokens) = &*giving_up;
            let mut wait = pin!(queue.wait_until(|| take(tokens)));
            // One look, one registration, then the future is dropped, chosen or not.
            let got = block_on(poll_fn(|context| match wait.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => Poll::Ready(false),
            }));
            if got {
                tokens.fetch_add(1, Ordering::Relaxed);
                queue.wake_one();
            }
        });
        let waking = shared.clone();
        let second = thread::spawn(move || {
            waking.1.fetch_add(1, Ordering::Relaxed);
            waking.0.wake_one();
        });
        let (queue, tokens) = &*shared;
        block_on(queue.wait_until(|| take(tokens)));
        first.join().unwrap();
        second.join().unwrap();
        assert!(queue.is_empty());
    });
}

#[test]
fn the_mutex_is_handed_over_and_excludes() {
    model(|| {
        let mutex = Arc::new(AsyncMutex::new(0));
        let threads: [_; 2] = std::array::from_fn(|_| {
            let mutex = mutex.clone();
            thread::spawn(move || {
                block_on(async {
                    let mut guard = mutex.lock().await;
                    let seen = *guard;
                    thread::yield_now();
                    *guard = seen + 1;
                });
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*mutex.try_lock().expect("nobody holds it any more"), 2);
    });
}

#[test]
fn a_cancelled_lock_future_does_not_keep_the_mutex() {
    model(|| {
        let mutex = Arc::new(AsyncMutex::new(()));
        let guard = mutex.try_lock().unwrap();
        let cancelled = mutex.clone();
        let thread = thread::spawn(move || {
            let mut lock = pin!(cancelled.lock());
            block_on(poll_fn(|context| {
                let _ = lock.as_mut().poll(context);
                Poll::Ready(())
            }));
        });
        drop(guard);
        block_on(async { drop(mutex.lock().await) });
        thread.join().unwrap();
        assert!(mutex.try_lock().is_some());
    });
}

#[test]
fn readers_and_a_writer_exclude_and_all_get_through() {
    model(|| {
        let lock = Arc::new(AsyncRwLock::new(0));
        let writing = lock.clone();
        let writer = thread::spawn(move || block_on(async { *writing.write().await += 1 }));
        let cancelled = lock.clone();
        let canceller = thread::spawn(move || {
            let mut write = pin!(cancelled.write());
            block_on(poll_fn(|context| {
                let _ = write.as_mut().poll(context);
                Poll::Ready(())
            }));
        });
        let seen = block_on(async { *lock.read().await });
        assert!(seen <= 1);
        writer.join().unwrap();
        canceller.join().unwrap();
        assert_eq!(*lock.try_write().expect("nobody holds it any more"), 1);
    });
}

/// Says in a relaxed flag that it was called, as an observer does that puts itself on a list.
struct Noted(AtomicUsize);

impl ksync::Observer for Noted {
    fn notify(self: std::sync::Arc<Self>, _events: u32) -> bool {
        self.0.store(1, Ordering::Relaxed);
        true
    }
}

/// Whoever registers an observer and then looks, and whoever changes the condition and then wakes: one of them notices.
#[test]
fn an_observer_misses_nothing() {
    model(|| {
        let shared = Arc::new((WaitQueue::new("model"), AtomicUsize::new(0)));
        let waker = shared.clone();
        let thread = thread::spawn(move || {
            waker.1.store(1, Ordering::Relaxed);
            waker.0.wake_one_for(1);
        });
        let (queue, condition) = &*shared;
        let noted = std::sync::Arc::new(Noted(AtomicUsize::new(0)));
        let observation = ksync::Observation::new(queue, noted.clone(), 1);
        let was_seen = condition.load(Ordering::Relaxed) == 1;
        thread.join().unwrap();
        assert!(was_seen || noted.0.load(Ordering::Relaxed) == 1);
        drop(observation);
        assert!(queue.is_empty());
    });
}

/// An observation that ends while the queue is woken: nobody touches what is gone.
#[test]
fn an_observation_ends_safely_during_a_wake() {
    model(|| {
        let queue = Arc::new(WaitQueue::new("model"));
        let noted = std::sync::Arc::new(Noted(AtomicUsize::new(0)));
        let first = ksync::Observation::new(&*queue, noted.clone(), 1);
        let second = ksync::Observation::exclusive(&*queue, noted.clone(), 1);
        let waking = queue.clone();
        let thread = thread::spawn(move || waking.wake_all_for(1));
        drop(first);
        drop(second);
        thread.join().unwrap();
        assert!(queue.is_empty());
    });
}

/// Two that try, wait until the mutex is free and try again: both get through.
#[test]
fn onlookers_are_told_when_the_mutex_is_free() {
    model(|| {
        let shared = Arc::new(AsyncMutex::new(0));
        let add = |mutex: &AsyncMutex<usize>| loop {
            if let Some(mut value) = mutex.try_lock() {
                *value += 1;
                return;
            }
            block_on(mutex.until_free());
        };
        let other = shared.clone();
        let thread = thread::spawn(move || add(&other));
        add(&shared);
        thread.join().unwrap();
        assert_eq!(*shared.try_lock().unwrap(), 2);
    });
}

/// An onlooker beside one that waits to own the mutex.
#[test]
fn an_onlooker_does_not_keep_the_next_owner_from_the_mutex() {
    model(|| {
        let shared = Arc::new(AsyncMutex::new(()));
        let guard = shared.try_lock().unwrap();
        let onlooker = shared.clone();
        let looking = thread::spawn(move || block_on(onlooker.until_free()));
        let owner = shared.clone();
        let owning = thread::spawn(move || drop(block_on(owner.lock())));
        drop(guard);
        looking.join().unwrap();
        owning.join().unwrap();
        assert!(shared.try_lock().is_some());
    });
}
