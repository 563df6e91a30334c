//! A deterministic machine for tests: several virtual harts in one thread, virtual time, seeded choices.
//!
//! The simulator decides at each step, by a generator that a seed starts, which hart goes on and what happens there: a
//! pending interrupt is taken, or a poll runs. When all harts sleep, time jumps to the next alarm. The same seed gives
//! the same run, so a failure replays: [`for_each_seed`] prints the seed, and `ZCORE_SIM_SEED=<seed>` runs it alone.
//! `ZCORE_SIM_SEEDS=<count>` says how many seeds to try.
//!
//! Tasks are made with [`crate::spawn`] and everything else of this crate works as on the machine; the executor of
//! the thread is the simulator's as long as the simulator lives. [`Simulator::interrupt_at`] plays a device. A task
//! that is to take time calls [`consume`].
//!
//! Limits: harts take turns at polls and at [`consume`], not at single instructions (loom's models look closer), and
//! time that one hart consumes passes for all.

mod machine;
mod random;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kernel_hal::host::{VirtualTime, become_hart};
use kernel_hal::{HartId, HartMask, Instant, interrupt, preemption};

use crate::executor::ExecutorRef;
use crate::{TaskHandle, TaskOptions};

use machine::OwnExecutor;
pub(crate) use machine::{Machine, current_executor};
pub use random::Random;

/// Environment variable: run this seed only.
const SEED_VARIABLE: &str = "ZCORE_SIM_SEED";
/// Environment variable: try this many seeds.
const SEEDS_VARIABLE: &str = "ZCORE_SIM_SEEDS";

type DeviceInterrupt = Box<dyn FnOnce()>;

/// What the running simulation needs while a task runs: the clock and the devices.
struct World {
    time: VirtualTime,
    devices: BTreeMap<(Instant, u64), DeviceInterrupt>,
    next_device_event: u64,
    /// What [`interfere`] asked for.
    interferences: VecDeque<DeviceInterrupt>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with_world<R>(access: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| access(world.as_mut().expect("no simulation runs on this thread")))
}

/// The virtual machine. One per thread at a time.
pub struct Simulator {
    harts: Vec<HartId>,
    parked: HartMask,
    /// Where the seeded choices come from; tests draw from it too.
    pub random: Random,
    executor: OwnExecutor,
}

/// Nothing can happen any more, but somebody still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

impl Simulator {
    /// A machine with `harts` harts. Time starts at one second.
    pub fn new(harts: usize, seed: u64) -> Self {
        let online = HartMask::first(harts);
        let start = Instant::from_nanos(1_000_000_000);
        WORLD.with_borrow_mut(|world| {
            assert!(world.is_none(), "a simulation runs on this thread already");
            let time = VirtualTime::start_at(start);
            *world = Some(World {
                time,
                devices: BTreeMap::new(),
                next_device_event: 0,
                interferences: VecDeque::new(),
            });
        });
        let executor = OwnExecutor::install(online);
        for hart in online.iter() {
            executor.get().hart(hart).clock.store(start.as_nanos(), Relaxed);
        }
        become_hart(HartId::BOOT);
        interrupt::enable();
        Self { harts: online.iter().collect(), parked: HartMask::EMPTY, random: Random::new(seed), executor }
    }

    /// One step of one hart. Returns `false` if nothing can happen before time passes.
    pub fn step(&mut self) -> bool {
        let executor = self.executor.get();
        let now = Instant::now();
        let able: Vec<HartId> = self
            .harts
            .iter()
            .copied()
            .filter(|hart| !self.parked.contains(*hart) || executor.machine.has_interrupt(*hart, now))
            .collect();
        let device_is_due = with_world(|world| world.devices.keys().next().is_some_and(|key| key.0 <= now));
        let choices = able.len() + usize::from(device_is_due);
        if choices == 0 {
            return false;
        }
        let choice = self.random.below(choices);
        if choice == able.len() {
            let hart = self.harts[self.random.below(self.harts.len())];
            become_hart(hart);
            self.wake_up(hart);
            take_device_interrupt(executor);
            return true;
        }
        let hart = able[choice];
        become_hart(hart);
        self.wake_up(hart);
        // A pending interrupt may be late, but not for ever.
        if executor.machine.has_interrupt(hart, now) && self.random.below(4) != 0 {
            take_interrupts(executor);
            return true;
        }
        if !executor.run_one(executor.here()) {
            take_interrupts(executor);
            interrupt::disable();
            if executor.park(hart) {
                self.parked = self.parked.with(hart);
            }
            interrupt::enable();
        }
        true
    }

