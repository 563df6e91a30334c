use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::task::Wake;

use super::*;
use crate::wait_list::is_before;

struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counting_waker() -> (Arc<CountingWaker>, Waker) {
    let counter = Arc::new(CountingWaker(AtomicUsize::new(0)));
    let waker = Waker::from(counter.clone());
    (counter, waker)
}

fn wakes(counter: &CountingWaker) -> usize {
    counter.0.load(Ordering::Relaxed)
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn a_condition_that_holds_is_not_waited_for() {
    let queue = WaitQueue::new("test");
    let (_, waker) = counting_waker();
    let mut future = pin!(queue.wait_until(|| Some(7)));
    assert_eq!(poll(future.as_mut(), &waker), Poll::Ready(7));
    assert!(queue.is_empty());
}

#[test]
fn a_change_between_the_first_look_and_the_registration_is_seen() {
    let queue = WaitQueue::new("test");
    let (_, waker) = counting_waker();
    let looks = Cell::new(0);
    let mut future = pin!(queue.wait_until(|| {
        looks.set(looks.get() + 1);
        (looks.get() == 2).then_some(())
    }));
    assert_eq!(poll(future.as_mut(), &waker), Poll::Ready(()));
    assert!(queue.is_empty(), "a finished waiter must have left the queue");
}

#[test]
fn waiters_are_chosen_in_the_order_of_arrival() {
    let queue = WaitQueue::new("test");
    let wakers: [_; 3] = std::array::from_fn(|_| counting_waker());
    let mut futures: Vec<_> = wakers.iter().map(|_| Box::pin(queue.wait_until(|| None::<()>))).collect();
    for (future, (_, waker)) in futures.iter_mut().zip(&wakers) {
        assert!(poll(future.as_mut(), waker).is_pending());
    }
    let woken = || wakers.each_ref().map(|(counter, _)| wakes(counter));
    assert!(queue.wake_one());
    assert_eq!(woken(), [1, 0, 0]);
    assert!(queue.wake_one());
    assert_eq!(woken(), [1, 1, 0]);
    assert!(queue.wake_one());
    assert!(!queue.wake_one());
    assert_eq!(woken(), [1, 1, 1]);
}

#[test]
fn every_pending_poll_refreshes_the_waker() {
    let queue = WaitQueue::new("test");
    let (old, old_waker) = counting_waker();
    let (new, new_waker) = counting_waker();
    let mut future = pin!(queue.wait_until(|| None::<()>));
    assert!(poll(future.as_mut(), &old_waker).is_pending());
    assert!(poll(future.as_mut(), &new_waker).is_pending());
    drop(old_waker);
    assert_eq!(Arc::strong_count(&old), 1, "the outdated waker must be gone");
    queue.wake_all();
    assert_eq!((wakes(&old), wakes(&new)), (0, 1));
}

#[test]
fn a_dropped_waiter_leaves_and_passes_the_baton_on() {
    let queue = WaitQueue::new("test");
    let (_, first_waker) = counting_waker();
    let (second, second_waker) = counting_waker();
    let mut first = Box::pin(queue.wait_until(|| None::<()>));
    let mut second_future = pin!(queue.wait_until(|| None::<()>));
    assert!(poll(first.as_mut(), &first_waker).is_pending());
    assert!(poll(second_future.as_mut(), &second_waker).is_pending());
    assert!(queue.wake_one());
    assert_eq!(wakes(&second), 0);
    drop(first);
    assert_eq!(wakes(&second), 1);

    let mut third = Box::pin(queue.wait_until(|| None::<()>));
    assert!(poll(third.as_mut(), &first_waker).is_pending());
    drop(third);
    assert!(queue.is_empty());
}

#[test]
fn a_waiter_that_got_its_result_keeps_no_baton() {
    let queue = WaitQueue::new("test");
    let ready = AtomicBool::new(false);
    let (_, first_waker) = counting_waker();
    let (second, second_waker) = counting_waker();
    let mut first = Box::pin(queue.wait_until(|| ready.load(Ordering::Relaxed).then_some(())));
    let mut second_future = pin!(queue.wait_until(|| None::<()>));
    assert!(poll(first.as_mut(), &first_waker).is_pending());
    assert!(poll(second_future.as_mut(), &second_waker).is_pending());
    ready.store(true, Ordering::Relaxed);
    queue.wake_one();
    assert!(poll(first.as_mut(), &first_waker).is_ready());
    drop(first);
    assert_eq!(wakes(&second), 0);
}

#[test]
fn wake_all_reaches_more_than_a_batch_once_each() {
    let queue = WaitQueue::new("test");
    let (counter, waker) = counting_waker();
    let mut futures: Vec<_> = (0..3 * BATCH + 1).map(|_| Box::pin(queue.wait_until(|| None::<()>))).collect();
    for future in &mut futures {
        assert!(poll(future.as_mut(), &waker).is_pending());
    }
    queue.wake_all();
    assert_eq!(wakes(&counter), futures.len());
    assert!(queue.is_empty());
    drop(futures);
    assert_eq!(wakes(&counter), 3 * BATCH + 1, "no baton after wake_all");
}

/// A waker that queues its waiter again, as a task on another hart may while `wake_all` still runs.
struct Requeue {
    queue: &'static WaitQueue,
    wakes: AtomicUsize,
    waiter: std::sync::Mutex<Option<Pin<Box<Waiter<&'static WaitQueue>>>>>,
}

impl Wake for Requeue {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        let mut waiter = Box::pin(Waiter::new(self.queue));
        assert!(waiter.as_mut().register(&Waker::from(self.clone())));
        let before = self.waiter.lock().unwrap().replace(waiter);
        drop(before);
    }
}

