//! `stat`, `status` and `statm`: what ps and top read.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;

use executor::{Activity, Class};
use kernel_hal::{HartId, PAGE_SIZE};
use kernel_object::address_space::{AreaInfo, Protection, Usage};
use linux_abi::signal::{SIG_DFL, SIG_IGN, Signal, SignalSet};
use rcore_fs::generated::ContentBuffer;

use super::Subject;
use super::accounting::{TICKS_PER_SECOND, ticks};
use super::memory::areas;
use crate::console;
use crate::namespace::Place;
use crate::process::ProcessFlags;
use crate::procfs::text::{Produced, append_escaped};
use crate::signal::SIGNALS;
use crate::thread::{Resources, Thread};

const KIB_PER_PAGE: usize = PAGE_SIZE / 1024;
/// `PF_RANDOMIZE`: its addresses are random.
const FLAGS: u32 = 0x40_0000;
/// A thread that nobody waits for.
const NO_EXIT_SIGNAL: i32 = -1;

/// What a process, or one of its threads, is doing.
#[derive(Clone, Copy)]
struct State {
    letter: char,
    name: &'static str,
}

impl Subject {
    fn state(&self) -> State {
        let (letter, name) = match self.thread() {
            Err(_) => ('Z', "zombie"),
            Ok(_) if self.process.is_stopped() => ('T', "stopped"),
            Ok(thread) => match thread.task().map(|task| task.record().activity()) {
                Some(Activity::Waiting) => ('S', "sleeping"),
                _ => ('R', "running"),
            },
        };
        State { letter, name }
    }

    /// What it is called, without what follows the zero.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.thread().map_or_else(|_| self.process.last_name(), |thread| thread.name());
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        name[..end].to_vec()
    }

    /// Its memory; a zombie has none.
    fn memory(&self) -> Option<Resources> {
        self.resources().ok()
    }
}

/// What the areas of an address space add up to, in pages.
#[derive(Default)]
struct Sums {
    stack: usize,
    code: usize,
    library_code: usize,
    shared: usize,
}

impl Sums {
    fn of(resources: &Resources) -> Self {
        let mut sums = Self::default();
        let executable = resources.image.executable.as_ref().map(|place| place.inode().number());
        for area in areas(&resources.address_space) {
            sums.add(&area, executable);
        }
        sums
    }

    fn add(&mut self, area: &AreaInfo, executable: Option<u64>) {
        let pages = (area.range.end - area.range.start) / PAGE_SIZE;
        let place = area.origin.as_deref().and_then(|origin| origin.downcast_ref::<Place>());
        if area.grows_down {
            self.stack += pages;
        }
        if area.shared {
            self.shared += pages;
        }
        let is_code =
            area.protection.contains(Protection::EXECUTE) && !area.protection.contains(Protection::WRITE);
        match place {
            Some(place) if is_code && Some(place.inode().number()) == executable => self.code += pages,
            Some(_) if is_code => self.library_code += pages,
            _ => {}
        }
    }
}

/// Priority, nice value, real-time priority and policy, as `stat` shows them.
fn scheduling(thread: Option<&Arc<Thread>>) -> (i32, i32, u32, u32) {
    const SCHED_IDLE: u32 = 5;
    let class = thread.and_then(|thread| thread.task().map(|task| task.record().class()));
    match class.unwrap_or(Class::NORMAL) {
        Class::Fifo(priority) => (-1 - i32::from(priority), 0, priority.into(), 1),
        Class::RoundRobin(priority) => (-1 - i32::from(priority), 0, priority.into(), 2),
        Class::Fair { nice } => (20 + i32::from(nice), nice.into(), 0, 0),
        Class::Idle => (39, 19, 0, SCHED_IDLE),
    }
}

/// The masks that a process shows.
struct Masks {
    pending: SignalSet,
    shared_pending: SignalSet,
    blocked: SignalSet,
    ignored: SignalSet,
    caught: SignalSet,
}

impl Masks {
    fn of(subject: &Subject) -> Self {
        let mut masks = Self {
            pending: SignalSet::EMPTY,
            shared_pending: subject.process.with_pending_signals(|pending| pending.set()),
            blocked: SignalSet::EMPTY,
            ignored: SignalSet::EMPTY,
            caught: SignalSet::EMPTY,
        };
        let Ok(thread) = subject.thread() else { return masks };
        (masks.pending, masks.blocked) =
            thread.with_signals(|signals| (signals.pending.set(), signals.blocked));
        let actions = thread.resources().signal_actions;
        for signal in (1..=SIGNALS as i32).filter_map(Signal::new) {
            match actions.get(signal).sa_handler {
                SIG_DFL => {}
                SIG_IGN => masks.ignored.insert(signal),
                _ => masks.caught.insert(signal),
            }
        }
        masks
    }
}

