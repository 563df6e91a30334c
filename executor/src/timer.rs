//! Timers: one queue per hart, ordered by deadline.
//!
//! A sleep allocates nothing: its node is in the future and is linked into the queue of the hart where it was first
//! polled. Dropping the future takes the node out, from whatever hart. The queue's earliest deadline goes to the hart's
//! alarm; a timer that is cancelled leaves the alarm as it is until it goes off or the hart goes idle.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use intrusive_collections::{KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};
use kernel_hal::{HartId, Instant};

use crate::executor::{Executor, ExecutorRef};
use crate::hart::Hart;

const IDLE: u8 = 0;
const ARMED: u8 = 1;
const FIRED: u8 = 2;

pub(crate) struct TimerNode {
    /// All but `state` are touched only under the lock of the queue that the node is in, or by the owner of a node
    /// that is in none. A node is taken out before its state becomes FIRED, and not touched after.
    link: RBTreeLink,
    deadline: AtomicU64,
    sequence: AtomicU64,
    waker: UnsafeCell<Option<Waker>>,
    state: AtomicU8,
    _pinned: PhantomPinned,
}

// SAFETY: see the comment at the fields; the waker is `Send + Sync`.
unsafe impl Send for TimerNode {}
// SAFETY: as above.
unsafe impl Sync for TimerNode {}

intrusive_adapter!(TimerAdapter = UnsafeRef<TimerNode>: TimerNode { link => RBTreeLink });

impl<'a> KeyAdapter<'a> for TimerAdapter {
    type Key = (u64, u64);
    fn get_key(&self, node: &'a TimerNode) -> (u64, u64) {
        (node.deadline.load(Ordering::Relaxed), node.sequence.load(Ordering::Relaxed))
    }
}

pub(crate) struct TimerQueue {
    timers: RBTree<TimerAdapter>,
    next_sequence: u64,
}

// SAFETY: the nodes are `Send + Sync`, and the queue is only reached through its lock.
unsafe impl Send for TimerQueue {}

impl TimerQueue {
    pub(crate) const fn new() -> Self {
        Self { timers: RBTree::new(TimerAdapter::NEW), next_sequence: 0 }
    }

    /// The earliest deadline; `u64::MAX` if there is no timer.
    pub(crate) fn earliest(&self) -> u64 {
        self.timers.front().get().map_or(u64::MAX, |node| node.deadline.load(Ordering::Relaxed))
    }

    /// # Safety
    /// The node is in no queue, pinned, and leaves this one before it is freed.
    unsafe fn insert(&mut self, node: &TimerNode, deadline: Instant, waker: &Waker) {
        node.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
        node.sequence.store(self.next_sequence, Ordering::Relaxed);
        self.next_sequence += 1;
        // SAFETY: the node is in no queue, so ours; from here on it is this queue's.
        unsafe {
            *node.waker.get() = Some(waker.clone());
            node.state.store(ARMED, Ordering::Relaxed);
            self.timers.insert(UnsafeRef::from_raw(node));
        }
    }

    /// # Safety
    /// The node is in this queue.
    unsafe fn remove(&mut self, node: &TimerNode) -> Option<Waker> {
        // SAFETY: the caller's promise, and the queue is locked.
        let waker = unsafe {
            self.timers.cursor_mut_from_ptr(node).remove();
            (*node.waker.get()).take()
        };
        node.state.store(IDLE, Ordering::Release);
        waker
    }

    /// Takes out the earliest timer if it is due.
    fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        let mut front = self.timers.front_mut();
        if front.get()?.deadline.load(Ordering::Relaxed) > now.as_nanos() {
            return None;
        }
        let node = UnsafeRef::into_raw(front.remove()?);
        // SAFETY: nodes in the queue are alive; the store of FIRED is the last access.
        unsafe {
            let waker = (*(*node).waker.get()).take();
            (*node).state.store(FIRED, Ordering::Release);
            waker
        }
    }
}

