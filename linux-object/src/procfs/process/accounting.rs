//! What a process has used.

use alloc::sync::Arc;
use core::fmt::Write;
use core::time::Duration;

use executor::Accounting;
use rcore_fs::generated::ContentBuffer;

use super::Subject;
use crate::procfs::text::Produced;
use crate::thread::Thread;

/// Ticks of the clock in which /proc counts time.
pub(super) const TICKS_PER_SECOND: u128 = 100;

/// A duration in those ticks.
pub(in crate::procfs) fn ticks(time: Duration) -> u128 {
    time.as_nanos() * TICKS_PER_SECOND / 1_000_000_000
}

/// Time that was used, by mode.
#[derive(Clone, Copy, Default)]
pub(super) struct CpuTime {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

fn of_thread(thread: &Thread) -> Accounting {
    thread.task().map(|task| task.record().accounting()).unwrap_or_default()
}

impl Subject {
    /// What its threads, or the one, have used.
    pub(super) fn accounting(&self) -> Accounting {
        let mut sum = Accounting::default();
        let mut add = |thread: &Arc<Thread>| {
            let one = of_thread(thread);
            sum.run_time += one.run_time;
            sum.polls += one.polls;
            sum.wakes += one.wakes;
            sum.switches += one.switches;
        };
        match self.is_thread {
            true => self.thread().iter().for_each(&mut add),
            false => self.process.threads().iter().for_each(&mut add),
        }
        sum
    }

    pub(super) fn cpu_time(&self) -> CpuTime {
        let used = match self.is_thread {
            true => self.thread().map(|thread| thread.usage()).unwrap_or_default(),
            false => self.process.usage(),
        };
        CpuTime { user: used.user, system: used.system }
    }
}

/// `schedstat`: time that ran, time that it waited for a hart (which is not measured), and how often it ran.
pub(super) fn schedstat(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let used = subject.thread().map(|thread| of_thread(&thread)).unwrap_or_default();
    Ok(writeln!(output, "{} 0 {}", used.run_time.as_nanos(), used.switches)?)
}

pub(super) fn sched(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let thread = subject.thread()?;
    let used = of_thread(&thread);
    let name = thread.name();
    let name = core::str::from_utf8(&name).unwrap_or("?").trim_end_matches('\0');
    writeln!(output, "{name} ({}, #threads: {})", thread.id(), subject.process.thread_count())?;
    output.append(&[b'-'; 67])?;
    let millis = used.run_time.as_nanos();
    writeln!(output, "\n{:45}:{:21}", "se.sum_exec_runtime", Millis(millis))?;
    let voluntary = used.wakes.min(used.switches);
    writeln!(output, "{:45}:{:21}", "nr_switches", used.switches)?;
    writeln!(output, "{:45}:{voluntary:21}", "nr_voluntary_switches")?;
    writeln!(output, "{:45}:{:21}", "nr_involuntary_switches", used.switches - voluntary)?;
    Ok(())
}

/// Nanoseconds, shown as milliseconds.
struct Millis(u128);

impl core::fmt::Display for Millis {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = heapless::String::<48>::new();
        write!(text, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)?;
        formatter.pad_integral(true, "", &text)
    }
}
