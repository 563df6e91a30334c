//! Cutting a command line into words.

use std::fmt;

/// One word: `key`, or `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    key: &'a str,
    value: Option<&'a str>,
    quoted: bool,
}

impl<'a> Word<'a> {
    /// What comes before the first `=`.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// What comes after the first `=`, without quotes around it.
    pub fn value(&self) -> Option<&'a str> {
        self.value
    }

    /// Whether the key is `key`, if `-` and `_` are the same.
    pub fn has_key(&self, key: &str) -> bool {
        let fold = |byte| if byte == b'-' { b'_' } else { byte };
        self.key.len() == key.len() && self.key.bytes().map(fold).eq(key.bytes().map(fold))
    }

    /// Whether this is the `--` that ends the kernel's words.
    pub fn is_separator(&self) -> bool {
        self.key == "--" && self.value.is_none() && !self.quoted
    }
}

/// The word as the first program sees it.
impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)?;
        match self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

/// The words of a text, `--` included.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
}

/// Blanks, and what firmware may leave at the end of a text.
fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\0'
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let text = self.rest.trim_start_matches(is_blank);
        if text.is_empty() {
            self.rest = text;
            return None;
        }
        let mut in_quotes = false;
        let end = text.find(|c| {
            in_quotes ^= c == '"';
            !in_quotes && is_blank(c)
        });
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.rest = rest;
        let quoted = word.starts_with('"');
        let word = without_quotes(word);
        // A word that starts with `=` has no key: Linux takes all of it for one.
        Some(match word.find('=').filter(|&index| index > 0) {
            Some(index) => {
                Word { key: &word[..index], value: Some(without_quotes(&word[index + 1..])), quoted }
            }
            None => Word { key: word, value: None, quoted },
        })
    }
}

/// Takes a leading quote off, and then a trailing one.
fn without_quotes(text: &str) -> &str {
    match text.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => text,
    }
}
