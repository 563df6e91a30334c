//! What runs when an interrupt arrives.

use kernel_hal::interrupt::{self, Handlers};
use kernel_hal::machine;
use zcore_drivers::InterruptRegistry;

/// Who handles which line of the interrupt controller.
pub static LINES: InterruptRegistry = InterruptRegistry::new();

static HANDLERS: Handlers = Handlers {
    timer: executor::on_timer,
    reschedule: executor::on_reschedule,
    external: |line| executor::in_interrupt(|| LINES.dispatch(line)),
    preemption_point: executor::preemption_point,
    halt: || machine::stop_hart(),
};

/// Registers the handlers. Interrupts are masked until the executor runs.
pub fn install() {
    interrupt::set_handlers(&HANDLERS);
}
