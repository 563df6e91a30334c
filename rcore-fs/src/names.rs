//! Rules for names in directories.

use linux_abi::Errno;
use linux_abi::limits::NAME_MAX;

/// Whether a directory may get an entry of this name.
pub fn check_new_name(name: &[u8]) -> Result<(), Errno> {
    check_length(name)?;
    match name {
        b"." | b".." => Err(Errno::EEXIST),
        _ if name.iter().any(|&byte| byte == b'/' || byte == 0) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

/// Whether an entry of this name may be removed or renamed.
pub fn check_old_name(name: &[u8]) -> Result<(), Errno> {
    check_length(name)?;
    match name {
        b"." => Err(Errno::EINVAL),
        b".." => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}

pub(crate) fn check_length(name: &[u8]) -> Result<(), Errno> {
    match name.len() {
        0 => Err(Errno::ENOENT),
        1..=NAME_MAX => Ok(()),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_as_linux_does() {
        assert_eq!(check_new_name(b"a"), Ok(()));
        assert_eq!(check_new_name(&[b'x'; 255]), Ok(()));
        assert_eq!(check_new_name(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
        assert_eq!(check_new_name(b""), Err(Errno::ENOENT));
        assert_eq!(check_new_name(b".."), Err(Errno::EEXIST));
        assert_eq!(check_new_name(b"a/b"), Err(Errno::EINVAL));
        assert_eq!(check_new_name(b"a\0"), Err(Errno::EINVAL));
        assert_eq!(check_old_name(b"."), Err(Errno::EINVAL));
    }
}
