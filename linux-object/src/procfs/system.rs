//! What `/proc` tells about the system as a whole.

use alloc::format;
use core::fmt::Write;
use core::time::Duration;

use kernel_hal::{HartId, Instant, PAGE_SIZE};
use kernel_object::frame::{self, FrameKind};
use rcore_fs::generated::ContentBuffer;

use super::process::ticks;
use super::text::Produced;
use crate::locks::{self, LockKind, LockRange};
use crate::{clock, console, file, load, machine, namespace, process, version};

type Writer = fn(&mut ContentBuffer) -> Produced;

const READ_ONLY: u32 = 0o444;
const KIB_PER_PAGE: usize = PAGE_SIZE / 1024;

/// Names, permissions and contents.
pub(super) const FILES: &[(&str, u32, Writer)] = &[
    ("cmdline", READ_ONLY, command_line),
    ("consoles", READ_ONLY, consoles),
    ("cpuinfo", READ_ONLY, harts),
    ("devices", READ_ONLY, devices),
    ("filesystems", READ_ONLY, file_systems),
    ("interrupts", READ_ONLY, interrupts),
    ("loadavg", READ_ONLY, load_averages),
    ("locks", READ_ONLY, file_locks),
    ("meminfo", READ_ONLY, memory),
    ("partitions", READ_ONLY, partitions),
    ("stat", READ_ONLY, statistics),
    ("swaps", READ_ONLY, swaps),
    ("uptime", READ_ONLY, uptime),
    ("version", READ_ONLY, version),
    ("vmstat", READ_ONLY, memory_statistics),
];

fn file_locks(output: &mut ContentBuffer) -> Produced {
    for (index, lock) in locks::list().iter().enumerate() {
        let kind = if lock.kind == LockKind::Exclusive { "WRITE" } else { "READ" };
        let (sort, device) = (lock.sort, lock.device);
        write!(output, "{}: {sort:6} ADVISORY  {kind} {} ", index + 1, lock.process)?;
        write!(output, "{:02x}:{:02x}:{} {} ", device.major(), device.minor(), lock.inode, lock.range.first)?;
        match lock.range.last {
            LockRange::END => writeln!(output, "EOF")?,
            last => writeln!(output, "{last}")?,
        }
    }
    Ok(())
}

fn version(output: &mut ContentBuffer) -> Produced {
    Ok(writeln!(output, "Linux version {} (zcore@zcore) (rustc) {}", version::RELEASE, version::VERSION)?)
}

fn command_line(output: &mut ContentBuffer) -> Produced {
    Ok(writeln!(output, "{}", machine::get().command_line)?)
}

/// Since the boot.
fn now() -> Duration {
    Duration::from_nanos(Instant::now().as_nanos())
}

fn online() -> impl Iterator<Item = HartId> {
    (0..HartId::count()).map(HartId::new)
}

fn idle(hart: HartId) -> Duration {
    now().saturating_sub(executor::hart_state(hart).busy)
}

fn uptime(output: &mut ContentBuffer) -> Produced {
    let seconds = |time: Duration| format!("{}.{:02}", time.as_secs(), time.subsec_millis() / 10);
    Ok(writeln!(output, "{} {}", seconds(now()), seconds(online().map(idle).sum()))?)
}

fn load_averages(output: &mut ContentBuffer) -> Produced {
    for average in load::averages() {
        let hundredths = (average * 100) >> load::FRACTION_BITS;
        write!(output, "{}.{:02} ", hundredths / 100, hundredths % 100)?;
    }
    let (last, _) = process::population();
    Ok(writeln!(output, "{}/{} {last}", load::runnable(), executor::task_count())?)
}

