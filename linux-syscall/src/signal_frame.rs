//! What a program finds on its stack when a signal handler starts, and what it leaves there for the way back.

use core::mem::offset_of;

use kernel_hal::{UserContext, VirtAddr};
use linux_abi::Errno;
use linux_abi::signal::{ActionFlags, SS_AUTODISARM, SS_DISABLE, SigAction, Signal, SignalSet, SignalStack};
use linux_abi::signal_frame::{FloatingPointContext, SignalContext, SignalFrame, UserContextFrame};
use linux_abi::signal_info::{SignalInfo, UserSignalInfo};
use linux_object::obstacle::Attempt;
use linux_object::signal::NO_STACK;
use linux_object::thread::Thread;
use linux_object::user_buffer::UserMemory;
use zerocopy::{FromBytes, Immutable, IntoBytes};

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

/// What a frame begins with, as far as the kernel sets it: then come members without a use, then the registers.
#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct Top {
    info: UserSignalInfo,
    head: Head,
}

/// What stands in a frame between the information and the registers.
#[derive(IntoBytes, FromBytes, Immutable)]
#[repr(C)]
struct Head {
    flags: u64,
    link: u64,
    stack: SignalStack,
    mask: SignalSet,
}

const HEAD: usize = offset_of!(SignalFrame, uc);
const _: () = assert!(offset_of!(Top, head) == HEAD);
/// The registers, all of them side by side as [`UserContext::image`] has them.
const REGISTERS: usize = HEAD + offset_of!(UserContextFrame, uc_mcontext);
const FLOAT: usize = offset_of!(SignalContext, sc_fpregs);
const _: () = assert!(FLOAT == offset_of!(UserContext, float));
const _: () =
    assert!(FLOAT + offset_of!(FloatingPointContext, fcsr) + size_of::<u64>() == UserContext::IMAGE_BYTES);
/// A word without a use, one that must be zero, and the header that ends the extensions, of which there are none.
const END: usize = REGISTERS + FLOAT + offset_of!(FloatingPointContext, reserved) - size_of::<u32>();
type End = [u32; 4];

/// Where the registers have the program counter on their way to and from a frame: x0 has no value of its own.
const PROGRAM_COUNTER: usize = 0;

fn try_write(memory: &UserMemory, address: usize, context: &mut UserContext, top: &Top) -> Attempt<()> {
    let at = |offset: usize| VirtAddr::new(address + offset);
    context.registers[PROGRAM_COUNTER] = context.program_counter;
    memory.write(at(0), top)?;
    memory.write_bytes(at(REGISTERS), context.image())?;
    memory.write(at(END), &End::default())
}

fn try_read(memory: &UserMemory, address: usize, context: &mut UserContext) -> Attempt<Head> {
    let at = |offset: usize| VirtAddr::new(address).checked_add(offset).ok_or(Errno::EFAULT);
    let end: End = memory.read(at(END)?)?;
    if end[1..] != [0; 3] {
        return Err(Errno::EFAULT.into());
    }
    let head = memory.read(at(HEAD)?)?;
    memory.read_bytes(at(REGISTERS)?, context.image_mut())?;
    context.program_counter = context.registers[PROGRAM_COUNTER];
    context.registers[PROGRAM_COUNTER] = 0;
    context.float_replaced();
    Ok(head)
}

/// Writes the frame and lets the thread go on in the handler.
pub(crate) fn try_push(
    user: &mut UserThread,
    signal: Signal,
    info: &SignalInfo,
    action: &SigAction,
) -> Attempt<()> {
    user.context.save_float();
    let (stack, mask) = user
        .thread
        .with_signals(|signals| (signals.alternate_stack, signals.saved_mask.unwrap_or(signals.blocked)));
    let address = place(&stack, user.context.registers[UserContext::SP], action)?;
    let memory = UserMemory::new(user.resources.address_space.clone());
    let top = Top { info: (*info).into(), head: Head { flags: 0, link: 0, stack, mask } };
    try_write(&memory, address, &mut user.context, &top)?;
    if stack.ss_flags & SS_AUTODISARM != 0 && address as u64 >= stack.ss_sp {
        user.thread.with_signals(|signals| signals.alternate_stack = NO_STACK);
    }
    let registers = &mut user.context.registers;
    registers[UserContext::SP] = address;
    registers[UserContext::RA] = user.tenancy.signal_return().as_usize();
    registers[UserContext::A0] = signal.number().into();
    registers[UserContext::A0 + 1] = address + offset_of!(SignalFrame, info);
    registers[UserContext::A0 + 2] = address + offset_of!(SignalFrame, uc);
    user.context.program_counter = action.sa_handler as usize;
    Ok(())
}

/// Reads the frame back: the registers that the thread goes on with. Its mask and alternate stack are set.
pub(crate) fn try_pop(
    thread: &Thread,
    memory: &UserMemory,
    stack_pointer: usize,
    context: &mut UserContext,
) -> Attempt<()> {
    let head = try_read(memory, stack_pointer, context)?;
    thread.with_signals(|signals| {
        signals.set_blocked(head.mask);
        if head.stack.ss_flags & SS_AUTODISARM != 0 {
            signals.alternate_stack = head.stack;
        }
    });
    if linux_object::signal::has_deliverable(thread) {
        thread.note_signal();
    }
    Ok(())
}
