//! Extended attributes: no filesystem here has any, and each call says so as Linux does of such a filesystem.

use linux_abi::Errno;
use linux_abi::file::{AT_FDCWD, AtFlags};

use crate::argument::{Fd, PathAddress, UserAddress};
use crate::call::{Call, Outcome};
use crate::file::{attempt_at, descriptor};

/// Looks the path up, so that its own errors come first.
fn refuse(call: &Call<'_>, path: PathAddress, flags: AtFlags, answer: Result<usize, Errno>) -> Outcome {
    attempt_at(call, Fd(AT_FDCWD), path, flags, move |_, _, _| Ok(answer?))
}

const UNSUPPORTED: Result<usize, Errno> = Err(Errno::EOPNOTSUPP);
/// A file without attributes has an empty list of them.
const NO_NAMES: Result<usize, Errno> = Ok(0);

pub fn setxattr(call: &mut Call<'_>, path: PathAddress, _name: UserAddress) -> Outcome {
    refuse(call, path, AtFlags::empty(), UNSUPPORTED)
}

pub fn lsetxattr(call: &mut Call<'_>, path: PathAddress, _name: UserAddress) -> Outcome {
    refuse(call, path, AtFlags::SYMLINK_NOFOLLOW, UNSUPPORTED)
}

pub fn fsetxattr(call: &mut Call<'_>, fd: Fd, _name: UserAddress) -> Result<usize, Errno> {
    descriptor(call, fd)?;
    UNSUPPORTED
}

pub fn listxattr(call: &mut Call<'_>, path: PathAddress, _list: UserAddress, _size: usize) -> Outcome {
    refuse(call, path, AtFlags::empty(), NO_NAMES)
}

pub fn llistxattr(call: &mut Call<'_>, path: PathAddress, _list: UserAddress, _size: usize) -> Outcome {
    refuse(call, path, AtFlags::SYMLINK_NOFOLLOW, NO_NAMES)
}

pub fn flistxattr(call: &mut Call<'_>, fd: Fd, _list: UserAddress, _size: usize) -> Result<usize, Errno> {
    descriptor(call, fd)?;
    NO_NAMES
}
