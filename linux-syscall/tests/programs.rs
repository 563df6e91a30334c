//! Programs that run on the real dispatcher, the real user loop and the real address space, on the host.

mod machine;

use std::cell::RefCell;
use std::rc::Rc;

use linux_abi::{Errno, syscall};
use machine::{Call, Machine, SCRATCH, exit, peek, poke, result};

/// What a program notes for the test.
type Notes = Rc<RefCell<Vec<isize>>>;

/// A program that makes these calls one after the other and notes their results.
fn sequence(notes: &Notes, calls: Vec<Call>) -> impl FnMut(&mut kernel_hal::UserContext) -> Call + use<> {
    let notes = notes.clone();
    let mut calls = calls.into_iter();
    let mut is_first = true;
    move |context| {
        if !std::mem::replace(&mut is_first, false) {
            notes.borrow_mut().push(result(context));
        }
        calls.next().unwrap_or_else(|| exit(0))
    }
}

fn error(errno: Errno) -> isize {
    -(errno as isize)
}

const SIGCHLD: usize = 17;
/// s1: no syscall touches it.
const OWN_REGISTER: usize = 9;
const PARENT: usize = 0;
const FORKING: usize = 1;
const CHILD: usize = 2;
const O_CREAT_RDWR: usize = 0o102;
const AT_FDCWD: usize = -100isize as usize;

#[test]
fn an_unknown_number_is_enosys_and_hurts_nobody() {
    let notes = Notes::default();
    let calls = vec![(9999, vec![]), (usize::MAX, vec![]), (syscall::GETPID, vec![])];
    Machine::new(1, 1).run(sequence(&notes, calls));
    let notes = notes.borrow();
    assert_eq!(notes[..2], [error(Errno::ENOSYS), error(Errno::ENOSYS)]);
    assert!(notes[2] > 1);
}

#[test]
fn bad_addresses_are_efault_and_short_transfers_count() {
    let notes = Notes::default();
    let mut is_prepared = false;
    let calls = vec![
        (syscall::OPENAT, vec![AT_FDCWD, SCRATCH, O_CREAT_RDWR, 0o600]),
        (syscall::WRITE, vec![0, SCRATCH + 15 * 4096, 2 * 4096]),
        (syscall::PREAD64, vec![0, 0x10, 64, 0]),
        (syscall::PREAD64, vec![0, usize::MAX - 8, 64, 0]),
        (syscall::PREAD64, vec![0, SCRATCH, 64, 0]),
        (syscall::WRITE, vec![7, SCRATCH, 1]),
    ];
    let mut program = sequence(&notes, calls);
    Machine::new(1, 1).run(move |context| {
        if !std::mem::replace(&mut is_prepared, true) {
            poke(SCRATCH, b"/file\0");
        }
        program(context)
    });
    let expected = [0, 4096, error(Errno::EFAULT), error(Errno::EFAULT), 64, error(Errno::EBADF)];
    assert_eq!(*notes.borrow(), expected);
}

#[test]
fn a_reader_waits_for_its_child_and_then_for_its_end() {
    for seed in 0..32 {
        let notes = Notes::default();
        let noted = notes.clone();
        let (mut parent_step, mut child_step) = (0, 0);
        Machine::new(2, seed).run(move |context| {
            // A register of the program's own says who runs: the fork copies it, and the child is who gets 0.
            let is_fork_result = context.registers[OWN_REGISTER] == FORKING;
            if is_fork_result {
                context.registers[OWN_REGISTER] = if result(context) == 0 { CHILD } else { PARENT };
            }
            if context.registers[OWN_REGISTER] == CHILD {
                child_step += 1;
                return match child_step {
                    1 => {
                        poke(SCRATCH + 64, b"hello");
                        (syscall::WRITE, vec![1, SCRATCH + 64, 5])
                    }
                    _ => exit(7),
                };
            }
            if parent_step > 2 {
                noted.borrow_mut().push(result(context));
            }
            parent_step += 1;
            match parent_step {
                1 => (syscall::PIPE2, vec![SCRATCH, 0]),
                2 => {
                    context.registers[OWN_REGISTER] = FORKING;
                    (syscall::CLONE, vec![SIGCHLD, 0, 0, 0, 0])
                }
                3 => (syscall::READ, vec![0, SCRATCH + 128, 64]),
                4 => {
                    assert_eq!(&peek::<5>(SCRATCH + 128), b"hello");
                    (syscall::WAIT4, vec![usize::MAX, SCRATCH + 256, 0, 0])
                }
                5 => {
                    assert_eq!(peek::<4>(SCRATCH + 256), 0x700u32.to_le_bytes());
                    (syscall::WAIT4, vec![usize::MAX, 0, 0, 0])
                }
                _ => exit(0),
            }
        });
        let notes = notes.borrow();
        assert_eq!(notes[0], 5, "seed {seed}");
        assert!(notes[1] > 1, "seed {seed}");
        assert_eq!(notes[2], error(Errno::ECHILD), "seed {seed}");
    }
}

#[test]
fn a_handler_runs_and_returns_to_where_it_came_from() {
    const HANDLER: usize = 0x3000;
    let notes = Notes::default();
    let noted = notes.clone();
    let mut step = 0;
    Machine::new(1, 3).run(move |context| {
        if context.program_counter == HANDLER {
            noted.borrow_mut().push(context.registers[10] as isize);
            assert_eq!(context.registers[1], 0x2000, "the handler returns to the trampoline");
            return (syscall::RT_SIGRETURN, vec![]);
        }
        step += 1;
        match step {
            1 => {
                let mut action = [0; 24];
                action[..8].copy_from_slice(&HANDLER.to_le_bytes());
                poke(SCRATCH, &action);
                (syscall::RT_SIGACTION, vec![10, SCRATCH, 0, 8])
            }
            2 => (syscall::GETPID, vec![]),
            3 => (syscall::KILL, vec![result(context) as usize, 10]),
            4 => {
                noted.borrow_mut().push(result(context));
                exit(0)
            }
            _ => exit(1),
        }
    });
    assert_eq!(*notes.borrow(), [10, 0]);
}
