//! Files that name the program which reads them: `#!`.

/// What the first line of a script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter<'a> {
    /// The program.
    pub path: &'a [u8],
    /// Its one argument, if there is one.
    pub argument: Option<&'a [u8]>,
}

/// Linux looks at this many bytes of the first line.
const LONGEST_LINE: usize = 256;

impl<'a> Interpreter<'a> {
    /// Reads the first line; `None` if the file is no script.
    pub fn parse(start_of_file: &'a [u8]) -> Option<Self> {
        let line = start_of_file.strip_prefix(b"#!")?;
        let line = &line[..line.len().min(LONGEST_LINE - 2)];
        let line = match line.iter().position(|&byte| byte == b'\n') {
            Some(end) => &line[..end],
            None => line,
        };
        let line = line.trim_ascii();
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let path_len = line.iter().position(is_blank).unwrap_or(line.len());
        let (path, rest) = line.split_at(path_len);
        let argument = rest.trim_ascii();
        let is_program = !path.is_empty();
        is_program.then_some(Self { path, argument: Some(argument).filter(|text| !text.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_line_is_one_argument() {
        let parsed = Interpreter::parse(b"#! /bin/sh  -e -x \necho").unwrap();
        assert_eq!(parsed.path, b"/bin/sh");
        assert_eq!(parsed.argument, Some(&b"-e -x"[..]));
        assert_eq!(Interpreter::parse(b"#!/bin/sh").unwrap().argument, None);
        assert_eq!(Interpreter::parse(b"#!  \n"), None);
        assert_eq!(Interpreter::parse(b"\x7fELF"), None);
    }
}