#[test]
fn wake_all_leaves_those_alone_who_queue_meanwhile() {
    static QUEUE: WaitQueue = WaitQueue::new("test");
    let requeue =
        Arc::new(Requeue { queue: &QUEUE, wakes: AtomicUsize::new(0), waiter: std::sync::Mutex::new(None) });
    let mut others: Vec<_> = (0..BATCH).map(|_| Box::pin(Waiter::new(&QUEUE))).collect();
    let (counter, waker) = counting_waker();
    assert!(Box::pin(Waiter::new(&QUEUE)).as_mut().register(&waker));
    requeue.clone().wake();
    for other in &mut others {
        assert!(other.as_mut().register(&waker));
    }
    QUEUE.wake_all();
    assert_eq!(wakes(&counter), others.len());
    assert_eq!(requeue.wakes.load(Ordering::Relaxed), 2);
    assert_eq!(QUEUE.len(), 1);
    let last = requeue.waiter.lock().unwrap().take();
    drop(last);
    assert!(QUEUE.is_empty());
}

#[test]
fn a_listener_is_told_and_uses_nothing_up() {
    let queue = WaitQueue::new("test");
    let (heard, listener_waker) = counting_waker();
    let (chosen, waiter_waker) = counting_waker();
    let mut listener = pin!(Waiter::listener(&queue));
    let mut waiter = pin!(Waiter::new(&queue));
    assert!(listener.as_mut().register(&listener_waker));
    assert!(!listener.as_mut().register(&listener_waker), "it is queued already");
    assert!(waiter.as_mut().register(&waiter_waker));
    assert!(queue.wake_one());
    assert_eq!((wakes(&heard), wakes(&chosen)), (1, 1));
    assert!(listener.was_woken() && waiter.was_woken());
    assert!(listener.as_mut().register(&listener_waker), "it must register again");
    assert!(!queue.wake_one(), "a listener is not a waiter");
    assert_eq!(wakes(&heard), 2);
}

#[test]
fn a_shared_queue_lives_as_long_as_its_waiters() {
    struct File {
        readable: WaitQueue,
    }
    let file = Arc::new(File { readable: WaitQueue::new("file readable") });
    let (counter, waker) = counting_waker();
    let mut waiter = Box::pin(Waiter::listener(SharedQueue::new(file.clone(), |file| &file.readable)));
    assert!(waiter.as_mut().register(&waker));
    file.readable.wake_all();
    assert_eq!(wakes(&counter), 1);
    assert!(waiter.as_mut().register(&waker));
    assert_eq!(Arc::strong_count(&file), 2);
    drop(file);
    drop(waiter);
}

#[test]
fn tickets_compare_across_their_wrap() {
    assert!(is_before(u32::MAX, 0));
    assert!(is_before(u32::MAX - 5, 5));
    assert!(!is_before(3, 3));
    assert!(!is_before(4, 3));
}
