//! What `mount -o` says of a tmpfs.

use linux_abi::Errno;

use super::TmpfsOptions;

const PAGE_BYTES: u64 = 4096;
const PERMISSION_BITS: u32 = 0o7777;

impl TmpfsOptions {
    /// These options changed by words as `mount` takes them: `size=64m,mode=755,uid=1000`. A size may be a share of
    /// `memory_pages`, as in `size=10%`; 0 is no limit. What is not understood is `EINVAL`.
    pub fn with_words(mut self, words: &str, memory_pages: u64) -> Result<Self, Errno> {
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "size" => self.most_pages = limit(size_in_pages(value, memory_pages)?),
                "nr_blocks" => self.most_pages = limit(count(value)?),
                "nr_inodes" => self.most_inodes = limit(count(value)?),
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                    self.permissions = mode & PERMISSION_BITS;
                }
                "uid" => self.user = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => self.group = value.parse().map_err(|_| Errno::EINVAL)?,
                // Inodes have 64-bit numbers in any case.
                "inode64" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(self)
    }
}

fn limit(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

/// A number with a suffix for powers of 1024.
fn count(text: &str) -> Result<u64, Errno> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 10),
        Some(b'm') => (&text[..text.len() - 1], 20),
        Some(b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}

fn size_in_pages(text: &str, memory_pages: u64) -> Result<u64, Errno> {
    match text.strip_suffix('%') {
        Some(share) => {
            let share: u64 = share.parse().map_err(|_| Errno::EINVAL)?;
            Ok(memory_pages.checked_mul(share).ok_or(Errno::EINVAL)? / 100)
        }
        None => Ok(count(text)?.div_ceil(PAGE_BYTES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<TmpfsOptions, Errno> {
        TmpfsOptions { most_pages: Some(7), ..TmpfsOptions::default() }.with_words(words, 1000)
    }

    #[test]
    fn words_change_what_they_name() {
        let options = parse("size=1m,nr_inodes=2k,mode=0755,uid=3,gid=4,inode64").unwrap();
        assert_eq!((options.most_pages, options.most_inodes), (Some(256), Some(2048)));
        assert_eq!((options.permissions, options.user, options.group), (0o755, 3, 4));
        assert_eq!(parse("").unwrap().most_pages, Some(7));
        assert_eq!(parse("size=10%").unwrap().most_pages, Some(100));
        assert_eq!(parse("size=0").unwrap().most_pages, None);
        assert_eq!(parse("size=4097").unwrap().most_pages, Some(2));
        assert_eq!(parse("nr_blocks=9").unwrap().most_pages, Some(9));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [
            "size",
            "size=",
            "size=x",
            "size=99999999999999999999g",
            "mode=9",
            "huge=always",
            "uid=-1",
            "foo",
        ] {
            assert_eq!(parse(words).err(), Some(Errno::EINVAL), "{words}");
        }
    }
}
