//! Random operations on a few address spaces and objects, against a model that knows nothing but pages.
//!
//! `ZCORE_SEED` replays one seed; a failing seed is printed.

use std::collections::BTreeMap;

use super::*;
use crate::frame::FrameAllocator;
use crate::paged_object::PagedObject;
use crate::test_support::Random;

const WINDOW_PAGES: usize = 80;
const BASE: VirtAddr = VirtAddr::new((1 << 30) - 40 * PAGE_SIZE);
const OBJECT_PAGES: usize = 24;
const MOST_SPACES: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Zeros,
    Object { object: usize, page: usize },
}

#[derive(Clone, Copy)]
struct ModelPage {
    protection: Protection,
    shared: bool,
    content: Content,
    /// The value of the private copy.
    own: Option<u8>,
}

struct ModelObject {
    pages: usize,
    values: [u8; OBJECT_PAGES],
}

type ModelSpace = BTreeMap<usize, ModelPage>;

struct World {
    allocator: &'static FrameAllocator,
    random: Random,
    spaces: Vec<(Arc<AddressSpace>, ModelSpace)>,
    objects: Vec<(Arc<PagedObject>, ModelObject)>,
    may_fail: bool,
}

fn at(page: usize) -> VirtAddr {
    BASE + page * PAGE_SIZE
}

impl World {
    fn new(allocator: &'static FrameAllocator, seed: u64, may_fail: bool) -> Self {
        Self {
            allocator,
            random: Random::new(seed),
            spaces: std::vec![(new_space(), ModelSpace::new())],
            objects: Vec::new(),
            may_fail,
        }
    }

    fn range(&mut self) -> (usize, usize) {
        let start = self.random.below(WINDOW_PAGES);
        let len = 1 + self.random.below(WINDOW_PAGES - start).min(self.random.below(30));
        (start, len)
    }

    fn protection(&mut self) -> Protection {
        Protection::from_bits_truncate(self.random.below(8) as u8 | 1) & {
            if self.random.below(6) == 0 { Protection::empty() } else { Protection::all() }
        }
    }

    /// Orders a refusal, now and then.
    fn inject(&mut self) {
        if self.may_fail && self.random.below(4) == 0 {
            let successes = self.random.below(6);
            self.allocator.fail_after(Some(successes));
        }
    }

    /// Whether a refusal happened since [`Self::inject`].
    fn was_refused(&self) -> bool {
        let refused = self.allocator.has_failed();
        self.allocator.fail_after(None);
        refused
    }

    fn step(&mut self) {
        let which = self.random.below(self.spaces.len());
        match self.random.below(100) {
            0..12 => self.map(which),
            12..20 => self.unmap(which),
            20..30 => self.protect(which),
            30..36 => self.remap(which),
            36..40 => self.discard(which),
            40..44 => self.fork(which),
            44..47 if self.spaces.len() > 1 => drop(self.spaces.swap_remove(which)),
            47..51 => self.truncate(),
            51..55 => self.write_object(),
            _ => self.touch(which),
        }
        let (space, model) = &self.spaces[which % self.spaces.len()];
        assert_eq!(space.usage().mapped, model.len());
    }

    fn map(&mut self, which: usize) {
        let (start, len) = self.range();
        let protection = self.protection();
        let shared = self.random.below(2) == 0;
        let (backing, content) = match self.random.below(3) {
            0 if !shared => (MapBacking::Anonymous, None),
            _ => {
                if self.objects.len() < 3 {
                    let pages = 1 + self.random.below(OBJECT_PAGES);
                    let object = Arc::new(PagedObject::anonymous((pages * PAGE_SIZE) as u64));
                    self.objects.push((object, ModelObject { pages, values: [0; OBJECT_PAGES] }));
                }
                let object = self.random.below(self.objects.len());
                let first = self.random.below(8);
                let offset = (first * PAGE_SIZE) as u64;
                let real = self.objects[object].0.clone();
                (MapBacking::Object { object: real, offset }, Some((object, first)))
            }
        };
        let request = MapRequest {
            backing,
            shared: shared && content.is_some(),
            ..MapRequest::anonymous(len * PAGE_SIZE, protection).at(at(start))
        };
        let (space, model) = &mut self.spaces[which];
        assert_eq!(space.map(request), Ok(at(start)));
        for page in start..start + len {
            let content = match content {
                None => Content::Zeros,
                Some((object, first)) => Content::Object { object, page: first + page - start },
            };
            let shared = shared && content != Content::Zeros;
            model.insert(page, ModelPage { protection, shared, content, own: None });
        }
    }

