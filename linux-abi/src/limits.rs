//! Sizes that Linux promises or enforces.

use crate::table::constants;

constants! { LIMITS_TABLE: usize {
    /// Bytes in a path, with its final NUL.
    PATH_MAX = 4096;
    /// Bytes in a file's name.
    NAME_MAX = 255;
    /// Bytes that a pipe takes at once or not at all.
    PIPE_BUF = 4096;
    /// Supplementary groups.
    NGROUPS_MAX = 65536;
    /// Bytes of an extended attribute's name.
    XATTR_NAME_MAX = 255;
    /// Bytes of an extended attribute's value.
    XATTR_SIZE_MAX = 65536;
    /// Bytes of the list of a file's attributes.
    XATTR_LIST_MAX = 65536;
    /// Pieces in one vectored read or write.
    UIO_MAXIOV = 1024;
} }

/// Symbolic links that one path may go through.
pub const SYMLINKS_MAX: usize = 40;
/// Bytes that one `read` or `write` moves at most: `INT_MAX` cut to a page.
pub const MAX_READ_WRITE_COUNT: usize = 0x7fff_f000;
/// Bytes of one argument or environment string at `execve`.
pub const MAX_ARGUMENT_STRING: usize = 32 * 4096;
/// Bytes in a thread's name, with its final NUL (`TASK_COMM_LEN`).
pub const THREAD_NAME_LENGTH: usize = 16;