fn memory(output: &mut ContentBuffer) -> Produced {
    let statistics = frame::statistics();
    let objects = statistics.used_by(FrameKind::Object);
    let lines = [
        ("MemTotal", statistics.total),
        ("MemFree", statistics.free),
        ("MemAvailable", statistics.free),
        ("Buffers", 0),
        ("Cached", objects),
        ("SwapCached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("AnonPages", statistics.used_by(FrameKind::Anonymous)),
        ("Slab", statistics.used_by(FrameKind::Kernel)),
        ("SUnreclaim", statistics.used_by(FrameKind::Kernel)),
        ("PageTables", statistics.used_by(FrameKind::PageTable)),
    ];
    for (name, pages) in lines {
        writeln!(output, "{:15} {:8} kB", format!("{name}:"), pages * KIB_PER_PAGE)?;
    }
    Ok(())
}

fn memory_statistics(output: &mut ContentBuffer) -> Produced {
    let statistics = frame::statistics();
    writeln!(output, "nr_free_pages {}", statistics.free)?;
    writeln!(output, "nr_anon_pages {}", statistics.used_by(FrameKind::Anonymous))?;
    writeln!(output, "nr_file_pages {}", statistics.used_by(FrameKind::Object))?;
    writeln!(output, "nr_page_table_pages {}", statistics.used_by(FrameKind::PageTable))?;
    Ok(())
}

/// Linux's columns: user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice.
fn write_hart(
    output: &mut ContentBuffer,
    name: &str,
    busy: Duration,
    user: Duration,
    idle: Duration,
) -> Produced {
    let system = busy.saturating_sub(user);
    Ok(writeln!(output, "{name} {} 0 {} {} 0 0 0 0 0 0", ticks(user), ticks(system), ticks(idle))?)
}

fn statistics(output: &mut ContentBuffer) -> Produced {
    let mut sums = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut switches = 0;
    for hart in online() {
        let state = executor::hart_state(hart);
        sums.0 += state.busy;
        sums.1 += crate::thread::user_time(hart);
        sums.2 += idle(hart);
        switches += state.switches;
    }
    write_hart(output, "cpu ", sums.0, sums.1, sums.2)?;
    for hart in online() {
        let busy = executor::hart_state(hart).busy;
        let name = format!("cpu{}", hart.index());
        write_hart(output, &name, busy, crate::thread::user_time(hart), idle(hart))?;
    }
    let mut total = 0;
    (machine::get().interrupts)(&mut |(_, _, count)| total += count);
    let began = clock::real_time().saturating_sub(now());
    writeln!(output, "intr {total}\nctxt {switches}\nbtime {}", began.as_secs())?;
    writeln!(
        output,
        "processes {}\nprocs_running {}\nprocs_blocked 0",
        process::fork_count() + 1,
        load::runnable()
    )?;
    Ok(())
}

fn harts(output: &mut ContentBuffer) -> Produced {
    for (index, hart) in machine::get().harts.iter().enumerate() {
        writeln!(output, "processor\t: {index}\nhart\t\t: {}", hart.hardware_id)?;
        writeln!(output, "isa\t\t: {0}\nmmu\t\t: sv39\nhart isa\t: {0}\n", hart.isa)?;
    }
    Ok(())
}

fn interrupts(output: &mut ContentBuffer) -> Produced {
    // One hart takes all interrupts of devices; it is the boot hart.
    write!(output, "     ")?;
    online().try_for_each(|hart| write!(output, "{:>11}", format!("CPU{}", hart.index())))?;
    writeln!(output)?;
    let mut outcome = Ok(());
    (machine::get().interrupts)(&mut |(line, name, count)| {
        let mut write_line = || {
            write!(output, "{line:3}: {count:10}")?;
            online().skip(1).try_for_each(|_| write!(output, " {:10}", 0))?;
            writeln!(output, "  PLIC {line:3} Edge      {name}")
        };
        if outcome.is_ok() {
            outcome = write_line();
        }
    });
    Ok(outcome?)
}

fn devices(output: &mut ContentBuffer) -> Produced {
    writeln!(output, "Character devices:")?;
    let mut majors = file::open::character_device_majors();
    majors.sort_unstable();
    for major in majors {
        let name = match major {
            1 => "mem",
            4 => "ttyS",
            5 => "/dev/tty",
            10 => "misc",
            229 => "hvc",
            _ => "char",
        };
        writeln!(output, "{major:3} {name}")?;
    }
    writeln!(output, "\nBlock devices:")?;
    if let Some(disk) = machine::get().disks.first() {
        writeln!(output, "{:3} virtblk", disk.number.major())?;
    }
    Ok(())
}

const SECTORS_PER_KIB: u64 = 2;

fn partitions(output: &mut ContentBuffer) -> Produced {
    writeln!(output, "major minor  #blocks  name\n")?;
    for disk in &machine::get().disks {
        let blocks = disk.device.information().sectors / SECTORS_PER_KIB;
        writeln!(output, "{:4} {:8} {blocks:10} {}", disk.number.major(), disk.number.minor(), disk.name)?;
    }
    Ok(())
}

fn file_systems(output: &mut ContentBuffer) -> Produced {
    for (name, needs_disk) in namespace::kinds() {
        writeln!(output, "{}\t{name}", if needs_disk { "" } else { "nodev" })?;
    }
    Ok(())
}

fn swaps(output: &mut ContentBuffer) -> Produced {
    Ok(writeln!(output, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority")?)
}

fn consoles(output: &mut ContentBuffer) -> Produced {
    let Some((name, number)) = console::name().zip(console::number()) else { return Ok(()) };
    Ok(writeln!(output, "{name:20} -W- (EC    ) {:4}:{}", number.major(), number.minor())?)
}