    fn wake_up(&mut self, hart: HartId) {
        if self.parked.contains(hart) {
            self.parked = self.parked.without(hart);
            interrupt::disable();
            self.executor.get().unpark(hart);
            interrupt::enable();
        }
    }

    /// Goes on until every hart sleeps; time stands still.
    pub fn run_until_parked(&mut self) {
        while self.step() {}
        self.return_to_test();
    }

    /// The test's own code runs on the boot hart, which is awake for it.
    fn return_to_test(&mut self) {
        become_hart(HartId::BOOT);
        self.wake_up(HartId::BOOT);
    }

    /// Goes on, and lets time pass, until `condition` holds.
    pub fn run_until(&mut self, mut condition: impl FnMut() -> bool) -> Result<(), Stalled> {
        while !condition() {
            if !self.step()
                && let Err(stalled) = self.advance_to_next_event()
            {
                self.return_to_test();
                return Err(stalled);
            }
        }
        self.return_to_test();
        Ok(())
    }

    /// Goes on for this long. Polls are not cut short: the last may end later.
    pub fn run_for(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            if self.step() {
                continue;
            }
            match self.next_event() {
                Some(moment) if moment < end => advance_to(moment),
                _ => advance_to(end),
            }
        }
        self.return_to_test();
    }

    /// Goes on until nothing is ready and nothing is armed.
    pub fn run_until_idle(&mut self) {
        while self.step() || self.advance_to_next_event().is_ok() {}
        self.return_to_test();
    }

    /// Runs a future as a task, and the machine until it is finished. `Err` if it can never be.
    pub fn block_on<F>(&mut self, future: F) -> Result<F::Output, Stalled>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let result = std::sync::Arc::new(std::sync::Mutex::new(None));
        let slot = result.clone();
        let task = async move {
            let output = future.await;
            *slot.lock().expect("no panic happens under this lock") = Some(output);
        };
        let handle: TaskHandle<()> = crate::spawn(TaskOptions::new("block_on"), task);
        self.run_until(|| handle.is_finished())?;
        let output = result.lock().expect("no panic happens under this lock").take();
        Ok(output.expect("the task is finished"))
    }

    /// Runs `handler` as a device interrupt on some hart when the moment comes.
    pub fn interrupt_at(&self, moment: Instant, handler: impl FnOnce() + 'static) {
        interrupt_at(moment, handler);
    }

    /// The harts that sleep.
    pub fn parked(&self) -> HartMask {
        self.parked
    }

    /// When the next alarm or device interrupt is due.
    pub fn next_event(&self) -> Option<Instant> {
        let alarms = self.harts.iter().filter_map(|hart| self.executor.get().machine.alarm(*hart));
        let device = with_world(|world| world.devices.keys().next().map(|key| key.0));
        alarms.chain(device).min()
    }

    /// Lets time pass until `moment`; nothing runs.
    pub fn advance_to(&self, moment: Instant) {
        advance_to(moment);
    }

    fn advance_to_next_event(&mut self) -> Result<(), Stalled> {
        let moment = self.next_event().ok_or(Stalled)?;
        advance_to(moment);
        Ok(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let devices = WORLD.with_borrow_mut(|world| world.take());
        drop(devices);
        become_hart(HartId::BOOT);
        interrupt::disable();
    }
}

