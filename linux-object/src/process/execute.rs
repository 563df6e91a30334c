//! Replacing a process's program.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::UserContext;
use linux_abi::Errno;

use crate::namespace::walk;
use crate::program::{self, Interpreter, ProgramSource, Tenancy};
use crate::signal::NO_STACK;
use crate::thread::{Resources, Thread};

/// What is to be executed.
pub struct ProgramRequest {
    /// The file.
    pub path: Vec<u8>,
    /// `argv`.
    pub arguments: Vec<Vec<u8>>,
    /// `envp`.
    pub environment: Vec<Vec<u8>>,
}

/// What the thread goes on with.
pub struct NewProgram {
    /// Its resources, memory exchanged.
    pub resources: Resources,
    /// Its first registers.
    pub context: UserContext,
    /// Its stake in its new memory.
    pub tenancy: Tenancy,
}

/// References to the file table that are the thread's own: in its future, in what others see of it, and in this call.
const OWN_REFERENCES: usize = 3;

/// How many scripts may name each other as interpreters.
const MOST_SCRIPTS: usize = 5;

/// Loads a program for a thread. On failure nothing has changed for it.
pub async fn execute(
    thread: &Arc<Thread>,
    resources: &Resources,
    request: ProgramRequest,
) -> Result<NewProgram, Errno> {
    let credentials = thread.process().credentials();
    let paths = &resources.paths;
    let ProgramRequest { mut path, mut arguments, environment } = request;
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    for _ in 0..MOST_SCRIPTS {
        let place = walk(paths, &credentials, None, &path, true).await?;
        let pages = program::executable_pages(&place, &credentials).await?;
        let start = program::read_start(&pages).await?;
        if let Some(script) = Interpreter::parse(&start) {
            let mut expanded = alloc::vec![script.path.to_vec()];
            expanded.extend(script.argument.map(<[u8]>::to_vec));
            expanded.push(path);
            expanded.extend(arguments.into_iter().skip(1));
            path = script.path.to_vec();
            arguments = expanded;
            continue;
        }
        let source = ProgramSource { place, path, arguments, environment };
        let loaded = program::load(source, &start, pages, paths, &credentials).await?;
        // Descriptors that other processes share stay theirs: the new program gets a table of its own.
        let files = match Arc::strong_count(&resources.files) {
            0..=OWN_REFERENCES => resources.files.clone(),
            _ => Arc::new(resources.files.duplicate()),
        };
        drop(files.close_for_exec());
        thread.set_name(&name);
        thread.set_clear_child_id(0);
        thread.with_signals(|signals| signals.alternate_stack = NO_STACK);
        let resources = Resources {
            address_space: loaded.address_space,
            files,
            paths: resources.paths.clone(),
            signal_actions: Arc::new(resources.signal_actions.for_new_program()),
            image: Arc::new(loaded.image),
        };
        thread.set_resources(resources.clone());
        thread.release_memory();
        let context = UserContext::new(loaded.entry, loaded.stack_pointer);
        return Ok(NewProgram { resources, context, tenancy: Tenancy::new(loaded.signal_return) });
    }
    Err(Errno::ELOOP)
}
