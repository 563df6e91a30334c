//! What a new program finds on its stack: argument and environment strings, the vectors that point at them, and the
//! auxiliary vector.

use alloc::vec::Vec;

use linux_abi::Errno;

/// The words and bytes of a new stack, to be placed with their end at `top`.
pub struct InitialStack {
    /// Everything from the stack pointer upwards.
    pub bytes: Vec<u8>,
    /// The stack pointer: 16-byte aligned, pointing at `argc`.
    pub stack_pointer: usize,
    /// Where the argument strings lie, for `/proc/PID/cmdline`.
    pub arguments: core::ops::Range<usize>,
    /// Where the environment strings lie.
    pub environment: core::ops::Range<usize>,
    /// The auxiliary vector, as it lies there.
    pub auxiliary: Vec<u8>,
}

const ALIGNMENT: usize = 16;
const WORD: usize = size_of::<usize>();

/// Lays out the stack below `top`. The values of `AT_RANDOM` and `AT_EXECFN` are filled in here: they point into it.
pub fn layout(
    top: usize,
    arguments: &[Vec<u8>],
    environment: &[Vec<u8>],
    path: &[u8],
    random: [u8; 16],
    auxiliary: &[(u64, usize)],
) -> Result<InitialStack, Errno> {
    use linux_abi::auxiliary_vector::{AT_EXECFN, AT_NULL, AT_RANDOM};

    let string_bytes = |strings: &[Vec<u8>]| strings.iter().map(|string| string.len() + 1).sum::<usize>();
    let strings_size = string_bytes(arguments) + string_bytes(environment) + path.len() + 1 + random.len();
    // Like Linux: the file name last, the strings before it, below the random bytes.
    let strings_start = (top - strings_size) & !(ALIGNMENT - 1);
    let words = 1 + arguments.len() + 1 + environment.len() + 1 + 2 * (auxiliary.len() + 3);
    let stack_pointer = (strings_start - words * WORD) & !(ALIGNMENT - 1);

    let mut bytes = Vec::new();
    bytes.try_reserve_exact(top - stack_pointer).map_err(|_| Errno::ENOMEM)?;
    let mut writer = Writer { bytes, next_string: strings_start };
    let random_address = writer.next_string;
    writer.next_string += random.len();
    writer.word(arguments.len());
    let arguments_start = writer.next_string;
    writer.pointers_to(arguments);
    let environment_start = writer.next_string;
    writer.pointers_to(environment);
    let path_address = writer.next_string;
    let auxiliary_start = writer.bytes.len();
    for &(tag, value) in auxiliary {
        writer.word(tag as usize);
        writer.word(value);
    }
    for (tag, value) in [(AT_RANDOM, random_address), (AT_EXECFN, path_address), (AT_NULL, 0)] {
        writer.word(tag as usize);
        writer.word(value);
    }
    let mut bytes = writer.bytes;
    let auxiliary = bytes[auxiliary_start..].to_vec();
    bytes.resize(strings_start - stack_pointer, 0);
    bytes.extend_from_slice(&random);
    for string in arguments.iter().chain(environment).map(Vec::as_slice).chain([path]) {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes.resize(top - stack_pointer, 0);
    Ok(InitialStack {
        bytes,
        stack_pointer,
        arguments: arguments_start..environment_start,
        environment: environment_start..path_address,
        auxiliary,
    })
}

struct Writer {
    bytes: Vec<u8>,
    next_string: usize,
}

impl Writer {
    fn word(&mut self, value: usize) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn pointers_to(&mut self, strings: &[Vec<u8>]) {
        for string in strings {
            self.word(self.next_string);
            self.next_string += string.len() + 1;
        }
        self.word(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: usize = 0x4000_0000;

    fn word_at(stack: &InitialStack, address: usize) -> usize {
        let at = address - stack.stack_pointer;
        usize::from_le_bytes(stack.bytes[at..at + WORD].try_into().unwrap())
    }

    fn string_at(stack: &InitialStack, address: usize) -> &[u8] {
        let rest = &stack.bytes[address - stack.stack_pointer..];
        &rest[..rest.iter().position(|&byte| byte == 0).unwrap()]
    }

    #[test]
    fn a_program_finds_its_arguments_environment_and_auxiliary_vector() {
        let arguments = [b"sh".to_vec(), b"-c".to_vec()];
        let environment = [b"HOME=/".to_vec()];
        let stack = layout(TOP, &arguments, &environment, b"/bin/sh", [7; 16], &[(6, 4096)]).unwrap();
        assert_eq!(stack.stack_pointer % 16, 0);
        assert_eq!(stack.stack_pointer + stack.bytes.len(), TOP);
        let word = |index: usize| word_at(&stack, stack.stack_pointer + index * WORD);
        assert_eq!(word(0), 2);
        assert_eq!(string_at(&stack, word(1)), b"sh");
        assert_eq!(string_at(&stack, word(2)), b"-c");
        assert_eq!(word(3), 0);
        assert_eq!(string_at(&stack, word(4)), b"HOME=/");
        assert_eq!(word(5), 0);
        assert_eq!((word(6), word(7)), (6, 4096));
        assert_eq!(word(8), 25);
        assert_eq!(stack.bytes[word(9) - stack.stack_pointer..][..16], [7; 16]);
        assert_eq!(word(10), 31);
        assert_eq!(string_at(&stack, word(11)), b"/bin/sh");
        assert_eq!((word(12), word(13)), (0, 0));
        let start = 6 * WORD;
        assert_eq!(stack.auxiliary, stack.bytes[start..start + 8 * WORD]);
    }
}
