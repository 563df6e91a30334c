//! `docs/io_uring.md` says what the tables say. `make docs` (or `ZCORE_WRITE_DOCS=1`) writes them anew.

use std::path::Path;

use async_syscall::documentation::{BEGIN, END, write};

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/io_uring.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the tables");
    let (_, after) = rest.split_once(END).expect("the tables have an end");
    let mut tables = String::new();
    write(&mut tables).unwrap();
    let current = format!("{before}{BEGIN}\n{tables}\n{END}{after}");
    if std::env::var_os("ZCORE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page == current, "docs/io_uring.md is not current: run `make docs`");
}