    fn unmap(&mut self, which: usize) {
        let (start, len) = self.range();
        let (space, model) = &mut self.spaces[which];
        assert_eq!(space.unmap(at(start), len * PAGE_SIZE), Ok(()));
        model.retain(|page, _| !(start..start + len).contains(page));
    }

    fn protect(&mut self, which: usize) {
        let (start, len) = self.range();
        let protection = self.protection();
        let (space, model) = &mut self.spaces[which];
        let result = space.protect(at(start), len * PAGE_SIZE, protection);
        for page in start..start + len {
            let Some(page) = model.get_mut(&page) else {
                assert_eq!(result, Err(MapError::OutOfMemory));
                return;
            };
            page.protection = protection;
        }
        assert_eq!(result, Ok(()));
    }

    fn remap(&mut self, which: usize) {
        let (start, len) = self.range();
        let new_len = 1 + self.random.below(20);
        let target = self.random.below(WINDOW_PAGES);
        self.inject();
        let (space, model) = &mut self.spaces[which];
        let placement = RemapPlacement::Fixed(at(target));
        let result = space.remap(at(start), len * PAGE_SIZE, new_len * PAGE_SIZE, placement);
        let refused = self.allocator.has_failed();
        self.allocator.fail_after(None);
        let covered = (start..start + len.min(new_len)).all(|page| model.contains_key(&page));
        match result {
            Ok(address) => {
                assert_eq!(address, at(target));
                assert!(covered);
                model.retain(|page, _| !(target..target + new_len).contains(page));
                let first = model[&start];
                for page in start..start + len {
                    let Some(moved) = model.remove(&page) else {
                        assert!(page - start >= new_len, "the model lost a page");
                        continue;
                    };
                    if page - start < new_len {
                        model.insert(target + page - start, moved);
                    }
                }
                for page in len..new_len {
                    let content = match first.content {
                        Content::Zeros => Content::Zeros,
                        Content::Object { object, page: from } => {
                            Content::Object { object, page: from + page }
                        }
                    };
                    model.insert(target + page, ModelPage { content, own: None, ..first });
                }
            }
            Err(MapError::OutOfMemory) if refused => {
                let tail = start + new_len..start + len;
                model.retain(|page, _| {
                    !(target..target + new_len).contains(page) && !tail.contains(page)
                        || space.protection_at(at(*page)).is_some()
                });
            }
            // Several areas, a hole, or an overlap.
            Err(error) => {
                assert!(matches!(error, MapError::NotMapped | MapError::InvalidArgument), "{error}")
            }
        }
    }

    fn discard(&mut self, which: usize) {
        let (start, len) = self.range();
        let (space, model) = &mut self.spaces[which];
        let covered = model.range(start..start + len).count() == len;
        assert_eq!(space.discard(at(start), len * PAGE_SIZE).is_ok(), covered);
        for (_, page) in model.range_mut(start..start + len) {
            page.own = None;
        }
    }

    fn fork(&mut self, which: usize) {
        if self.spaces.len() == MOST_SPACES {
            return;
        }
        self.inject();
        let child = self.spaces[which].0.fork();
        let refused = self.was_refused();
        match child {
            Ok(child) => {
                let model = self.spaces[which].1.clone();
                self.spaces.push((child, model));
            }
            Err(_) => assert!(refused),
        }
    }

