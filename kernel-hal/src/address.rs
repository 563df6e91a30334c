//! Typed addresses and the layout of the kernel's half of the address space.

use std::fmt;
use std::ops::{Add, Sub};

/// Bytes in the smallest page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: usize = 12;
/// First address above user space (Sv39's lower half).
pub const USER_END: usize = 1 << 38;
/// Where physical address 0 appears in the kernel's half.
pub const LINEAR_MAP: usize = 0xffff_ffc0_0000_0000;
/// Where kernel stacks are mapped, each with an unmapped guard below it.
pub const KERNEL_STACK_WINDOW: usize = 0xffff_ffff_0000_0000;

macro_rules! address_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(usize);

        impl $name {
            /// Wraps a raw address.
            pub const fn new(raw: usize) -> Self {
                Self(raw)
            }
            /// The raw address.
            pub const fn as_usize(self) -> usize {
                self.0
            }
            /// The start of the page that holds this address.
            pub const fn page_floor(self) -> Self {
                Self(self.0 & !(PAGE_SIZE - 1))
            }
            /// The first page boundary at or above this address; `None` past the end of the space.
            pub const fn page_ceil(self) -> Option<Self> {
                match self.0.checked_add(PAGE_SIZE - 1) {
                    Some(sum) => Some(Self(sum & !(PAGE_SIZE - 1))),
                    None => None,
                }
            }
            /// The offset inside its page.
            pub const fn page_offset(self) -> usize {
                self.0 & (PAGE_SIZE - 1)
            }
            /// The number of the page that holds this address.
            pub const fn page_number(self) -> usize {
                self.0 >> PAGE_SHIFT
            }
            /// The address of the first byte of page `number`.
            pub const fn from_page_number(number: usize) -> Self {
                Self(number << PAGE_SHIFT)
            }
            /// Whether the address is a multiple of the page size.
            pub const fn is_page_aligned(self) -> bool {
                self.page_offset() == 0
            }
            /// The address `bytes` further, or `None` on overflow.
            pub const fn checked_add(self, bytes: usize) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }
        impl Add<usize> for $name {
            type Output = Self;
            fn add(self, bytes: usize) -> Self {
                Self(self.0 + bytes)
            }
        }
        impl Sub<usize> for $name {
            type Output = Self;
            fn sub(self, bytes: usize) -> Self {
                Self(self.0 - bytes)
            }
        }
        impl Sub<$name> for $name {
            type Output = usize;
            fn sub(self, other: Self) -> usize {
                self.0 - other.0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:#x})", stringify!($name), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address_type!(
    /// An address on the memory bus.
    PhysAddr
);
address_type!(
    /// An address that the MMU translates: a user address, or one of the kernel's half.
    VirtAddr
);

impl VirtAddr {
    /// Whether the address lies in user space.
    pub const fn is_user(self) -> bool {
        self.0 < USER_END
    }

    /// Whether all of `[self, self + len)` lies in user space.
    pub const fn is_user_range(self, len: usize) -> bool {
        self.0 <= USER_END && len <= USER_END - self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_stays_inside_the_space() {
        assert_eq!(VirtAddr::new(0x1fff).page_floor(), VirtAddr::new(0x1000));
        assert_eq!(VirtAddr::new(0x1001).page_ceil(), Some(VirtAddr::new(0x2000)));
        assert_eq!(VirtAddr::new(usize::MAX).page_ceil(), None);
    }

    #[test]
    fn user_ranges_cannot_wrap() {
        assert!(VirtAddr::new(USER_END - 8).is_user_range(8));
        assert!(!VirtAddr::new(USER_END - 8).is_user_range(9));
        assert!(!VirtAddr::new(8).is_user_range(usize::MAX));
        assert!(!VirtAddr::new(usize::MAX).is_user_range(0));
    }
}
