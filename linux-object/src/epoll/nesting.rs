//! Which epoll instance may watch which: no circles, no towers.

use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use ksync::{Rank, SpinLock, SpinLockGuard};
use linux_abi::Errno;

use super::Epoll;

/// So many instances may be above each other, beside the lowest.
const MOST_LEVELS: usize = 4;

/// Held from the check until the registration is made, so that two that are made at once do not close a circle.
static ORDER: SpinLock<()> = SpinLock::new(Rank::EPOLL_NESTING, ());

/// The instances that watch one, and those that it watches. Who is gone is passed over.
#[derive(Default)]
pub struct Links {
    above: Vec<Weak<Epoll>>,
    below: Vec<Weak<Epoll>>,
}

/// The right to link two instances.
pub type LinkOrder = SpinLockGuard<'static, ()>;

/// Whether `outer` may watch `inner`: `ELOOP` if not. While the result lives nothing changes about that.
pub fn check(outer: &Epoll, inner: &Epoll) -> Result<LinkOrder, Errno> {
    let order = ORDER.lock();
    let below = depth(inner, Some(outer), 0, &mut BTreeMap::new(), |links| &links.below)?;
    let above = depth(outer, None, 0, &mut BTreeMap::new(), |links| &links.above)?;
    if below + above + 1 > MOST_LEVELS { Err(Errno::ELOOP) } else { Ok(order) }
}

/// Notes that `outer` watches `inner`.
pub fn link(outer: &Epoll, inner: &Epoll, _order: &LinkOrder) {
    for (from, to, is_below) in [(outer, inner, true), (inner, outer, false)] {
        let mut links = from.links.lock();
        let list = if is_below { &mut links.below } else { &mut links.above };
        list.retain(|epoll| epoll.strong_count() > 0);
        list.push(to.this.clone());
    }
}

/// Notes that `outer` does not watch `inner` any more under one of its numbers.
pub fn unlink(outer: &Epoll, inner: &Epoll) {
    for (from, to, is_below) in [(outer, inner, true), (inner, outer, false)] {
        let mut links = from.links.lock();
        let list = if is_below { &mut links.below } else { &mut links.above };
        if let Some(index) = list.iter().position(|epoll| Weak::ptr_eq(epoll, &to.this)) {
            list.swap_remove(index);
        }
    }
}

/// How many levels there are on one side of an instance; a circle if `forbidden` is among them.
fn depth(
    epoll: &Epoll,
    forbidden: Option<&Epoll>,
    level: usize,
    known: &mut BTreeMap<usize, usize>,
    side: fn(&Links) -> &Vec<Weak<Epoll>>,
) -> Result<usize, Errno> {
    let address = core::ptr::from_ref(epoll).addr();
    if level > MOST_LEVELS || forbidden.is_some_and(|forbidden| core::ptr::eq(forbidden, epoll)) {
        return Err(Errno::ELOOP);
    }
    if let Some(&depth) = known.get(&address) {
        return Ok(depth);
    }
    let next: Vec<Arc<Epoll>> = side(&epoll.links.lock()).iter().filter_map(Weak::upgrade).collect();
    let mut deepest = 0;
    for epoll in &next {
        deepest = deepest.max(1 + depth(epoll, forbidden, level + 1, known, side)?);
    }
    known.insert(address, deepest);
    Ok(deepest)
}
