//! `riscv_hwprobe` from the values in the page.
//!
//! As on Linux, a question about all harts is answered here, one about some of the harts only where all are alike, and
//! everything else goes to the kernel.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::layout::{PROBE_KEY_COUNT, PROBE_SCOPE, ReadWords, probe_offset, probe_scope};

/// `struct riscv_hwprobe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Pair {
    pub key: i64,
    pub value: u64,
}

/// What an unknown key becomes.
const UNKNOWN: Pair = Pair { key: -1, value: 0 };

/// The flag that asks which harts have the given values.
pub(crate) const WHICH_HARTS: u32 = 1;

/// The keys whose values are sets of bits: `BASE_BEHAVIOR`, `IMA_EXT_0`, `CPUPERF_0`.
const KEYS_OF_BITS: u64 = 1 << 3 | 1 << 4 | 1 << 5;

/// The arguments, as they came: the pointers are the program's own, valid or not.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    pub pairs: *mut Pair,
    pub pair_count: usize,
    /// The set of harts, in bytes; null and zero stand for all of them.
    pub set: *mut u8,
    pub set_bytes: usize,
    pub flags: u32,
}

/// Answers in place, like the system call; false, with nothing changed, where the kernel has to be asked.
///
/// # Safety
/// The pointers must be good for what the question says that they point to, and nobody else may use that memory
/// meanwhile. (In a program: its own promise, and its own loss.)
#[inline(always)]
pub(crate) unsafe fn answer(page: &impl ReadWords, question: Question) -> bool {
    let scope = page.load(PROBE_SCOPE, Acquire);
    let about_all = question.set.is_null() && question.set_bytes == 0;
    match question.flags {
        0 if scope == probe_scope::EACH_HART || (about_all && scope == probe_scope::ALL_HARTS) => {
            // SAFETY: the caller's promise.
            unsafe { tell_values(page, question) };
            true
        }
        WHICH_HARTS if scope == probe_scope::EACH_HART && !question.set.is_null() => {
            // SAFETY: the caller's promise.
            unsafe { tell_harts(page, question) }
        }
        _ => false,
    }
}

#[inline(always)]
fn value_of(page: &impl ReadWords, key: i64) -> Option<u64> {
    let known = (key as u64) < PROBE_KEY_COUNT as u64;
    known.then(|| page.load(probe_offset(key as usize), Relaxed))
}

#[inline(always)]
unsafe fn tell_values(page: &impl ReadWords, question: Question) {
    for index in 0..question.pair_count {
        // SAFETY: within the pairs, by the caller's promise.
        unsafe {
            let pair = question.pairs.add(index);
            match value_of(page, (*pair).key) {
                Some(value) => (*pair).value = value,
                None => *pair = UNKNOWN,
            }
        }
    }
}

