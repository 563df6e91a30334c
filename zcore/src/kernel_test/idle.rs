//! What the kernel costs when nothing happens: timer interrupts, memory per task.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use executor::{TaskOptions, sleep};
use kernel_hal::interrupt::{self, Handlers};
use kernel_hal::{HartId, MAX_HARTS, machine};
use ksync::PerHart;

use super::Entry;
use super::support::{Load, eventually, harts, say};
use crate::{HEAP, interrupts};

pub const TESTS: &[Entry] = &[
    Entry::new("idle-timer-interrupts", || Box::pin(timer_interrupts())),
    Entry::new("idle-task-memory", || Box::pin(task_memory())),
];

static TIMER_INTERRUPTS: PerHart<AtomicU32> = PerHart::new([const { AtomicU32::new(0) }; MAX_HARTS]);

fn count_and_handle_timer() {
    TIMER_INTERRUPTS.of(HartId::current()).fetch_add(1, Ordering::Relaxed);
    executor::on_timer();
}

/// The kernel's handlers with the timer's counted.
static COUNTING: Handlers = Handlers {
    timer: count_and_handle_timer,
    reschedule: executor::on_reschedule,
    external: interrupts::dispatch,
    preemption_point: interrupts::preemption_point,
    halt: || machine::stop_hart(),
};

fn interrupts_so_far() -> Vec<u32> {
    harts().map(|hart| TIMER_INTERRUPTS.of(hart).load(Ordering::Relaxed)).collect()
}

/// An idle machine, also after it was busy, has hardly any timer interrupts.
async fn timer_interrupts() {
    const SECONDS: u64 = 3;
    const MOST_PER_SECOND: u32 = 20;
    interrupt::set_handlers(&COUNTING);
    let load = Load::start(2);
    sleep(Duration::from_millis(100)).await;
    load.stop().await;
    let busy = interrupts_so_far();
    assert!(busy.iter().sum::<u32>() > 0, "the counters do not count");
    sleep(Duration::from_millis(100)).await;
    let before = interrupts_so_far();
    sleep(Duration::from_secs(SECONDS)).await;
    let after = interrupts_so_far();
    let idle: Vec<_> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let sum: u32 = idle.iter().sum();
    say!("timer interrupts in {SECONDS} s by hart: {idle:?}");
    assert!(sum < MOST_PER_SECOND * SECONDS as u32, "{sum} timer interrupts in {SECONDS} s of idleness");
}

/// A task costs little beyond its future.
async fn task_memory() {
    const TASKS: usize = 1_000;
    const MOST_BYTES: usize = 512;
    /// A future of a known size that is never ready.
    struct Waiting([u64; 8]);
    impl Future for Waiting {
        type Output = u64;
        fn poll(
            self: core::pin::Pin<&mut Self>,
            _: &mut core::task::Context<'_>,
        ) -> core::task::Poll<Self::Output> {
            // Never, since the sum of what is stored is not zero; it is read so that it has to be there.
            match self.0.iter().sum() {
                0 => core::task::Poll::Ready(0),
                _ => core::task::Poll::Pending,
            }
        }
    }
    let tasks_before = executor::task_count();
    let mut handles = Vec::with_capacity(TASKS);
    let before = HEAP.bytes_in_use();
    for _ in 0..TASKS {
        handles.push(executor::spawn(TaskOptions::new("waiting"), Waiting([1; 8])));
    }
    sleep(Duration::from_millis(50)).await;
    let bytes = (HEAP.bytes_in_use() - before) / TASKS - size_of::<Waiting>();
    for handle in handles {
        handle.cancel().await;
    }
    eventually("tasks are left", || executor::task_count() <= tasks_before).await;
    eventually("memory is left", || HEAP.bytes_in_use() <= before).await;
    say!("measured: {bytes}");
    assert!(bytes <= MOST_BYTES, "a task costs {bytes} bytes beyond its future");
}
