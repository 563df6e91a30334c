//! Loading programs: from a file to an address space that is ready to run.

mod elf;
mod image;
mod layout;
mod script;
mod stack;
mod tenancy;

pub mod shared_object;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use kernel_object::address_space::{
    AddressSpace, Limits, MapBacking, MapError, MapRequest, Origin, Placement, Protection,
};
use kernel_object::paged_object::{PagedObject, WriteDenial};
use linux_abi::Errno;
use linux_abi::auxiliary_vector as tag;
use linux_abi::rseq::{RSEQ_ALIGNMENT, RSEQ_FEATURE_SIZE};

use crate::credentials::{Credentials, Permission};
use crate::file::errno_of;
use crate::namespace::{MountFlags, PathContext, Place, walk};
use crate::obstacle::complete;
use crate::user_buffer::UserMemory;
use elf::{Program, Segment};
use layout::ProgramLayout;

pub use image::{ProgramImage, SpecialArea};
pub use layout::Randomness;
pub use script::Interpreter;
pub use tenancy::Tenancy;

/// What a new program needs.
pub struct LoadedProgram {
    /// Its memory, stack and all.
    pub address_space: Arc<AddressSpace>,
    /// Its first instruction.
    pub entry: VirtAddr,
    /// Its stack pointer.
    pub stack_pointer: VirtAddr,
    /// What is remembered of it.
    pub image: ProgramImage,
    /// Where a signal handler returns to.
    pub signal_return: VirtAddr,
}

/// What is to be loaded.
pub struct ProgramSource<'a> {
    /// The file.
    pub place: Place,
    /// Nobody writes it meanwhile.
    pub unwritten: WriteDenial,
    /// Its path, as the program is told.
    pub path: Vec<u8>,
    /// The arguments.
    pub arguments: Vec<Vec<u8>>,
    /// The environment.
    pub environment: Vec<Vec<u8>>,
    /// Who the program will act as; who executes it may be somebody else.
    pub identity: &'a Credentials,
    /// Whether it must not trust its surroundings.
    pub is_secure: bool,
    /// How much of its layout is left to chance.
    pub randomness: Randomness,
    /// How large its stack may become.
    pub stack_limit: usize,
}

/// Room for the headers: enough for every file that a linker makes; what is larger is read apart.
const HEADER_BYTES: usize = 4096;
const STACK_BYTES: usize = 132 << 10;
const CLOCK_TICKS_PER_SECOND: usize = 100;
/// The letters of the instruction set that every program may rely on: `imafdc`.
const HARDWARE_CAPABILITIES: usize = 1 << 8 | 1 << 12 | 1 | 1 << 5 | 1 << 3 | 1 << 2;

/// The start of a file, for deciding what it is.
pub async fn read_start(pages: &Arc<PagedObject>) -> Result<Vec<u8>, Errno> {
    read_range(pages, 0..HEADER_BYTES as u64).await
}

