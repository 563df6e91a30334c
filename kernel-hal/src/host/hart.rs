//! Virtual harts: a thread of the host says which one it is.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{HartId, HartMask, MAX_HARTS};

thread_local! {
    static CURRENT: Cell<HartId> = const { Cell::new(HartId::BOOT) };
    static PREEMPT_COUNT: Cell<u32> = const { Cell::new(0) };
}

thread_local! {
    static WORDS: Cell<[usize; MAX_HARTS]> = const { Cell::new([0; MAX_HARTS]) };
}

static ONLINE: AtomicU32 = AtomicU32::new(1);

/// From now on this thread acts as `hart`.
pub fn become_hart(hart: HartId) {
    CURRENT.set(hart);
}

/// Sets which harts count as online, for the whole process.
pub fn set_online_harts(harts: HartMask) {
    ONLINE.store(harts.bits(), Ordering::Release);
}

pub(crate) fn current() -> HartId {
    CURRENT.get()
}

pub(crate) fn word() -> usize {
    WORDS.get()[current().index()]
}

pub(crate) fn set_word(word: usize) {
    let mut words = WORDS.get();
    words[current().index()] = word;
    WORDS.set(words);
}

pub(crate) fn online() -> HartMask {
    HartMask::from_bits(ONLINE.load(Ordering::Acquire))
}

pub(crate) fn raise_preempt_count() {
    PREEMPT_COUNT.set(PREEMPT_COUNT.get() + 1);
}

pub(crate) fn lower_preempt_count() {
    let count = PREEMPT_COUNT.get();
    assert!(count > 0, "preempt count lowered below zero");
    PREEMPT_COUNT.set(count - 1);
}

pub(crate) fn preempt_count() -> u32 {
    PREEMPT_COUNT.get()
}

pub(crate) fn synchronize_instruction_fetch() {}
