//! A user thread: one future.
//!
//! Its loop: do what is pending, enter user mode, look at the trap, answer it, repeat. While the future waits it owns no
//! kernel stack; its registers are in it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::Cell;

use executor::TaskOptions;
use kernel_hal::{HartId, Instant, PageFault, TrapCause, UserContext, VirtAddr, interrupt, time};
use kernel_object::address_space::{AddressSpace, FaultOutcome, FaultResult};
use linux_abi::signal::Signal;
use linux_abi::signal_info::{
    BUS_ADRALN, BUS_ADRERR, BUS_OBJERR, ILL_ILLOPC, SEGV_ACCERR, SEGV_MAPERR, SignalInfo, TRAP_BRKPT,
};
use linux_object::memory::pressure;
use linux_object::obstacle::{Obstacle, complete};
use linux_object::process::{StartedThread, begin_end, end_thread, find_thread};
use linux_object::program::{ProgramImage, Tenancy};
use linux_object::signal::killed_by;
use linux_object::thread::{Resources, Thread, Work};
use linux_object::user_buffer::UserMemory;

use crate::call::{
    Blocked, Call, Caller, Completion, Outcome, SlowCall, WordWait, complete_operation, encode_error,
};
use crate::{counters, signal, strace, table};

/// The most that a thread's future may occupy: ten thousand waiting threads cost so much each.
const MOST_FUTURE_BYTES: usize = 1024;

/// The process that is there as long as the system is.
const FIRST_PROCESS: i32 = 1;

/// Runs a thread on the executor. Boot registers this with `linux-object`, which makes threads.
pub fn spawn(started: StartedThread) {
    let schedule = started.thread.schedule();
    let options = TaskOptions::new("user").class(schedule.class()).affinity(schedule.hart_mask());
    spawn_small(options, run(started));
}

/// Spawns a future of which the compiler has checked that it is small enough.
fn spawn_small<F: Future<Output = ()> + Send + 'static>(options: TaskOptions, future: F) {
    const { assert!(size_of::<F>() <= MOST_FUTURE_BYTES) };
    executor::spawn(options, future).detach();
}

/// The thread's whole life.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps what it is given twice: as argument and as local"
)]
fn run(started: StartedThread) -> impl Future<Output = ()> {
    async move {
        let set_child_id = started.set_child_id;
        let mut user = UserThread::new(started);
        user.begin(set_child_id).await;
        loop {
            match user.run_program() {
                Stop::Wait(future) => {
                    let hart = user.leave_hart();
                    let completion = future.await;
                    user.finish_call(hart, completion);
                }
                Stop::Block(obstacle) => {
                    let hart = user.leave_hart();
                    let caller = Caller { thread: &user.thread, resources: &user.resources };
                    let completion = match user.blocked.get_mut() {
                        Some(operation) => complete_operation(caller, operation, obstacle).await,
                        None => unreachable!("nothing is blocked"),
                    };
                    user.blocked.set(None);
                    user.finish_call(hart, completion);
                }
                Stop::WaitForWord(wait) => {
                    let hart = user.leave_hart();
                    let completion = wait.complete(&user.thread).await;
                    user.finish_call(hart, completion);
                }
                Stop::Trap(TrapCause::PageFault(fault)) => user.page_fault(fault).await,
                Stop::Trap(trap) => user.fail(trap),
                Stop::Yield => {
                    user.leave_hart();
                    executor::yield_now().await;
                    user.note_preemption();
                }
                Stop::Reschedule => {
                    user.leave_hart();
                    executor::reschedule().await;
                    user.note_preemption();
                }
                Stop::Work => {
                    if !signal::handle_work(&mut user).await {
                        break;
                    }
                }
            }
        }
        user.leave().await;
    }
}

/// Why the program does not go on at once.
enum Stop {
    /// It made a call that has to wait, in one of three ways: see [`Outcome`].
    Wait(SlowCall),
    Block(Obstacle),
    WaitForWord(WordWait),
    /// It lets others go first.
    Yield,
    /// It trapped for another reason.
    Trap(TrapCause),
    /// Others have a better claim to the hart.
    Reschedule,
    /// There is something to do first.
    Work,
}

/// What a thread has for itself.
pub(crate) struct UserThread {
    pub(crate) thread: Arc<Thread>,
    pub(crate) resources: Resources,
    pub(crate) context: Box<UserContext>,
    /// Its stake in its memory.
    pub(crate) tenancy: Tenancy,
    /// The call that a signal interrupted, until it is decided what becomes of it.
    pub(crate) interrupted: Option<InterruptedCall>,
    /// The operation that the thread waits for, if it waits for one.
    blocked: Cell<Option<Blocked>>,
}

/// A call that a signal interrupted.
#[derive(Clone, Copy)]
pub(crate) struct InterruptedCall {
    /// The first argument, which the result overwrites.
    pub(crate) first_argument: usize,
    /// Whether a handler with `SA_RESTART` lets it be made again.
    pub(crate) may_restart: bool,
    /// Until when it waits if it is made again without a handler having run.
    pub(crate) deadline: Option<Instant>,
    /// It is not made again, also if no handler has run.
    pub(crate) is_told: bool,
}

