//! The harts and what they can do.

use heapless::Vec;

use super::{MAX_DESCRIBED_HARTS, MachineError, Problem, Problems};
use crate::device_tree::{Node, Strings};

/// One hart.
#[derive(Clone, Copy, Debug)]
pub struct HartDescription<'a> {
    /// The number that firmware and interrupt controllers know it by.
    pub hardware_id: usize,
    /// Whether it may be used.
    pub enabled: bool,
    /// `riscv,isa`: the instruction set in one string; empty if only the list is given.
    pub isa: &'a str,
    /// `riscv,isa-extensions`: the instruction set as a list; empty if only the string is given.
    pub isa_extensions: Strings<'a>,
    /// `mmu-type`: the largest paging mode; empty if not given.
    pub mmu_type: &'a str,
    /// `riscv,cboz-block-size`: how many bytes one instruction of Zicboz clears; 0 if not given.
    pub zero_block_bytes: usize,
    /// How other nodes refer to the hart's own interrupt controller.
    pub(super) interrupt_controller: Option<u32>,
}

impl HartDescription<'_> {
    /// Whether the hart has the extension: a single letter such as `d`, or a name such as `sstc`, in lower case.
    pub fn has_extension(&self, name: &str) -> bool {
        self.isa_extensions.contains(name) || isa_string_contains(self.isa, name)
    }

    /// Whether the hart has the supervisor's own timer.
    pub fn has_sstc(&self) -> bool {
        self.has_extension("sstc")
    }
}

/// Whether an ISA string such as `rv64imafdc_zicsr2p0_sstc` names the extension.
fn isa_string_contains(isa: &str, name: &str) -> bool {
    let mut parts = isa.split('_');
    let base = parts.next().unwrap_or("");
    let Some(letters) = base.get(4..).filter(|_| base.is_char_boundary(4)) else { return false };
    if let [letter] = name.as_bytes() {
        // After a letter may come its version, such as `i2p1`: there the `p` is no extension.
        let mut previous = b'_';
        return letters.bytes().any(|found| {
            let is_version = found == b'p' && previous.is_ascii_digit();
            previous = found;
            !is_version
                && (found.eq_ignore_ascii_case(letter)
                    || (found.eq_ignore_ascii_case(&b'g') && b"imafd".contains(letter)))
        });
    }
    parts.any(|part| without_version(part).eq_ignore_ascii_case(name) || part.eq_ignore_ascii_case(name))
}

/// Takes `2p0` off `zicsr2p0`.
fn without_version(part: &str) -> &str {
    let major = part.trim_end_matches(|c: char| c.is_ascii_digit());
    match major.strip_suffix('p') {
        Some(rest) if major.len() < part.len() && rest.ends_with(|c: char| c.is_ascii_digit()) => {
            rest.trim_end_matches(|c: char| c.is_ascii_digit())
        }
        _ => part,
    }
}

type Harts<'a> = Vec<HartDescription<'a>, MAX_DESCRIBED_HARTS>;

/// The harts, and the rate of the clock they share.
pub(super) fn read_harts<'a>(
    root: &Node<'a>,
    problems: &mut Problems<'a>,
) -> Result<(Harts<'a>, u32), MachineError> {
    let cpus = root.child("cpus").ok_or(MachineError::NoHarts)?;
    let mut frequency = cpus.number("timebase-frequency");
    let mut harts = Harts::new();
    for node in cpus.children().filter(|node| node.text("device_type") == Some("cpu")) {
        frequency = frequency.or_else(|| node.number("timebase-frequency"));
        let Some(hart) = read_hart(&node) else {
            problems.note(Problem::BadProperty { node: node.name(), property: "reg" });
            continue;
        };
        if harts.iter().any(|other| other.hardware_id == hart.hardware_id) {
            problems.note(Problem::BadProperty { node: node.name(), property: "reg" });
        } else if harts.push(hart).is_err() {
            problems.note(Problem::TooMany("harts"));
        }
    }
    if !harts.iter().any(|hart| hart.enabled) {
        return Err(MachineError::NoHarts);
    }
    let frequency = frequency.and_then(|hz| u32::try_from(hz).ok()).filter(|&hz| hz > 0);
    Ok((harts, frequency.ok_or(MachineError::NoTimebaseFrequency)?))
}

fn read_hart<'a>(node: &Node<'a>) -> Option<HartDescription<'a>> {
    let controller = node.children().find(|child| child.is_compatible(&["riscv,cpu-intc"]));
    Some(HartDescription {
        hardware_id: usize::try_from(node.number("reg")?).ok()?,
        enabled: node.is_enabled(),
        isa: node.text("riscv,isa").unwrap_or(""),
        isa_extensions: node.strings("riscv,isa-extensions"),
        mmu_type: node.text("mmu-type").unwrap_or(""),
        zero_block_bytes: node.u32("riscv,cboz-block-size").map_or(0, |bytes| bytes as usize),
        interrupt_controller: controller.and_then(|controller| controller.u32("phandle")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_strings_are_understood() {
        let isa = "rv64imafdch_zicbom_zicsr2p0_za64rs_sstc_svadu";
        for name in ["i", "m", "a", "f", "d", "c", "h", "zicbom", "zicsr", "za64rs", "sstc"] {
            assert!(isa_string_contains(isa, name), "{name}");
        }
        for name in ["v", "b", "r", "zic", "sst", "zicsr2", "za64"] {
            assert!(!isa_string_contains(isa, name), "{name}");
        }
        assert!(isa_string_contains("rv64gc", "d"));
        assert!(!isa_string_contains("rv64gc", "v"));
        assert!(isa_string_contains("RV64I2P1M2P0_Sstc", "sstc"));
        assert!(isa_string_contains("rv64i2p1m2p0", "m"));
        assert!(!isa_string_contains("rv64i2p1m2p0", "p"));
        for odd in ["", "rv", "rv64", "\u{1f600}", "ab\u{e9}\u{e9}xy", "____"] {
            assert!(!isa_string_contains(odd, "d"), "{odd}");
        }
    }
}
