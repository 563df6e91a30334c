//! What the kernel must not do, done: each of these ends in a panic that says what happened.

use alloc::boxed::Box;
use core::hint::black_box;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{AddressSpace, Layout, Limits, MapRequest, Protection};

use super::Entry;
use super::support::on;

pub const TESTS: &[Entry] = &[
    Entry::new("panic-message", || Box::pin(async { panic!("on purpose, {}", black_box(42)) }))
        .panics("on purpose, 42"),
    Entry::new("panic-on-another-hart", || Box::pin(on_another_hart()))
        .harts(2)
        .panics("on purpose, on hart1"),
    Entry::new("panic-stack-overflow", || Box::pin(async { stack_overflow() }))
        .panics("kernel stack overflow"),
    Entry::new("panic-null-load", || Box::pin(async { load(0) }))
        .panics("trap in the kernel: load page fault at .*, value 0x0,"),
    Entry::new("panic-null-store", || Box::pin(async { store(8) }))
        .panics("trap in the kernel: store page fault at .*, value 0x8,"),
    Entry::new("panic-null-call", || Box::pin(async { call(0) }))
        .panics("trap in the kernel: instruction page fault at 0x0, value 0x0,"),
    Entry::new("panic-write-code", || Box::pin(async { store(write_code as *const () as usize) }))
        .panics("trap in the kernel: store page fault"),
    Entry::new("panic-write-constants", || Box::pin(async { store((&raw const CONSTANT).addr()) }))
        .panics("trap in the kernel: store page fault"),
    Entry::new("panic-execute-data", || Box::pin(async { execute_data() }))
        .panics("trap in the kernel: instruction page fault"),
    Entry::new("panic-execute-stack", || Box::pin(async { execute_stack() }))
        .panics("trap in the kernel: instruction page fault"),
    Entry::new("panic-load-user-memory", || Box::pin(async { load_user_memory() }))
        .panics("trap in the kernel: load page fault at .*, value 0x100000,"),
    Entry::new("panic-execute-user-memory", || Box::pin(async { execute_user_memory() }))
        .panics("trap in the kernel: instruction page fault at 0x100000"),
];

const USER_PAGE: VirtAddr = VirtAddr::new(0x10_0000);
const RETURN_INSTRUCTION: u16 = 0x8082;

static CONSTANT: u64 = 0x0123_4567_89ab_cdef;
static DATA: [core::sync::atomic::AtomicU16; 2] =
    [const { core::sync::atomic::AtomicU16::new(RETURN_INSTRUCTION) }; 2];

async fn on_another_hart() {
    let options = executor::TaskOptions::new("panics").affinity(on(1));
    executor::spawn(options, async { panic!("on purpose, on {}", kernel_hal::HartId::current()) })
        .join()
        .await;
}

fn stack_overflow() {
    /// Each call needs a kilobyte more.
    #[inline(never)]
    fn descend(depth: u64) -> u64 {
        let room = black_box([depth; 128]);
        // Something remains to be done after the call, so it cannot become a jump; and the end never comes.
        if black_box(depth) == u64::MAX { 0 } else { descend(depth + 1).wrapping_add(black_box(room)[7]) }
    }
    black_box(descend(0));
}

fn load(address: usize) {
    let pointer = core::ptr::with_exposed_provenance::<u64>(black_box(address));
    // SAFETY: none. The trap that follows is what is tested.
    black_box(unsafe { pointer.read_volatile() });
}

fn store(address: usize) {
    let pointer = core::ptr::with_exposed_provenance_mut::<u64>(black_box(address));
    // SAFETY: as above.
    unsafe { pointer.write_volatile(0) };
}

fn call(address: usize) {
    let pointer = core::ptr::with_exposed_provenance::<()>(black_box(address));
    // SAFETY: as above. In assembly, since for the compiler a function's address is never null.
    unsafe { core::arch::asm!("jalr {}", in(reg) pointer, clobber_abi("C")) };
}

/// A function to overwrite.
fn write_code() {
    black_box(RETURN_INSTRUCTION);
}

fn execute_data() {
    call((&raw const DATA).addr());
}

fn execute_stack() {
    let code = black_box([RETURN_INSTRUCTION; 2]);
    call((&raw const code).addr());
}

fn map_user_page() {
    let space = AddressSpace::new(Layout::default(), Limits::USUAL).expect("memory");
    let request = MapRequest::anonymous(PAGE_SIZE, Protection::all());
    space.map(request.at(USER_PAGE)).expect("a mapping");
    space.try_copy_out(USER_PAGE, &RETURN_INSTRUCTION.to_le_bytes()).expect("a copy");
    space.activate();
}

/// Only the copy routines may touch a program's memory.
fn load_user_memory() {
    map_user_page();
    load(USER_PAGE.as_usize());
}

fn execute_user_memory() {
    map_user_page();
    call(USER_PAGE.as_usize());
}
