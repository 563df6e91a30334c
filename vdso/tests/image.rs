//! The shared object as loaders, debuggers and unwinders will see it.

use std::collections::BTreeMap;

use vdso::{IMAGE, IMAGE_FILE_BYTES, PAGE_BYTES, RT_SIGRETURN_OFFSET};
use xmas_elf::ElfFile;
use xmas_elf::dynamic::Tag;
use xmas_elf::header::{Class, Data, Machine, Type};
use xmas_elf::program::{SegmentData, Type as SegmentType};
use xmas_elf::sections::{SectionData, SectionHeader};
use xmas_elf::symbol_table::{Binding, Entry, Type as SymbolType};

/// `PT_GNU_EH_FRAME`.
const EH_FRAME_HEADER: SegmentType = SegmentType::OsSpecific(0x6474_e550);

const FUNCTIONS: [&str; 7] = [
    "__vdso_clock_getres",
    "__vdso_clock_gettime",
    "__vdso_flush_icache",
    "__vdso_getcpu",
    "__vdso_gettimeofday",
    "__vdso_riscv_hwprobe",
    "__vdso_rt_sigreturn",
];

fn elf() -> ElfFile<'static> {
    ElfFile::new(&IMAGE[..IMAGE_FILE_BYTES]).expect("an ELF file")
}

fn section(name: &str) -> SectionHeader<'static> {
    // The headers are the image's own, so they live as long as it does.
    let elf: &'static ElfFile<'static> = Box::leak(Box::new(elf()));
    elf.find_section_by_name(name).unwrap_or_else(|| panic!("no {name}"))
}

