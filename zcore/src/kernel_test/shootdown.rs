//! One hart takes away what another one looks at.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use executor::{TaskOptions, yield_now};
use kernel_hal::{HartId, HartMask, Instant, MAX_HARTS, PAGE_SIZE, VirtAddr, user_memory};
use kernel_object::address_space::{AddressSpace, Layout, Limits, MapRequest, Protection};
use kernel_object::frame::{Frame, FrameKind};

use super::Entry;
use super::support::{harts, on, say};

pub const TESTS: &[Entry] = &[
    Entry::new("shootdown-unmap", || Box::pin(unmap())).harts(2),
    Entry::new("shootdown-protect", || Box::pin(protect())).harts(2),
];

const ADDRESS: VirtAddr = VirtAddr::new(0x10_0000);
const ROUNDS: u32 = 400;
/// A round interrupts every hart, so there are fewer the more harts there are.
const ROUNDS_TIMES_READERS: u32 = 700;
/// In one of so many rounds everybody must have looked before the page comes back.
const ROUNDS_WITHOUT_ROLL_CALL: u32 = 20;
const POISON: u8 = 0xdd;
const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);

struct Shared {
    space: Arc<AddressSpace>,
    /// Since when (in rounds) nothing older may be seen.
    round: AtomicU32,
    /// Odd while the page is certainly gone, even while it may be there; counts up.
    phase: AtomicU32,
    /// For each hart the last odd phase in which its reader looked, from begin to end.
    looked_in: [AtomicU32; MAX_HARTS],
    stop: AtomicBool,
}

fn shared() -> Arc<Shared> {
    let space = AddressSpace::new(Layout::default(), Limits::USUAL).expect("memory");
    Arc::new(Shared {
        space,
        round: AtomicU32::new(0),
        phase: AtomicU32::new(1),
        looked_in: [const { AtomicU32::new(0) }; MAX_HARTS],
        stop: AtomicBool::new(false),
    })
}

fn map(space: &Arc<AddressSpace>) {
    space.map(MapRequest::anonymous(PAGE_SIZE, READ_WRITE).at(ADDRESS)).expect("a mapping");
}

/// Whoever has seen that a page was unmapped never sees what was in it, nor what its frame is used for next.
///
/// How many harts look while the page is gone depends on the host, so in some rounds the page stays away until all have.
/// Nothing here has a limit in time: a reader that never comes hangs the test.
async fn unmap() {
    let shared = shared();
    let readers: Vec<HartId> = harts().filter(|hart| *hart != HartId::BOOT).collect();
    let tasks: Vec<_> = readers
        .iter()
        .map(|hart| {
            let (shared, hart) = (shared.clone(), *hart);
            let options = TaskOptions::new("reader").affinity(HartMask::only(hart));
            executor::spawn(options, async move { read(&shared, hart) })
        })
        .collect();
    let rounds = (ROUNDS_TIMES_READERS / readers.len() as u32).min(ROUNDS);
    let writer = executor::spawn(TaskOptions::new("writer").affinity(on(0)), {
        let shared = shared.clone();
        async move {
            let began = Instant::now();
            for round in 1..=rounds {
                shared.phase.fetch_add(1, Ordering::AcqRel);
                map(&shared.space);
                // In one piece: a reader may look at any moment.
                let before = shared.space.try_compare_exchange_u32(ADDRESS, 0, round);
                assert!(matches!(before, Ok(0)), "a fresh page is not zero");
                yield_now().await;
                shared.space.unmap(ADDRESS, PAGE_SIZE).expect("it is mapped");
                shared.round.store(round + 1, Ordering::Release);
                let phase = shared.phase.fetch_add(1, Ordering::AcqRel) + 1;
                // Most likely the very frame.
                let frame = Frame::allocate(FrameKind::Kernel).expect("memory");
                frame.write(0, &[POISON; 64]);
                if round % ROUNDS_WITHOUT_ROLL_CALL == 0 {
                    while readers
                        .iter()
                        .any(|hart| shared.looked_in[hart.index()].load(Ordering::Acquire) != phase)
                    {
                        yield_now().await;
                    }
                }
            }
            shared.stop.store(true, Ordering::Release);
            AddressSpace::deactivate();
            Instant::now().since(began)
        }
    });
    let took = writer.join().await.expect("the writer panics or ends");
    for reader in tasks {
        let looks = reader.join().await.expect("a reader panics or ends");
        say!("a reader found the page {} times and missed it {} times", looks.hits, looks.misses);
        assert!(
            looks.while_gone >= rounds / ROUNDS_WITHOUT_ROLL_CALL,
            "{} looks at no page",
            looks.while_gone
        );
    }
    say!("{} us a round", took.as_micros() / u128::from(rounds));
}

