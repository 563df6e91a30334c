//! A transfer's memory: pieces of a program's, or the kernel's own, and how far the transfer came.
//!
//! Most transfers are of one piece that is in memory, and end with their first attempt. For them everything here is a
//! few instructions: the address space is lent, not owned, the piece is in the buffer itself, and what follows a fault or
//! the end of a piece is out of line.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use kernel_hal::VirtAddr;
use kernel_hal::user_memory::{self, CopyFault};
use kernel_object::address_space::AddressSpace;
use kernel_object::frame::{Frame, PinnedFrame, SharedFrame};
use linux_abi::Errno;

use super::settle;
use crate::obstacle::{Attempt, Obstacle};

/// Whose memory it is.
enum Memory<'a> {
    /// A program's that makes a call right now.
    Lent(&'a Arc<AddressSpace>),
    /// A program's.
    Own(Arc<AddressSpace>),
    /// The kernel's, which is there and meets no faults. Addresses are places in it.
    Kernel(Box<[u8]>),
}

impl Memory<'_> {
    #[inline(always)]
    fn space(&self) -> Option<&Arc<AddressSpace>> {
        match self {
            Self::Lent(space) => Some(space),
            Self::Own(space) => Some(space),
            Self::Kernel(_) => None,
        }
    }
}

/// Where a read or write moves bytes to or from: pieces of a program's memory (or the kernel's), and how far it came.
pub struct UserBuffer<'a> {
    memory: Memory<'a>,
    /// What is left of the piece that is moved next. It is empty only if nothing is left at all.
    address: VirtAddr,
    left: usize,
    /// Bytes in the pieces behind it.
    beyond: usize,
    done: usize,
    /// All pieces, if there are several.
    several: Option<Box<Several>>,
}

struct Several {
    pieces: Vec<(VirtAddr, usize)>,
    /// How many of them have been begun.
    begun: usize,
}

/// A point of a transfer.
#[derive(Clone, Copy)]
pub struct Mark {
    done: usize,
}

impl Mark {
    /// Bytes moved before it.
    pub fn done(&self) -> usize {
        self.done
    }
}

/// How far a transfer of one piece came, without the memory that the piece is of.
#[derive(Clone, Copy)]
pub struct Progress {
    address: VirtAddr,
    left: usize,
    done: usize,
}

impl Progress {
    /// Bytes moved so far.
    pub fn done(&self) -> usize {
        self.done
    }
}

impl UserBuffer<'static> {
    /// One piece of a program's memory.
    pub(super) fn owned(space: Arc<AddressSpace>, address: VirtAddr, len: usize) -> Self {
        Self::with(Memory::Own(space), address, len)
    }

    /// Memory of the kernel: for what moves from file to file.
    pub fn in_kernel(len: usize) -> Result<Self, Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        Ok(Self::with(Memory::Kernel(bytes.into_boxed_slice()), VirtAddr::new(0), len))
    }

    /// Begins again with the first `len` bytes of the kernel's memory, all of it at most.
    pub fn restart(&mut self, len: usize) {
        let Memory::Kernel(bytes) = &self.memory else { return };
        let len = len.min(bytes.len());
        (self.address, self.left, self.done) = (VirtAddr::new(0), len, 0);
    }

    /// Several pieces.
    pub(super) fn of_pieces(space: Arc<AddressSpace>, pieces: Vec<(VirtAddr, usize)>) -> Self {
        if let [(address, len)] = pieces[..] {
            return Self::owned(space, address, len);
        }
        let mut buffer = Self::with(Memory::Own(space), VirtAddr::new(0), 0);
        buffer.beyond = pieces.iter().map(|piece| piece.1).sum();
        buffer.several = Some(Box::new(Several { pieces, begun: 0 }));
        buffer.begin_next_piece();
        buffer
    }
}

impl<'a> UserBuffer<'a> {
    #[inline(always)]
    fn with(memory: Memory<'a>, address: VirtAddr, len: usize) -> Self {
        Self { memory, address, left: len, beyond: 0, done: 0, several: None }
    }

    /// One piece of the memory of a program that makes a call.
    #[inline(always)]
    pub fn lent(space: &'a Arc<AddressSpace>, address: VirtAddr, len: usize) -> Self {
        Self::with(Memory::Lent(space), address, len)
    }

