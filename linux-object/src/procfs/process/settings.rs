//! What can be set for a process, and what limits it.

use alloc::format;
use core::fmt::Write;

use kernel_object::frame;
use linux_abi::Errno;
use linux_abi::resource::RLIM_INFINITY;
use rcore_fs::generated::ContentBuffer;

use super::Subject;
use crate::procfs::text::Produced;
use crate::thread::current_thread;

const MOST_ADJUSTMENT: i32 = 1000;
/// What the older `oom_adj` ranges over, and its value for "never".
const OLD_NEVER: i32 = -17;
const OLD_MOST: i32 = 15;

pub(super) fn name(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    output.append(&subject.name())?;
    Ok(output.append(b"\n")?)
}

/// Only the process itself may change what its threads are called.
pub(super) fn set_name(subject: &Subject, input: &[u8]) -> Result<(), Errno> {
    let caller = current_thread().ok_or(Errno::ESRCH)?;
    if caller.process().id() != subject.process.id() {
        return Err(Errno::EINVAL);
    }
    let end = input.iter().position(|&byte| byte == 0).unwrap_or(input.len());
    // The newline that `echo` adds is kept, as by Linux.
    subject.thread()?.set_name(&input[..end]);
    Ok(())
}

/// Names and units, by number.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

pub(super) fn limits(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    writeln!(output, "{:25} {:20} {:20} {:10}", "Limit", "Soft Limit", "Hard Limit", "Units")?;
    let value = |limit: u64| match limit {
        RLIM_INFINITY => "unlimited".into(),
        limit => format!("{limit}"),
    };
    for ((name, unit), limit) in LIMITS.iter().zip(subject.process.limits().all()) {
        writeln!(output, "{name:25} {:20} {:20} {unit:10}", value(limit.rlim_cur), value(limit.rlim_max))?;
    }
    Ok(())
}

/// How soon it would be ended if memory ran out, as Linux weighs it: 0 to 2000.
pub(super) fn oom_score(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let adjustment = i64::from(subject.process.oom_adjustment());
    let resident = subject.resources().map_or(0, |resources| resources.address_space.usage().resident as i64);
    let total = (frame::statistics().total as i64).max(1);
    let score = match adjustment {
        -1000 => 0,
        adjustment => (1000 + resident * 1000 / total + adjustment) * 2 / 3,
    };
    Ok(writeln!(output, "{score}")?)
}

pub(super) fn oom_score_adjustment(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    Ok(writeln!(output, "{}", subject.process.oom_adjustment())?)
}

fn parse(input: &[u8]) -> Result<i32, Errno> {
    let text = core::str::from_utf8(input).map_err(|_| Errno::EINVAL)?;
    text.trim().parse().map_err(|_| Errno::EINVAL)
}

fn store(subject: &Subject, adjustment: i32) -> Result<(), Errno> {
    let is_privileged = current_thread().is_some_and(|caller| caller.process().credentials().is_privileged());
    subject.process.set_oom_adjustment(adjustment, is_privileged)
}

pub(super) fn set_oom_score_adjustment(subject: &Subject, input: &[u8]) -> Result<(), Errno> {
    let adjustment = parse(input)?;
    if !(-MOST_ADJUSTMENT..=MOST_ADJUSTMENT).contains(&adjustment) {
        return Err(Errno::EINVAL);
    }
    store(subject, adjustment)
}

/// The same in the older units.
pub(super) fn oom_adjustment(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let old = match subject.process.oom_adjustment() {
        MOST_ADJUSTMENT => OLD_MOST,
        adjustment => adjustment * -OLD_NEVER / MOST_ADJUSTMENT,
    };
    Ok(writeln!(output, "{old}")?)
}

pub(super) fn set_oom_adjustment(subject: &Subject, input: &[u8]) -> Result<(), Errno> {
    let old = parse(input)?;
    if !(OLD_NEVER..=OLD_MOST).contains(&old) {
        return Err(Errno::EINVAL);
    }
    store(subject, if old == OLD_MOST { MOST_ADJUSTMENT } else { old * MOST_ADJUSTMENT / -OLD_NEVER })
}

/// There is one namespace of users: every number stands for itself.
pub(super) fn identity_map(_subject: &Subject, output: &mut ContentBuffer) -> Produced {
    Ok(writeln!(output, "{:10} {:10} {:10}", 0, 0, u32::MAX)?)
}