impl std::fmt::Debug for Simulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("harts", &self.harts.len()).field("parked", &self.parked).finish()
    }
}

fn advance_to(moment: Instant) {
    with_world(|world| world.time.advance_to(moment));
}

/// As [`Simulator::interrupt_at`], from inside a task: what a simulated device does when it is given a request.
pub fn interrupt_at(moment: Instant, handler: impl FnOnce() + 'static) {
    with_world(|world| {
        let number = world.next_device_event;
        world.next_device_event += 1;
        world.devices.insert((moment, number), Box::new(handler));
    });
}

/// Takes what is pending for the present hart, as a trap would: handlers with interrupts masked, then the preemption
/// point.
fn take_interrupts(executor: ExecutorRef) {
    if !interrupt::are_enabled() {
        return;
    }
    let hart = HartId::current();
    interrupt::disable();
    if executor.machine.take_alarm(hart, Instant::now()) {
        executor.on_timer();
    }
    if executor.machine.take_reschedule(hart) {
        executor.on_reschedule();
    }
    if preemption::count() == 0 {
        executor.preemption_point();
    }
    interrupt::enable();
}

fn take_device_interrupt(executor: ExecutorRef) {
    let now = Instant::now();
    let due = with_world(|world| {
        let entry = world.devices.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    });
    if let Some(handler) = due {
        interrupt::disable();
        crate::in_interrupt(handler);
        if preemption::count() == 0 {
            executor.preemption_point();
        }
        interrupt::enable();
    }
}

/// Runs `handler` as an interrupt on another hart (if there is one) at the worst of moments for this machine: when some hart
/// has chosen its next task and has not begun to poll it. An interrupt that the handler sends to that hart is taken at once.
pub fn interfere(handler: impl FnOnce() + 'static) {
    with_world(|world| world.interferences.push_back(Box::new(handler)));
}

/// This hart has chosen a task, and is about to poll it.
pub(crate) fn before_poll() {
    let waiting = |world: &mut Option<World>| world.as_mut()?.interferences.pop_front();
    let Some(handler) = WORLD.with_borrow_mut(waiting) else { return };
    let executor = ExecutorRef::current();
    let here = HartId::current();
    let other = executor.online().without(here).lowest().unwrap_or(here);
    become_hart(other);
    interrupt::disable();
    crate::in_interrupt(handler);
    interrupt::enable();
    if other != here {
        // An interrupt wakes a hart.
        executor.interrupt(other);
        become_hart(here);
    }
    take_interrupts(executor);
}

/// The running task takes this long. Interrupts that fall due meanwhile are taken at their time, unless masked.
pub fn consume(duration: Duration) {
    let executor = ExecutorRef::current();
    let mut left = duration;
    while !left.is_zero() {
        let now = Instant::now();
        let end = now + left;
        let alarm = executor.machine.alarm(HartId::current());
        let device = with_world(|world| world.devices.keys().next().map(|key| key.0));
        let next = alarm.into_iter().chain(device).min().filter(|moment| *moment < end);
        let stop = next.unwrap_or(end).max(now);
        advance_to(stop);
        left = end - stop;
        if interrupt::are_enabled() {
            take_interrupts(executor);
            take_device_interrupt(executor);
        } else if next.is_some() {
            advance_to(end);
            return;
        }
    }
}

/// Runs `body` once per seed. The seed of a failing run is printed.
pub fn for_each_seed(harts: usize, default_seeds: u64, mut body: impl FnMut(&mut Simulator)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number(SEED_VARIABLE) {
        Some(seed) => seed..seed + 1,
        None => 0..number(SEEDS_VARIABLE).unwrap_or(default_seeds),
    };
    for seed in seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut simulator = Simulator::new(harts, seed);
            body(&mut simulator);
        }));
        if let Err(panic) = outcome {
            eprintln!("failed with seed {seed}; replay with {SEED_VARIABLE}={seed}");
            resume_unwind(panic);
        }
    }
}