impl InterruptedCall {
    const fn new(first_argument: usize) -> Self {
        Self { first_argument, may_restart: false, deadline: None, is_told: false }
    }
}

impl UserThread {
    fn new(started: StartedThread) -> Self {
        let StartedThread { thread, resources, context, tenancy, .. } = started;
        Self { thread, resources, context, tenancy, interrupted: None, blocked: Cell::new(None) }
    }

    async fn begin(&mut self, set_child_id: usize) {
        self.thread.set_task(executor::current_task().expect("a thread's future is a task's"));
        // It may have been changed since the task was made.
        self.thread.apply_schedule();
        if set_child_id != 0 {
            let memory = UserMemory::new(self.resources.address_space.clone());
            let id = self.thread.id();
            // Linux ignores a bad address here, too.
            let write = complete(move || memory.write(VirtAddr::new(set_child_id), &id));
            let _ = Box::pin(write).await;
        }
    }

    /// Runs the program, and answers what it asks for that need not wait. Returns with what does, or with what comes before
    /// the program. Work that comes after the look at it raises an interrupt, which is taken as soon as user mode is
    /// entered.
    #[inline]
    fn run_program(&mut self) -> Stop {
        self.thread.note_running();
        let mut call = Call {
            thread: &self.thread,
            resources: &self.resources,
            context: &mut self.context,
            tenancy: &self.tenancy,
            blocked: &self.blocked,
        };
        loop {
            interrupt::disable();
            let work = call.thread.work();
            if !work.is_empty() {
                interrupt::enable();
                if work != Work::RINGS {
                    return Stop::Work;
                }
                call.thread.clear_work(Work::RINGS);
                call.thread.rings().poll_woken();
                continue;
            }
            if executor::checkpoint() {
                interrupt::enable();
                return Stop::Reschedule;
            }
            call.resources.address_space.activate();
            let entered = time::ticks();
            let trap = call.context.run();
            call.thread.add_user_ticks(time::ticks() - entered);
            interrupt::enable();
            match trap {
                TrapCause::Syscall => {}
                TrapCause::Interrupt => continue,
                trap => return Stop::Trap(trap),
            }
            call.context.skip_syscall_instruction();
            let outcome =
                if strace::is_enabled() { strace::dispatch(&mut call) } else { table::dispatch(&mut call) };
            match outcome {
                Outcome::Done(value) => call.context.set_syscall_result(value),
                Outcome::KeepRegisters => {}
                Outcome::Wait(future) => return Stop::Wait(future),
                Outcome::Block(obstacle) => return Stop::Block(obstacle),
                Outcome::WaitForWord(wait) => return Stop::WaitForWord(wait),
                Outcome::Yield(value) => {
                    call.context.set_syscall_result(value);
                    return Stop::Yield;
                }
            }
        }
    }

    /// To be called where the thread ran, before it waits: it may go on elsewhere. Returns where it ran.
    pub(crate) fn leave_hart(&mut self) -> HartId {
        self.context.save_float();
        self.thread.settle_user_ticks();
        HartId::current()
    }

    /// A call that waited has ended; before, the thread ran on that hart.
    #[inline]
    fn finish_call(&mut self, hart: HartId, completion: Completion) {
        // Whoever waited was in no restartable sequence, but may be elsewhere now.
        if hart != HartId::current() {
            self.note_preemption();
        }
        match completion {
            Completion::Value(value) if !strace::is_enabled() => self.context.set_syscall_result(value),
            completion => self.finish_unusual_call(completion),
        }
    }

    fn finish_unusual_call(&mut self, completion: Completion) {
        let first_argument = self.context.registers[UserContext::A0];
        if strace::is_enabled() {
            strace::print_completion(&self.thread, &self.resources, &self.context, &completion);
        }
        if matches!(completion, Completion::Error(_)) {
            counters::count_error(self.context.syscall_number());
        }
        match completion {
            Completion::Value(value) => self.context.set_syscall_result(value),
            Completion::Error(errno) => self.context.set_syscall_result(encode_error(errno)),
            Completion::Interrupted => {
                let call = InterruptedCall { may_restart: true, ..InterruptedCall::new(first_argument) };
                self.interrupted = Some(call);
                self.thread.add_work(Work::SIGNAL);
            }
            Completion::InterruptedForGood => {
                self.interrupted = Some(InterruptedCall::new(first_argument));
                self.thread.add_work(Work::SIGNAL);
            }
            Completion::InterruptedAndTold => {
                let call = InterruptedCall { is_told: true, ..InterruptedCall::new(first_argument) };
                self.interrupted = Some(call);
                self.thread.add_work(Work::SIGNAL);
            }
            Completion::InterruptedUntil(deadline) => {
                let call =
                    InterruptedCall { deadline: Some(deadline), ..InterruptedCall::new(first_argument) };
                self.interrupted = Some(call);
                self.thread.add_work(Work::SIGNAL);
            }
            Completion::Registers(context) => *self.context = *context,
            Completion::Resources(resources) => {
                self.resources = *resources;
                self.thread.set_resources(self.resources.clone());
                self.context.set_syscall_result(0);
            }
            Completion::Program(program) => {
                *self.context = program.context;
                let former = core::mem::replace(&mut self.resources, program.resources);
                if core::mem::replace(&mut self.tenancy, program.tenancy).end() {
                    former.address_space.clear();
                    pressure::note_memory_returned();
                }
            }
        }
    }