    fn truncate(&mut self) {
        if self.objects.is_empty() {
            return;
        }
        let which = self.random.below(self.objects.len());
        let pages = self.random.below(OBJECT_PAGES + 1);
        let (object, model) = &mut self.objects[which];
        object.truncate((pages * PAGE_SIZE) as u64);
        model.values[pages..].fill(0);
        model.pages = pages;
        for (_, space) in &mut self.spaces {
            for page in space.values_mut() {
                if matches!(page.content, Content::Object { object, page } if object == which && page >= pages)
                {
                    page.own = None;
                }
            }
        }
    }

    fn write_object(&mut self) {
        if self.objects.is_empty() {
            return;
        }
        let which = self.random.below(self.objects.len());
        let value = self.random.next() as u8;
        let (object, model) = &mut self.objects[which];
        if model.pages > 0 {
            let page = value as usize % model.pages;
            assert_eq!(object.try_write((page * PAGE_SIZE) as u64, &[value]).done, 1);
            model.values[page] = value;
        }
    }

    fn touch(&mut self, which: usize) {
        let page = self.random.below(WINDOW_PAGES);
        let value = self.random.next() as u8;
        let stores = self.random.below(2) == 0;
        self.inject();
        let space = self.spaces[which].0.clone();
        let result = if stores { store(&space, at(page), value) } else { Ended::Well };
        if self.was_refused() && result == Ended::With(FaultResult::OutOfMemory) {
            return;
        }
        if !stores {
            return self.check(which, page);
        }
        let expected = self.expected(which, page, Access::Write);
        assert_eq!(result, expected.map_or_else(|ended| ended, |_| Ended::Well), "a store to page {page}");
        if expected.is_ok() {
            let Some(page) = self.spaces[which].1.get_mut(&page) else { return };
            match page.content {
                Content::Object { object, page: index } if page.shared => {
                    self.objects[object].1.values[index] = value;
                }
                _ => page.own = Some(value),
            }
        }
    }

    fn expected(&self, which: usize, page: usize, access: Access) -> Result<u8, Ended> {
        let Some(page) = self.spaces[which].1.get(&page) else { return Err(not(FaultResult::NotMapped)) };
        if !page.protection.allows(access) {
            return Err(not(FaultResult::NotPermitted));
        }
        match page.content {
            Content::Object { object, page: index } => {
                let object = &self.objects[object].1;
                if index >= object.pages {
                    return Err(not(FaultResult::BusError));
                }
                Ok(page.own.unwrap_or(object.values[index]))
            }
            Content::Zeros => Ok(page.own.unwrap_or(0)),
        }
    }

    /// Loads a page and compares.
    fn check(&self, which: usize, page: usize) {
        let found = load(&self.spaces[which].0, at(page));
        assert_eq!(found, self.expected(which, page, Access::Read), "page {page} of space {which}");
    }

    fn check_everything(&self) {
        for which in 0..self.spaces.len() {
            (0..WINDOW_PAGES).for_each(|page| self.check(which, page));
        }
    }
}

/// Prints the seed if the test panics.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("replay with ZCORE_SEED={}", self.0);
        }
    }
}

fn run(may_fail: bool) {
    let seeds: Vec<u64> = match std::env::var("ZCORE_SEED") {
        Ok(seed) => std::vec![seed.parse().expect("ZCORE_SEED is a number")],
        Err(_) => (1..=30).collect(),
    };
    let allocator = use_private(1_200);
    for seed in seeds {
        let announce = Announce(seed);
        let mut world = World::new(allocator, seed, may_fail);
        for round in 0..1_000 {
            world.step();
            if round % 97 == 0 {
                world.check_everything();
            }
        }
        world.check_everything();
        AddressSpace::deactivate();
        drop(world);
        let after = statistics();
        assert_eq!(after.used, [0; crate::frame::FrameKind::COUNT], "something was left over");
        drop(announce);
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    run(false);
}

#[test]
fn random_operations_agree_with_the_model_when_memory_is_refused() {
    run(true);
}
