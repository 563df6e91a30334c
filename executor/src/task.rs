//! A task: its record, the future around its future, and the handles that others hold.
//!
//! The record is the metadata of an async-task allocation: header, record and future are one block. While the task is
//! ready, its right to run (`Runnable`) is in a run queue as a pointer to the record; `into_raw` and `from_raw` keep
//! the reference count as it was. A waker, a `Runnable` or the handle keeps the block alive.

use std::fmt;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::{Builder, FallibleTask, Runnable, ScheduleInfo, WithInfo};
use intrusive_collections::RBTreeLink;
use kernel_hal::{HartId, HartMask, Instant, MAX_HARTS};

use crate::class::{Class, Policy};
use crate::executor::{Executor, ExecutorRef};
use crate::fifo::FifoLink;
use crate::registry::RegistryLink;
use crate::state::TaskState;

/// A task's name: up to 15 bytes, as Linux shows them; longer ones are cut.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct TaskName([u8; 16]);

impl TaskName {
    /// The first 15 bytes of `name`, cut at a character.
    pub const fn new(name: &str) -> Self {
        let mut end = if name.len() < 15 { name.len() } else { 15 };
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; 16];
        let mut index = 0;
        while index < end {
            bytes[index] = name.as_bytes()[index];
            index += 1;
        }
        Self(bytes)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(15);
        std::str::from_utf8(&self.0[..end]).unwrap_or("?")
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a task starts out.
#[derive(Clone, Copy, Debug)]
pub struct TaskOptions {
    /// What the task is called in listings.
    pub name: TaskName,
    /// How it shares the harts.
    pub class: Class,
    /// Where it may run.
    pub affinity: HartMask,
    /// Whether a wake by an interrupt raises it above the fair class until it next waits.
    pub boost_when_woken_by_interrupt: bool,
}

impl TaskOptions {
    /// A fair task that runs anywhere.
    pub const fn new(name: &str) -> Self {
        Self {
            name: TaskName::new(name),
            class: Class::NORMAL,
            affinity: HartMask::ALL,
            boost_when_woken_by_interrupt: false,
        }
    }

    /// With this class.
    #[must_use]
    pub const fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    /// Only on these harts.
    #[must_use]
    pub const fn affinity(self, affinity: HartMask) -> Self {
        Self { affinity, ..self }
    }

    /// Raised when an interrupt wakes it.
    #[must_use]
    pub const fn boosted(self) -> Self {
        Self { boost_when_woken_by_interrupt: true, ..self }
    }
}

/// Where a record is: a number below 100 is the level of a run queue.
pub(crate) struct Place;

impl Place {
    pub(crate) const FAIR: u8 = 200;
    pub(crate) const IDLE: u8 = 201;
    /// In no queue: it runs, or waits.
    pub(crate) const NOWHERE: u8 = 202;
    /// In no queue: it was preempted in the middle of its poll.
    pub(crate) const PREEMPTED: u8 = 203;

