//! What tests and benchmarks share: marks, output, repeatable chance, logs, background load.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;

use executor::{Class, TaskHandle, TaskOptions};
use kernel_hal::{HartId, HartMask, Instant};

/// Prints a line on the console, whatever the log's settings are.
macro_rules! say {
    ($($argument:tt)*) => {{
        use core::fmt::Write;
        // Errors of the console are nobody's to hear.
        let _ = writeln!($crate::panic::BootConsole, $($argument)*);
    }};
}
pub(super) use say;

/// The hint at which the instruction counter begins a measurement. Does nothing without it.
#[inline(always)]
pub fn mark_begin() {
    // SAFETY: an instruction without effect. It may touch memory as far as the compiler knows, which keeps what is
    // measured between the marks.
    unsafe { asm!("slti x0, x0, 1", options(nostack, preserves_flags)) };
}

/// The hint at which it ends.
#[inline(always)]
pub fn mark_end() {
    // SAFETY: as above.
    unsafe { asm!("slti x0, x0, 2", options(nostack, preserves_flags)) };
}

/// xorshift64*: repeatable chance.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}

/// What happened, in order, from any task on any hart.
pub struct Log<const CAPACITY: usize> {
    len: AtomicUsize,
    entries: [AtomicU32; CAPACITY],
}

impl<const CAPACITY: usize> Log<CAPACITY> {
    pub const fn new() -> Self {
        Self { len: AtomicUsize::new(0), entries: [const { AtomicU32::new(0) }; CAPACITY] }
    }

    pub fn push(&self, entry: u32) {
        let index = self.len.fetch_add(1, Ordering::AcqRel);
        self.entries[index].store(entry, Ordering::Release);
    }

    /// The entries; whoever wrote them has been waited for.
    pub fn entries(&self) -> Vec<u32> {
        let len = self.len.load(Ordering::Acquire);
        self.entries[..len].iter().map(|entry| entry.load(Ordering::Acquire)).collect()
    }
}

/// Only on this hart.
pub const fn on(hart: usize) -> HartMask {
    HartMask::only(HartId::new(hart))
}

pub fn harts() -> impl Iterator<Item = HartId> {
    HartId::online().iter()
}

/// Uses the hart without ever waiting, until `done` or the time is up. Returns whether it was done.
pub fn spin_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Waits until `condition`, looking now and then. Panics with `what` if it takes too long.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(50);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        executor::sleep(Duration::from_millis(1)).await;
    }
}

/// Tasks that keep every hart busy.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<TaskHandle<()>>,
}

impl Load {
    /// `per_hart` fair tasks on each hart that work for a while, yield, and so on.
    pub fn start(per_hart: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = harts().flat_map(|hart| (0..per_hart).map(move |_| hart)).map(|hart| {
            let stop = stop.clone();
            let options = TaskOptions::new("load").affinity(HartMask::only(hart)).class(Class::NORMAL);
            executor::spawn(options, async move {
                while !stop.load(Ordering::Relaxed) {
                    spin_until(Duration::from_micros(200), || false);
                    executor::yield_now().await;
                }
            })
        });
        Self { tasks: tasks.collect(), stop }
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.join().await;
        }
    }
}
