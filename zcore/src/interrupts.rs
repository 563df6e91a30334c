//! What runs when an interrupt arrives.

use kernel_hal::interrupt::{self, Handlers};
use zcore_drivers::InterruptRegistry;

use crate::diagnostics::halt;
use crate::kernel_log;

/// Who handles which line of the interrupt controller.
pub static LINES: InterruptRegistry = InterruptRegistry::new();

static HANDLERS: Handlers = Handlers {
    timer: executor::on_timer,
    reschedule,
    external: |line| executor::in_interrupt(|| LINES.dispatch(line)),
    preemption_point: executor::preemption_point,
    halt: halt::on_request,
};

/// Another hart, or this one, asks for a look at the run queue or at whoever waits for the log.
fn reschedule() {
    kernel_log::wake_readers();
    executor::on_reschedule();
}

/// Registers the handlers. Interrupts are masked until the executor runs.
pub fn install() {
    interrupt::set_handlers(&HANDLERS);
}
