//! One hart takes away what another one looks at.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use executor::{TaskOptions, yield_now};
use kernel_hal::{HartId, HartMask, Instant, PAGE_SIZE, VirtAddr, user_memory};
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
const POISON: u8 = 0xdd;
const READ_WRITE: Protection = Protection::READ.union(Protection::WRITE);

struct Shared {
    space: Arc<AddressSpace>,
    /// Since when (in rounds) nothing older may be seen.
    round: AtomicU32,
    stop: AtomicBool,
}

fn shared() -> Arc<Shared> {
    let space = AddressSpace::new(Layout::default(), Limits::USUAL).expect("memory");
    Arc::new(Shared { space, round: AtomicU32::new(0), stop: AtomicBool::new(false) })
}

fn map(space: &Arc<AddressSpace>) {
    space.map(MapRequest::anonymous(PAGE_SIZE, READ_WRITE).at(ADDRESS)).expect("a mapping");
}

/// Whoever has seen that a page was unmapped never sees what was in it, nor what its frame is used for next.
async fn unmap() {
    let shared = shared();
    let readers: alloc::vec::Vec<_> = harts()
        .filter(|hart| *hart != HartId::BOOT)
        .map(|hart| {
            let shared = shared.clone();
            let options = TaskOptions::new("reader").affinity(HartMask::only(hart));
            executor::spawn(options, async move { read(&shared) })
        })
        .collect();
    let writer = executor::spawn(TaskOptions::new("writer").affinity(on(0)), {
        let shared = shared.clone();
        async move {
            let began = Instant::now();
            for round in 1..=ROUNDS {
                map(&shared.space);
                // In one piece: a reader may look at any moment.
                let before = shared.space.try_compare_exchange_u32(ADDRESS, 0, round);
                assert!(matches!(before, Ok(0)), "a fresh page is not zero");
                yield_now().await;
                shared.space.unmap(ADDRESS, PAGE_SIZE).expect("it is mapped");
                shared.round.store(round + 1, Ordering::Release);
                // Most likely the very frame.
                let frame = Frame::allocate(FrameKind::Kernel).expect("memory");
                frame.write(0, &[POISON; 64]);
            }
            shared.stop.store(true, Ordering::Release);
            AddressSpace::deactivate();
            Instant::now().since(began)
        }
    });
    let took = writer.join().await.unwrap_or_default();
    for reader in readers {
        let (hits, misses) = reader.join().await.unwrap_or_default();
        say!("a reader found the page {hits} times and missed it {misses} times");
        assert!(misses > 0, "the reader never saw the page gone");
    }
    say!("{} us a round", took.as_micros() / u128::from(ROUNDS));
}

fn read(shared: &Shared) -> (usize, usize) {
    shared.space.activate();
    let (mut hits, mut misses) = (0, 0);
    while !shared.stop.load(Ordering::Acquire) {
        let oldest = shared.round.load(Ordering::Acquire);
        match user_memory::load_u32(ADDRESS) {
            Ok(value) => {
                assert_ne!(value, u32::from_le_bytes([POISON; 4]), "read a frame that is somebody else's");
                assert!(value == 0 || value >= oldest, "read {value} in round {oldest}");
                hits += 1;
            }
            Err(_) => misses += 1,
        }
    }
    AddressSpace::deactivate();
    (hits, misses)
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
