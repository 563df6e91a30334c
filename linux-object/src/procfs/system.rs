//! What `/proc` tells about the system as a whole.

use alloc::format;
use core::fmt::Write;

use kernel_hal::Instant;
use kernel_object::frame;
use rcore_fs::generated::ContentBuffer;

use super::text::Produced;
use crate::version;

type Writer = fn(&mut ContentBuffer) -> Produced;

const READ_ONLY: u32 = 0o444;

/// Names, permissions and contents.
pub(super) const FILES: [(&str, u32, Writer); 3] =
    [("version", READ_ONLY, version), ("uptime", READ_ONLY, uptime), ("meminfo", READ_ONLY, memory)];

fn version(output: &mut ContentBuffer) -> Produced {
    Ok(writeln!(output, "Linux version {} (zcore@zcore) (rustc) {}", version::RELEASE, version::VERSION)?)
}

fn uptime(output: &mut ContentBuffer) -> Produced {
    let centiseconds = Instant::now().as_nanos() / 10_000_000;
    Ok(writeln!(output, "{}.{:02} 0.00", centiseconds / 100, centiseconds % 100)?)
}

fn memory(output: &mut ContentBuffer) -> Produced {
    let statistics = frame::statistics();
    let kib = |frames: usize| format!("{:8} kB", frames * 4);
    writeln!(output, "MemTotal:       {}", kib(statistics.total))?;
    writeln!(output, "MemFree:        {}", kib(statistics.free))?;
    writeln!(output, "MemAvailable:   {}", kib(statistics.free))?;
    Ok(())
}