    /// A transfer of one piece that goes on where it stopped.
    #[inline(always)]
    pub fn resumed(space: &'a Arc<AddressSpace>, Progress { address, left, done }: Progress) -> Self {
        Self { done, ..Self::lent(space, address, left) }
    }

    /// How far it came; it is of one piece.
    #[inline(always)]
    pub fn progress(&self) -> Progress {
        debug_assert!(self.several.is_none());
        Progress { address: self.address, left: self.left, done: self.done }
    }

    /// The same transfer, for longer than the call.
    pub fn into_owned(self) -> UserBuffer<'static> {
        let Self { memory, address, left, beyond, done, several } = self;
        let memory = match memory {
            Memory::Lent(space) => Memory::Own(space.clone()),
            Memory::Own(space) => Memory::Own(space),
            Memory::Kernel(bytes) => Memory::Kernel(bytes),
        };
        UserBuffer { memory, address, left, beyond, done, several }
    }

    /// Bytes moved so far.
    #[inline]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes still to be moved.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.left + self.beyond
    }

    /// Leaves out what is beyond the next `most` bytes.
    pub fn cut(&mut self, most: usize) {
        let keeps = self.left.min(most);
        let mut more = most - keeps;
        let cut = self.left - keeps;
        self.left = keeps;
        let Some(several) = &mut self.several else { return };
        let (begun, rest) = several.pieces.split_at_mut(several.begun);
        if let Some(current) = begun.last_mut() {
            current.1 -= cut;
        }
        self.beyond = 0;
        for piece in rest {
            piece.1 = piece.1.min(more);
            more -= piece.1;
            self.beyond += piece.1;
        }
    }

    /// Where the transfer stands, for [`Self::rewind`].
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { done: self.done }
    }

    /// Where it stood so many bytes ago.
    pub fn mark_before(&self, bytes: usize) -> Mark {
        Mark { done: self.done - bytes }
    }

    /// Goes back to a mark: what was moved since does not count.
    pub fn rewind(&mut self, mark: Mark) {
        let Some(several) = &mut self.several else {
            let back = self.done - mark.done;
            self.address = VirtAddr::new(self.address.as_usize().wrapping_sub(back));
            self.left += back;
            self.done = mark.done;
            return;
        };
        several.begun = 0;
        self.beyond = several.pieces.iter().map(|piece| piece.1).sum();
        (self.left, self.done) = (0, 0);
        self.begin_next_piece();
        self.skip(mark.done);
    }

    #[inline(always)]
    fn advance(&mut self, bytes: usize) {
        // What is only skipped may be any address.
        self.address = VirtAddr::new(self.address.as_usize().wrapping_add(bytes));
        self.left -= bytes;
        self.done += bytes;
        if self.left == 0 && self.beyond > 0 {
            self.begin_next_piece();
        }
    }

    /// Goes on to the next piece that is not empty.
    #[cold]
    fn begin_next_piece(&mut self) {
        let Some(several) = &mut self.several else { return };
        while self.left == 0
            && let Some(&(address, len)) = several.pieces.get(several.begun)
        {
            several.begun += 1;
            (self.address, self.left) = (address, len);
            self.beyond -= len;
        }
    }

    /// Moves at most `most` bytes by `copy`, which gets the number of bytes it has moved, an address and a length. In
    /// memory of the kernel `in_kernel` does it at once.
    #[inline(always)]
    fn move_with(
        &mut self,
        most: usize,
        mut copy: impl FnMut(usize, VirtAddr, usize) -> Result<(), CopyFault>,
        in_kernel: impl FnOnce(&mut [u8]),
    ) -> Result<(), Obstacle> {
        let len = self.left.min(most);
        if len == 0 {
            return Ok(());
        }
        let Some(space) = self.memory.space() else {
            self.move_in_kernel(len, in_kernel);
            return Ok(());
        };
        // After a wait this may be another hart.
        space.activate();
        match copy(0, self.address, len) {
            Ok(()) if self.beyond == 0 || len < self.left => {
                self.address = VirtAddr::new(self.address.as_usize() + len);
                self.left -= len;
                self.done += len;
                Ok(())
            }
            Ok(()) => {
                let mut copy = copy;
                self.go_on(most, None, &mut copy)
            }
            Err(stopped) => {
                // Moved here, so that what it captures needs no place in memory on the way that meets no fault.
                let mut copy = copy;
                self.go_on(most, Some(stopped), &mut copy)
            }
        }
    }

    #[cold]
    fn move_in_kernel(&mut self, len: usize, act: impl FnOnce(&mut [u8])) {
        if let Memory::Kernel(bytes) = &mut self.memory {
            let start = self.address.as_usize();
            act(&mut bytes[start..start + len]);
        }
        self.advance(len);
    }

    /// Goes on with a move whose first piece is done or met a fault.
    #[cold]
    fn go_on(
        &mut self,
        most: usize,
        mut stopped: Option<CopyFault>,
        copy: &mut dyn FnMut(usize, VirtAddr, usize) -> Result<(), CopyFault>,
    ) -> Result<(), Obstacle> {
        // The kernel's own memory does not come here.
        let Some(space) = self.memory.space().cloned() else { return Ok(()) };
        let mut moved = 0;
        let mut len = self.left.min(most);
        loop {
            let step = stopped.map_or(len, |stopped| stopped.done);
            self.advance(step);
            moved += step;
            if let Some(stopped) = stopped {
                settle(&space, stopped.fault)?;
            }
            len = self.left.min(most - moved);
            if len == 0 {
                return Ok(());
            }
            space.activate();
            stopped = copy(moved, self.address, len).err();
        }
    }

    /// Moves these bytes to the program, as many as it has room for.
    #[inline]
    pub fn copy_out(&mut self, bytes: &[u8]) -> Result<(), Obstacle> {
        self.move_with(
            bytes.len(),
            |done, address, len| user_memory::copy_out(address, &bytes[done..done + len]),
            |here| here.copy_from_slice(&bytes[..here.len()]),
        )
    }

    /// Moves bytes from the program; returns how many there were.
    #[inline]
    pub fn copy_in(&mut self, bytes: &mut [u8]) -> Attempt {
        let before = self.done;
        let most = bytes.len();
        // Only one of the two ways is gone.
        let bytes = RefCell::new(bytes);
        self.move_with(
            most,
            |done, address, len| user_memory::copy_in(&mut bytes.borrow_mut()[done..done + len], address),
            |here| bytes.borrow_mut()[..here.len()].copy_from_slice(here),
        )?;
        Ok(self.done - before)
    }

    /// Moves at most `most` bytes of a frame, from `start` on, to the program.
    #[inline]
    pub fn copy_out_of_frame(&mut self, frame: &Frame, start: usize, most: usize) -> Result<(), Obstacle> {
        self.move_with(
            most,
            |done, address, len| frame.copy_to_user(start + done, address, len),
            |here| frame.read(start, here),
        )
    }

    /// The same, of a frame that others use too.
    #[inline]
    pub fn copy_out_of_page(
        &mut self,
        page: &SharedFrame,
        start: usize,
        most: usize,
    ) -> Result<(), Obstacle> {
        self.move_with(
            most,
            |done, address, len| page.copy_to_user(start + done, address, len),
            |here| page.read(start, here),
        )
    }

    /// Moves at most `most` of the program's bytes into a frame, to `start` and on.
    #[inline]
    pub fn copy_into_frame(&mut self, frame: &mut Frame, start: usize, most: usize) -> Result<(), Obstacle> {
        let frame = RefCell::new(frame);
        self.move_with(
            most,
            |done, address, len| frame.borrow_mut().copy_from_user(start + done, address, len),
            |here| frame.borrow().write(start, here),
        )
    }

    /// The same, into a frame that others use too.
    #[inline]
    pub fn copy_into_page(&mut self, page: &PinnedFrame, start: usize, most: usize) -> Result<(), Obstacle> {
        self.move_with(
            most,
            |done, address, len| page.copy_from_user(start + done, address, len),
            |here| page.write(start, here),
        )
    }

    /// Fills the rest with zeros.
    #[inline]
    pub fn fill_with_zeros(&mut self) -> Result<(), Obstacle> {
        self.move_with(usize::MAX, |_, address, len| user_memory::zero(address, len), |here| here.fill(0))
    }

    /// Counts so many of the next bytes as moved without looking at them.
    pub fn skip(&mut self, mut bytes: usize) {
        while bytes > 0 && self.left > 0 {
            let step = self.left.min(bytes);
            self.advance(step);
            bytes -= step;
        }
    }

    /// Counts the rest as moved without looking at it.
    pub fn skip_all(&mut self) {
        self.skip(usize::MAX);
    }
}
