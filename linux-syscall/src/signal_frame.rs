//! What a program finds on its stack when a signal handler starts, and what it leaves there for the way back.

use kernel_hal::{UserContext, VirtAddr};
use linux_abi::Errno;
use linux_abi::signal::{ActionFlags, SS_AUTODISARM, SS_DISABLE, SigAction, Signal, SignalStack};
use linux_abi::signal_frame::{SignalContext, SignalFrame, UserContextFrame, UserRegisters};
use linux_abi::signal_info::SignalInfo;
use linux_object::obstacle::complete;
use linux_object::signal::NO_STACK;
use linux_object::thread::Thread;
use linux_object::user_buffer::UserMemory;

use crate::user_loop::UserThread;

const STACK_ALIGNMENT: usize = 16;
const FRAME_BYTES: usize = size_of::<SignalFrame>();

/// Whether a stack pointer lies on an alternate stack that handlers are running on.
pub(crate) fn is_on(stack: &SignalStack, stack_pointer: u64) -> bool {
    let is_permanent = stack.ss_flags & (SS_DISABLE | SS_AUTODISARM) == 0;
    is_permanent && stack_pointer > stack.ss_sp && stack_pointer - stack.ss_sp <= stack.ss_size
}

/// Where the frame goes: on the alternate stack if the handler asks for it and it is not in use, below the program's
/// own stack otherwise.
fn place(stack: &SignalStack, stack_pointer: usize, action: &SigAction) -> Result<usize, Errno> {
    let wants_alternate = ActionFlags::from_bits_retain(action.sa_flags).contains(ActionFlags::ONSTACK);
    let in_use = is_on(stack, stack_pointer as u64);
    let top = if wants_alternate && !in_use && stack.ss_flags & SS_DISABLE == 0 {
        stack.ss_sp.wrapping_add(stack.ss_size) as usize
    } else {
        stack_pointer
    };
    let frame = top.checked_sub(FRAME_BYTES).ok_or(Errno::EFAULT)? & !(STACK_ALIGNMENT - 1);
    if in_use && !is_on(stack, frame as u64) {
        // The frame would run over the end of the alternate stack.
        return Err(Errno::EFAULT);
    }
    Ok(frame)
}

fn save(context: &UserContext) -> SignalContext {
    let mut saved = SignalContext::default();
    saved.sc_regs.pc = context.program_counter as u64;
    for (slot, &register) in saved.sc_regs.x.iter_mut().zip(&context.registers[1..]) {
        *slot = register as u64;
    }
    saved.sc_fpregs.f = context.float.registers;
    saved.sc_fpregs.fcsr = context.float.control;
    saved
}

fn restore(saved: &SignalContext) -> UserContext {
    let UserRegisters { pc, x } = saved.sc_regs;
    let mut context = UserContext::new(VirtAddr::new(pc as usize), VirtAddr::new(0));
    for (register, &slot) in context.registers[1..].iter_mut().zip(&x) {
        *register = slot as usize;
    }
    context.float.registers = saved.sc_fpregs.f;
    context.float.control = saved.sc_fpregs.fcsr;
    context.float_replaced();
    context
}

/// Writes the frame and lets the thread go on in the handler.
pub(crate) async fn push(
    user: &mut UserThread,
    signal: Signal,
    info: SignalInfo,
    action: &SigAction,
) -> Result<(), Errno> {
    user.context.save_float();
    let (stack, blocked) = user
        .thread
        .with_signals(|signals| (signals.alternate_stack, signals.saved_mask.unwrap_or(signals.blocked)));
    let address = place(&stack, user.context.registers[UserContext::SP], action)?;
    let memory = UserMemory::new(user.resources.address_space.clone());
    let context = alloc::boxed::Box::new(save(&user.context));
    complete(|| {
        let frame = SignalFrame { info, uc: UserContextFrame::new(*context, blocked, stack) };
        memory.write(VirtAddr::new(address), &frame)
    })
    .await?;
    if stack.ss_flags & SS_AUTODISARM != 0 && address as u64 >= stack.ss_sp {
        user.thread.with_signals(|signals| signals.alternate_stack = NO_STACK);
    }
    let registers = &mut user.context.registers;
    registers[UserContext::SP] = address;
    registers[UserContext::RA] = user.tenancy.signal_return().as_usize();
    registers[UserContext::A0] = signal.number().into();
    registers[UserContext::A0 + 1] = address + core::mem::offset_of!(SignalFrame, info);
    registers[UserContext::A0 + 2] = address + core::mem::offset_of!(SignalFrame, uc);
    user.context.program_counter = action.sa_handler as usize;
    Ok(())
}

/// Reads the frame back: the registers that the thread goes on with. Its mask and alternate stack are set.
pub(crate) async fn pop(
    thread: &Thread,
    memory: &UserMemory,
    stack_pointer: usize,
) -> Result<UserContext, Errno> {
    let frame =
        complete(|| memory.read::<SignalFrame>(VirtAddr::new(stack_pointer)).map(alloc::boxed::Box::new))
            .await?;
    if frame.uc.uc_mcontext.sc_fpregs.reserved != 0 {
        return Err(Errno::EFAULT);
    }
    thread.with_signals(|signals| {
        signals.set_blocked(frame.uc.uc_sigmask);
        let stack = frame.uc.uc_stack;
        if stack.ss_flags & SS_AUTODISARM != 0 {
            signals.alternate_stack = stack;
        }
    });
    if linux_object::signal::has_deliverable(thread) {
        thread.add_work(linux_object::thread::Work::SIGNAL);
    }
    Ok(restore(&frame.uc.uc_mcontext))
}
