//! Typed arguments: from a register, and printed for strace.

use core::fmt;

use kernel_hal::VirtAddr;
use linux_abi::file::{AT_FDCWD, OpenFlags};

use crate::strace::Meaning;

/// Decoded from a register. Decoding never fails: a handler judges the value.
pub trait FromRegister {
    /// The value.
    fn from_register(register: usize) -> Self;
}

/// Printed by strace.
pub trait Argument {
    /// What it means beyond its value.
    const MEANING: Meaning = Meaning::Plain;

    /// Prints the register as this kind of argument.
    fn print(register: usize, output: &mut dyn fmt::Write) -> fmt::Result;
}

/// A file descriptor, as alleged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

/// A user address, as alleged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAddress(pub usize);

impl UserAddress {
    /// As an address to use; user copies check that it is one of user space.
    pub fn get(self) -> VirtAddr {
        VirtAddr::new(self.0)
    }

    /// Whether it is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// The address of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathAddress(pub usize);

impl PathAddress {
    /// As an address to use.
    pub fn get(self) -> VirtAddr {
        VirtAddr::new(self.0)
    }
}

/// Flags of `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenArgument(pub OpenFlags);

/// A number that is best read in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

/// A set of flags without names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(pub usize);

macro_rules! argument {
    ($kind:ty, $register:ident => $value:expr, $formatter:ident => $print:expr $(, $meaning:expr)?) => {
        impl FromRegister for $kind {
            #[inline]
            fn from_register($register: usize) -> Self {
                $value
            }
        }
        impl Argument for $kind {
            $( const MEANING: Meaning = $meaning; )?
            fn print($register: usize, $formatter: &mut dyn fmt::Write) -> fmt::Result {
                $print
            }
        }
    };
}

argument!(usize, register => register, formatter => write!(formatter, "{register}"));
argument!(u64, register => register as u64, formatter => write!(formatter, "{register}"));
argument!(i64, register => register as i64, formatter => write!(formatter, "{}", register as i64));
argument!(u32, register => register as u32, formatter => write!(formatter, "{:#x}", register as u32));
argument!(i32, register => register as i32, formatter => write!(formatter, "{}", register as i32));
argument!(UserAddress, register => Self(register), formatter => match register {
    0 => formatter.write_str("NULL"),
    address => write!(formatter, "{address:#x}"),
});
argument!(PathAddress, register => Self(register), formatter => write!(formatter, "{register:#x}"), Meaning::Path);
argument!(Mode, register => Self(register as u32), formatter => match register as u32 {
    0 => formatter.write_str("0"),
    bits => write!(formatter, "0{bits:o}"),
});
argument!(Bits, register => Self(register), formatter => write!(formatter, "{register:#x}"));
argument!(OpenArgument, register => Self(OpenFlags::from_bits_retain(register as u32)),
    formatter => write!(formatter, "{:?}", OpenFlags::from_bits_retain(register as u32)));
argument!(Fd, register => Self(register as i32), formatter => match register as i32 {
    AT_FDCWD => formatter.write_str("AT_FDCWD"),
    number => write!(formatter, "{number}"),
});
