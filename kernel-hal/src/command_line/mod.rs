//! The kernel's command line, by Linux's rules.
//!
//! * Words are separated by blanks. A double quote lets blanks into a word; quotes around a whole word or around a
//!   whole value are taken off, others stay.
//! * A word is `key` or `key=value`. In keys `-` and `_` are the same letter. If a key comes twice, the last counts
//!   (`console=` and `log=` add up).
//! * `--` ends the kernel's words: the rest are arguments of the first program.
//! * A word that the kernel does not know goes to the first program: `key=value` into its environment, `key` into its
//!   arguments, and `module.key` nowhere, since it is meant for a module. What was written before `init=` or `rdinit=`
//!   is no argument, because boot loaders put words of their own in front.
//!
//! Nothing is copied: all results borrow from the text. A value that cannot be understood is a [`BadValue`] for the
//! caller to report, never a silent default.

mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use log::LevelFilter;

pub use words::{Word, Words};

/// The words that the kernel understands itself.
const KNOWN_KEYS: &[&str] = &[
    "console",
    "init",
    "rdinit",
    "root",
    "rootfstype",
    "rootflags",
    "rootwait",
    "rootdelay",
    "ro",
    "rw",
    "quiet",
    "strace",
    "debug",
    "log",
    "panic",
    "ktest",
    "panic_test",
    "trace",
    "watchdog",
    "disk_faults",
    "kbench",
];

/// A command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandLine<'a> {
    text: &'a str,
}

/// A value that does not fit its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadValue<'a> {
    /// The word it stands in.
    pub word: Word<'a>,
}

impl fmt::Display for BadValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command line: the value in \"{}\" is not understood", self.word)
    }
}

/// What the first program gets from the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForInit<'a> {
    /// An argument.
    Argument(Word<'a>),
    /// A variable of its environment; the word has a value.
    Environment(Word<'a>),
}

/// How much one part of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogDirective<'a> {
    /// The module's path, or `None` for all that no other directive names.
    pub module: Option<&'a str>,
    /// The most detailed level it prints.
    pub level: LevelFilter,
}

impl<'a> CommandLine<'a> {
    /// Reads a command line. A NUL or a newline counts as a blank.
    pub const fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The whole text.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// The words before `--`.
    pub fn words(&self) -> impl Iterator<Item = Word<'a>> + use<'a> {
        Words::new(self.text).take_while(|word| !word.is_separator())
    }

    /// The words after `--`.
    fn words_after_separator(&self) -> impl Iterator<Item = Word<'a>> + use<'a> {
        Words::new(self.text).skip_while(|word| !word.is_separator()).skip(1)
    }