fn bytes(name: &str) -> &'static [u8] {
    let section = section(name);
    &IMAGE[section.offset() as usize..][..section.size() as usize]
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(bytes[offset..offset + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn text_at(bytes: &[u8], offset: usize) -> &str {
    let text = &bytes[offset..];
    std::str::from_utf8(&text[..text.iter().position(|&byte| byte == 0).unwrap()]).unwrap()
}

/// Value and size of each dynamic function, by name.
fn functions() -> BTreeMap<String, (usize, usize)> {
    let elf = elf();
    let SectionData::DynSymbolTable64(symbols) = section(".dynsym").get_data(&elf).unwrap() else {
        panic!("no dynamic symbols");
    };
    symbols[1..]
        .iter()
        .map(|symbol| {
            assert_eq!(symbol.get_type().unwrap(), SymbolType::Func);
            assert_eq!(symbol.get_binding().unwrap(), Binding::Global);
            let name = symbol.get_name(&elf).unwrap();
            (name.to_owned(), (symbol.value() as usize, symbol.size() as usize))
        })
        .collect()
}

#[test]
fn the_file_is_a_shared_object_for_riscv64_of_one_page() {
    let elf = elf();
    assert_eq!(elf.header.pt1.class(), Class::SixtyFour);
    assert_eq!(elf.header.pt1.data(), Data::LittleEndian);
    assert_eq!(elf.header.pt2.type_().as_type(), Type::SharedObject);
    assert_eq!(elf.header.pt2.machine().as_machine(), Machine::RISC_V);
    assert_eq!(u32_at(IMAGE, 48), 5, "compressed instructions, double-precision ABI");
    assert_eq!(IMAGE.len(), PAGE_BYTES, "it has grown beyond one page");
    assert!(IMAGE.as_ptr().cast::<[u8; PAGE_BYTES]>().addr().is_multiple_of(PAGE_BYTES));
    assert!(IMAGE[IMAGE_FILE_BYTES..].iter().all(|&byte| byte == 0));
}

#[test]
fn one_segment_holds_all_and_none_can_be_written() {
    let elf = elf();
    let loads: Vec<_> =
        elf.program_iter().filter(|segment| segment.get_type() == Ok(SegmentType::Load)).collect();
    assert_eq!(loads.len(), 1);
    assert_eq!((loads[0].offset(), loads[0].virtual_addr(), loads[0].align()), (0, 0, 0x1000));
    assert_eq!(loads[0].file_size(), loads[0].mem_size());
    assert!(loads[0].flags().is_execute() && loads[0].flags().is_read());
    for segment in elf.program_iter() {
        assert!(!segment.flags().is_write(), "{segment}");
        assert_eq!(segment.offset(), segment.virtual_addr());
        assert!(segment.offset() + segment.file_size() <= loads[0].file_size());
    }
    for section in elf.section_iter() {
        assert_eq!(section.flags() & 1, 0, "{:?} can be written", section.get_name(&elf));
    }
}

#[test]
fn nothing_is_left_to_relocate_or_to_find_elsewhere() {
    let elf = elf();
    let segment = elf.program_iter().find(|segment| segment.get_type() == Ok(SegmentType::Dynamic)).unwrap();
    let SegmentData::Dynamic64(entries) = segment.get_data(&elf).unwrap() else {
        panic!("no dynamic section")
    };
    let mut seen = Vec::new();
    for entry in entries {
        let tag = entry.get_tag().unwrap();
        assert!(
            !matches!(
                tag,
                Tag::Needed
                    | Tag::Rela
                    | Tag::Rel
                    | Tag::JmpRel
                    | Tag::Pltgot
                    | Tag::TextRel
                    | Tag::Init
                    | Tag::Fini
            ),
            "{tag:?}"
        );
        if let Tag::SoName = tag {
            assert_eq!(text_at(bytes(".dynstr"), entry.get_val().unwrap() as usize), "linux-vdso.so.1");
        }
        seen.push(format!("{tag:?}"));
    }
    // Old C libraries know only the one hash table, new ones prefer the other.
    for needed in ["SoName", "Hash", "SymTab", "StrTab"] {
        assert!(seen.iter().any(|tag| tag == needed), "no {needed} in {seen:?}");
    }
    section(".gnu.hash");
    for section in elf.section_iter().skip(1) {
        let name = section.get_name(&elf).unwrap();
        assert!(
            !name.starts_with(".rel") && !name.starts_with(".got") && !name.starts_with(".plt"),
            "{name}"
        );
    }
}

#[test]
fn each_function_is_there_in_version_linux_4_15() {
    let functions = functions();
    assert_eq!(functions.keys().collect::<Vec<_>>(), FUNCTIONS.iter().collect::<Vec<_>>());

    // The second definition; the first is the object's own name.
    let definitions = bytes(".gnu.version_d");
    let second = u32_at(definitions, 16) as usize;
    let name_of = |at: usize| {
        let auxiliary = at + u32_at(definitions, at + 12) as usize;
        text_at(bytes(".dynstr"), u32_at(definitions, auxiliary) as usize)
    };
    assert_eq!(name_of(0), "linux-vdso.so.1");
    assert_eq!(name_of(second), "LINUX_4.15");
    let index = u16_at(definitions, second + 4);
    let versions = bytes(".gnu.version");
    for symbol in 1..=FUNCTIONS.len() {
        assert_eq!(u16_at(versions, symbol * 2), index, "symbol {symbol}");
    }
}

#[test]
fn functions_lie_within_the_code_and_apart() {
    let code = section(".text");
    let code = code.address() as usize..(code.address() + code.size()) as usize;
    let mut ranges: Vec<_> = functions().into_values().collect();
    ranges.sort_unstable();
    let mut end = code.start;
    for (start, size) in ranges {
        assert!(start >= end && size > 0 && start + size <= code.end);
        end = start + size;
    }
}

#[test]
fn unwinders_know_the_return_from_signal_handlers_by_its_instructions() {
    assert_eq!(functions()["__vdso_rt_sigreturn"].0, RT_SIGRETURN_OFFSET);
    // li a7, 139; ecall
    assert_eq!(u32_at(IMAGE, RT_SIGRETURN_OFFSET), 0x08b0_0893);
    assert_eq!(u32_at(IMAGE, RT_SIGRETURN_OFFSET + 4), 0x0000_0073);
    assert_eq!(
        u32_at(IMAGE, RT_SIGRETURN_OFFSET - 4),
        0x0000_0013,
        "nop, so that the look-up ahead of it finds it"
    );
}

/// The pieces of `.eh_frame` that are needed here: the offset of each entry's body, and its length.
fn unwind_entries() -> Vec<(usize, usize)> {
    let table = bytes(".eh_frame");
    let mut entries = Vec::new();
    let mut at = 0;
    while at + 4 <= table.len() && u32_at(table, at) != 0 {
        let length = u32_at(table, at) as usize;
        entries.push((at + 4, length));
        at += 4 + length;
    }
    entries
}

/// (start of the code, size of the code, offset of the common entry, instructions) of each function's entry.
fn unwind_ranges() -> Vec<(usize, usize, usize, &'static [u8])> {
    let table = bytes(".eh_frame");
    let base = section(".eh_frame").address() as usize;
    unwind_entries()
        .into_iter()
        .filter(|&(at, _)| u32_at(table, at) != 0)
        .map(|(at, length)| {
            let start = (base + at + 4).wrapping_add_signed(u32_at(table, at + 4) as i32 as isize);
            let common = at - u32_at(table, at) as usize;
            (start, u32_at(table, at + 8) as usize, common, &table[at + 13..at + length])
        })
        .collect()
}

#[test]
fn every_instruction_can_be_unwound() {
    for (name, (start, size)) in functions() {
        let covered =
            unwind_ranges().iter().any(|&(from, bytes, ..)| from <= start && start + size <= from + bytes);
        assert!(covered, "{name}");
    }
    let elf = elf();
    let header = elf.program_iter().find(|segment| segment.get_type() == Ok(EH_FRAME_HEADER));
    let header = header.expect("unwinders find the table by its segment");
    // Version 1, with a sorted table of all entries.
    let header = &IMAGE[header.offset() as usize..];
    assert_eq!((header[0], u32_at(header, 8) as usize), (1, unwind_ranges().len()));
}

#[test]
fn the_unwind_rules_of_a_signal_frame_are_those_of_rt_sigframe() {
    // 128 bytes of siginfo, 176 of ucontext ahead of uc_mcontext, which begins with pc, x1, …
    const PROGRAM_COUNTER: u64 = 128 + 176;
    let table = bytes(".eh_frame");
    let (.., common, instructions) = *unwind_ranges()
        .iter()
        .find(|&&(from, bytes, ..)| (from..from + bytes).contains(&(RT_SIGRETURN_OFFSET - 1)))
        .expect("the address ahead of the function has an entry");

    // The common entry: version, "zRS" for a signal frame, code and data alignment, the column of the return address.
    assert_eq!(table[common + 8], 1);
    assert_eq!(text_at(table, common + 9), "zRS");
    assert_eq!(table[common + 15], 64);

    let mut rules = BTreeMap::new();
    let mut frame_address = None;
    let mut at = 0;
    while at < instructions.len() {
        let uleb = |at: usize| {
            assert!(instructions[at] < 0x80, "a small number");
            usize::from(instructions[at])
        };
        // An expression's bytes: DW_OP_breg2, a signed number of two bytes, perhaps more.
        let expression = |at: usize, length: usize| {
            let bytes = &instructions[at..at + length];
            assert_eq!(bytes[0], 0x72, "relative to the stack pointer");
            let offset = u64::from(bytes[1] & 0x7f) | u64::from(bytes[2]) << 7;
            assert!(bytes[1] >= 0x80 && bytes[2] < 0x40, "a positive number of two bytes");
            (offset, &bytes[3..])
        };
        match instructions[at] {
            0 => at += 1,
            0x0f => {
                let length = uleb(at + 1);
                let (offset, rest) = expression(at + 2, length);
                assert_eq!(rest, [0x06], "what is stored there");
                frame_address = Some(offset);
                at += 2 + length;
            }
            0x10 => {
                let (register, length) = (uleb(at + 1), uleb(at + 2));
                let (offset, rest) = expression(at + 3, length);
                assert!(rest.is_empty());
                assert_eq!(rules.insert(register, offset), None, "two rules for {register}");
                at += 3 + length;
            }
            other => panic!("unexpected instruction {other:#x}"),
        }
    }
    assert_eq!(frame_address, Some(PROGRAM_COUNTER + 2 * 8));
    let mut expected: BTreeMap<_, _> = (1..32).map(|x| (x as usize, PROGRAM_COUNTER + x * 8)).collect();
    expected.insert(64, PROGRAM_COUNTER);
    assert_eq!(rules, expected);
}

#[test]
fn the_note_says_which_linux_it_is_for() {
    let note = bytes(".note");
    let mut found = None;
    let mut at = 0;
    while at < note.len() {
        let (name, length, kind) =
            (u32_at(note, at) as usize, u32_at(note, at + 4) as usize, u32_at(note, at + 8));
        let description = at + 12 + name.next_multiple_of(4);
        if text_at(note, at + 12) == "Linux" && kind == 0 {
            found = Some(u32_at(note, description));
        }
        at = description + length.next_multiple_of(4);
    }
    assert_eq!(found, Some(6 << 16 | 12 << 8));
}
