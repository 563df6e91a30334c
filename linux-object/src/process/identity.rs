//! Numbers for processes and threads: one space for both, as on Linux.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};

use linux_abi::Errno;

use super::Process;
use crate::thread::Thread;

/// The largest id plus one: Linux's default `pid_max` on 64-bit machines.
pub const ID_LIMIT: i32 = 4 << 20;
/// Where numbering goes on after the limit: low numbers stay with the system's first processes.
const RESTART: i32 = 300;

/// Who has which number. A number is in use while a thread or a zombie has it.
pub(super) struct IdentityTable {
    next: i32,
    processes: BTreeMap<i32, Arc<Process>>,
    threads: BTreeMap<i32, Weak<Thread>>,
}

impl IdentityTable {
    pub(super) const fn new() -> Self {
        Self { next: 1, processes: BTreeMap::new(), threads: BTreeMap::new() }
    }

    /// A number that nobody has.
    pub(super) fn allocate(&mut self) -> Result<i32, Errno> {
        let mut wrapped = false;
        loop {
            if self.next >= ID_LIMIT {
                if wrapped {
                    return Err(Errno::EAGAIN);
                }
                wrapped = true;
                self.next = RESTART;
            }
            let candidate = self.next;
            self.next += 1;
            if self.is_free(candidate) {
                return Ok(candidate);
            }
        }
    }

    /// This very number, if nobody has it.
    pub(super) fn claim(&self, id: i32) -> Result<i32, Errno> {
        if !(1..ID_LIMIT).contains(&id) {
            return Err(Errno::EINVAL);
        }
        if self.is_free(id) { Ok(id) } else { Err(Errno::EEXIST) }
    }

    fn is_free(&self, id: i32) -> bool {
        !self.processes.contains_key(&id) && !self.threads.contains_key(&id)
    }

    pub(super) fn insert_process(&mut self, process: Arc<Process>) {
        self.processes.insert(process.id(), process);
    }

    pub(super) fn remove_process(&mut self, id: i32) -> Option<Arc<Process>> {
        self.processes.remove(&id)
    }

    pub(super) fn process(&self, id: i32) -> Option<&Arc<Process>> {
        self.processes.get(&id)
    }

    /// The number that was given last.
    pub(super) fn last(&self) -> i32 {
        self.next - 1
    }

    /// The process with the lowest number that is not below `from`.
    pub(super) fn process_from(&self, from: i32) -> Option<&Arc<Process>> {
        self.processes.range(from..).next().map(|(_, process)| process)
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.processes.values()
    }

    pub(super) fn insert_thread(&mut self, thread: &Arc<Thread>) {
        self.threads.insert(thread.id(), Arc::downgrade(thread));
    }

    pub(super) fn remove_thread(&mut self, id: i32) {
        self.threads.remove(&id);
    }

    pub(super) fn thread(&self, id: i32) -> Option<Arc<Thread>> {
        self.threads.get(&id)?.upgrade()
    }
}
