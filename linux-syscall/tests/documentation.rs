//! `docs/syscalls.md` says what the table says. `make docs` (or `ZCORE_WRITE_DOCS=1`) writes it anew.

use std::path::Path;

#[test]
fn the_page_of_syscalls_is_current() {
    let mut page = String::new();
    linux_syscall::documentation::write(&mut page).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/syscalls.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if written == page {
        return;
    }
    assert!(
        std::env::var_os("ZCORE_WRITE_DOCS").is_some(),
        "docs/syscalls.md is not current: run `make docs`"
    );
    std::fs::write(&path, page).unwrap();
}

#[test]
fn rows_are_in_order_and_named_as_by_linux() {
    let rows = linux_syscall::table::ROWS;
    assert!(rows.is_sorted_by(|one, next| one.number < next.number));
    for row in rows {
        assert_eq!(linux_abi::syscall::name(row.number), Some(row.name));
    }
}
