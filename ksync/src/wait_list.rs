//! The intrusive list under every wait queue: nodes live in the futures that wait.
//!
//! A node's links and waker are touched only under the list's lock; its state may be read without it. The one rule
//! that keeps this sound: a node leaves the list *before* its state says so, and whoever takes it out does not touch
//! it after that store, so an owner that reads "not queued" may free the node without the lock.

use std::marker::PhantomPinned;
use std::ptr;
use std::task::Waker;

use crate::shim::UnsafeCell;
use crate::shim::atomic::{AtomicU8, Ordering};

/// Where a node stands. Only `Queued` nodes are reachable from the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum NodeState {
    /// Not in the list, nothing to tell.
    Idle = 0,
    /// In the list.
    Queued = 1,
    /// Taken out as the one to be woken (or as the next owner of a lock): drops must pass that on.
    Chosen = 2,
    /// Taken out together with everybody else.
    Released = 3,
}

/// What the list needs to know about a waiter.
struct Entry {
    previous: *const Node,
    next: *const Node,
    waker: Option<Waker>,
    ticket: u32,
    /// Which events it waits for, as the wake queue's users number them.
    interest: u32,
    kind: u8,
}

/// A waiter's place in a list.
pub(crate) struct Node {
    state: AtomicU8,
    entry: UnsafeCell<Entry>,
    _pinned: PhantomPinned,
}

// SAFETY: the entry is only touched under the lock of the list that the node is in (or by its owner while it is in
// none), and the waker in it is `Send + Sync`.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                state: AtomicU8::new(NodeState::Idle as u8),
                entry: UnsafeCell::new(Entry {
                    previous: ptr::null(),
                    next: ptr::null(),
                    waker: None,
                    ticket: 0,
                    interest: 0,
                    kind: 0,
                }),
                _pinned: PhantomPinned,
            }
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> NodeState {
        match self.state.load(Ordering::Acquire) {
            0 => NodeState::Idle,
            1 => NodeState::Queued,
            2 => NodeState::Chosen,
            _ => NodeState::Released,
        }
    }

    /// Forgets how the node left the list. Only its owner calls this, and only while it is not queued.
    #[inline]
    pub(crate) fn reset(&self) {
        debug_assert_ne!(self.state(), NodeState::Queued);
        self.state.store(NodeState::Idle as u8, Ordering::Relaxed);
    }

    /// # Safety
    /// The caller holds the lock of the list that the node is in, or owns a node that is in none.
    unsafe fn entry<R>(&self, access: impl FnOnce(&mut Entry) -> R) -> R {
        // SAFETY: exclusive by the caller's promise; no reference leaves `access`.
        self.entry.with_mut(|entry| access(unsafe { &mut *entry }))
    }
}

/// A first-in first-out list of waiting nodes. It lives inside a spin lock.
pub(crate) struct WaitList {
    head: *const Node,
    tail: *const Node,
    next_ticket: u32,
}

// SAFETY: the nodes are `Send + Sync`, and the list is only reached through its lock.
unsafe impl Send for WaitList {}

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null(), next_ticket: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The number that the next node will get; nodes queued earlier have smaller ones.
    pub(crate) fn next_ticket(&self) -> u32 {
        self.next_ticket
    }

    /// Appends a node.
    ///
    /// # Safety
    /// The node is in no list, stays where it is, and is taken out of this list before it is freed.
    pub(crate) unsafe fn push_back(&mut self, node: &Node, kind: u8, waker: Waker) {
        // SAFETY: passed on to the caller.
        unsafe { self.push_back_for(node, kind, u32::MAX, waker) };
    }

    /// Appends a node that waits for some events only.
    ///
    /// # Safety
    /// As for [`WaitList::push_back`].
    pub(crate) unsafe fn push_back_for(&mut self, node: &Node, kind: u8, interest: u32, waker: Waker) {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        let tail = self.tail;
        let node_pointer = ptr::from_ref(node);
        // SAFETY: the caller owns the node, which is in no list.
        unsafe {
            node.entry(|entry| {
                *entry =
                    Entry { previous: tail, next: ptr::null(), waker: Some(waker), ticket, interest, kind };
            });
        }
        node.state.store(NodeState::Queued as u8, Ordering::Relaxed);
        if tail.is_null() {
            self.head = node_pointer;
        } else {
            // SAFETY: nodes in the list are alive (they are taken out before they are freed), and we hold the lock.
            unsafe { (*tail).entry(|entry| entry.next = node_pointer) };
        }
        self.tail = node_pointer;
    }

    /// Replaces the waker of a queued node if it wakes somebody else; returns the one to be dropped after unlocking.
    ///
    /// # Safety
    /// The node is in this list.
    pub(crate) unsafe fn refresh(&mut self, node: &Node, waker: &Waker) -> Option<Waker> {
        // SAFETY: we hold the lock of the list that the node is in.
        unsafe {
            node.entry(|entry| match &entry.waker {
                Some(old) if old.will_wake(waker) => None,
                _ => entry.waker.replace(waker.clone()),
            })
        }
    }

    /// The kind of the node at the head.
    pub(crate) fn head_kind(&self) -> Option<u8> {
        // SAFETY: nodes in the list are alive and we hold the lock.
        unsafe { self.head.as_ref().map(|node| node.entry(|entry| entry.kind)) }
    }

    /// Takes out the first node that waits for one of these events and was queued before ticket `end`, and leaves it in
    /// `state`. The waker is to be called after unlocking.
    pub(crate) fn pop_first_for(&mut self, events: u32, end: u32, state: NodeState) -> Option<Waker> {
        let mut next = self.head;
        // SAFETY: nodes in the list are alive and we hold the lock.
        while let Some(node) = unsafe { next.as_ref() } {
            // SAFETY: as above.
            let (ticket, interest, following) =
                unsafe { node.entry(|entry| (entry.ticket, entry.interest, entry.next)) };
            if !is_before(ticket, end) {
                return None;
            }
            if interest & events != 0 {
                // SAFETY: the node is in this list.
                return unsafe { self.take_out(node, state) };
            }
            next = following;
        }
        None
    }

    /// Takes the head out and leaves it in `state`. The waker is to be called after unlocking.
    pub(crate) fn pop_front(&mut self, state: NodeState) -> Option<Waker> {
        let head = self.head;
        // SAFETY: nodes in the list are alive and we hold the lock.
        let node = unsafe { head.as_ref()? };
        // SAFETY: the node is in this list.
        unsafe { self.take_out(node, state) }
    }

    /// Takes a node out of the middle and leaves it in `state`. The waker is to be dropped after unlocking.
    ///
    /// # Safety
    /// The node is in this list.
    pub(crate) unsafe fn take_out(&mut self, node: &Node, state: NodeState) -> Option<Waker> {
        // SAFETY: we hold the lock of the list that the node and its neighbours are in.
        unsafe {
            let (previous, next, waker) =
                node.entry(|entry| (entry.previous, entry.next, entry.waker.take()));
            match previous.as_ref() {
                Some(previous) => previous.entry(|entry| entry.next = next),
                None => self.head = next,
            }
            match next.as_ref() {
                Some(next) => next.entry(|entry| entry.previous = previous),
                None => self.tail = previous,
            }
            // The last access: from here on the owner may free the node.
            node.state.store(state as u8, Ordering::Release);
            waker
        }
    }
}

/// Whether ticket `a` was drawn before `b`, also across the counter's wrap.
pub(crate) fn is_before(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
}