pub(super) fn stat(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let process = &subject.process;
    let thread = subject.thread().ok();
    let may_inspect = subject.check_inspection().is_ok();
    let resources = subject.memory();
    let usage = resources.as_ref().map_or(Usage::default(), |resources| resources.address_space.usage());
    let (terminal, foreground) = match console::foreground_group(process.session()) {
        Some(group) => (console::number().map_or(0, |number| number.encode()), group),
        None => (0, -1),
    };
    let time = subject.cpu_time();
    let children = process.usage_of_children();
    let (priority, nice, realtime_priority, policy) = scheduling(thread.as_ref());
    let masks = Masks::of(subject);
    let legacy = |set: SignalSet| set.bits() & 0x7fff_ffff;
    let shown = resources.as_ref().filter(|_| may_inspect);
    let image = shown.map(|resources| resources.image.clone()).unwrap_or_default();
    let break_start = shown.map_or(0, |resources| resources.address_space.break_range().start.as_usize());
    let hart = thread.as_ref().and_then(|thread| Some(thread.task()?.record().hart().index())).unwrap_or(0);
    let started = u128::from(process.started().as_nanos()) * TICKS_PER_SECOND / 1_000_000_000;
    let exit_signal = match process.exit_signal() {
        _ if subject.is_thread && subject.id != process.id() => NO_EXIT_SIGNAL,
        Some(signal) => i32::from(signal.number()),
        None => 0,
    };

    write!(output, "{} (", subject.id)?;
    output.append(&subject.name())?;
    write!(
        output,
        ") {} {} {} {} {terminal} {foreground} {FLAGS} {} 0 {} 0 {} {} {} {} {priority} {nice} {} 0 {started}",
        subject.state().letter,
        process.parent_id(),
        process.group(),
        process.session(),
        process.usage().minor_faults,
        children.minor_faults,
        ticks(time.user),
        ticks(time.system),
        ticks(children.user),
        ticks(children.system),
        process.thread_count(),
    )?;
    write!(
        output,
        " {} {} {} {} {} {} 0 0",
        usage.mapped * PAGE_SIZE,
        usage.resident,
        u64::MAX,
        image.code.start,
        image.code.end,
        image.stack_start,
    )?;
    write!(
        output,
        " {} {} {} {} 0 0 0 {exit_signal} {hart} {realtime_priority} {policy} 0 0 0",
        legacy(masks.pending.union(masks.shared_pending)),
        legacy(masks.blocked),
        legacy(masks.ignored),
        legacy(masks.caught),
    )?;
    writeln!(
        output,
        " {} {} {break_start} {} {} {} {} {}",
        image.data.start,
        image.data.end,
        image.arguments.start,
        image.arguments.end,
        image.environment.start,
        image.environment.end,
        if may_inspect { process.fate().unwrap_or(0) } else { 0 },
    )?;
    Ok(())
}

pub(super) fn statm(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let Some(resources) = subject.memory() else { return Ok(writeln!(output, "0 0 0 0 0 0 0")?) };
    let usage = resources.address_space.usage();
    let sums = Sums::of(&resources);
    let shared = sums.shared.min(usage.resident);
    let data = usage.data + sums.stack;
    Ok(writeln!(output, "{} {} {shared} {} 0 {data} 0", usage.mapped, usage.resident, sums.code)?)
}

