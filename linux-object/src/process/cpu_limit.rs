//! The limit of time on a hart: a task of the kernel looks at what a process uses, as often as it could have reached it.

use alloc::sync::{Arc, Weak};
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::HartId;
use linux_abi::resource::{RLIM_INFINITY, RLIMIT_CPU, Rlimit};
use linux_abi::signal::Signal;
use linux_abi::signal_info::SignalInfo;

use super::Process;
use crate::signal;

/// How often it looks at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// How far the limit moves when it is reached and the process goes on.
const STEP_SECONDS: u64 = 1;

/// Makes sure that the process is watched if its time is limited.
pub fn watch_time(process: &Arc<Process>) {
    if process.limits().must_be_watched() {
        let watched = Arc::downgrade(process);
        executor::spawn(TaskOptions::new("cpu-limit"), async move {
            while let Some(pause) = look(&watched) {
                executor::sleep(pause).await;
            }
        })
        .detach();
    }
}

/// Acts on what the process has used, and says when to look again; `None`: there is nothing to watch any more.
fn look(watched: &Weak<Process>) -> Option<Duration> {
    let process = watched.upgrade().filter(|process| process.fate().is_none())?;
    let Rlimit { rlim_cur: soft, rlim_max: hard } = process.limits().get(RLIMIT_CPU as u32);
    if soft.min(hard) == RLIM_INFINITY {
        process.limits().is_no_longer_watched();
        return None;
    }
    let used = process.cpu_time();
    if used >= Duration::from_secs(hard) {
        signal::send_to_process(&process, Signal::SIGKILL, SignalInfo::kernel(Signal::SIGKILL));
        return None;
    }
    let mut next = soft;
    if used >= Duration::from_secs(soft) {
        signal::send_to_process(&process, Signal::SIGXCPU, SignalInfo::kernel(Signal::SIGXCPU));
        next = soft.saturating_add(STEP_SECONDS);
        // The process may have set another limit meanwhile; then that one counts.
        let moved = Rlimit { rlim_cur: next.min(hard), rlim_max: hard };
        let _ = process.limits().set(RLIMIT_CPU as u32, moved, false);
    }
    let left = Duration::from_secs(next.min(hard)).saturating_sub(used);
    Some((left / HartId::count() as u32).max(SHORTEST_LOOK))
}
