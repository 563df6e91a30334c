//! What others may know of a thread. What only the thread itself needs lives in its future.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::task::Poll;
use core::time::Duration;

use bitflags::bitflags;
use executor::TaskRef;
use kernel_hal::time::nanos_of_ticks;
use kernel_hal::{HartId, Instant, MAX_HARTS, VirtAddr};
use kernel_object::address_space::AddressSpace;
use ksync::{Once, Rank, SpinLock, WaitQueue};
use linux_abi::process::WaitStatus;
use linux_abi::signal::{SigAction, Signal};

use crate::credentials::Credentials;
use crate::file::FileTable;
use crate::futex;
use crate::namespace::PathContext;
use crate::process::{Process, find_thread};
use crate::program::ProgramImage;
use crate::schedule::Schedule;
use crate::signal::{NO_STACK, SignalActions, ThreadSignals};
use crate::thread_rings::ThreadRings;
use crate::user_buffer::UserMemory;

bitflags! {
    /// What a thread must look at before it goes back to user mode, and what ends its interruptible waits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Work: u32 {
        /// It must end.
        const EXIT = 1 << 0;
        /// A signal that it does not block may be pending.
        const SIGNAL = 1 << 1;
        /// It may have been in the middle of a restartable sequence when something came between.
        const PREEMPTED = 1 << 2;
        /// Requests of its rings were woken.
        const RINGS = 1 << 3;
    }
}

/// What `clone` shares or copies: each part is shared by those threads that hold the same `Arc`.
#[derive(Clone)]
pub struct Resources {
    /// Memory.
    pub address_space: Arc<AddressSpace>,
    /// Open files.
    pub files: Arc<FileTable>,
    /// Root and working directory, and the file creation mask.
    pub paths: Arc<PathContext>,
    /// What each signal does.
    pub signal_actions: Arc<SignalActions>,
    /// Which program is in the memory.
    pub image: Arc<ProgramImage>,
}

/// A thread, as others see it.
pub struct Thread {
    id: AtomicI32,
    process: Arc<Process>,
    work: AtomicU32,
    task: Once<TaskRef>,
    futex_waiter: Once<Arc<futex::Waiter>>,
    resources: SpinLock<Resources>,
    credentials: SpinLock<Arc<Credentials>>,
    signals: SpinLock<ThreadSignals>,
    clear_child_id: AtomicUsize,
    robust_list: AtomicUsize,
    /// The area of restartable sequences; 0 for none.
    rseq: AtomicUsize,
    rseq_signature: AtomicU32,
    /// On which hart the area says that the thread is: its number + 1, or 0 if it says nothing yet.
    rseq_hart: AtomicU32,
    timer_slack_nanos: AtomicU64,
    /// Until when an interrupted call that is made again waits; [`NO_DEADLINE`] if there is none.
    restart_deadline: AtomicU64,
    /// Ticks in user mode, and how many of them are in the account of a hart; written by the thread alone.
    user_ticks: AtomicU64,
    settled_ticks: AtomicU64,
    pub(crate) minor_faults: AtomicU32,
    has_released_memory: AtomicBool,
    memory_released: WaitQueue,
    exit_status: SpinLock<Option<WaitStatus>>,
    name: SpinLock<[u8; NAME_BYTES]>,
    pub(crate) schedule: SpinLock<Schedule>,
    rings: ThreadRings,
}

/// By how much timers may be late unless a program says otherwise, as on Linux. Ours are on time.
const USUAL_SLACK_NANOS: u64 = 50_000;

const NO_DEADLINE: u64 = u64::MAX;

/// Bytes in a thread's name, the terminating zero included.
pub const NAME_BYTES: usize = 16;

