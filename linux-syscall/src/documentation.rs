//! `docs/syscalls.md`, made from the table.

use core::fmt::{self, Write};

use crate::table::{ROWS, Support};

/// Writes the page: each row of the table, and the numbers that Linux has and the table has not.
pub fn write(output: &mut dyn Write) -> fmt::Result {
    let complete = ROWS.iter().filter(|row| row.support == Support::Full).count();
    writeln!(output, "# System calls\n")?;
    writeln!(output, "<!-- Made from the table in linux-syscall/src/table.rs by `make docs`. -->\n")?;
    writeln!(
        output,
        "{} of the {} system calls of Linux 6.12 on riscv64, {complete} of them completely. What is missing from the \
         others is refused with an\nerror, never ignored. A number without a row is answered with `ENOSYS`, counted, \
         and visible in `/proc/zcore/syscalls`.\n",
        ROWS.len(),
        linux_abi::syscall::ALL.len(),
    )?;
    writeln!(output, "| number | call | support | what is missing, or worth knowing |\n|---|---|---|---|")?;
    for row in ROWS {
        write!(output, "| {} | `{}(", row.number, row.name)?;
        for (index, argument) in row.arguments.iter().enumerate() {
            write!(output, "{}{}", if index > 0 { ", " } else { "" }, argument.name)?;
        }
        writeln!(output, ")` | {} | {} |", row.support.name(), row.note.replace('|', "\\|"))?;
    }
    writeln!(output, "\n## Not there\n")?;
    let mut column = 0;
    for (_, name) in linux_abi::syscall::ALL.iter().filter(|(number, _)| crate::table::row(*number).is_none())
    {
        let width = name.len() + 3;
        if column + width > 118 {
            writeln!(output)?;
            column = 0;
        }
        write!(output, "{}`{name}`", if column == 0 { "" } else { " " })?;
        column += width;
    }
    writeln!(output)
}
