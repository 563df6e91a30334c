//! The kernel log: levels per module, a ring of records that programs can read, and the boot console.
//!
//! A message is put together before anything is locked, so what it shows may log itself, or panic. Its readers are woken
//! from an interrupt of the hart's own: whoever logs may hold any lock.

mod ring;

use core::fmt::{self, Write};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use heapless::Vec;
use kernel_hal::command_line::CommandLine;
use kernel_hal::interrupt::{self, Reason};
use kernel_hal::{HartId, Instant, console};
use ksync::{Once, Rank, SpinLock, WaitQueue};
use linux_object::kernel_messages::{Header, KernelLogSource, Severity};
use log::{Level, LevelFilter, Log, Metadata, Record};

use ring::{LONGEST_TEXT, RING_BYTES, Ring};

const MOST_DIRECTIVES: usize = 16;
const LONGEST_MODULE: usize = 48;

/// A level for one module (and those below it), or for all.
struct Directive {
    module: heapless::String<LONGEST_MODULE>,
    level: LevelFilter,
}

struct Settings {
    default: LevelFilter,
    directives: Vec<Directive, MOST_DIRECTIVES>,
}

static RING: SpinLock<Ring> = SpinLock::new(Rank::LOG, Ring::new());
static SETTINGS: Once<Settings> = Once::new();
static QUIET: AtomicBool = AtomicBool::new(false);
static READERS: WaitQueue = WaitQueue::new("kernel log");
static READERS_MUST_BE_WOKEN: AtomicBool = AtomicBool::new(false);

struct KernelLog;

static LOG: KernelLog = KernelLog;

/// Text of limited length; what is more is cut.
struct Text(heapless::Vec<u8, LONGEST_TEXT>);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut end = text.len().min(LONGEST_TEXT - self.0.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.extend_from_slice(&text.as_bytes()[..end]).map_err(|_| fmt::Error)
    }
}

impl Log for KernelLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some(settings) = SETTINGS.get() else { return metadata.level() <= LevelFilter::Info };
        let named = settings.directives.iter().rev().find(|directive| {
            let rest = metadata.target().strip_prefix(directive.module.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        metadata.level() <= named.map_or(settings.default, |directive| directive.level)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = Text(Vec::new());
        let module = record.target().split("::").next().unwrap_or("");
        // Only what is shown can fail; then the text ends there.
        let _ = write!(text, "{module}: {}", record.args());
        let now = Instant::now();
        let severity = severity_of(record.level());
        let mut ring = RING.lock();
        ring.push(now.as_nanos() / 1000, severity, &text.0);
        if !QUIET.load(Ordering::Relaxed) || record.level() <= Level::Error {
            // Under the lock, so that lines come out whole and in the order of their numbers.
            show(now, &text.0);
        }
        drop(ring);
        // Between adding the record and looking for readers, as the rule of wait queues wants.
        fence(Ordering::SeqCst);
        if !READERS.is_empty() {
            READERS_MUST_BE_WOKEN.store(true, Ordering::Release);
            interrupt::send(HartId::current(), Reason::Reschedule);
        }
    }

    fn flush(&self) {}
}

fn severity_of(level: Level) -> Severity {
    match level {
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Info => Severity::Information,
        Level::Debug | Level::Trace => Severity::Debug,
    }
}

fn show(now: Instant, text: &[u8]) {
    struct Console;
    impl Write for Console {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            console::write(text.as_bytes());
            Ok(())
        }
    }
    let micros = now.as_nanos() / 1000;
    // The console accepts everything.
    let _ = write!(Console, "[{:5}.{:06}] ", micros / 1_000_000, micros % 1_000_000);
    console::write(text);
    console::write(b"\n");
}

/// Makes the `log` macros work, at level `info`.
pub fn install() {
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    linux_object::kernel_messages::register(&LOG);
}

/// Applies `log=` and `quiet`. Called once.
pub fn configure(command_line: &CommandLine<'_>) {
    QUIET.store(command_line.quiet(), Ordering::Relaxed);
    let mut settings = Settings { default: LevelFilter::Info, directives: Vec::new() };
    let mut problems: Vec<_, 4> = Vec::new();
    for directive in command_line.log_directives() {
        match directive {
            Ok(directive) => {
                if let Err(problem) = settings.apply(directive.module, directive.level) {
                    // As many as fit are told.
                    let _ = problems.push(problem);
                }
            }
            Err(problem) => log::warn!("{problem}"),
        }
    }
    let most = settings.directives.iter().map(|directive| directive.level).max();
    log::set_max_level(settings.default.max(most.unwrap_or(LevelFilter::Off)));
    SETTINGS.call_once(|| settings);
    problems.iter().for_each(|problem| log::warn!("log=: {problem}"));
}

impl Settings {
    fn apply(&mut self, module: Option<&str>, level: LevelFilter) -> Result<(), &'static str> {
        let Some(module) = module else {
            self.default = level;
            return Ok(());
        };
        // As in the names of modules.
        let mut name = heapless::String::new();
        for character in module.chars() {
            let character = if character == '-' { '_' } else { character };
            name.push(character).map_err(|_| "a module's name is too long")?;
        }
        self.directives.push(Directive { module: name, level }).map_err(|_| "too many modules are named")
    }
}

/// Wakes whoever waits for a message, if there was one. Called from interrupts, where no lock is held.
pub fn wake_readers() {
    if READERS_MUST_BE_WOKEN.load(Ordering::Relaxed) && READERS_MUST_BE_WOKEN.swap(false, Ordering::AcqRel) {
        READERS.wake_all();
    }
}

/// Calls `function` while the log is locked: for testing what a panic at that moment says.
pub fn with_lock_held<R>(function: impl FnOnce() -> R) -> R {
    let _ring = RING.lock();
    function()
}

impl KernelLogSource for KernelLog {
    fn sequences(&self) -> Range<u64> {
        RING.lock().sequences()
    }

    fn read(&self, sequence: u64, text: &mut [u8]) -> Option<Header> {
        RING.lock().read(sequence, text)
    }

    fn capacity_bytes(&self) -> usize {
        RING_BYTES
    }

    fn readers(&self) -> &WaitQueue {
        &READERS
    }
}
