//! Handing a thread that is ready to run to whoever runs threads.

use alloc::boxed::Box;
use alloc::sync::Arc;

use kernel_hal::UserContext;
use ksync::Once;
use linux_abi::Errno;
use linux_abi::signal::Signal;

use super::execute::NewProgram;
use super::{Origin, Process, TABLE};
use crate::program::Tenancy;
use crate::thread::{Resources, Thread};

/// A thread with all that its future needs to begin.
pub struct StartedThread {
    /// What others see of it.
    pub thread: Arc<Thread>,
    /// Its own references to what it shares.
    pub resources: Resources,
    /// Its registers, which stay where they are from now on: they are many.
    pub context: Box<UserContext>,
    /// Its stake in its memory.
    pub tenancy: Tenancy,
    /// Where it stores its number in its own memory before its first instruction; 0 for nowhere.
    pub set_child_id: usize,
}

static SPAWNER: Once<fn(StartedThread)> = Once::new();

/// Registers what runs threads. Called once, at boot, before the first thread.
pub fn set_thread_spawner(spawner: fn(StartedThread)) {
    SPAWNER.call_once(|| spawner);
}

#[inline]
pub(super) fn start(thread: StartedThread) {
    let spawner = SPAWNER.get().expect("boot registers the spawner before it makes a thread");
    spawner(thread);
}

/// Makes process 1, whose only thread does not run yet.
pub fn first_process(resources: Resources) -> Result<Arc<Thread>, Errno> {
    let mut table = TABLE.lock();
    let id = table.allocate()?;
    let origin = Origin { like: None, creator: 0, exit_signal: Signal::SIGCHLD.number() };
    let process = Process::new(id, None, Arc::default(), origin);
    resources.files.add_user();
    let thread = Thread::new(id, process.clone(), resources, Arc::default(), Default::default());
    process.family.lock().threads.push(thread.clone());
    table.insert_thread(&thread);
    table.insert_process(process);
    Ok(thread)
}

/// Lets the first process run.
pub fn start_first_thread(thread: Arc<Thread>, program: NewProgram) {
    let NewProgram { resources, context, tenancy } = program;
    start(StartedThread { thread, resources, context: Box::new(context), tenancy, set_child_id: 0 });
}