impl Thread {
    /// A thread that does not run yet.
    pub fn new(
        id: i32,
        process: Arc<Process>,
        resources: Resources,
        credentials: Arc<Credentials>,
        signals: ThreadSignals,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: AtomicI32::new(id),
            process,
            work: AtomicU32::new(0),
            task: Once::new(),
            futex_waiter: Once::new(),
            resources: SpinLock::new(Rank::THREAD, resources),
            credentials: SpinLock::new(Rank::FILE, credentials),
            signals: SpinLock::new(Rank::FILE, signals),
            clear_child_id: AtomicUsize::new(0),
            robust_list: AtomicUsize::new(0),
            rseq: AtomicUsize::new(0),
            rseq_signature: AtomicU32::new(0),
            rseq_hart: AtomicU32::new(0),
            timer_slack_nanos: AtomicU64::new(USUAL_SLACK_NANOS),
            restart_deadline: AtomicU64::new(NO_DEADLINE),
            user_ticks: AtomicU64::new(0),
            settled_ticks: AtomicU64::new(0),
            minor_faults: AtomicU32::new(0),
            has_released_memory: AtomicBool::new(false),
            memory_released: WaitQueue::new("memory released"),
            exit_status: SpinLock::new(Rank::FILE, None),
            name: SpinLock::new(Rank::INODE, [0; NAME_BYTES]),
            schedule: SpinLock::new(Rank::THREAD, Schedule::default()),
            rings: ThreadRings::new(),
        })
    }

    /// What it has to do with `io_uring`.
    pub fn rings(&self) -> &ThreadRings {
        &self.rings
    }

    /// Its number.
    #[inline]
    pub fn id(&self) -> i32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Gives it its process's number: it executes a program, and the leader has ended.
    pub(crate) fn become_leader(&self) {
        self.id.store(self.process.id(), Ordering::Relaxed);
        if let Some(task) = self.task() {
            task.record().set_tag(self.id() as u32);
        }
    }

    /// The process (thread group) it belongs to.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// What is pending for it.
    #[inline]
    pub fn work(&self) -> Work {
        Work::from_bits_retain(self.work.load(Ordering::Acquire))
    }

    /// Adds work and ends an interruptible wait.
    pub fn add_work(&self, work: Work) {
        self.work.fetch_or(work.bits(), Ordering::AcqRel);
        if let Some(task) = self.task.get() {
            task.wake();
        }
    }

    /// Notes, for the thread itself, which does not wait, that it has a signal to look at.
    pub fn note_signal(&self) {
        self.work.fetch_or(Work::SIGNAL.bits(), Ordering::Relaxed);
    }

    /// Notes, for the thread itself, that something came between two instructions of its program.
    pub fn note_preemption(&self) {
        self.work.fetch_or(Work::PREEMPTED.bits(), Ordering::Relaxed);
    }

    /// Notes, for the thread itself, which does not wait, that it has woken requests of its rings.
    pub fn note_ring_work(&self) {
        self.work.fetch_or(Work::RINGS.bits(), Ordering::Relaxed);
    }

    /// Takes work off the list: the caller is about to look at it.
    pub fn clear_work(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::AcqRel);
    }

    /// Notes which task the thread is; its future does so once, at its start. From then on [`current_thread`] finds it.
    pub fn set_task(&self, task: TaskRef) {
        task.record().set_tag(self.id() as u32);
        self.task.call_once(|| task);
    }

    /// The task that the thread is, once it has begun to run.
    pub fn task(&self) -> Option<&TaskRef> {
        self.task.get()
    }

    /// With what the thread waits for words, one at a time.
    #[inline]
    pub fn futex_waiter(&self) -> &Arc<futex::Waiter> {
        match self.futex_waiter.get() {
            Some(waiter) => waiter,
            None => self.futex_waiter.call_once(futex::Waiter::new),
        }
    }

    /// Its memory, files and the rest, for others than itself.
    pub fn resources(&self) -> Resources {
        self.resources.lock().clone()
    }

    /// What a signal does to it.
    pub fn signal_action(&self, signal: Signal) -> SigAction {
        self.resources.lock().signal_actions.get(signal)
    }

    /// Which user it really is, for who is told where a signal comes from.
    pub fn real_user(&self) -> u32 {
        self.credentials.lock().real_user
    }

    /// Replaces them: the thread executed a program, or stopped sharing.
    pub fn set_resources(&self, resources: Resources) {
        let previous = core::mem::replace(&mut *self.resources.lock(), resources);
        // Outside the lock: the last owner of an address space has much to free.
        drop(previous);
    }

    /// Who it acts as.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.lock().clone()
    }

    /// Changes who it acts as. Only the thread itself does. The first thread's are shown as the process's.
    pub fn set_credentials(&self, credentials: Credentials) {
        let credentials = Arc::new(credentials);
        if self.id() == self.process.id() {
            self.process.set_credentials(credentials.clone());
        }
        let previous = core::mem::replace(&mut *self.credentials.lock(), credentials);
        drop(previous);
    }

    /// Runs `look` on the thread's signal mask and pending signals.
    pub fn with_signals<R>(&self, look: impl FnOnce(&mut ThreadSignals) -> R) -> R {
        look(&mut self.signals.lock())
    }

    /// Where the thread's id is to be zeroed when it ends; 0 for nowhere.
    pub fn clear_child_id(&self) -> usize {
        self.clear_child_id.load(Ordering::Relaxed)
    }

    /// Sets where the thread's id is to be zeroed when it ends.
    pub fn set_clear_child_id(&self, address: usize) {
        self.clear_child_id.store(address, Ordering::Relaxed);
    }

    /// The list of robust futexes; 0 for none.
    pub fn robust_list(&self) -> usize {
        self.robust_list.load(Ordering::Relaxed)
    }

    /// Sets the list of robust futexes.
    pub fn set_robust_list(&self, address: usize) {
        self.robust_list.store(address, Ordering::Relaxed);
    }

    /// By how much its timers may be late.
    pub fn timer_slack_nanos(&self) -> u64 {
        self.timer_slack_nanos.load(Ordering::Relaxed)
    }

    /// Sets by how much its timers may be late.
    pub fn set_timer_slack_nanos(&self, nanos: u64) {
        self.timer_slack_nanos.store(nanos, Ordering::Relaxed);
    }

    /// The area of restartable sequences; 0 for none.
    #[inline]
    pub fn rseq(&self) -> usize {
        self.rseq.load(Ordering::Relaxed)
    }

    /// What must stand before the code that aborts a sequence.
    pub fn rseq_signature(&self) -> u32 {
        self.rseq_signature.load(Ordering::Relaxed)
    }

    /// Sets the area of restartable sequences, and the signature.
    pub fn set_rseq(&self, address: usize, signature: u32) {
        self.rseq_signature.store(signature, Ordering::Relaxed);
        self.rseq_hart.store(0, Ordering::Relaxed);
        self.rseq.store(address, Ordering::Relaxed);
    }

    /// Whether the area of restartable sequences says that the thread is on this hart.
    pub fn rseq_says(&self, hart: HartId) -> bool {
        self.rseq_hart.load(Ordering::Relaxed) == hart.index() as u32 + 1
    }

    /// Notes that it was written there. Only the thread itself does.
    pub fn note_rseq_says(&self, hart: HartId) {
        self.rseq_hart.store(hart.index() as u32 + 1, Ordering::Relaxed);
    }

    /// What the thread owes to others before it lets go of its memory: what it held is released, and who waits for its
    /// end is told. `is_shared`: others use the memory too.
    pub async fn settle_with_memory(&self, memory: &UserMemory, is_shared: bool) {
        let list = self.robust_list.swap(0, Ordering::Relaxed);
        if list != 0 {
            futex::robust::release_all(memory, VirtAddr::new(list), self.id()).await;
        }
        let clear = self.clear_child_id.swap(0, Ordering::Relaxed);
        if clear != 0 && is_shared {
            futex::announce_end(memory, VirtAddr::new(clear)).await;
        }
    }

    /// Notes until when the call that is made again next has to wait.
    pub fn set_restart_deadline(&self, deadline: Option<Instant>) {
        let nanos = deadline.map_or(NO_DEADLINE, Instant::as_nanos);
        self.restart_deadline.store(nanos, Ordering::Relaxed);
    }

    /// Until when a call waits that asks for a time from now on: if it is made again after an interruption, the end stays.
    pub fn deadline_after(&self, duration: Duration) -> Instant {
        let now = Duration::from_nanos(Instant::now().as_nanos());
        let deadline = self.deadline_after_on(now, duration);
        Instant::from_nanos(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same by a clock that shows `now`.
    pub fn deadline_after_on(&self, now: Duration, duration: Duration) -> Duration {
        match self.restart_deadline.swap(NO_DEADLINE, Ordering::Relaxed) {
            NO_DEADLINE => now.saturating_add(duration),
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// Counts time in user mode, in ticks of the machine's counter. Only the thread itself does.
    #[inline]
    pub fn add_user_ticks(&self, ticks: u64) {
        self.user_ticks.store(self.user_ticks.load(Ordering::Relaxed) + ticks, Ordering::Relaxed);
    }

    /// Puts the time in user mode into the account of this hart, where it was spent: the thread may go on elsewhere. Only
    /// the thread itself does.
    pub fn settle_user_ticks(&self) {
        let used = self.user_ticks.load(Ordering::Relaxed);
        let new = used - self.settled_ticks.load(Ordering::Relaxed);
        let account = &USER_TICKS[HartId::current().index()];
        account.running.store(0, Ordering::Relaxed);
        self.settled_ticks.store(used, Ordering::Release);
        account.settled.fetch_add(new, Ordering::Release);
    }

    /// Notes that the thread is about to run its program on this hart. Only the thread itself does.
    #[inline]
    pub fn note_running(&self) {
        USER_TICKS[HartId::current().index()].running.store(self.id(), Ordering::Relaxed);
    }

    /// Ticks in user mode that are in no hart's account yet.
    fn unsettled_ticks(&self) -> u64 {
        let settled = self.settled_ticks.load(Ordering::Acquire);
        self.user_ticks.load(Ordering::Relaxed).saturating_sub(settled)
    }

    /// Nanoseconds in user mode.
    pub fn user_nanos(&self) -> u64 {
        nanos_of_ticks(self.user_ticks.load(Ordering::Relaxed))
    }

    /// Forgets what belonged to the program that was replaced.
    pub(crate) fn forget_program(&self) {
        self.set_clear_child_id(0);
        self.set_robust_list(0);
        self.set_rseq(0, 0);
        self.with_signals(|signals| signals.alternate_stack = NO_STACK);
    }

    /// Says that the thread no longer uses the memory it was created with: it executes another program, or has ended.
    pub fn release_memory(&self) {
        self.has_released_memory.store(true, Ordering::Release);
        self.memory_released.wake_all();
    }

    /// Waits for that: what the parent of a `vfork` does.
    pub async fn until_memory_released(&self) {
        self.memory_released
            .wait_until(|| self.has_released_memory.load(Ordering::Acquire).then_some(()))
            .await;
    }

    /// Makes this thread alone end.
    pub fn request_exit(&self, status: WaitStatus) {
        self.exit_status.lock().get_or_insert(status);
        self.add_work(Work::EXIT);
    }

    /// How the thread was asked to end.
    pub fn exit_status(&self) -> Option<WaitStatus> {
        *self.exit_status.lock()
    }

    /// Its name, zero-terminated.
    pub fn name(&self) -> [u8; NAME_BYTES] {
        *self.name.lock()
    }

    /// Sets its name; what does not fit is cut off.
    pub fn set_name(&self, name: &[u8]) {
        let mut bytes = [0; NAME_BYTES];
        let len = name.len().min(NAME_BYTES - 1);
        bytes[..len].copy_from_slice(&name[..len]);
        *self.name.lock() = bytes;
    }

    /// Waits for `future`, but not longer than until the thread is to end: then `Err(Interrupted)`.
    pub async fn interruptible_by_end<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending if self.work().contains(Work::EXIT) => Poll::Ready(Err(Interrupted)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits for `future`, signals or not, unless the thread must end.
    pub async fn unless_ending(&self, future: impl Future<Output = ()>) {
        let mut future = pin!(future);
        poll_fn(|context| match self.work().contains(Work::EXIT) {
            true => Poll::Ready(()),
            false => future.as_mut().poll(context),
        })
        .await;
    }

    /// Whether there is work that ends a wait.
    #[inline]
    pub fn is_interrupted(&self) -> bool {
        // Who waits is in no sequence, and its rings have somebody else as well.
        !self.work().difference(Work::PREEMPTED | Work::RINGS).is_empty()
    }

    /// Waits for `future`, but not longer than until there is work for the thread: then `Err(Interrupted)`.
    ///
    /// The thread is one task, so whoever adds work wakes this very wait; nothing needs to be registered.
    pub async fn interruptible<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        self.interruptible_at(pin!(future)).await
    }

    /// The same for a future that stays where its owner has it: what is handed over takes its room twice.
    pub async fn interruptible_at<T>(
        &self,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Interrupted> {
        poll_fn(|context| {
            // The outcome first: what is done is done, whatever else has come.
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            if self.is_interrupted() { Poll::Ready(Err(Interrupted)) } else { Poll::Pending }
        })
        .await
    }
}

/// A hart's account of time in user mode.
struct UserTicks {
    /// What threads have put into it when they stopped running there.
    settled: AtomicU64,
    /// The thread that runs there; 0 if none does.
    running: AtomicI32,
    /// The most that was ever told, so that it never goes back.
    shown: AtomicU64,
}

impl UserTicks {
    const fn new() -> Self {
        Self { settled: AtomicU64::new(0), running: AtomicI32::new(0), shown: AtomicU64::new(0) }
    }
}

static USER_TICKS: [UserTicks; MAX_HARTS] = [const { UserTicks::new() }; MAX_HARTS];

/// How long a hart has been in user mode: what is in its account, and what the thread that runs there has not put there yet.
pub fn user_time(hart: HartId) -> Duration {
    let account = &USER_TICKS[hart.index()];
    // In this order: what moves into the account meanwhile is missed for once, but not counted twice.
    let settled = account.settled.load(Ordering::Acquire);
    let running = find_thread(account.running.load(Ordering::Relaxed));
    let ticks = settled + running.map_or(0, |thread| thread.unsettled_ticks());
    Duration::from_nanos(nanos_of_ticks(account.shown.fetch_max(ticks, Ordering::Relaxed).max(ticks)))
}

/// The thread on whose behalf this code runs; `None` in the kernel's own tasks. Not for paths that have the thread at
/// hand: this looks its number up.
pub fn current_thread() -> Option<Arc<Thread>> {
    let id = executor::current_task()?.record().tag();
    if id == 0 { None } else { find_thread(id as i32) }
}

/// Between the pieces of an operation that may be long: others with a better claim to the hart go first. `Err(Interrupted)`
/// if there is work for the thread on whose behalf it is.
pub async fn give_way() -> Result<(), Interrupted> {
    if executor::checkpoint() {
        executor::reschedule().await;
    }
    match current_thread() {
        Some(thread) if thread.is_interrupted() => Err(Interrupted),
        _ => Ok(()),
    }
}

/// An interruptible wait ended because there is work for the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;