    /// The last word with this key.
    pub fn word(&self, key: &str) -> Option<Word<'a>> {
        self.words().filter(|word| word.has_key(key)).last()
    }

    /// Whether there is a word with this key, with or without a value.
    pub fn has(&self, key: &str) -> bool {
        self.word(key).is_some()
    }

    /// The value of the last word with this key, if it has one.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.word(key)?.value()
    }

    /// The value of the last word with this key, as anything that is read from text.
    pub fn parsed<T: FromStr>(&self, key: &str) -> Result<Option<T>, BadValue<'a>> {
        self.converted(key, |value| value.parse().ok())
    }

    /// A yes or no: the bare key, `1`, `y`, `yes`, `on`, `true` mean yes; `0`, `n`, `no`, `off`, `false` mean no.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, BadValue<'a>> {
        if self.word(key).is_some_and(|word| word.value().is_none()) {
            return Ok(Some(true));
        }
        self.converted(key, |value| match value {
            "1" | "y" | "Y" | "yes" | "on" | "true" => Some(true),
            "0" | "n" | "N" | "no" | "off" | "false" => Some(false),
            _ => None,
        })
    }

    /// A number of bytes: decimal or `0x` hexadecimal, with an optional suffix K, M, G or T.
    pub fn byte_count(&self, key: &str) -> Result<Option<u64>, BadValue<'a>> {
        self.converted(key, parse_byte_count)
    }

    fn converted<T>(
        &self,
        key: &str,
        convert: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, BadValue<'a>> {
        let Some(word) = self.word(key) else { return Ok(None) };
        word.value().and_then(convert).map(Some).ok_or(BadValue { word })
    }

    /// The consoles in the order given; kernel messages go to all, and the last is `/dev/console`.
    pub fn consoles(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        // What follows a comma is the line's speed.
        self.words()
            .filter(|word| word.has_key("console"))
            .filter_map(|word| word.value()?.split(',').next())
            .filter(|name| !name.is_empty())
    }

    /// The first program on the root filesystem.
    pub fn init(&self) -> Option<&'a str> {
        self.value("init")
    }

    /// The first program on the initial ramdisk.
    pub fn ramdisk_init(&self) -> Option<&'a str> {
        self.value("rdinit")
    }

    /// The device that holds the root filesystem.
    pub fn root(&self) -> Option<&'a str> {
        self.value("root")
    }

    /// Whether the root filesystem is to be writable: the last of `ro` and `rw`; read-only if neither is there.
    pub fn root_writable(&self) -> bool {
        let is_either =
            |word: &Word<'_>| word.value().is_none() && (word.has_key("ro") || word.has_key("rw"));
        self.words().filter(is_either).last().is_some_and(|word| word.has_key("rw"))
    }

    /// Whether to say less.
    pub fn quiet(&self) -> bool {
        self.has("quiet")
    }

    /// What to do after a panic: wait this many seconds and reboot; 0: stop; negative: reboot at once.
    pub fn panic_seconds(&self) -> Result<Option<i32>, BadValue<'a>> {
        self.parsed("panic")
    }

    /// The kernel's own test to run instead of the first program.
    pub fn kernel_test(&self) -> Option<&'a str> {
        self.value("ktest")
    }

    /// The levels of `log=info,net=debug,...`, in the order given: a later one overrides an earlier one.
    pub fn log_directives(&self) -> impl Iterator<Item = Result<LogDirective<'a>, BadValue<'a>>> + use<'a> {
        self.words().filter(|word| word.has_key("log")).flat_map(|word| {
            let directives = word.value().unwrap_or("").split(',').filter(|part| !part.is_empty());
            directives.map(move |part| {
                let (module, level) = match part.split_once('=') {
                    Some((module, level)) => (Some(module), level),
                    None => (None, part),
                };
                match level.parse() {
                    Ok(level) if module != Some("") => Ok(LogDirective { module, level }),
                    _ => Err(BadValue { word }),
                }
            })
        })
    }

    /// What the first program gets, in order: the words that the kernel does not know, then those after `--`.
    pub fn for_init(&self) -> impl Iterator<Item = ForInit<'a>> + use<'a> {
        let names_init = |word: &Word<'_>| word.has_key("init") || word.has_key("rdinit");
        let before_init = match self.words().enumerate().filter(|(_, word)| names_init(word)).last() {
            Some((index, _)) => index,
            None => 0,
        };
        let unknown = self.unknown_words().filter_map(move |(index, word)| match word.value() {
            Some(_) => Some(ForInit::Environment(word)),
            None if index >= before_init => Some(ForInit::Argument(word)),
            None => None,
        });
        unknown.chain(self.words_after_separator().map(ForInit::Argument))
    }

    /// The words that are neither the kernel's nor a module's, with their positions.
    pub fn unknown_words(&self) -> impl Iterator<Item = (usize, Word<'a>)> + use<'a> {
        self.words().enumerate().filter(|(_, word)| {
            !word.key().contains('.') && !KNOWN_KEYS.iter().any(|known| word.has_key(known))
        })
    }
}

fn parse_byte_count(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    number.ok().filter(|_| !digits.contains('+'))?.checked_mul(1 << shift)
}
