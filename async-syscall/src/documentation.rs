//! The tables in `docs/io_uring.md`.

use core::fmt::{self, Write};

use linux_abi::io_uring::{Features, REGISTER_OPERATIONS, SetupFlags};

use crate::operation::{ROWS, Support};
use crate::register::support;
use crate::setup::{FEATURES, SUPPORTED};

/// What stands before and after them.
pub const BEGIN: &str = "<!-- The tables: made by `make docs`. -->\n";
/// See [`BEGIN`].
pub const END: &str = "<!-- The end of the tables. -->\n";

fn name_of(support: Support) -> &'static str {
    match support {
        Support::Full => "full",
        Support::Partial => "partial",
        Support::Absent => "absent",
    }
}

/// Writes them.
pub fn write(output: &mut dyn Write) -> fmt::Result {
    writeln!(output, "### Operations\n")?;
    writeln!(
        output,
        "| number | `IORING_OP_` | support | what is missing, or worth knowing |\n|---|---|---|---|"
    )?;
    for row in &ROWS {
        let (number, name) = (row.opcode as u8, row.opcode.name());
        writeln!(output, "| {number} | `{name}` | {} | {} |", name_of(row.support), row.note)?;
    }
    writeln!(output, "\n### Registering\n")?;
    writeln!(output, "| number | call | support | what is missing, or worth knowing |\n|---|---|---|---|")?;
    for &(number, name) in REGISTER_OPERATIONS {
        let (support, note) = support(number);
        writeln!(output, "| {number} | `{name}` | {} | {note} |", name_of(support))?;
    }
    writeln!(output, "\n### Set-up\n\n| `IORING_SETUP_` | support |\n|---|---|")?;
    for (name, flag) in SetupFlags::all().iter_names() {
        let is_supported = SUPPORTED.contains(flag);
        writeln!(output, "| `{name}` | {} |", if is_supported { "full" } else { "absent" })?;
    }
    writeln!(output, "\n### Features\n\n| `IORING_FEAT_` | told |\n|---|---|")?;
    for (name, feature) in Features::all().iter_names() {
        writeln!(output, "| `{name}` | {} |", if FEATURES.contains(feature) { "yes" } else { "no" })?;
    }
    Ok(())
}
