//! The kernel log: levels per module, a ring that user space can read later, and the boot console.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use heapless::Vec;
use kernel_hal::command_line::CommandLine;
use kernel_hal::{Instant, console};
use ksync::{Rank, SpinLock};
use log::{LevelFilter, Log, Metadata, Record};

const RING_BYTES: usize = 64 << 10;
const MOST_DIRECTIVES: usize = 16;
const LONGEST_MODULE: usize = 48;

/// The last [`RING_BYTES`] of messages. `written` counts all bytes ever written, so a reader knows what it missed.
struct Ring {
    bytes: [u8; RING_BYTES],
    written: usize,
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            self.bytes[self.written % RING_BYTES] = byte;
            self.written += 1;
        }
        Ok(())
    }
}

/// A level for one module (and those below it), or for all.
struct Directive {
    module: heapless::String<LONGEST_MODULE>,
    level: LevelFilter,
}

struct Settings {
    default: LevelFilter,
    directives: Vec<Directive, MOST_DIRECTIVES>,
}

static RING: SpinLock<Ring> = SpinLock::new(Rank::LOG, Ring { bytes: [0; RING_BYTES], written: 0 });
static SETTINGS: SpinLock<Settings> =
    SpinLock::new(Rank::CONSOLE, Settings { default: LevelFilter::Info, directives: Vec::new() });
static QUIET: AtomicBool = AtomicBool::new(false);

struct KernelLog;

impl Log for KernelLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let settings = SETTINGS.lock();
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
        let micros = Instant::now().as_nanos() / 1000;
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let mut ring = RING.lock();
        let start = ring.written;
        // Writing into the ring cannot fail.
        let _ = writeln!(
            ring,
            "[{seconds:5}.{micros:06}] {}: {}",
            record.target().split("::").next().unwrap_or(""),
            record.args()
        );
        if !QUIET.load(Ordering::Relaxed) || record.level() <= log::Level::Error {
            for at in start..ring.written {
                console::write(&[ring.bytes[at % RING_BYTES]]);
            }
        }
    }

    fn flush(&self) {}
}

/// Makes the `log` macros work, at level `info`.
pub fn install() {
    static LOG: KernelLog = KernelLog;
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Applies `log=` and `quiet`.
pub fn configure(command_line: &CommandLine<'_>) {
    QUIET.store(command_line.quiet(), Ordering::Relaxed);
    let mut most = LevelFilter::Info;
    for directive in command_line.log_directives() {
        match directive {
            Ok(directive) => {
                most = most.max(directive.level);
                if let Err(problem) = apply(directive.module, directive.level) {
                    log::warn!("log=: {problem}");
                }
            }
            Err(problem) => log::warn!("{problem}"),
        }
    }
    log::set_max_level(most);
}

fn apply(module: Option<&str>, level: LevelFilter) -> Result<(), &'static str> {
    let mut settings = SETTINGS.lock();
    let Some(module) = module else {
        settings.default = level;
        return Ok(());
    };
    let module = heapless::String::try_from(module).map_err(|_| "a module's name is too long")?;
    settings.directives.push(Directive { module, level }).map_err(|_| "too many modules are named")
}

/// Copies messages from the ring, starting at the byte with number `position` since boot, or at the oldest one that is
/// left. Returns how many bytes were copied and the position behind them.
pub fn read(position: usize, destination: &mut [u8]) -> (usize, usize) {
    let ring = RING.lock();
    let oldest = ring.written.saturating_sub(RING_BYTES);
    let start = position.max(oldest);
    let len = ring.written.saturating_sub(start).min(destination.len());
    for (offset, byte) in destination[..len].iter_mut().enumerate() {
        *byte = ring.bytes[(start + offset) % RING_BYTES];
    }
    (len, start + len)
}
