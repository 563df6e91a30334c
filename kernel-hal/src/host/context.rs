//! User mode on the host: a scripted program, called each time the kernel would enter user mode.

use std::cell::RefCell;

use crate::{TrapCause, UserContext};

type UserProgram = Box<dyn FnMut(&mut UserContext) -> TrapCause>;

thread_local! {
    static PROGRAM: RefCell<Option<UserProgram>> = const { RefCell::new(None) };
}

/// Installs what "runs in user mode" on this thread: it sees and changes the registers, may reach user memory with
/// [`crate::user_memory`], and returns the trap that ended its stay.
pub fn set_user_program(program: impl FnMut(&mut UserContext) -> TrapCause + 'static) {
    PROGRAM.set(Some(Box::new(program)));
}

pub(crate) fn run(context: &mut UserContext) -> TrapCause {
    let mut program = PROGRAM.take().expect("no user program was set on this thread");
    let cause = program(context);
    PROGRAM.with_borrow_mut(|slot| {
        slot.get_or_insert(program);
    });
    cause
}

pub(crate) fn save_float(_context: &mut UserContext) {}

pub(crate) fn save_float_of_interrupted() {}
