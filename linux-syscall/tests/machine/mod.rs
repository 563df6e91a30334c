//! A machine for syscall tests: user programs are Rust closures, everything behind the trap is the real thing.
//!
//! A program is called each time the kernel would enter user mode: it sees the registers (the last result in a0) and says
//! which syscall it makes next. Which program runs is told by the thread pointer, which a fork inherits.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Once};

use executor::simulator::Simulator;
use kernel_hal::host::set_user_program;
use kernel_hal::{TrapCause, UserContext, VirtAddr, paging};
use kernel_object::address_space::{AddressSpace, Layout, Limits, MapRequest, Protection};
use kernel_object::frame::host::use_private;
use linux_abi::syscall;
use linux_object::file::FileTable;
use linux_object::namespace::{PathContext, attach};
use linux_object::process::execute::NewProgram;
use linux_object::process::{all_processes, first_process, set_thread_spawner, start_first_thread};
use linux_object::program::Tenancy;
use linux_object::thread::Resources;
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};

/// Memory that every program has, readable and writable.
pub const SCRATCH: usize = 0x10_0000;
const SCRATCH_BYTES: usize = 16 * 4096;
const STACK_TOP: usize = SCRATCH + SCRATCH_BYTES;
const FRAMES: usize = 2048;

/// The next syscall: its number and arguments.
pub type Call = (usize, Vec<usize>);
type Program = Box<dyn FnMut(&mut UserContext) -> Call>;

thread_local! {
    static HAS_MEMORY: OnceCell<()> = const { OnceCell::new() };
    static PROGRAMS: RefCell<HashMap<usize, Rc<RefCell<Program>>>> = RefCell::default();
}

/// A simulated machine with one process.
pub struct Machine {
    simulator: Simulator,
    resources: Resources,
    next_program: usize,
}

impl Machine {
    pub fn new(harts: usize, seed: u64) -> Self {
        // Each test has a thread of its own, and each thread its own memory, however many machines it makes.
        HAS_MEMORY.with(|has_memory| {
            has_memory.get_or_init(|| {
                use_private(FRAMES);
            });
        });
        set_thread_spawner(linux_syscall::user_loop::spawn);
        set_user_program(enter_user_mode);
        let root = Tmpfs::new(linux_object::clock::time_stamp, &TmpfsOptions::default()).unwrap();
        let space = AddressSpace::new(Layout::default(), Limits::USUAL).unwrap();
        let rights = Protection::READ | Protection::WRITE;
        space.map(MapRequest::anonymous(SCRATCH_BYTES, rights).at(VirtAddr::new(SCRATCH))).unwrap();
        let resources = Resources {
            address_space: space,
            files: Arc::new(FileTable::default()),
            paths: Arc::new(PathContext::new(attach(root, None))),
            signal_actions: Arc::default(),
            image: Arc::default(),
        };
        let machine = Self { simulator: Simulator::new(harts, seed), resources, next_program: 1 };
        reserve_first_number(&machine.resources);
        machine
    }

    /// Runs a program as a process of its own, until nothing happens any more.
    pub fn run(&mut self, program: impl FnMut(&mut UserContext) -> Call + 'static) {
        let number = self.next_program;
        self.next_program += 1;
        PROGRAMS.with_borrow_mut(|programs| {
            programs.insert(number, Rc::new(RefCell::new(Box::new(program) as Program)));
        });
        let thread = first_process(self.resources.clone()).unwrap();
        let mut context = UserContext::new(VirtAddr::new(0x1000), VirtAddr::new(STACK_TOP));
        context.registers[UserContext::TP] = number;
        let program = NewProgram {
            resources: self.resources.clone(),
            context,
            tenancy: Tenancy::new(VirtAddr::new(0x2000)),
        };
        start_first_thread(thread, program);
        self.simulator.run_until_idle();
    }
}

/// The end of process 1 would be the end of the machine: no test is process 1.
fn reserve_first_number(resources: &Resources) {
    static RESERVED: Once = Once::new();
    RESERVED.call_once(|| std::mem::forget(first_process(resources.clone()).unwrap()));
}

fn enter_user_mode(context: &mut UserContext) -> TrapCause {
    let number = context.registers[UserContext::TP];
    let program = PROGRAMS.with_borrow(|programs| programs[&number].clone());
    let (call, arguments) = (program.borrow_mut())(context);
    context.registers[UserContext::A7] = call;
    for (index, argument) in arguments.into_iter().enumerate() {
        context.registers[UserContext::A0 + index] = argument;
    }
    TrapCause::Syscall
}

/// The last syscall's result.
pub fn result(context: &UserContext) -> isize {
    context.registers[UserContext::A0] as isize
}

/// The address space in force, as the process that has it knows it.
fn active_space() -> Arc<AddressSpace> {
    let root = paging::active_root();
    let threads = all_processes().into_iter().flat_map(|process| process.threads());
    let mut spaces = threads.map(|thread| thread.resources().address_space);
    spaces.find(|space| Some(space.root()) == root).expect("the running program has an address space")
}

/// Stores bytes as the program would, faults and all.
pub fn poke(address: usize, bytes: &[u8]) {
    active_space().try_copy_out(VirtAddr::new(address), bytes).expect("the test's own memory is mapped");
}

/// Loads bytes as the program would.
pub fn peek<const N: usize>(address: usize) -> [u8; N] {
    let mut bytes = [0; N];
    active_space().try_copy_in(&mut bytes, VirtAddr::new(address)).expect("the test's own memory is mapped");
    bytes
}

/// The syscall that ends a program.
pub fn exit(status: usize) -> Call {
    (syscall::EXIT_GROUP, vec![status])
}
