//! `process_vm_readv` and `process_vm_writev`: another process's memory.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_hal::{PAGE_SIZE, VirtAddr};
use linux_abi::Errno;

use crate::credentials::Credentials;
use crate::obstacle::complete;
use crate::process::Process;
use crate::user_buffer::UserMemory;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the other process to the caller.
    Read,
    /// From the caller to the other process.
    Write,
}

/// Whether one process may look into another: they belong to one user, or the first is privileged.
pub fn may_look_into(credentials: &Credentials, other: &Credentials) -> bool {
    let users = [other.real_user, other.effective_user, other.saved_user];
    let groups = [other.real_group, other.effective_group, other.saved_group];
    let is_same = users.iter().all(|&user| user == credentials.real_user)
        && groups.iter().all(|&group| group == credentials.real_group);
    is_same || credentials.effective_user == 0
}

/// The memory of another process, for a caller who may use it.
pub fn memory_of(caller: &Process, target: &Arc<Process>) -> Result<UserMemory, Errno> {
    if !may_look_into(&caller.credentials(), &target.credentials()) {
        return Err(Errno::EPERM);
    }
    let thread = target.threads().first().cloned().ok_or(Errno::ESRCH)?;
    Ok(UserMemory::new(thread.resources().address_space))
}

/// Pieces of memory that are used up from the front.
struct Pieces {
    pieces: Vec<(VirtAddr, usize)>,
    at: usize,
    inside: usize,
}

impl Pieces {
    const fn new(pieces: Vec<(VirtAddr, usize)>) -> Self {
        Self { pieces, at: 0, inside: 0 }
    }

    fn next(&mut self) -> Option<(VirtAddr, usize)> {
        loop {
            let &(address, len) = self.pieces.get(self.at)?;
            if self.inside < len {
                return Some((address + self.inside, len - self.inside));
            }
            self.at += 1;
            self.inside = 0;
        }
    }
}

/// Copies between the caller's pieces and another process's, a page at most at a time. What was copied before an error
/// counts.
pub async fn copy(
    own: UserMemory,
    own_pieces: Vec<(VirtAddr, usize)>,
    other: UserMemory,
    other_pieces: Vec<(VirtAddr, usize)>,
    direction: Direction,
) -> Result<usize, Errno> {
    let (mut here, mut there) = (Pieces::new(own_pieces), Pieces::new(other_pieces));
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(PAGE_SIZE).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(PAGE_SIZE, 0);
    let mut done = 0;
    while let (Some((own_address, own_len)), Some((other_address, other_len))) = (here.next(), there.next()) {
        let len = own_len.min(other_len).min(PAGE_SIZE - other_address.page_offset());
        let (from, from_address, to, to_address) = match direction {
            Direction::Read => (&other, other_address, &own, own_address),
            Direction::Write => (&own, own_address, &other, other_address),
        };
        let piece = &mut bytes[..len];
        let copied = match complete(|| from.read_bytes(from_address, piece)).await {
            Ok(()) => complete(|| to.write_bytes(to_address, &bytes[..len])).await,
            Err(error) => Err(error),
        };
        match copied {
            Ok(()) => {}
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        done += len;
        here.inside += len;
        there.inside += len;
    }
    Ok(done)
}