async fn read_range(pages: &Arc<PagedObject>, range: Range<u64>) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(range.end - range.start).map_err(|_| Errno::ENOEXEC)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    let read = pages.read(range.start, &mut bytes).await.map_err(errno_of)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The bytes of a file that may be executed.
pub async fn executable_pages(place: &Place, credentials: &Credentials) -> Result<Arc<PagedObject>, Errno> {
    let ownership = complete(|| place.try_ownership()).await?;
    credentials.check_ownership(place.file_type(), ownership, Permission::EXECUTE)?;
    if place.mount().has(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    match place.inode().contents() {
        rcore_fs::Contents::Pages(pages) => Ok(pages),
        _ => Err(Errno::EACCES),
    }
}

/// Loads a program and its interpreter into a new address space.
pub async fn load(
    source: ProgramSource<'_>,
    start_of_file: &[u8],
    pages: Arc<PagedObject>,
    paths: &PathContext,
    credentials: &Credentials,
) -> Result<LoadedProgram, Errno> {
    let program = parse(start_of_file, &pages).await?;
    let interpreter = match &program.interpreter {
        Some(range) => Some(open_interpreter(range.clone(), &pages, paths, credentials).await?),
        None => None,
    };
    let layout = ProgramLayout::choose(source.randomness, source.stack_limit);
    let stack_top = layout.stack_top;
    // The process's limits hold once the program is its own.
    let space = AddressSpace::new(layout.space, Limits::USUAL).map_err(|_| Errno::ENOMEM)?;
    let base = if program.is_relocatable { layout.relocatable_base } else { 0 };
    let base = base & !(program.alignment - 1);
    map_program(&space, &program, &pages, &source.place, base).await?;
    let end = program.segments.last().map_or(base, |last| base + last.address + last.memory_size);
    space.set_break_start(VirtAddr::new(end.next_multiple_of(PAGE_SIZE) + layout.heap_distance));

    let mut entry = base + program.entry;
    let mut interpreter_base = 0;
    if let Some((loader, loader_pages, loader_place)) = &interpreter {
        interpreter_base = place_interpreter(&space, loader)?;
        map_program(&space, loader, loader_pages, loader_place, interpreter_base).await?;
        entry = interpreter_base + loader.entry;
    }
    map_stack(&space, stack_top, program.executable_stack)?;
    let shared_object = shared_object::map(&space)?;
    let auxiliary = auxiliary_vector(&program, base, interpreter_base, shared_object, &source);
    let initial = stack::layout(
        stack_top,
        &source.arguments,
        &source.environment,
        &source.path,
        layout.random,
        &auxiliary,
    )?;
    let range_of = |is_wanted: fn(&Segment) -> bool| {
        let mut wanted = program.segments.iter().filter(|segment| is_wanted(segment));
        let bounds = |segment: &Segment| (base + segment.address, base + segment.address + segment.file_size);
        let (start, end) = wanted.next().map_or((0, 0), bounds);
        start..wanted.next_back().map_or(end, |last| bounds(last).1)
    };
    let image = ProgramImage {
        executable: Some(source.place.clone()),
        unwritten: Some(source.unwritten),
        code: range_of(|segment| segment.executable),
        data: range_of(|segment| segment.writable),
        stack_start: initial.stack_pointer,
        arguments: initial.arguments,
        environment: initial.environment,
        auxiliary: initial.auxiliary,
    };
    let memory = UserMemory::new(space.clone());
    complete(|| memory.write_bytes(VirtAddr::new(initial.stack_pointer), &initial.bytes)).await?;
    Ok(LoadedProgram {
        address_space: space,
        entry: VirtAddr::new(entry),
        stack_pointer: VirtAddr::new(initial.stack_pointer),
        image,
        signal_return: shared_object + vdso::RT_SIGRETURN_OFFSET,
    })
}

async fn parse(start_of_file: &[u8], pages: &Arc<PagedObject>) -> Result<Program, Errno> {
    let range = elf::program_headers_range(start_of_file)?;
    let in_start = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    match in_start.and_then(|(start, end)| start_of_file.get(start..end)) {
        Some(headers) => elf::parse(start_of_file, headers),
        None => elf::parse(start_of_file, &read_range(pages, range).await?),
    }
}

async fn open_interpreter(
    path: Range<u64>,
    pages: &Arc<PagedObject>,
    paths: &PathContext,
    credentials: &Credentials,
) -> Result<(Program, Arc<PagedObject>, Place), Errno> {
    let path = read_range(pages, path).await?;
    let path = path.strip_suffix(b"\0").ok_or(Errno::ENOEXEC)?;
    let place = walk(paths, credentials, None, path, true).await?;
    let pages = executable_pages(&place, credentials).await?;
    let start = read_start(&pages).await?;
    let program = parse(&start, &pages).await.map_err(|_| Errno::ELIBBAD)?;
    Ok((program, pages, place))
}

/// Finds room for an interpreter, which may go anywhere.
fn place_interpreter(space: &AddressSpace, loader: &Program) -> Result<usize, Errno> {
    let span = loader.segments.last().map_or(0, |last| last.address + last.memory_size);
    let room = MapRequest::anonymous(span + loader.alignment, Protection::empty());
    let start = space.map(room).map_err(map_errno)?;
    space.unmap(start, span + loader.alignment).map_err(map_errno)?;
    Ok(start.as_usize().next_multiple_of(loader.alignment))
}

async fn map_program(
    space: &Arc<AddressSpace>,
    program: &Program,
    pages: &Arc<PagedObject>,
    place: &Place,
    base: usize,
) -> Result<(), Errno> {
    let origin: Origin = Arc::new(place.clone());
    for segment in &program.segments {
        map_segment(space, segment, pages, &origin, base).await?;
    }
    Ok(())
}

async fn map_segment(
    space: &Arc<AddressSpace>,
    segment: &Segment,
    pages: &Arc<PagedObject>,
    origin: &Origin,
    base: usize,
) -> Result<(), Errno> {
    let mut protection = Protection::empty();
    protection.set(Protection::READ, segment.readable);
    protection.set(Protection::WRITE, segment.writable);
    protection.set(Protection::EXECUTE, segment.executable);
    let start = base + segment.address;
    let lead = start % PAGE_SIZE;
    let file_end = start + segment.file_size;
    let memory_end = start + segment.memory_size;
    let mapped_file_end = file_end.next_multiple_of(PAGE_SIZE);
    if segment.file_size > 0 {
        let offset = segment.offset - lead as u64;
        let request = MapRequest {
            origin: Some(origin.clone()),
            ..MapRequest::object(pages.clone(), offset, segment.file_size + lead, protection, false)
        };
        space.map(request.at(VirtAddr::new(start - lead))).map_err(map_errno)?;
    }
    let zero_start = if segment.file_size > 0 { mapped_file_end } else { start - lead };
    if memory_end > zero_start {
        let request = MapRequest::anonymous(memory_end - zero_start, protection);
        space.map(request.at(VirtAddr::new(zero_start))).map_err(map_errno)?;
    }
    // The rest of the last page from the file is zero to its end, as on Linux: the C library's loader allocates from it.
    // What cannot be stored to is left alone.
    if segment.writable && segment.file_size > 0 && memory_end > file_end {
        let rest = mapped_file_end - file_end;
        let mut buffer = UserMemory::new(space.clone()).simple_buffer(VirtAddr::new(file_end), rest);
        complete(|| buffer.fill_with_zeros()).await?;
    }
    Ok(())
}

fn map_stack(space: &AddressSpace, top: usize, executable: bool) -> Result<(), Errno> {
    let mut protection = Protection::READ | Protection::WRITE;
    protection.set(Protection::EXECUTE, executable);
    let request = MapRequest {
        grows_down: true,
        placement: Placement::Fixed(VirtAddr::new(top - STACK_BYTES)),
        backing: MapBacking::Anonymous,
        ..MapRequest::anonymous(STACK_BYTES, protection)
    };
    space.map(request).map(drop).map_err(map_errno)
}

fn auxiliary_vector(
    program: &Program,
    base: usize,
    interpreter_base: usize,
    shared_object: VirtAddr,
    source: &ProgramSource<'_>,
) -> Vec<(u64, usize)> {
    let headers = program.headers_address.map_or(0, |address| base + address);
    let credentials = source.identity;
    alloc::vec![
        (tag::AT_HWCAP, HARDWARE_CAPABILITIES),
        (tag::AT_PAGESZ, PAGE_SIZE),
        (tag::AT_CLKTCK, CLOCK_TICKS_PER_SECOND),
        (tag::AT_PHDR, headers),
        (tag::AT_PHENT, program.header_size),
        (tag::AT_PHNUM, program.header_count),
        (tag::AT_BASE, interpreter_base),
        (tag::AT_FLAGS, 0),
        (tag::AT_ENTRY, base + program.entry),
        (tag::AT_UID, credentials.real_user as usize),
        (tag::AT_EUID, credentials.effective_user as usize),
        (tag::AT_GID, credentials.real_group as usize),
        (tag::AT_EGID, credentials.effective_group as usize),
        (tag::AT_SECURE, usize::from(source.is_secure)),
        (tag::AT_HWCAP2, 0),
        (tag::AT_RSEQ_FEATURE_SIZE, RSEQ_FEATURE_SIZE),
        (tag::AT_RSEQ_ALIGN, RSEQ_ALIGNMENT),
        (tag::AT_SYSINFO_EHDR, shared_object.as_usize()),
    ]
}

/// How a failed mapping looks to a program.
pub fn map_errno(error: MapError) -> Errno {
    match error {
        MapError::InvalidArgument => Errno::EINVAL,
        MapError::OutOfMemory => Errno::ENOMEM,
        MapError::Exists => Errno::EEXIST,
        MapError::NotPermitted => Errno::EACCES,
        MapError::TooLow => Errno::EPERM,
        MapError::TooMuchLocked => Errno::EAGAIN,
        MapError::NotMapped => Errno::EFAULT,
        MapError::Overflow => Errno::EOVERFLOW,
    }
}