    pub(crate) const fn is_queued(place: u8) -> bool {
        place <= Self::IDLE
    }
}

/// What the executor keeps per task.
///
/// Everything is atomic so that others may look; who may *write* is said per field. "Queue lock" is the lock of the run
/// queue of `home`.
#[repr(C)]
pub struct TaskRecord {
    /// Queue lock.
    pub(crate) fifo_link: FifoLink,
    /// Queue lock. Never read by anyone else, which makes the type fit for sharing.
    pub(crate) tree_link: RBTreeLink,
    /// Virtual runtime in the fair class. Queue lock; while the task runs, its hart.
    pub(crate) age: AtomicU64,
    /// Order of arrival among equals. Queue lock.
    pub(crate) sequence: AtomicU64,
    /// The async-task block, set before the task is first ready.
    header: AtomicPtr<()>,
    /// [`Policy`]; anyone, see `Executor::set_class`.
    policy: AtomicU64,
    /// [`HartMask`]; anyone, see `Executor::set_affinity`.
    affinity: AtomicU32,
    /// [`Place`]; queue lock, and the hart that runs the task.
    pub(crate) place: AtomicU8,
    /// The hart where the task is ready, runs, or ran last. Queue lock of the new one.
    home: AtomicU8,
    pub(crate) state: TaskState,
    /// Nanoseconds of the present turn of a round-robin task. The hart that runs the task.
    pub(crate) turn_nanos: AtomicU64,
    /// Nanoseconds run; polls; polls that began without a wait; polls in a row on one hart. The hart that runs the task.
    run_nanos: AtomicU64,
    polls: AtomicU64,
    requeues: AtomicU64,
    repeated_polls: AtomicU64,
    /// The most that [`TaskRecord::cpu_time`] said. Anyone.
    cpu_nanos_shown: AtomicU64,
    id: u32,
    /// Whatever the task's maker wants to find with it.
    tag: AtomicU32,
    name: [AtomicU64; 2],
    pub(crate) registry_link: RegistryLink,
    pub(crate) executor: ExecutorRef,
}

// SAFETY: `tree_link`, the only part that is not `Sync` by itself, is touched only under the queue lock.
unsafe impl Sync for TaskRecord {}

/// The record costs less than this beside the future and async-task's header.
const _: () = assert!(size_of::<TaskRecord>() <= 256);

impl TaskRecord {
    pub(crate) fn new(executor: ExecutorRef, id: u32, options: &TaskOptions, home: HartId) -> Self {
        let record = Self {
            fifo_link: FifoLink::new(),
            tree_link: RBTreeLink::new(),
            age: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            header: AtomicPtr::new(std::ptr::null_mut()),
            policy: AtomicU64::new(Policy::of(options.class).bits()),
            affinity: AtomicU32::new(options.affinity.bits()),
            place: AtomicU8::new(Place::NOWHERE),
            home: AtomicU8::new(home.index() as u8),
            state: TaskState::new(options.boost_when_woken_by_interrupt),
            turn_nanos: AtomicU64::new(0),
            run_nanos: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            requeues: AtomicU64::new(0),
            repeated_polls: AtomicU64::new(0),
            cpu_nanos_shown: AtomicU64::new(0),
            id,
            tag: AtomicU32::new(0),
            name: [AtomicU64::new(0), AtomicU64::new(0)],
            registry_link: RegistryLink::new(),
            executor,
        };
        record.set_name(options.name);
        record
    }

    /// The task's number: never reused while the machine is up, until four billion tasks have been.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The number that [`Self::set_tag`] left: 0 at first.
    #[inline]
    pub fn tag(&self) -> u32 {
        self.tag.load(Relaxed)
    }

    /// Leaves a number with the task, by which its maker knows what it belongs to.
    pub fn set_tag(&self, tag: u32) {
        self.tag.store(tag, Relaxed);
    }

    /// The task's name.
    pub fn name(&self) -> TaskName {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.name[0].load(Relaxed).to_ne_bytes());
        bytes[8..].copy_from_slice(&self.name[1].load(Relaxed).to_ne_bytes());
        TaskName(bytes)
    }

    /// Renames the task. A reader at the same moment may see half of each name.
    pub fn set_name(&self, name: TaskName) {
        let (first, second) = name.0.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        self.name[0].store(u64::from_le(word(first)), Relaxed);
        self.name[1].store(u64::from_le(word(second)), Relaxed);
    }

    /// The task's class.
    pub fn class(&self) -> Class {
        self.policy().class()
    }

    /// Where the task may run.
    pub fn affinity(&self) -> HartMask {
        HartMask::from_bits(self.affinity.load(Relaxed))
    }

    /// The hart where the task is ready, runs, or ran last.
    pub fn hart(&self) -> HartId {
        // Only numbers of harts are stored; the mask saves the check.
        HartId::new(usize::from(self.home.load(Relaxed)) & (MAX_HARTS - 1))
    }

    /// What the task is doing.
    pub fn activity(&self) -> Activity {
        match self.place.load(Relaxed) {
            Place::PREEMPTED => Activity::Running,
            Place::NOWHERE => {
                let current = self.executor.hart(self.hart()).current.load(Relaxed);
                if std::ptr::eq(current, self) { Activity::Running } else { Activity::Waiting }
            }
            _ => Activity::Ready,
        }
    }

    /// What the task has used so far; the present poll is not counted yet.
    pub fn accounting(&self) -> Accounting {
        let polls = self.polls.load(Relaxed);
        // A task that is in a queue or runs has been woken (or requeued) for a poll that is not counted yet.
        let activity = self.activity();
        let begun = u64::from(activity != Activity::Waiting);
        let running = u64::from(activity == Activity::Running);
        Accounting {
            run_time: Duration::from_nanos(self.run_nanos.load(Relaxed)),
            polls,
            wakes: (polls + begun).saturating_sub(self.requeues.load(Relaxed)),
            switches: (polls + running).saturating_sub(self.repeated_polls.load(Relaxed)),
        }
    }

