//! What runs when an interrupt arrives.

use kernel_hal::interrupt::{self, Handlers};
use kernel_object::address_space::AddressSpace;
use zcore_drivers::InterruptRegistry;

use crate::diagnostics::halt;
use crate::kernel_log;

/// Who handles which line of the interrupt controller.
pub static LINES: InterruptRegistry = InterruptRegistry::new();

static HANDLERS: Handlers = Handlers {
    timer: executor::on_timer,
    reschedule,
    external: dispatch,
    preemption_point,
    halt: halt::on_request,
};

/// Another hart, or this one, asks for a look at the run queue or at whoever waits for the log.
fn reschedule() {
    kernel_log::wake_readers();
    executor::on_reschedule();
}

/// A device raised this line.
pub fn dispatch(line: u32) {
    executor::in_interrupt(|| LINES.dispatch(line));
}

/// An interrupt is about to return to kernel code. If others run first, they may run in other address spaces, and
/// use the floating-point unit.
pub fn preemption_point() {
    if !executor::wants_preemption() {
        return;
    }
    kernel_hal::preemption::save_float_registers();
    let space = AddressSpace::active();
    executor::preemption_point();
    if let Some(space) = space {
        space.activate();
    }
}

/// Registers the handlers. Interrupts are masked until the executor runs.
pub fn install() {
    interrupt::set_handlers(&HANDLERS);
}