impl Executor {
    #[cfg(not(target_os = "none"))]
    pub(crate) fn has_timers(&self, hart: HartId) -> bool {
        self.hart(hart).timers.lock().earliest() != u64::MAX
    }

    /// Wakes whoever sleeps until `now` or earlier on `hart`. Returns how many.
    pub(crate) fn expire_timers(&self, hart: &Hart, now: Instant) -> u64 {
        let mut count = 0;
        loop {
            let mut timers = hart.timers.lock();
            let due = timers.pop_due(now);
            let earliest = timers.earliest();
            hart.timer_deadline.store(earliest, Ordering::Relaxed);
            drop(timers);
            if let Some(waker) = due {
                count += 1;
                waker.wake();
            }
            if earliest > now.as_nanos() {
                return count;
            }
        }
    }
}

/// Waits until a moment has come. See [`sleep_until`].
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    node: TimerNode,
    deadline: Instant,
    /// Where the node is queued.
    hart: HartId,
    executor: ExecutorRef,
}

/// Waits until `deadline`; not at all if it has passed.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        node: TimerNode {
            link: RBTreeLink::new(),
            deadline: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            waker: UnsafeCell::new(None),
            state: AtomicU8::new(IDLE),
            _pinned: PhantomPinned,
        },
        deadline,
        hart: HartId::BOOT,
        executor: ExecutorRef::current(),
    }
}

/// Waits for a duration.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it has ended by its timer.
    pub fn is_elapsed(&self) -> bool {
        self.node.state.load(Ordering::Acquire) == FIRED
    }

    fn disarm(&self) {
        if self.node.state.load(Ordering::Acquire) != ARMED {
            return;
        }
        let hart = self.executor.hart(self.hart);
        let mut timers = hart.timers.lock();
        let mut unused = None;
        if self.node.state.load(Ordering::Acquire) == ARMED {
            // SAFETY: an armed node is in the queue of the hart where it was armed, which we have locked.
            unused = unsafe { timers.remove(&self.node) };
            hart.timer_deadline.store(timers.earliest(), Ordering::Relaxed);
        }
        drop(timers);
        drop(unused);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the node is never moved; `hart` is a plain value.
        let this = unsafe { self.get_unchecked_mut() };
        match this.node.state.load(Ordering::Acquire) {
            FIRED => return Poll::Ready(()),
            ARMED => {
                let hart = this.executor.hart(this.hart);
                let timers = hart.timers.lock();
                if this.node.state.load(Ordering::Acquire) == FIRED {
                    return Poll::Ready(());
                }
                // SAFETY: an armed node belongs to the queue that we have locked.
                let slot = unsafe { &mut *this.node.waker.get() };
                let outdated = match slot {
                    Some(waker) if waker.will_wake(context.waker()) => None,
                    _ => slot.replace(context.waker().clone()),
                };
                drop(timers);
                drop(outdated);
                return Poll::Pending;
            }
            _ => {}
        }
        if this.deadline == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        if Instant::now() >= this.deadline {
            return Poll::Ready(());
        }
        this.hart = HartId::current();
        let hart = this.executor.hart(this.hart);
        let mut timers = hart.timers.lock();
        // SAFETY: idle, so in no queue; pinned by `self`; `Drop` takes it out.
        unsafe { timers.insert(&this.node, this.deadline, context.waker()) };
        let deadline = this.deadline.as_nanos();
        if deadline < hart.timer_deadline.load(Ordering::Relaxed) {
            hart.timer_deadline.store(deadline, Ordering::Relaxed);
            // Under the lock, so with interrupts masked and on the hart that the queue belongs to.
            hart.arm_no_later_than(deadline);
        }
        drop(timers);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// The time was up before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// The future of [`timeout`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

/// Waits for `future`, but not past `deadline`. A future that is ready is never late. The future is not dropped when
/// the time is up, but with the returned future.
pub fn timeout<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: both fields stay pinned; nothing is moved out.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), Pin::new_unchecked(&mut this.sleep))
        };
        if let Poll::Ready(output) = future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        sleep.poll(context).map(|()| Err(Elapsed))
    }
}