pub(super) fn status(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let process = &subject.process;
    let credentials = process.credentials();
    let state = subject.state();
    output.append(b"Name:\t")?;
    append_escaped(output, &subject.name(), b"\n\\")?;
    writeln!(output)?;
    let resources = subject.memory();
    if let Some(resources) = &resources {
        writeln!(output, "Umask:\t{:04o}", resources.paths.creation_mask())?;
    }
    writeln!(output, "State:\t{} ({})", state.letter, state.name)?;
    writeln!(output, "Tgid:\t{}\nNgid:\t0\nPid:\t{}", process.id(), subject.id)?;
    writeln!(output, "PPid:\t{}\nTracerPid:\t0", process.parent_id())?;
    writeln!(
        output,
        "Uid:\t{}\t{}\t{}\t{}",
        credentials.real_user, credentials.effective_user, credentials.saved_user, credentials.file_user
    )?;
    writeln!(
        output,
        "Gid:\t{}\t{}\t{}\t{}",
        credentials.real_group, credentials.effective_group, credentials.saved_group, credentials.file_group
    )?;
    writeln!(output, "FDSize:\t{}", resources.as_ref().map_or(0, |resources| resources.files.size()))?;
    output.append(b"Groups:\t")?;
    credentials.groups.iter().try_for_each(|group| write!(output, "{group} "))?;
    writeln!(output)?;
    let [pid, group, session] = [subject.id, process.group(), process.session()];
    writeln!(output, "NStgid:\t{}\nNSpid:\t{pid}\nNSpgid:\t{group}\nNSsid:\t{session}", process.id())?;
    if let Some(resources) = &resources {
        write_memory(resources, output)?;
    }
    writeln!(output, "Threads:\t{}", process.thread_count())?;
    write_signals(subject, output)?;
    let used = subject.accounting();
    let harts = subject.thread().ok().and_then(|thread| Some(thread.task()?.record().affinity()));
    let harts = harts.map_or_else(HartId::online, |affinity| affinity.intersection(HartId::online()));
    writeln!(output, "Cpus_allowed:\t{:x}", harts.bits())?;
    writeln!(output, "Cpus_allowed_list:\t{}", list_of(harts.bits()))?;
    let voluntary = used.wakes.min(used.switches);
    writeln!(output, "voluntary_ctxt_switches:\t{voluntary}")?;
    writeln!(output, "nonvoluntary_ctxt_switches:\t{}", used.switches - voluntary)?;
    Ok(())
}

fn write_memory(resources: &Resources, output: &mut ContentBuffer) -> Produced {
    let usage = resources.address_space.usage();
    let sums = Sums::of(resources);
    let lines = [
        ("VmSize", usage.mapped),
        ("VmHWM", usage.most_resident),
        ("VmRSS", usage.resident),
        ("VmData", usage.data),
        ("VmStk", sums.stack),
        ("VmExe", sums.code),
        ("VmLib", sums.library_code),
        ("VmSwap", 0),
    ];
    for (name, pages) in lines {
        writeln!(output, "{name}:\t{:8} kB", pages * KIB_PER_PAGE)?;
    }
    Ok(())
}

fn write_signals(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let masks = Masks::of(subject);
    let lines = [
        ("SigPnd", masks.pending),
        ("ShdPnd", masks.shared_pending),
        ("SigBlk", masks.blocked),
        ("SigIgn", masks.ignored),
        ("SigCgt", masks.caught),
    ];
    for (name, set) in lines {
        writeln!(output, "{name}:\t{:016x}", set.bits())?;
    }
    Ok(())
}

/// A set of numbers as a list of ranges: `0-2,5`.
pub(in crate::procfs) fn list_of(bits: u32) -> String {
    let mut list = String::new();
    let mut number = 0;
    while number < u32::BITS {
        if bits >> number & 1 == 0 {
            number += 1;
            continue;
        }
        let len = (bits >> number).trailing_ones();
        let separator = if list.is_empty() { "" } else { "," };
        let last = number + len - 1;
        list +=
            &if len == 1 { format!("{separator}{number}") } else { format!("{separator}{number}-{last}") };
        number += len;
    }
    list
}

/// Linux's own personality, and the one flag of it that there is.
pub(super) fn personality(subject: &Subject, output: &mut ContentBuffer) -> Produced {
    let is_fixed = subject.process.flags().contains(ProcessFlags::NOT_RANDOMIZED);
    Ok(writeln!(output, "{}", if is_fixed { "00040000" } else { "00000000" })?)
}

/// Without a kernel stack there is no function in which a thread waits: what Linux says of one that runs.
pub(super) fn wait_channel(_subject: &Subject, output: &mut ContentBuffer) -> Produced {
    Ok(output.append(b"0")?)
}

#[cfg(test)]
mod tests {
    use super::list_of;

    #[test]
    fn sets_are_lists_of_ranges() {
        assert_eq!(list_of(0), "");
        assert_eq!(list_of(1), "0");
        assert_eq!(list_of(0b1011_0111), "0-2,4-5,7");
        assert_eq!(list_of(u32::MAX), "0-31");
    }
}
