//! ELF headers, read from bytes that nobody vouches for.

use alloc::vec::Vec;
use core::ops::Range;

use linux_abi::Errno;
use zerocopy::{FromBytes, Immutable, KnownLayout};

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FileHeader {
    magic: [u8; 4],
    class: u8,
    encoding: u8,
    ident_rest: [u8; 10],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers_offset: u64,
    section_headers_offset: u64,
    flags: u32,
    header_size: u16,
    program_header_size: u16,
    program_header_count: u16,
    section_fields: [u16; 3],
}

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical_address: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const SHARED_OBJECT: u16 = 3;
const MACHINE_RISCV: u16 = 243;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const PROGRAM_HEADERS: u32 = 6;
const STACK: u32 = 0x6474_e551;
const FLAG_EXECUTE: u32 = 1;
const FLAG_WRITE: u32 = 2;
const FLAG_READ: u32 = 4;
/// Linux refuses longer tables of program headers.
const MOST_PROGRAM_HEADER_BYTES: usize = 65536;
const LONGEST_INTERPRETER_PATH: u64 = 4096;

/// A piece of the file that belongs in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where, relative to the load address.
    pub address: usize,
    /// Bytes in memory; what the file does not cover is zero.
    pub memory_size: usize,
    /// Where in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_size: usize,
    /// Loads are allowed.
    pub readable: bool,
    /// Stores are allowed.
    pub writable: bool,
    /// Instruction fetches are allowed.
    pub executable: bool,
}

/// What the headers of a program say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Whether the program may be loaded anywhere.
    pub is_relocatable: bool,
    /// The first instruction, relative to the load address.
    pub entry: usize,
    /// The segments to load, in ascending order.
    pub segments: Vec<Segment>,
    /// Where the file names the interpreter, if it wants one.
    pub interpreter: Option<Range<u64>>,
    /// Where the program headers are in memory, relative to the load address.
    pub headers_address: Option<usize>,
    /// How many there are.
    pub header_count: usize,
    /// Bytes of one.
    pub header_size: usize,
    /// The largest alignment that a segment asks for.
    pub alignment: usize,
    /// Whether the stack must be executable.
    pub executable_stack: bool,
}

/// Where the program headers are in the file: what must be read before [`parse`].
pub fn program_headers_range(start_of_file: &[u8]) -> Result<Range<u64>, Errno> {
    let header = file_header(start_of_file)?;
    let size = usize::from(header.program_header_count) * size_of::<ProgramHeader>();
    if size == 0 || size > MOST_PROGRAM_HEADER_BYTES {
        return Err(Errno::ENOEXEC);
    }
    let start = header.program_headers_offset;
    let end = start.checked_add(size as u64).ok_or(Errno::ENOEXEC)?;
    Ok(start..end)
}

fn file_header(start_of_file: &[u8]) -> Result<FileHeader, Errno> {
    let (header, _) = FileHeader::read_from_prefix(start_of_file).map_err(|_| Errno::ENOEXEC)?;
    let is_ours = header.magic == MAGIC
        && header.class == CLASS_64
        && header.encoding == LITTLE_ENDIAN
        && header.machine == MACHINE_RISCV
        && matches!(header.kind, EXECUTABLE | SHARED_OBJECT)
        && usize::from(header.program_header_size) == size_of::<ProgramHeader>();
    if is_ours { Ok(header) } else { Err(Errno::ENOEXEC) }
}

/// Reads the headers: `start_of_file` holds the file header, `program_headers` the bytes that
/// [`program_headers_range`] named.
pub fn parse(start_of_file: &[u8], program_headers: &[u8]) -> Result<Program, Errno> {
    let header = file_header(start_of_file)?;
    let mut program = Program {
        is_relocatable: header.kind == SHARED_OBJECT,
        entry: header.entry as usize,
        segments: Vec::new(),
        interpreter: None,
        headers_address: None,
        header_count: usize::from(header.program_header_count),
        header_size: size_of::<ProgramHeader>(),
        alignment: kernel_hal::PAGE_SIZE,
        executable_stack: false,
    };
    let count = program.header_count;
    program.segments.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
    for bytes in program_headers.chunks_exact(size_of::<ProgramHeader>()).take(count) {
        let entry = ProgramHeader::read_from_bytes(bytes).map_err(|_| Errno::ENOEXEC)?;
        note(&mut program, &header, &entry)?;
    }
    let ascending = program.segments.is_sorted_by(|a, b| a.address + a.memory_size <= b.address);
    if program.segments.is_empty() || !ascending {
        return Err(Errno::ENOEXEC);
    }
    Ok(program)
}