    /// The time that the task has used up to now, its present poll included: what a CPU clock of the task shows. Exact for
    /// the task that asks; for one that runs on another hart it may be a moment old. It never goes back.
    pub fn cpu_time(&self) -> Duration {
        let settled = self.run_nanos.load(Acquire);
        let hart = self.executor.hart(self.hart());
        // In this order: the end of a poll moves the clock first and counts the time after.
        let began = hart.clock.load(Acquire);
        let runs = std::ptr::eq(hart.current.load(Acquire), self);
        let now = if runs { settled + Instant::now().as_nanos().saturating_sub(began) } else { settled };
        let most = if self.run_nanos.load(Relaxed) == settled { now } else { settled };
        Duration::from_nanos(self.cpu_nanos_shown.fetch_max(most, Relaxed).max(most))
    }

    /// Whether the task is ready, runs, or ran last on this hart.
    #[inline]
    pub(crate) fn is_at(&self, hart_index: u8) -> bool {
        self.home.load(Relaxed) == hart_index
    }

    /// Whether the task may run on the hart that is all of `only`.
    #[inline]
    pub(crate) fn may_run_on(&self, only: HartMask) -> bool {
        self.affinity.load(Relaxed) & only.bits() != 0
    }

    #[inline]
    pub(crate) fn policy(&self) -> Policy {
        Policy::from_bits(self.policy.load(Relaxed))
    }

    pub(crate) fn store_policy(&self, policy: Policy) {
        self.policy.store(policy.bits(), Relaxed);
    }

    pub(crate) fn store_affinity(&self, affinity: HartMask) {
        self.affinity.store(affinity.bits(), Relaxed);
    }

    #[inline]
    pub(crate) fn store_home(&self, hart: HartId) {
        self.home.store(hart.index() as u8, Relaxed);
    }

    #[inline]
    pub(crate) fn count_requeue(&self) {
        add(&self.requeues, 1);
    }

    #[inline]
    pub(crate) fn count_repeated_poll(&self) {
        add(&self.repeated_polls, 1);
    }

    #[inline]
    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Relaxed)
    }

    #[inline]
    pub(crate) fn count_poll(&self) {
        add(&self.polls, 1);
    }

    #[inline]
    pub(crate) fn add_run_time(&self, nanos: u64) {
        // After the clock of the hart was moved on, for `cpu_time` on another hart.
        self.run_nanos.store(self.run_nanos.load(Relaxed).wrapping_add(nanos), Release);
    }

    /// The right to run, out of the queue.
    ///
    /// # Safety
    /// The caller took the record out of a run queue, or got it from the schedule function, and calls this once.
    #[inline]
    pub(crate) unsafe fn into_runnable(record: *const Self) -> Runnable<Self> {
        // SAFETY: the record is alive; `header` was stored from `Runnable::into_raw` of this very block, whose
        // reference was in the queue.
        unsafe { Runnable::from_raw(NonNull::new_unchecked((*record).header.load(Relaxed))) }
    }
}

/// Adds to a counter that has one writer at a time.
#[inline]
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

impl Drop for TaskRecord {
    fn drop(&mut self) {
        self.executor.registry.remove(self);
    }
}

impl fmt::Debug for TaskRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRecord")
            .field("id", &self.id)
            .field("name", &self.name())
            .field("class", &self.class())
            .field("activity", &self.activity())
            .field("hart", &self.hart())
            .finish_non_exhaustive()
    }
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A hart polls it.
    Running,
    /// It is in a run queue.
    Ready,
    /// It waits to be woken.
    Waiting,
}

/// What a task has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accounting {
    /// Time in polls, user mode included.
    pub run_time: Duration,
    /// How often it was polled.
    pub polls: u64,
    /// How often it was woken from waiting.
    pub wakes: u64,
    /// How often a hart changed to it from another task.
    pub switches: u64,
}

/// The task's future with the executor's bookkeeping around each poll. At its end the record is alive for certain,
/// and the task is not yet back in a queue.
struct TaskFuture<F> {
    future: F,
    record: NonNull<TaskRecord>,
}

// SAFETY: the record is `Sync` and outlives the future, which is in the same block.
unsafe impl<F: Send> Send for TaskFuture<F> {}

