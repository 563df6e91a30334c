//! A model of parking, waking and stealing: the real [`ParkingLot`] with the smallest run queues that show the protocol.
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p executor --release --test loom`.
#![cfg(loom)]

use executor::parking::{Claimed, ParkingLot};
use kernel_hal::{HartId, HartMask};
use ksync::{Rank, SpinLock};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

/// Two harts. A task is a number in a queue; an interrupt is a notification, which like one stays pending.
struct Machine {
    parking: ParkingLot,
    queues: [SpinLock<u32>; 2],
    loads: [AtomicU32; 2],
    interrupts: [Notify; 2],
    done: AtomicU32,
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            parking: ParkingLot::new(),
            queues: std::array::from_fn(|_| SpinLock::new(Rank::RUN_QUEUE, 0)),
            loads: std::array::from_fn(|_| AtomicU32::new(0)),
            interrupts: std::array::from_fn(|_| Notify::new()),
            done: AtomicU32::new(0),
        })
    }

    /// `Executor::enqueue` for a target that runs something at least as urgent: whoever is idle is to steal.
    fn enqueue_on_busy(&self, target: usize) {
        let mut queue = self.queues[target].lock();
        *queue += 1;
        self.loads[target].store(*queue, Ordering::Relaxed);
        drop(queue);
        if let Some(Claimed(idle)) = self.parking.claim(HartMask::ALL.without(HartId::new(target))) {
            self.interrupts[idle.index()].notify();
        }
    }

    /// `Executor::enqueue` for a target that runs nothing: it is interrupted.
    fn enqueue_on_idle(&self, target: usize) {
        let mut queue = self.queues[target].lock();
        *queue += 1;
        self.loads[target].store(*queue, Ordering::Relaxed);
        drop(queue);
        self.interrupts[target].notify();
    }

    fn take_from(&self, victim: usize) -> bool {
        if self.loads[victim].load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut queue = self.queues[victim].lock();
        let found = *queue != 0;
        if found {
            *queue -= 1;
            self.loads[victim].store(*queue, Ordering::Relaxed);
        }
        found
    }

    /// `Executor::run_hart` until `tasks` tasks are done.
    fn run_hart(&self, here: usize, tasks: u32) {
        while self.done.load(Ordering::Relaxed) < tasks {
            if self.take_from(here) {
                self.done.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.parking.announce(HartId::new(here));
            if self.take_from(here) || self.take_from(1 - here) {
                self.parking.retract(HartId::new(here));
                self.done.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.interrupts[here].wait();
            self.parking.retract(HartId::new(here));
        }
    }
}

/// If a wake-up could be lost, the parked hart would sleep for good, and loom would report a deadlock.
#[test]
fn a_task_on_a_busy_hart_finds_the_idle_one() {
    loom::model(|| {
        let machine = Machine::new();
        let idle = machine.clone();
        let thread = thread::spawn(move || idle.run_hart(1, 1));
        machine.enqueue_on_busy(0);
        thread.join().unwrap();
    });
}

#[test]
fn a_task_on_a_parking_hart_is_run() {
    loom::model(|| {
        let machine = Machine::new();
        let parking = machine.clone();
        let thread = thread::spawn(move || parking.run_hart(1, 1));
        machine.enqueue_on_idle(1);
        thread.join().unwrap();
    });
}

#[test]
fn two_tasks_on_a_busy_hart_are_both_stolen() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let machine = Machine::new();
        let idle = machine.clone();
        let thread = thread::spawn(move || idle.run_hart(1, 2));
        machine.enqueue_on_busy(0);
        machine.enqueue_on_busy(0);
        thread.join().unwrap();
    });
}

#[test]
fn two_wakers_claim_different_harts() {
    loom::model(|| {
        let machine = Machine::new();
        machine.parking.announce(HartId::new(0));
        machine.parking.announce(HartId::new(1));
        let other = machine.clone();
        let thread = thread::spawn(move || other.parking.claim(HartMask::ALL));
        let mine = machine.parking.claim(HartMask::ALL);
        let theirs = thread.join().unwrap();
        assert!(mine.is_some() && theirs.is_some());
        assert_ne!(mine, theirs);
    });
}
