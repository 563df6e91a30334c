//! What programs may know of the harts (`riscv_hwprobe`).
//!
//! Boot says what each hart is; what all have in common is also told by the shared object, without a system call. The V
//! extension stays off, and so does what programs may not use without the kernel's leave.

use alloc::vec::Vec;

use kernel_hal::{HartId, HartMask, USER_END};
use ksync::Once;
use vdso::{Harts, PROBE_KEY_COUNT};

use crate::program::shared_object;

/// Values by key.
pub type Values = [u64; PROBE_KEY_COUNT];

const BASE_BEHAVIOR: usize = 3;
const EXTENSIONS: usize = 4;
const PERFORMANCE: usize = 5;
const HIGHEST_ADDRESS: usize = 7;
const TIME_FREQUENCY: usize = 8;
const MISALIGNED_PERFORMANCE: usize = 9;
/// Keys whose values are sets of bits: of these, a part is enough.
const KEYS_OF_BITS: u64 = 1 << BASE_BEHAVIOR | 1 << EXTENSIONS | 1 << PERFORMANCE;

const BASE_IS_IMA: u64 = 1;
const MISALIGNED_FAST: u64 = 3;

/// Extensions with their bits. Those of one letter that come together, and those that others imply, follow below.
const NAMES: [(&str, u32); 25] = [
    ("c", 1),
    ("zba", 3),
    ("zbb", 4),
    ("zbs", 5),
    ("zbc", 7),
    ("zbkb", 8),
    ("zbkc", 9),
    ("zbkx", 10),
    ("zknd", 11),
    ("zkne", 12),
    ("zknh", 13),
    ("zksed", 14),
    ("zksh", 15),
    ("zkt", 16),
    ("zfh", 27),
    ("zfhmin", 28),
    ("zihintntl", 29),
    ("zfa", 32),
    ("ztso", 33),
    ("zacas", 34),
    ("zicond", 35),
    ("zihintpause", 36),
    ("zimop", 42),
    ("zcb", 44),
    ("zawrs", 48),
];
const FLOATING_POINT: u64 = 1 << 0;
const ZCA: u64 = 1 << 43;
const ZCD: u64 = 1 << 45;

/// The values of a hart with these extensions.
pub fn values(has_extension: impl Fn(&str) -> bool, ticks_per_second: u64) -> Values {
    let mut bits = 0;
    for (name, bit) in NAMES {
        bits |= u64::from(has_extension(name)) << bit;
    }
    let (has_float, has_compressed) = (has_extension("f") && has_extension("d"), has_extension("c"));
    for (has, implied) in
        [(has_float, FLOATING_POINT), (has_compressed, ZCA), (has_compressed && has_float, ZCD)]
    {
        bits |= if has { implied } else { 0 };
    }
    let is_ima = ["i", "m", "a"].iter().all(|name| has_extension(name));
    let mut values = [0; PROBE_KEY_COUNT];
    values[BASE_BEHAVIOR] = if is_ima { BASE_IS_IMA } else { 0 };
    values[EXTENSIONS] = bits;
    // A machine in software does not care how an access is aligned.
    values[PERFORMANCE] = MISALIGNED_FAST;
    values[MISALIGNED_PERFORMANCE] = MISALIGNED_FAST;
    values[HIGHEST_ADDRESS] = USER_END as u64 - 1;
    values[TIME_FREQUENCY] = ticks_per_second;
    values
}

static HARTS: Once<Vec<Values>> = Once::new();

/// Notes the values of each hart, in the order of their numbers. Called once, at boot.
pub fn register(harts: Vec<Values>) {
    let harts = HARTS.call_once(|| harts);
    let alike = harts.windows(2).all(|pair| pair[0] == pair[1]);
    let common = values_of(HartMask::ALL);
    let kind = if alike { Harts::Alike } else { Harts::Differ };
    if shared_object::publish_hardware(&common, kind).is_err() {
        log::warn!("no memory for what programs may know of the harts");
    }
}

/// The values that these harts have in common; 0 where they differ.
pub fn values_of(set: HartMask) -> Values {
    let harts = HARTS.get().map_or(&[][..], |harts| harts);
    let mut members = harts.iter().enumerate().filter(|(index, _)| set.bits() >> index & 1 != 0);
    let Some((_, first)) = members.next() else { return [0; PROBE_KEY_COUNT] };
    let mut common = *first;
    for (_, values) in members {
        for (key, (common, &value)) in common.iter_mut().zip(values).enumerate() {
            if KEYS_OF_BITS >> key & 1 != 0 {
                *common &= value;
            } else if *common != value {
                *common = 0;
            }
        }
    }
    common
}

/// One of the values, or `None` for a key that does not exist.
pub fn value(values: &Values, key: i64) -> Option<u64> {
    usize::try_from(key).ok().and_then(|key| values.get(key)).copied()
}

/// The harts of a set that have a value.
pub fn harts_with(set: HartMask, key: i64, wanted: u64) -> HartMask {
    let has = |hart: &HartId| {
        let found = value(&values_of(HartMask::only(*hart)), key);
        let is_set_of_bits = (0..64).contains(&key) && KEYS_OF_BITS >> key & 1 != 0;
        found.is_some_and(|found| match is_set_of_bits {
            true => found & wanted == wanted,
            false => found == wanted,
        })
    };
    set.iter().filter(has).fold(HartMask::EMPTY, HartMask::with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_become_bits() {
        let isa = ["i", "m", "a", "f", "d", "c", "zba", "zihintpause"];
        let values = values(|name| isa.contains(&name), 10_000_000);
        assert_eq!(values[BASE_BEHAVIOR], 1);
        assert_eq!(values[EXTENSIONS], 1 | 1 << 1 | 1 << 3 | 1 << 36 | ZCA | ZCD);
        assert_eq!(value(&values, 8), Some(10_000_000));
        assert_eq!(value(&values, 10), None);
        assert_eq!(value(&values, -1), None);
    }
}