    /// Something came between two instructions of the program.
    fn note_preemption(&self) {
        if self.thread.rseq() != 0 {
            self.thread.note_preemption();
        }
    }

    async fn page_fault(&mut self, fault: PageFault) {
        let result = match self.resources.address_space.fault(fault) {
            FaultOutcome::Ready(result) => {
                self.thread.count_minor_fault();
                result
            }
            FaultOutcome::NeedsLoad(_) => {
                self.leave_hart();
                let result = self.resources.address_space.fault_in(fault).await;
                self.note_preemption();
                result
            }
        };
        let address = fault.address.as_usize() as u64;
        match result {
            FaultResult::Resolved => {}
            FaultResult::NotMapped => {
                self.force(SignalInfo::fault(Signal::SIGSEGV, SEGV_MAPERR, address), Signal::SIGSEGV);
            }
            FaultResult::NotPermitted => {
                self.force(SignalInfo::fault(Signal::SIGSEGV, SEGV_ACCERR, address), Signal::SIGSEGV);
            }
            FaultResult::BusError => {
                self.force(SignalInfo::fault(Signal::SIGBUS, BUS_ADRERR, address), Signal::SIGBUS);
            }
            FaultResult::OutOfMemory => {
                self.leave_hart();
                // Rare, so it does not live in the thread's own future. If there is memory again the access faults again.
                let room = Box::pin(pressure::make_room_for(&self.thread)).await;
                if room.is_err() && !self.thread.work().contains(Work::EXIT) {
                    let process = self.thread.process();
                    log::error!("out of memory, and nobody else to end: process {} is killed", process.id());
                    process.request_exit(killed_by(Signal::SIGKILL));
                }
            }
        }
    }

    /// A trap that the program brought upon itself.
    fn fail(&mut self, trap: TrapCause) {
        let here = self.context.program_counter as u64;
        let (signal, code, address) = match trap {
            TrapCause::IllegalInstruction { .. } => (Signal::SIGILL, ILL_ILLOPC, here),
            TrapCause::Breakpoint => (Signal::SIGTRAP, TRAP_BRKPT, here),
            TrapCause::Misaligned(fault) => (Signal::SIGBUS, BUS_ADRALN, fault.address.as_usize() as u64),
            TrapCause::BusError(fault) => (Signal::SIGBUS, BUS_OBJERR, fault.address.as_usize() as u64),
            _ => (Signal::SIGSEGV, SEGV_MAPERR, here),
        };
        self.force(SignalInfo::fault(signal, code, address), signal);
    }

    /// Sends the thread a signal that it cannot escape by blocking or ignoring it.
    fn force(&mut self, info: SignalInfo, signal: Signal) {
        let id = self.thread.process().id();
        log::debug!("process {id}: {signal:?} at {:#x}: {info:?}", self.context.program_counter);
        linux_object::signal::force(&self.thread, signal, info);
    }

    /// Lets go of the thread's root, working directory and program: who waits for its end may unmount them.
    fn leave_places(&mut self) {
        if let Some(first) = find_thread(FIRST_PROCESS).filter(|first| !Arc::ptr_eq(first, &self.thread)) {
            self.resources.paths = first.resources().paths;
            self.resources.image = ProgramImage::none();
            self.thread.set_resources(self.resources.clone());
        }
    }

    /// The thread's end: its number in memory is zeroed, and it lets go of everything that it shares.
    async fn leave(&mut self) {
        begin_end(&self.thread);
        self.leave_hart();
        {
            let memory = UserMemory::new(self.resources.address_space.clone());
            let (thread, is_shared) = (self.thread.clone(), self.tenancy.is_shared());
            // Boxed: it is too large for the future of every thread that waits.
            Box::pin(async move { thread.settle_with_memory(&memory, is_shared).await }).await;
        }
        self.thread.rings().end(self.thread.id(), false);
        if self.resources.files.remove_user() {
            drop(self.resources.files.close_all());
        }
        let replacement = self.tenancy.of_copy();
        if core::mem::replace(&mut self.tenancy, replacement).end() {
            self.resources.address_space.clear();
        }
        AddressSpace::deactivate();
        self.thread.release_memory();
        self.leave_places();
        end_thread(&self.thread);
        pressure::note_memory_returned();
    }
}
