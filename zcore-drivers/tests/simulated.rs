//! The disk driver under the executor: tasks on several virtual harts read and write, give up on requests and are moved
//! about, while the device answers late and out of order. Seeds and replay: see `executor::simulator`.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{frame_of, is_full_of, whole};
use executor::simulator::{for_each_seed, interrupt_at};
use executor::{TaskOptions, spawn, timeout};
use kernel_hal::Instant;
use kernel_object::frame::host;
use zcore_drivers::InterruptHandler;
use zcore_drivers::block::{BlockDevice, Segments};
use zcore_drivers::model::{DiskModel, ModelTransport};
use zcore_drivers::random::SeededRandom;
use zcore_drivers::virtio::block::VirtioBlock;

const HARTS: usize = 3;
const SEEDS: u64 = 60;
const TASKS: usize = 6;
const ROUNDS: usize = 12;
const PAGES_PER_TASK: u64 = 4;
const SECTORS_PER_PAGE: u64 = 8;
const SECTORS: usize = TASKS * (PAGES_PER_TASK * SECTORS_PER_PAGE) as usize;
/// Fewer slots than tasks could fill, so that some wait for room.
const QUEUE_SIZE: u16 = 8;

type Disk = VirtioBlock<ModelTransport>;

/// The device: at random moments it answers some of what it was offered, and interrupts.
fn run_device(
    model: Rc<RefCell<DiskModel>>,
    disk: Arc<Disk>,
    left: Arc<AtomicUsize>,
    mut random: SeededRandom,
) {
    let pause = Duration::from_micros(random.below(200) as u64 + 1);
    interrupt_at(Instant::now() + pause, move || {
        let must_interrupt = {
            let mut model = model.borrow_mut();
            model.take_offers();
            for _ in 0..random.below(4) {
                model.answer_one();
            }
            model.device.interrupt_pending()
        };
        if must_interrupt {
            disk.handle_interrupt();
        }
        if left.load(Ordering::SeqCst) > 0 {
            run_device(model, disk, left, random);
        }
    });
}

/// Writes and reads back pages that no other task uses; now and then it gives up on a read.
async fn use_disk(disk: Arc<Disk>, number: usize, seed: u64) {
    let device: &dyn BlockDevice = &*disk;
    let mut random = SeededRandom::new(seed ^ (number as u64 + 1));
    let first = number as u64 * PAGES_PER_TASK * SECTORS_PER_PAGE;
    for _ in 0..ROUNDS {
        let sector = first + random.below(PAGES_PER_TASK as usize) as u64 * SECTORS_PER_PAGE;
        let byte = random.below(256) as u8;
        let mut written = whole(&frame_of(byte));
        device.write(sector, &mut written).await.expect("the device makes no mistakes");
        let abandoned = frame_of(!byte);
        let mut segments: Segments = whole(&abandoned);
        let patience = Duration::from_micros(random.below(300) as u64);
        if timeout(Instant::now() + patience, device.read(sector, &mut segments)).await.is_ok() {
            assert!(is_full_of(&abandoned, byte), "task {number} read what it did not write");
        }
        let frame = frame_of(!byte);
        let mut segments = whole(&frame);
        device.read(sector, &mut segments).await.expect("the device makes no mistakes");
        assert!(is_full_of(&frame, byte), "task {number} read what it did not write");
    }
}

#[test]
fn tasks_share_a_slow_disk() {
    host::use_private(2048);
    for_each_seed(HARTS, SEEDS, |simulator| {
        let seed = simulator.random.next_u64();
        let model = DiskModel::new(SECTORS, DiskModel::ALL_FEATURES, QUEUE_SIZE, seed);
        let disk = Arc::new(Disk::new(model.transport()).expect("a disk"));
        let left = Arc::new(AtomicUsize::new(TASKS));
        for number in 0..TASKS {
            let (disk, left) = (disk.clone(), left.clone());
            spawn(TaskOptions::new("disk user"), async move {
                use_disk(disk, number, seed).await;
                left.fetch_sub(1, Ordering::SeqCst);
            })
            .detach();
        }
        run_device(Rc::new(RefCell::new(model)), disk, left.clone(), SeededRandom::new(seed));
        simulator.run_until_idle();
        assert_eq!(left.load(Ordering::SeqCst), 0, "tasks wait for ever");
    });
}
