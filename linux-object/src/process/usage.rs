//! What threads and processes have used.

use core::sync::atomic::Ordering;
use core::time::Duration;

use kernel_hal::PAGE_SIZE;
use linux_abi::resource::Rusage;
use linux_abi::time::Timeval;

use super::Process;
use crate::thread::Thread;

/// Time on a hart and what else is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// How often it gave up the hart to wait.
    pub voluntary_switches: u64,
    /// How often it had to give up the hart to others.
    pub involuntary_switches: u64,
    /// Faults that needed no device.
    pub minor_faults: u64,
    /// The most bytes of memory that were present at a time.
    pub most_resident: u64,
}

impl Usage {
    /// Time on a hart.
    pub fn total(&self) -> Duration {
        self.user + self.system
    }

    /// Adds what another used.
    pub fn add(&mut self, other: &Self) {
        self.user += other.user;
        self.system += other.system;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        self.minor_faults += other.minor_faults;
        self.most_resident = self.most_resident.max(other.most_resident);
    }

    /// As `getrusage` reports it.
    pub fn encode(&self) -> Rusage {
        Rusage {
            ru_utime: Timeval::from_duration(self.user),
            ru_stime: Timeval::from_duration(self.system),
            ru_maxrss: (self.most_resident >> 10) as i64,
            ru_minflt: self.minor_faults as i64,
            ru_nvcsw: self.voluntary_switches as i64,
            ru_nivcsw: self.involuntary_switches as i64,
            ..Rusage::default()
        }
    }
}

impl Thread {
    /// What the thread has used.
    pub fn usage(&self) -> Usage {
        let Some(task) = self.task() else { return Usage::default() };
        let record = task.record();
        let accounting = record.accounting();
        // Time in user mode is noted at each trap, that on the hart later: the latter is never less.
        let user = Duration::from_nanos(self.user_nanos());
        Usage {
            user,
            system: record.cpu_time().saturating_sub(user),
            voluntary_switches: accounting.wakes,
            involuntary_switches: accounting.polls.saturating_sub(accounting.wakes),
            minor_faults: self.minor_faults(),
            most_resident: 0,
        }
    }
}

impl Process {
    /// What its threads have used, those that have ended included.
    pub fn usage(&self) -> Usage {
        let family = self.family.lock();
        let mut usage = family.ended_threads;
        for thread in &family.threads {
            usage.add(&thread.usage());
        }
        let memory = family.threads.first().map(|thread| thread.resources().address_space);
        drop(family);
        if let Some(memory) = memory {
            let resident = memory.most_resident() * PAGE_SIZE;
            usage.most_resident = usage.most_resident.max(resident as u64);
        }
        usage
    }

    /// What children used that were waited for.
    pub fn usage_of_children(&self) -> Usage {
        self.family.lock().ended_children
    }

    /// Time on a hart.
    pub fn cpu_time(&self) -> Duration {
        let family = self.family.lock();
        let running: Duration = family.threads.iter().map(|thread| thread.cpu_time()).sum();
        family.ended_threads.total() + running
    }
}

impl Thread {
    /// Time on a hart.
    pub fn cpu_time(&self) -> Duration {
        self.task().map_or(Duration::ZERO, |task| task.record().cpu_time())
    }

    /// Counts a fault that needed no device. Only the thread itself does.
    #[inline]
    pub fn count_minor_fault(&self) {
        let count = self.minor_faults.load(Ordering::Relaxed);
        self.minor_faults.store(count.wrapping_add(1), Ordering::Relaxed);
    }

    fn minor_faults(&self) -> u64 {
        self.minor_faults.load(Ordering::Relaxed).into()
    }
}