/// Empties the set unless the harts, all alike, have all the values. An empty set stands for all harts, whose number
/// only the kernel knows.
#[inline(always)]
unsafe fn tell_harts(page: &impl ReadWords, question: Question) -> bool {
    // SAFETY: within the set, by the caller's promise.
    if (0..question.set_bytes).all(|index| unsafe { *question.set.add(index) } == 0) {
        return false;
    }
    let mut agrees = true;
    for index in 0..question.pair_count {
        // SAFETY: within the pairs, by the caller's promise.
        unsafe {
            let pair = question.pairs.add(index);
            let Pair { key, value: wanted } = *pair;
            match value_of(page, key) {
                Some(value) if KEYS_OF_BITS >> key & 1 != 0 => agrees &= value & wanted == wanted,
                Some(value) => agrees &= value == wanted,
                None => {
                    *pair = UNKNOWN;
                    agrees = false;
                }
            }
        }
    }
    if !agrees {
        for index in 0..question.set_bytes {
            // SAFETY: within the set, by the caller's promise. Volatile, or the loop becomes a call of memset, which
            // the image does not have.
            unsafe { question.set.add(index).write_volatile(0) };
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;
    use crate::tests::{TestPage, page_words};
    use crate::{DataPage, Harts};

    const VALUES: [u64; PROBE_KEY_COUNT] = [0, 0, 0, 1, 0b1111, 3, 64, 0x3f_ffff_ffff, 10_000_000, 3];

    fn page(harts: Harts) -> TestPage {
        let words = page_words();
        DataPage::new(&words[..]).set_hardware(&VALUES, harts);
        words
    }

    fn ask(page: &TestPage, pairs: &mut [Pair], set: Option<&mut [u8]>, flags: u32) -> bool {
        let (set, set_bytes) = set.map_or((ptr::null_mut(), 0), |set| (set.as_mut_ptr(), set.len()));
        let question = Question { pairs: pairs.as_mut_ptr(), pair_count: pairs.len(), set, set_bytes, flags };
        // SAFETY: the pointers come from exclusive slices of these lengths.
        unsafe { answer(&&page[..], question) }
    }

    fn pairs<const N: usize>(pairs: [(i64, u64); N]) -> [Pair; N] {
        pairs.map(|(key, value)| Pair { key, value })
    }

    #[test]
    fn a_fresh_page_answers_nothing() {
        let mut asked = pairs([(3, 7)]);
        assert!(!ask(&page_words(), &mut asked, None, 0));
        assert_eq!(asked, pairs([(3, 7)]));
    }

    #[test]
    fn values_of_all_harts() {
        for harts in [Harts::Differ, Harts::Alike] {
            let mut asked = pairs([(4, 7), (9, 7), (10, 7), (-5, 7), (i64::MIN, 7)]);
            assert!(ask(&page(harts), &mut asked, None, 0));
            assert_eq!(asked, pairs([(4, 0b1111), (9, 3), (-1, 0), (-1, 0), (-1, 0)]));
        }
    }

    #[test]
    fn some_harts_are_the_kernels_matter_unless_all_are_alike() {
        let mut asked = pairs([(4, 7)]);
        assert!(!ask(&page(Harts::Differ), &mut asked, Some(&mut [1]), 0));
        assert_eq!(asked, pairs([(4, 7)]));
        assert!(ask(&page(Harts::Alike), &mut asked, Some(&mut [1]), 0));
        assert_eq!(asked, pairs([(4, 0b1111)]));
    }

    #[test]
    fn unknown_flags_are_the_kernels_matter() {
        assert!(!ask(&page(Harts::Alike), &mut pairs([(4, 7)]), None, 2));
        assert!(!ask(&page(Harts::Alike), &mut pairs([(4, 7)]), Some(&mut [1]), 3));
    }

    #[test]
    fn which_harts_have_values() {
        let page = page(Harts::Alike);
        // Of bits a part is enough; other values must be the same.
        for (wanted, left) in [((4, 0b0101), 5), ((4, 1 << 20), 0), ((6, 64), 5), ((6, 32), 0), ((11, 0), 0)]
        {
            let mut set = [0, 5];
            assert!(ask(&page, &mut pairs([(3, 1), wanted]), Some(&mut set), WHICH_HARTS));
            assert_eq!(set, [0, left], "{wanted:?}");
        }
        let mut asked = pairs([(77, 9), (3, 1)]);
        assert!(ask(&page, &mut asked, Some(&mut [1]), WHICH_HARTS));
        assert_eq!(asked, pairs([(-1, 0), (3, 1)]));
    }

    #[test]
    fn an_empty_set_of_harts_is_the_kernels_matter() {
        let page = page(Harts::Alike);
        assert!(!ask(&page, &mut pairs([(3, 1)]), Some(&mut [0, 0]), WHICH_HARTS));
        assert!(!ask(&page, &mut pairs([(3, 1)]), Some(&mut []), WHICH_HARTS));
        assert!(!ask(&page, &mut pairs([(3, 1)]), None, WHICH_HARTS));
        assert!(!ask(&self::page(Harts::Differ), &mut pairs([(3, 1)]), Some(&mut [1]), WHICH_HARTS));
    }
}
