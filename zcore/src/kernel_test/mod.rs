//! Tests and benchmarks of the kernel on the machine itself, chosen on the command line.
//!
//! `ktest=list` and `kbench=list` print what there is, a line each, and power off. `ktest=NAME` runs a test as a kernel
//! task in place of the first program: the machine is powered off if the test passes and ends with the status of a panic
//! if it does not. Tests whose purpose is a panic say in the list which one. `kbench=NAME` executes a hint before and
//! after what it measures, which the instruction counter of `scripts/count.py` sees, and names it on the console.
//!
//! Principles:
//! * They are in every image, so what is tested and measured is what is shipped. Nothing of them runs unless the
//!   command line says so, and nothing else knows them.
//! * A test cannot hang: it has a time limit here, and another one in the harness.
//! * What is measured in guest time is only ever compared with generous bounds, since the host may be busy. Costs are
//!   measured in instructions.
//!
//! A line of the list is `ktest: NAME`, followed by what the test needs, if anything: `harts=N` at least, a `disk=KIND`
//! that the harness provides (see `scripts/boottest.py`), and at the end of the line `panics=TEXT`.

mod copies;
mod disk;
mod disk_bench;
mod disk_faults;
mod harts;
mod idle;
mod memory_functions;
mod preemption;
mod realtime;
mod scheduling_bench;
mod shootdown;
mod stress;
mod support;
mod tasks;
mod traps;

use alloc::boxed::Box;
use core::fmt;
use core::pin::Pin;
use core::time::Duration;

use executor::TaskOptions;
use kernel_hal::command_line::CommandLine;
use kernel_hal::{HartId, Instant, power};

use crate::machine_description;
use support::say;

/// How long a test may take. Benchmarks have no limit: when time is counted in instructions it jumps to the next timer
/// while the machine waits for a disk, and there must be none.
const LIMIT: Duration = Duration::from_secs(100);
const HART_START_LIMIT: Duration = Duration::from_secs(10);

type Body = fn() -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A test or a benchmark.
struct Entry {
    name: &'static str,
    body: Body,
    least_harts: usize,
    disk: &'static str,
    panics: &'static str,
}

impl Entry {
    const fn new(name: &'static str, body: Body) -> Self {
        Self { name, body, least_harts: 1, disk: "", panics: "" }
    }

    /// It makes sense on this many harts or more.
    const fn harts(self, least_harts: usize) -> Self {
        Self { least_harts, ..self }
    }

    /// It needs a disk of this kind.
    const fn disk(self, disk: &'static str) -> Self {
        Self { disk, ..self }
    }

    /// It passes if the kernel panics with a message that contains this.
    const fn panics(self, panics: &'static str) -> Self {
        Self { panics, ..self }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.least_harts > 1 {
            write!(f, " harts={}", self.least_harts)?;
        }
        if !self.disk.is_empty() {
            write!(f, " disk={}", self.disk)?;
        }
        if !self.panics.is_empty() {
            write!(f, " panics={}", self.panics)?;
        }
        Ok(())
    }
}

const TESTS: &[&[Entry]] = &[
    tasks::TESTS,
    harts::TESTS,
    realtime::TESTS,
    preemption::TESTS,
    idle::TESTS,
    copies::TESTS,
    memory_functions::TESTS,
    shootdown::TESTS,
    stress::TESTS,
    traps::TESTS,
    disk::TESTS,
    disk_faults::TESTS,
];

const BENCHES: &[&[Entry]] = &[scheduling_bench::BENCHES, disk_bench::BENCHES];

/// Starts what the command line asks for. Returns `false` if it asks for no test or benchmark.
pub fn start(command_line: &CommandLine<'static>) -> bool {
    let (kind, name, entries) = match (command_line.word("ktest"), command_line.word("kbench")) {
        (Some(word), _) => ("ktest", word.value(), TESTS),
        (None, Some(word)) => ("kbench", word.value(), BENCHES),
        (None, None) => return false,
    };
    let name = name.unwrap_or("list");
    if name == "list" {
        entries.iter().copied().flatten().for_each(|entry| say!("{kind}: {entry}"));
        power::off(0);
    }
    let found = entries.iter().copied().flatten().find(|entry| entry.name == name);
    let Some(entry) = found else { panic!("{kind}={name}: there is nothing of this name, see {kind}=list") };
    let limit = if kind == "ktest" { Some(LIMIT) } else { None };
    executor::spawn(TaskOptions::new(kind), run(entry, limit)).detach();
    true
}

async fn run(entry: &'static Entry, limit: Option<Duration>) {
    let harts = machine_description().usable_harts().count().min(kernel_hal::MAX_HARTS);
    let deadline = Instant::now() + HART_START_LIMIT;
    while HartId::count() < harts {
        assert!(Instant::now() < deadline, "only {} of {harts} harts have started", HartId::count());
        executor::sleep(Duration::from_millis(1)).await;
    }
    assert!(harts >= entry.least_harts, "{} needs {} harts", entry.name, entry.least_harts);
    let started = Instant::now();
    let deadline = limit.map_or(Instant::FAR_FUTURE, |limit| started + limit);
    let ended = executor::timeout(deadline, (entry.body)()).await;
    assert!(ended.is_ok(), "{} was not over after {LIMIT:?}", entry.name);
    assert!(entry.panics.is_empty(), "{} came to its end", entry.name);
    say!("{}: passed after {} ms", entry.name, Instant::now().since(started).as_millis());
    power::off(0)
}
