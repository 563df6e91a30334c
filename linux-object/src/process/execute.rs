//! Replacing a process's program.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::UserContext;
use kernel_object::paged_object::WriteDenial;
use linux_abi::Errno;
use linux_abi::resource::RLIMIT_STACK;

use super::ProcessFlags;
use super::only_thread::become_only_thread;
use crate::credentials::ProgramOwner;
use crate::namespace::{MountFlags, Place, walk};
use crate::program::{self, Interpreter, ProgramSource, Randomness, Tenancy};
use crate::thread::{Resources, Thread};
use crate::user_buffer::UserMemory;

/// What is to be executed.
pub struct ProgramRequest {
    /// The file's path, as the program is told.
    pub path: Vec<u8>,
    /// The file, if it has been looked up.
    pub place: Option<Place>,
    /// Whether an interpreter would not find the file by this path.
    pub path_is_hidden: bool,
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

/// How many scripts may name each other as interpreters.
const MOST_SCRIPTS: usize = 5;

/// Loads a program for a thread, which is then the only one of its process. `tenancy_is_shared`: others use its present memory, too. On failure nothing has changed for it.
pub async fn execute(
    thread: &Arc<Thread>,
    resources: &Resources,
    tenancy_is_shared: bool,
    request: ProgramRequest,
) -> Result<NewProgram, Errno> {
    let credentials = thread.credentials();
    let paths = &resources.paths;
    let ProgramRequest { mut path, place: mut known_place, path_is_hidden, mut arguments, environment } =
        request;
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    for _ in 0..MOST_SCRIPTS {
        let place = match known_place.take() {
            Some(place) => place,
            None => walk(paths, &credentials, None, &path, true).await?,
        };
        let pages = program::executable_pages(&place, &credentials).await?;
        let unwritten = WriteDenial::of(&pages).ok_or(Errno::ETXTBSY)?;
        let start = program::read_start(&pages).await?;
        if let Some(script) = Interpreter::parse(&start) {
            if path_is_hidden {
                return Err(Errno::ENOENT);
            }
            let mut expanded = alloc::vec![script.path.to_vec()];
            expanded.extend(script.argument.map(<[u8]>::to_vec));
            expanded.push(path);
            expanded.extend(arguments.into_iter().skip(1));
            path = script.path.to_vec();
            arguments = expanded;
            continue;
        }
        let metadata = place.inode().metadata().await?;
        let owner =
            ProgramOwner { permissions: metadata.permissions, user: metadata.user, group: metadata.group };
        let gives_identity = !place.mount().has(MountFlags::NOSUID);
        let (identity, is_secure) = credentials.for_program(gives_identity.then_some(owner));
        let process = thread.process();
        let is_fixed = process.flags().contains(ProcessFlags::NOT_RANDOMIZED) && !is_secure;
        let source = ProgramSource {
            place,
            unwritten,
            path,
            arguments,
            environment,
            identity: &identity,
            is_secure,
            randomness: if is_fixed { Randomness::Nothing } else { Randomness::of_system() },
            stack_limit: usize::try_from(process.limits().get(RLIMIT_STACK as u32).rlim_cur)
                .unwrap_or(usize::MAX),
        };
        let loaded = program::load(source, &start, pages, paths, &credentials).await?;
        become_only_thread(thread).await?;
        // From here on there is no way back: only a lack of memory could stop it, and that would end the process.
        let memory = UserMemory::new(resources.address_space.clone());
        thread.settle_with_memory(&memory, tenancy_is_shared).await;
        // Descriptors that other processes share stay theirs: the new program gets a table of its own.
        let files = match resources.files.users() {
            0 | 1 => resources.files.clone(),
            _ => {
                let own = Arc::new(resources.files.duplicate());
                own.add_user();
                resources.files.remove_user();
                own
            }
        };
        thread.rings().end(thread.id(), true);
        drop(files.close_for_exec());
        thread.set_credentials(identity);
        thread.set_name(&name);
        thread.forget_program();
        let process = thread.process();
        process.forget_program();
        process.timers().forget_program();
        let resources = Resources {
            address_space: loaded.address_space,
            files,
            paths: resources.paths.clone(),
            signal_actions: Arc::new(resources.signal_actions.for_new_program()),
            image: Arc::new(loaded.image),
        };
        process.limits().apply_to(&resources);
        thread.set_resources(resources.clone());
        thread.release_memory();
        let context = UserContext::new(loaded.entry, loaded.stack_pointer);
        return Ok(NewProgram { resources, context, tenancy: Tenancy::new(loaded.signal_return) });
    }
    Err(Errno::ELOOP)
}
