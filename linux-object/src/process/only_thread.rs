//! Becoming the only thread of a process, which executing a program needs.

use alloc::sync::Arc;

use linux_abi::Errno;
use linux_abi::process::WaitStatus;

use super::TABLE;
use crate::thread::{Thread, Work};

/// Makes all other threads of the process end, and waits until they have. The thread then has the process's number, whatever
/// it had before. `EAGAIN` if another thread does the same, `EINTR` if the process is to end: then this thread ends too.
pub(super) async fn become_only_thread(thread: &Arc<Thread>) -> Result<(), Errno> {
    let process = thread.process();
    {
        let mut family = process.family.lock();
        if family.ending.is_some() || family.executing.is_some() {
            return Err(Errno::EAGAIN);
        }
        family.executing = Some(thread.id());
        for other in family.threads.iter().filter(|other| !Arc::ptr_eq(other, thread)) {
            other.request_exit(WaitStatus::Exited(0));
        }
    }
    let is_alone = process
        .thread_ended
        .wait_until(|| {
            if process.with_threads(|threads| threads.len() == 1) {
                return Some(true);
            }
            thread.work().contains(Work::EXIT).then_some(false)
        })
        .await;
    let mut table = TABLE.lock();
    let mut family = process.family.lock();
    family.executing = None;
    if !is_alone {
        return Err(Errno::EINTR);
    }
    if thread.id() != process.id() {
        table.remove_thread(thread.id());
        thread.become_leader();
        table.insert_thread(thread);
    }
    Ok(())
}
