use super::*;

fn shown<'a>(words: impl Iterator<Item = Word<'a>>) -> Vec<String> {
    words.map(|word| word.to_string()).collect()
}

fn for_init(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut arguments, mut environment) = (Vec::new(), Vec::new());
    for item in CommandLine::new(text).for_init() {
        match item {
            ForInit::Argument(word) => arguments.push(word.to_string()),
            ForInit::Environment(word) => environment.push(word.to_string()),
        }
    }
    (arguments, environment)
}

#[test]
fn words_and_values() {
    let line = CommandLine::new("  root=/dev/vda rw\tconsole=ttyS0,115200n8 quiet\n\0");
    assert_eq!(shown(line.words()), ["root=/dev/vda", "rw", "console=ttyS0,115200n8", "quiet"]);
    assert_eq!(line.root(), Some("/dev/vda"));
    assert!(line.root_writable() && line.quiet());
    assert_eq!(line.consoles().collect::<Vec<_>>(), ["ttyS0"]);
    assert_eq!(line.init(), None);
    assert_eq!(line.value("rw"), None);
}

#[test]
fn quotes_protect_blanks_and_disappear_around_words_and_values() {
    let line = CommandLine::new(r#"a="one two" "b=three four" c=x"y z" "five six" d="open e"#);
    assert_eq!(line.value("a"), Some("one two"));
    assert_eq!(line.value("b"), Some("three four"));
    assert_eq!(line.value("c"), Some(r#"x"y z""#));
    assert!(line.has("five six"));
    assert_eq!(line.value("d"), Some("open e"));
}

#[test]
fn dashes_and_underscores_are_the_same_in_keys() {
    let line = CommandLine::new("log-buf-len=1M a_b=c-d");
    assert_eq!(line.byte_count("log_buf_len"), Ok(Some(1 << 20)));
    assert_eq!(line.value("a-b"), Some("c-d"));
}

#[test]
fn the_last_word_counts_but_consoles_add_up() {
    let line = CommandLine::new("root=/dev/vda ro root=/dev/vdb rw ro console=ttyS0 console=hvc0 console=");
    assert_eq!(line.root(), Some("/dev/vdb"));
    assert!(!line.root_writable());
    assert_eq!(line.consoles().collect::<Vec<_>>(), ["ttyS0", "hvc0"]);
}

#[test]
fn unknown_words_go_to_the_first_program() {
    let (arguments, environment) = for_init(
        "auto root=/dev/vda init=/bin/sh single TERM=vt100 module.option=1 quiet -- -c \"a b\" k=\"v w\"",
    );
    assert_eq!(arguments, ["single", "-c", "a b", "k=v w"]);
    assert_eq!(environment, ["TERM=vt100"]);
    assert_eq!(for_init("-- -- root=x"), (vec!["--".into(), "root=x".into()], vec![]));
    assert_eq!(CommandLine::new("-- root=x").root(), None);
    assert_eq!(for_init("\"--\" x").0, ["--", "x"]);
}

#[test]
fn typed_values_are_refused_with_the_word() {
    let line = CommandLine::new("panic=-1 n=12x empty= size=0x10k huge=99999999999T on-off=off bare plus=+1");
    assert_eq!(line.panic_seconds(), Ok(Some(-1)));
    assert_eq!(line.parsed::<u32>("n").unwrap_err().word.to_string(), "n=12x");
    assert!(line.parsed::<u32>("empty").is_err());
    assert_eq!(line.parsed::<u32>("absent"), Ok(None));
    assert_eq!(line.byte_count("size"), Ok(Some(16 << 10)));
    assert!(line.byte_count("huge").is_err() && line.byte_count("empty").is_err());
    assert!(line.byte_count("plus").is_err());
    assert_eq!(line.switch("on_off"), Ok(Some(false)));
    assert_eq!(line.switch("bare"), Ok(Some(true)));
    assert!(line.switch("n").is_err());
    let message = line.switch("n").unwrap_err().to_string();
    assert_eq!(message, "command line: the value in \"n=12x\" is not understood");
}

#[test]
fn log_levels_per_module() {
    let line = CommandLine::new("log=info,net=debug, log=zcore_drivers::block=trace,x=loud,=warn");
    let directives: Vec<_> = line.log_directives().collect();
    let of = |module, level| Ok(LogDirective { module, level });
    assert_eq!(directives[0], of(None, LevelFilter::Info));
    assert_eq!(directives[1], of(Some("net"), LevelFilter::Debug));
    assert_eq!(directives[2], of(Some("zcore_drivers::block"), LevelFilter::Trace));
    assert!(directives[3].is_err() && directives[4].is_err());
    assert_eq!(directives.len(), 5);
}

/// Any text is cut into words that, put together again, are pieces of the text in order.
#[test]
fn fuzz_any_text_is_read_without_panic() {
    const ALPHABET: &[char] =
        &['a', '=', '"', ' ', '-', '.', ',', '0', 'K', '\0', '\n', '\u{e9}', '_', '\u{1f600}'];
    let mut random = crate::fuzzing::Random::new(0x636f_6d6d_616e_6421);
    for _ in 0..crate::fuzzing::iterations(20_000) {
        let length = random.below(40);
        let mut text: String = (0..length).map(|_| ALPHABET[random.below(ALPHABET.len())]).collect();
        if random.below(4) == 0 {
            text.insert_str(0, "console=x log=a=info,debug root=y -- z ");
        }
        let line = CommandLine::new(&text);
        let mut position = 0;
        for word in Words::new(&text) {
            for part in [Some(word.key()), word.value()].into_iter().flatten() {
                let start = part.as_ptr().addr() - text.as_ptr().addr();
                assert!(start >= position && start + part.len() <= text.len(), "{text:?}");
                position = start + part.len();
            }
        }
        let _ = (line.consoles().count(), line.log_directives().count(), line.for_init().count());
        let _ = (line.root_writable(), line.byte_count("a"), line.switch("a"), line.parsed::<i32>("a"));
        let kept = line.words().count() + line.words_after_separator().count();
        assert!(Words::new(&text).count() - kept <= 1, "{text:?}");
    }
}