fn note(program: &mut Program, header: &FileHeader, entry: &ProgramHeader) -> Result<(), Errno> {
    match entry.kind {
        LOAD if entry.memory_size > 0 => {
            let segment = segment(entry)?;
            let in_file = entry.offset..entry.offset + entry.file_size;
            if in_file.contains(&header.program_headers_offset) {
                let distance = (header.program_headers_offset - entry.offset) as usize;
                program.headers_address.get_or_insert(segment.address + distance);
            }
            if entry.alignment.is_power_of_two() && entry.alignment <= 1 << 30 {
                program.alignment = program.alignment.max(entry.alignment as usize);
            }
            program.segments.push(segment);
        }
        INTERPRETER => {
            let is_sound = (2..=LONGEST_INTERPRETER_PATH).contains(&entry.file_size);
            let end = entry.offset.checked_add(entry.file_size).filter(|_| is_sound);
            program.interpreter = Some(entry.offset..end.ok_or(Errno::ENOEXEC)?);
        }
        PROGRAM_HEADERS => program.headers_address = Some(entry.address as usize),
        STACK => program.executable_stack = entry.flags & FLAG_EXECUTE != 0,
        _ => {}
    }
    Ok(())
}

fn segment(entry: &ProgramHeader) -> Result<Segment, Errno> {
    let page_offset = |value: u64| value % kernel_hal::PAGE_SIZE as u64;
    let end_in_memory = entry.address.checked_add(entry.memory_size);
    let is_sound = entry.file_size <= entry.memory_size
        && entry.offset.checked_add(entry.file_size).is_some_and(|end| end <= i64::MAX as u64)
        && end_in_memory.is_some_and(|end| end <= kernel_hal::USER_END as u64)
        && page_offset(entry.offset) == page_offset(entry.address);
    if !is_sound {
        return Err(Errno::ENOEXEC);
    }
    Ok(Segment {
        address: entry.address as usize,
        memory_size: entry.memory_size as usize,
        offset: entry.offset,
        file_size: entry.file_size as usize,
        readable: entry.flags & FLAG_READ != 0,
        writable: entry.flags & FLAG_WRITE != 0,
        executable: entry.flags & FLAG_EXECUTE != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
        bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// A static executable with one segment of text and one of data.
    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; 64 + 2 * 56];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = CLASS_64;
        bytes[5] = LITTLE_ENDIAN;
        put(&mut bytes, 16, EXECUTABLE.into(), 2);
        put(&mut bytes, 18, MACHINE_RISCV.into(), 2);
        put(&mut bytes, 24, 0x10100, 8);
        put(&mut bytes, 32, 64, 8);
        put(&mut bytes, 54, 56, 2);
        put(&mut bytes, 56, 2, 2);
        for (index, (address, flags, memory_size)) in
            [(0x10000, 5, 0x400), (0x20400, 6, 0x900)].iter().enumerate()
        {
            let at = 64 + index * 56;
            put(&mut bytes, at, LOAD.into(), 4);
            put(&mut bytes, at + 4, *flags, 4);
            put(&mut bytes, at + 8, 0x400 * index as u64, 8);
            put(&mut bytes, at + 16, *address, 8);
            put(&mut bytes, at + 32, 0x400, 8);
            put(&mut bytes, at + 40, *memory_size, 8);
            put(&mut bytes, at + 48, 0x1000, 8);
        }
        bytes
    }

    fn parse_all(bytes: &[u8]) -> Result<Program, Errno> {
        let range = program_headers_range(bytes)?;
        let headers = bytes.get(range.start as usize..range.end as usize).ok_or(Errno::ENOEXEC)?;
        parse(bytes, headers)
    }

    #[test]
    fn a_static_program_has_its_segments_and_headers() {
        let program = parse_all(&sample()).unwrap();
        assert_eq!(program.segments.len(), 2);
        assert_eq!(program.headers_address, Some(0x10040));
        assert!(program.segments[0].executable && !program.segments[0].writable);
        assert_eq!(program.segments[1].memory_size, 0x900);
        assert!(!program.is_relocatable);
    }

    #[test]
    fn another_machine_is_refused() {
        let mut bytes = sample();
        put(&mut bytes, 18, 62, 2);
        assert_eq!(parse_all(&bytes), Err(Errno::ENOEXEC));
    }

    #[test]
    fn segments_that_overlap_are_refused() {
        let mut bytes = sample();
        put(&mut bytes, 64 + 56 + 16, 0x10000, 8);
        assert_eq!(parse_all(&bytes), Err(Errno::ENOEXEC));
    }

    #[test]
    fn mutated_headers_never_panic() {
        let original = sample();
        let mut state = 0x1234_5678_9abc_def1u64;
        for _ in 0..200_000 {
            let mut bytes = original.clone();
            for _ in 0..4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = if state & 1 == 0 { state as u8 } else { 0xff };
            }
            if let Ok(program) = parse_all(&bytes) {
                for segment in &program.segments {
                    assert!(segment.file_size <= segment.memory_size);
                    assert!(segment.address + segment.memory_size <= kernel_hal::USER_END);
                }
            }
        }
    }
}
