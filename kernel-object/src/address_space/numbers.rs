//! Address-space numbers: how the machine tells the translations of different address spaces apart.
//!
//! Numbers are handed out in ascending order and never given back. When they are used up a new *generation* begins:
//! every number is free again, and each hart forgets everything before it uses a number of the new generation. An
//! address space that a hart is running at that moment keeps its number in the new generation, because it cannot be
//! told to change; the others get a new one when they next come to a hart.
//!
//! A context is `generation << 16 | number`; 0 is none. Number 0 belongs to the kernel's own root.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel_hal::{HartId, HartMask, MAX_HARTS};
use ksync::{Rank, SpinLock};

const NUMBER_BITS: u32 = 16;

pub(super) struct Numbers {
    /// How many numbers the machine has, 0 included.
    count: fn() -> usize,
    generation: AtomicU64,
    /// What each hart runs; 0 from a new generation's begin until the hart next changes.
    active: [AtomicU64; MAX_HARTS],
    state: SpinLock<State>,
    rollovers: AtomicU32,
}

struct State {
    next: u16,
    /// What each hart ran when the generation began: these numbers are taken.
    reserved: [u64; MAX_HARTS],
    /// Harts that have not forgotten the old generation yet.
    must_flush: HartMask,
}

/// What to run an address space under.
pub(super) struct Activation {
    pub(super) number: u16,
    /// Everything must be forgotten first.
    pub(super) flush_all: bool,
}

/// The number in a context.
pub(super) const fn number_of(context: u64) -> u16 {
    context as u16
}

impl Numbers {
    pub(super) const fn new(count: fn() -> usize) -> Self {
        Self {
            count,
            generation: AtomicU64::new(1),
            active: [const { AtomicU64::new(0) }; MAX_HARTS],
            state: SpinLock::new(
                Rank::ADDRESS_SPACE_NUMBERS,
                State { next: 1, reserved: [0; MAX_HARTS], must_flush: HartMask::EMPTY },
            ),
            rollovers: AtomicU32::new(0),
        }
    }

    /// The number for an address space that `hart`, which is the caller's and stays so, is about to run. `context` is
    /// the address space's own.
    #[inline]
    pub(super) fn activate(&self, context: &AtomicU64, hart: HartId) -> Activation {
        let wanted = context.load(Ordering::Relaxed);
        let active = &self.active[hart.index()];
        let previous = active.load(Ordering::Relaxed);
        // If a new generation begins in between it has set `active` to 0, and the exchange fails.
        if previous != 0
            && wanted >> NUMBER_BITS == self.generation.load(Ordering::Acquire)
            && active.compare_exchange(previous, wanted, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            return Activation { number: number_of(wanted), flush_all: false };
        }
        self.activate_slowly(context, hart)
    }

    #[cold]
    fn activate_slowly(&self, context: &AtomicU64, hart: HartId) -> Activation {
        // Every hart may keep one number over a rollover; fewer numbers than that are as good as none.
        if (self.count)() < 2 * MAX_HARTS + 2 {
            context.store(1 << NUMBER_BITS, Ordering::Relaxed);
            return Activation { number: 0, flush_all: true };
        }
        let mut state = self.state.lock();
        let mut wanted = context.load(Ordering::Relaxed);
        if wanted >> NUMBER_BITS != self.generation.load(Ordering::Relaxed) {
            wanted = self.new_context(&mut state, wanted);
            context.store(wanted, Ordering::Relaxed);
        }
        let flush_all = state.must_flush.contains(hart);
        state.must_flush = state.must_flush.without(hart);
        self.active[hart.index()].store(wanted, Ordering::SeqCst);
        Activation { number: number_of(wanted), flush_all }
    }

    fn new_context(&self, state: &mut State, old: u64) -> u64 {
        let generation = self.generation.load(Ordering::Relaxed);
        let mut kept = false;
        for reserved in &mut state.reserved {
            if old != 0 && *reserved == old {
                *reserved = generation << NUMBER_BITS | u64::from(number_of(old));
                kept = true;
            }
        }
        if kept {
            return generation << NUMBER_BITS | u64::from(number_of(old));
        }
        loop {
            if usize::from(state.next) >= (self.count)().min(1 << NUMBER_BITS) - 1 {
                self.begin_generation(state);
            }
            let number = state.next;
            state.next += 1;
            if state.reserved.iter().all(|reserved| *reserved == 0 || number_of(*reserved) != number) {
                return self.generation.load(Ordering::Relaxed) << NUMBER_BITS | u64::from(number);
            }
        }
    }

    fn begin_generation(&self, state: &mut State) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.rollovers.fetch_add(1, Ordering::Relaxed);
        for (active, reserved) in self.active.iter().zip(&mut state.reserved) {
            let running = active.swap(0, Ordering::SeqCst);
            // A hart that has not changed since the last rollover still runs what was reserved then.
            if running != 0 {
                *reserved = running;
            }
        }
        state.next = 1;
        state.must_flush = HartMask::ALL;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::vec::Vec;

    use super::*;

    /// Random activations on a machine with few numbers: no two address spaces may ever have translations under one
    /// number on one hart, and no hart may run an address space under two numbers at a time.
    #[test]
    fn translations_of_two_spaces_never_share_a_number() {
        const ROUNDS: usize = if cfg!(miri) { 100 } else { 20_000 };
        let numbers = Numbers::new(|| 24);
        let contexts: Vec<AtomicU64> = (0..60).map(|_| AtomicU64::new(0)).collect();
        // What each hart may remember: number -> address space.
        let mut remembered: Vec<HashMap<u16, usize>> = vec![HashMap::new(); MAX_HARTS];
        let mut running = [None::<(usize, u16)>; MAX_HARTS];
        let mut random = 99u64;
        for _ in 0..ROUNDS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let hart = (random >> 8) as usize % MAX_HARTS;
            let space = (random >> 20) as usize % if random & 1 == 0 { 5 } else { contexts.len() };
            let activation = numbers.activate(&contexts[space], HartId::new(hart));
            if activation.flush_all {
                remembered[hart].clear();
            }
            let owner = *remembered[hart].entry(activation.number).or_insert(space);
            assert_eq!(owner, space, "number {} is ambiguous on hart {hart}", activation.number);
            running[hart] = Some((space, activation.number));
            for (other, number) in running.iter().flatten() {
                if *other == space {
                    assert_eq!(*number, activation.number, "a space runs under two numbers");
                }
            }
            assert_ne!(activation.number, 0);
        }
        assert!(numbers.rollovers.load(Ordering::Relaxed) as usize > ROUNDS / 1_000);
    }

    #[test]
    fn a_machine_without_numbers_flushes_every_time() {
        let numbers = Numbers::new(|| 1);
        let context = AtomicU64::new(0);
        for _ in 0..3 {
            let activation = numbers.activate(&context, HartId::BOOT);
            assert!(activation.number == 0 && activation.flush_all);
        }
    }
}