#[derive(Default)]
struct Looks {
    hits: usize,
    misses: usize,
    while_gone: u32,
}

fn read(shared: &Shared, hart: HartId) -> Looks {
    shared.space.activate();
    let mut looks = Looks::default();
    while !shared.stop.load(Ordering::Acquire) {
        let phase = shared.phase.load(Ordering::Acquire);
        let oldest = shared.round.load(Ordering::Acquire);
        let seen = user_memory::load_u32(ADDRESS);
        // The look ends before the phase is read again.
        fence(Ordering::SeqCst);
        let is_gone = phase % 2 == 1 && shared.phase.load(Ordering::Acquire) == phase;
        match seen {
            Ok(value) => {
                assert_ne!(value, u32::from_le_bytes([POISON; 4]), "read a frame that is somebody else's");
                assert!(value == 0 || value >= oldest, "read {value} in round {oldest}");
                assert!(!is_gone, "read {value} from a page that was unmapped, in round {oldest}");
                looks.hits += 1;
            }
            Err(_) => looks.misses += 1,
        }
        if is_gone {
            looks.while_gone +=
                u32::from(shared.looked_in[hart.index()].swap(phase, Ordering::AcqRel) != phase);
        }
    }
    AddressSpace::deactivate();
    looks
}

/// Whoever has seen that a page was made read-only never stores to it.
async fn protect() {
    let shared = shared();
    map(&shared.space);
    shared.space.try_copy_out(ADDRESS, &[0; 4]).expect("a copy");
    let forbidden = Arc::new(AtomicBool::new(false));
    let storer = executor::spawn(TaskOptions::new("storer").affinity(on(1)), {
        let (shared, forbidden) = (shared.clone(), forbidden.clone());
        async move {
            shared.space.activate();
            let (mut stored, mut refused) = (0, 0);
            while !shared.stop.load(Ordering::Acquire) {
                let was_forbidden = forbidden.load(Ordering::Acquire);
                let round = shared.round.load(Ordering::Acquire);
                let result = user_memory::compare_exchange_u32(ADDRESS, 0, 0);
                let is_forbidden = forbidden.load(Ordering::Acquire);
                let same_round = shared.round.load(Ordering::Acquire) == round;
                if was_forbidden && is_forbidden && same_round {
                    assert!(result.is_err(), "stored to a page that was made read-only");
                }
                match result {
                    Ok(_) => stored += 1,
                    Err(_) => refused += 1,
                }
            }
            AddressSpace::deactivate();
            (stored, refused)
        }
    });
    for round in 1..=ROUNDS {
        shared.space.protect(ADDRESS, PAGE_SIZE, Protection::READ).expect("it is mapped");
        shared.round.store(round, Ordering::Release);
        forbidden.store(true, Ordering::Release);
        yield_now().await;
        forbidden.store(false, Ordering::Release);
        shared.round.store(round + ROUNDS, Ordering::Release);
        shared.space.protect(ADDRESS, PAGE_SIZE, READ_WRITE).expect("it is mapped");
        // Protection alone does not make the page writable again: a fault does.
        shared.space.try_copy_out(ADDRESS, &[0; 4]).expect("a copy");
    }
    shared.stop.store(true, Ordering::Release);
    AddressSpace::deactivate();
    let (stored, refused): (usize, usize) = storer.join().await.unwrap_or_default();
    say!("{stored} stores, {refused} were refused");
    assert!(refused > 0);
}
