//! Line speeds: the codes in `c_cflag` and the numbers in `termios2`.

use linux_abi::terminal::{BOTHER, CBAUD, Termios2};

/// Bits per second by code; the codes above [`B38400`](linux_abi::terminal::B38400) have the bit [`BOTHER`] set, which
/// alone means "see the number".
const SPEEDS: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115_200,
    230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000,
    3_000_000, 3_500_000, 4_000_000,
];

/// Where `c_cflag` has the code of the input speed, if it differs from the output speed.
const INPUT_SPEED_SHIFT: u32 = 16;

fn speed_of_code(code: u32) -> u32 {
    let index = if code & BOTHER == 0 { code } else { (code & !BOTHER) + 15 };
    SPEEDS.get(index as usize).copied().unwrap_or(0)
}

/// The settings with their speeds as numbers. `TCSETS` passes only codes, and with `TCSETS2` too a code other than
/// [`BOTHER`] wins over the number: the caller fills `c_ispeed` and `c_ospeed` with what the program passed or else
/// with what they were.
pub fn with_speeds_resolved(mut termios: Termios2) -> Termios2 {
    match termios.c_cflag & CBAUD {
        BOTHER => {}
        code => termios.c_ospeed = speed_of_code(code),
    }
    match (termios.c_cflag >> INPUT_SPEED_SHIFT) & CBAUD {
        BOTHER => {}
        0 => termios.c_ispeed = termios.c_ospeed,
        code => termios.c_ispeed = speed_of_code(code),
    }
    termios
}
