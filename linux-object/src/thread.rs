//! What others may know of a thread. What only the thread itself needs lives in its future.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use core::task::Poll;

use bitflags::bitflags;
use executor::TaskRef;
use kernel_object::address_space::AddressSpace;
use ksync::{Once, Rank, SpinLock, WaitQueue};
use linux_abi::process::WaitStatus;

use crate::file::FileTable;
use crate::namespace::PathContext;
use crate::process::{Process, find_thread};
use crate::program::ProgramImage;
use crate::signal::{SignalActions, ThreadSignals};

bitflags! {
    /// What a thread must look at before it goes back to user mode, and what ends its interruptible waits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Work: u32 {
        /// It must end.
        const EXIT = 1 << 0;
        /// A signal that it does not block may be pending.
        const SIGNAL = 1 << 1;
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
    id: i32,
    process: Arc<Process>,
    work: AtomicU32,
    task: Once<TaskRef>,
    resources: SpinLock<Resources>,
    signals: SpinLock<ThreadSignals>,
    clear_child_id: AtomicUsize,
    has_released_memory: AtomicBool,
    memory_released: WaitQueue,
    exit_status: SpinLock<Option<WaitStatus>>,
    name: SpinLock<[u8; NAME_BYTES]>,
}

/// Bytes in a thread's name, the terminating zero included.
pub const NAME_BYTES: usize = 16;

impl Thread {
    /// A thread that does not run yet.
    pub fn new(id: i32, process: Arc<Process>, resources: Resources, signals: ThreadSignals) -> Arc<Self> {
        Arc::new(Self {
            id,
            process,
            work: AtomicU32::new(0),
            task: Once::new(),
            resources: SpinLock::new(Rank::PROCESS, resources),
            signals: SpinLock::new(Rank::FILE, signals),
            clear_child_id: AtomicUsize::new(0),
            has_released_memory: AtomicBool::new(false),
            memory_released: WaitQueue::new("memory released"),
            exit_status: SpinLock::new(Rank::FILE, None),
            name: SpinLock::new(Rank::INODE, [0; NAME_BYTES]),
        })
    }

    /// Its number.
    pub fn id(&self) -> i32 {
        self.id
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

    /// Takes work off the list: the caller is about to look at it.
    pub fn clear_work(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::AcqRel);
    }

    /// Notes which task the thread is; its future does so once, at its start. From then on [`current_thread`] finds it.
    pub fn set_task(&self, task: TaskRef) {
        task.record().set_tag(self.id as u32);
        self.task.call_once(|| task);
    }

    /// The task that the thread is, once it has begun to run.
    pub fn task(&self) -> Option<&TaskRef> {
        self.task.get()
    }

    /// Its memory, files and the rest, for others than itself.
    pub fn resources(&self) -> Resources {
        self.resources.lock().clone()
    }

    /// Replaces them: the thread executed a program, or stopped sharing.
    pub fn set_resources(&self, resources: Resources) {
        let previous = core::mem::replace(&mut *self.resources.lock(), resources);
        // Outside the lock: the last owner of an address space has much to free.
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

    /// Waits for `future`, but not longer than until there is work for the thread: then `Err(Interrupted)`.
    ///
    /// The thread is one task, so whoever adds work wakes this very wait; nothing needs to be registered.
    pub async fn interruptible<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut future = pin!(future);
        poll_fn(|context| {
            // The outcome first: what is done is done, whatever else has come.
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(value));
            }
            if self.work().is_empty() { Poll::Pending } else { Poll::Ready(Err(Interrupted)) }
        })
        .await
    }
}

/// The thread on whose behalf this code runs; `None` in the kernel's own tasks. Not for paths that have the thread at
/// hand: this looks its number up.
pub fn current_thread() -> Option<Arc<Thread>> {
    let id = executor::current_task()?.record().tag();
    if id == 0 { None } else { find_thread(id as i32) }
}

/// An interruptible wait ended because there is work for the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;
