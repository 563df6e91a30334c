//! `docs/syscalls.md`, made from the table.

use core::fmt::{self, Write};

use crate::table;

/// Writes the page: a line for each number of Linux's, so that changes to different calls are changes to different lines.
pub fn write(output: &mut dyn Write) -> fmt::Result {
    writeln!(output, "# System calls\n")?;
    writeln!(output, "<!-- Made from the table in linux-syscall/src/table.rs by `make docs`. -->\n")?;
    writeln!(
        output,
        "The system calls of Linux 6.12 on riscv64. What is missing from one that is there in part is refused with an \
         error,\nnever ignored. One that is absent, like any other number, is answered with `ENOSYS`, counted, and \
         visible in\n`/proc/zcore/syscalls`.\n"
    )?;
    writeln!(output, "| number | call | support | what is missing, or worth knowing |\n|---|---|---|---|")?;
    for (number, name) in linux_abi::syscall::ALL {
        let Some(row) = table::row(*number) else {
            writeln!(output, "| {number} | `{name}` | absent |  |")?;
            continue;
        };
        write!(output, "| {number} | `{name}(")?;
        for (index, argument) in row.arguments.iter().enumerate() {
            write!(output, "{}{}", if index > 0 { ", " } else { "" }, argument.name)?;
        }
        writeln!(output, ")` | {} | {} |", row.support.name(), row.note.replace('|', "\\|"))?;
    }
    Ok(())
}
