//! What a program finds on its stack when a signal handler starts, and what it leaves there for the way back.

use kernel_hal::{UserContext, VirtAddr};
use linux_abi::Errno;
use linux_abi::signal::{ActionFlags, SS_AUTODISARM, SS_DISABLE, SigAction, Signal, SignalStack};
use linux_abi::signal_frame::{SignalContext, SignalFrame};
use linux_abi::signal_info::SignalInfo;
use linux_object::obstacle::Obstacle;
use linux_object::signal::NO_STACK;
use linux_object::thread::Thread;
use linux_object::user_buffer::UserMemory;
use zerocopy::{FromZeros, IntoBytes};

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

fn save(context: &UserContext, saved: &mut SignalContext) {
    saved.sc_regs.pc = context.program_counter as u64;
    for (slot, &register) in saved.sc_regs.x.iter_mut().zip(&context.registers[1..]) {
        *slot = register as u64;
    }
    saved.sc_fpregs.f = context.float.registers;
    saved.sc_fpregs.fcsr = context.float.control;
}

fn restore(saved: &SignalContext, context: &mut UserContext) {
    context.program_counter = saved.sc_regs.pc as usize;
    for (register, &slot) in context.registers[1..].iter_mut().zip(&saved.sc_regs.x) {
        *register = slot as usize;
    }
    context.float.registers = saved.sc_fpregs.f;
    context.float.control = saved.sc_fpregs.fcsr;
    context.float_replaced();
}

/// Writes the frame and lets the thread go on in the handler. It is built on the kernel's stack, in place: it is the
/// largest thing that a signal moves.
pub(crate) fn try_push(
    user: &mut UserThread,
    signal: Signal,
    info: &SignalInfo,
    action: &SigAction,
) -> Result<(), Obstacle> {
    user.context.save_float();
    let (stack, blocked) = user
        .thread
        .with_signals(|signals| (signals.alternate_stack, signals.saved_mask.unwrap_or(signals.blocked)));
    let address = place(&stack, user.context.registers[UserContext::SP], action)?;
    let memory = UserMemory::new(user.resources.address_space.clone());
    let mut frame = SignalFrame::new_zeroed();
    frame.info = *info;
    frame.uc.uc_stack = stack;
    frame.uc.uc_sigmask = blocked;
    save(&user.context, &mut frame.uc.uc_mcontext);
    memory.write(VirtAddr::new(address), &frame)?;
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

/// Goes on with [`try_push`] when what stood in its way is gone.
pub(crate) async fn push_after(
    user: &mut UserThread,
    mut obstacle: Obstacle,
    signal: Signal,
    info: &SignalInfo,
    action: &SigAction,
) -> Result<(), Errno> {
    loop {
        match obstacle {
            Obstacle::Error(errno) => return Err(errno),
            Obstacle::Wait(future) | Obstacle::Event(future) => future.await?,
            // Memory is waited for by a future, never on a queue.
            Obstacle::NotReady(_) | Obstacle::NotReadyFor(..) => return Err(Errno::EFAULT),
        }
        match try_push(user, signal, info, action) {
            Ok(()) => return Ok(()),
            Err(next) => obstacle = next,
        }
    }
}

/// Reads the frame back into the registers that the thread goes on with. Its mask and alternate stack are set.
pub(crate) fn try_pop(
    thread: &Thread,
    memory: &UserMemory,
    stack_pointer: usize,
    context: &mut UserContext,
) -> Result<(), Obstacle> {
    let mut frame = SignalFrame::new_zeroed();
    memory.read_bytes(VirtAddr::new(stack_pointer), frame.as_mut_bytes())?;
    if frame.uc.uc_mcontext.sc_fpregs.reserved != 0 {
        return Err(Errno::EFAULT.into());
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
    restore(&frame.uc.uc_mcontext, context);
    Ok(())
}