impl<F: Future> Future for TaskFuture<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` stays pinned; `record` is only copied.
        let (future, record) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), this.record)
        };
        // SAFETY: the record is in the block that is being polled.
        let record = unsafe { record.as_ref() };
        let executor = record.executor;
        // A poll begins and ends on one hart: a preempted stack stays where it is.
        let hart = executor.begin_poll(record, context.waker());
        let result = future.poll(context);
        executor.end_poll(hart, record, result.is_ready());
        result
    }
}

/// Makes a task that is not ready yet.
pub(crate) fn create<F>(
    record: TaskRecord,
    future: F,
) -> (Runnable<TaskRecord>, FallibleTask<F::Output, TaskRecord>)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let schedule = WithInfo(|runnable: Runnable<TaskRecord>, info: ScheduleInfo| {
        let record = std::ptr::from_ref(runnable.metadata());
        let header = runnable.into_raw();
        // SAFETY: the block is alive: its reference is in `header`, which goes into the queue with the record.
        let record = unsafe { &*record };
        debug_assert_eq!(record.header.load(Relaxed), header.as_ptr());
        record.executor.make_ready(record, info.woken_while_running);
    });
    let (runnable, task) = Builder::new()
        .metadata(record)
        .spawn(|record| TaskFuture { future, record: NonNull::from(record) }, schedule);
    let record = std::ptr::from_ref(runnable.metadata());
    let header = runnable.into_raw();
    // SAFETY: the block is alive; the pointer goes back and forth once.
    let runnable = unsafe {
        let record = &*record;
        record.header.store(header.as_ptr(), Relaxed);
        record.executor.registry.add(record);
        Runnable::from_raw(header)
    };
    (runnable, task.fallible())
}

/// The owner's end of a task: its result, or its cancellation. A handle that is dropped lets the task go on.
#[must_use = "a task whose handle is dropped goes on by itself; say so with `detach`"]
pub struct TaskHandle<T> {
    task: Option<FallibleTask<T, TaskRecord>>,
    reference: TaskRef,
}

impl<T> TaskHandle<T> {
    pub(crate) fn new(task: FallibleTask<T, TaskRecord>, reference: TaskRef) -> Self {
        Self { task: Some(task), reference }
    }

    /// Waits for the task's end: its result, or `None` if it was cancelled.
    pub async fn join(mut self) -> Option<T> {
        self.task.take()?.await
    }

    /// Cancels the task: its future is dropped where it waits next. Returns when that has happened, with the result if
    /// the task was finished before.
    pub async fn cancel(mut self) -> Option<T> {
        self.task.take()?.cancel().await
    }

    /// Lets the task go on by itself.
    pub fn detach(self) {
        drop(self);
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(FallibleTask::is_finished)
    }

    /// The task, for looking at it and changing its scheduling.
    pub fn task(&self) -> &TaskRef {
        &self.reference
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskHandle").field(self.reference.record()).finish()
    }
}

/// A reference to a task: keeps its record, not its execution.
#[derive(Clone)]
pub struct TaskRef {
    record: NonNull<TaskRecord>,
    waker: Waker,
}

// SAFETY: the record is `Sync`, and the waker keeps it alive from any hart.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// # Safety
    /// The waker is the record's own.
    pub(crate) unsafe fn new(record: &TaskRecord, waker: Waker) -> Self {
        Self { record: NonNull::from(record), waker }
    }

    /// The task's record.
    pub fn record(&self) -> &TaskRecord {
        // SAFETY: the waker keeps the block alive.
        unsafe { self.record.as_ref() }
    }

    /// What wakes the task.
    #[inline]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Makes the task run, whatever it waits for.
    pub fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Changes the class, at once. `Err` if the numbers are out of range.
    pub fn set_class(&self, class: Class) -> Result<(), InvalidClass> {
        if !class.is_valid() {
            return Err(InvalidClass);
        }
        self.executor().set_class(self.record(), class);
        Ok(())
    }

    /// Changes where the task may run. A task that runs elsewhere moves when it next yields or waits. `Err` if no hart
    /// that is online is left.
    pub fn set_affinity(&self, affinity: HartMask) -> Result<(), NoHartLeft> {
        if affinity.intersection(self.executor().online()).is_empty() {
            return Err(NoHartLeft);
        }
        self.executor().set_affinity(self.record(), affinity);
        Ok(())
    }

    /// Changes whether a wake by an interrupt raises the task above the fair class until it next waits.
    pub fn set_boost_when_woken_by_interrupt(&self, boost: bool) {
        self.record().state.set_may_be_boosted(boost);
    }

    fn executor(&self) -> &'static Executor {
        self.record().executor.get()
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record().fmt(f)
    }
}

/// A priority or nice value that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClass;

/// An affinity mask without a hart that is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHartLeft;
