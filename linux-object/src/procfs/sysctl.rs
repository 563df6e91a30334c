//! `/proc/sys`: the kernel's settings, one row each.
//!
//! A row that can be written takes effect; the others tell what this kernel is built with, and refuse to be changed.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::Ordering;

use kernel_hal::PAGE_SIZE;
use kernel_object::address_space::{LOWEST_ADDRESS, promises_everything, set_promises_everything};
use ksync::Once;
use linux_abi::Errno;
use net::settings::{self, LARGEST_BACKLOG};
use rcore_fs::generated::{Attributes, ContentBuffer, DirectoryNode, FileNode, GeneratedFile};
use rcore_fs::{Attempt, INode};

use crate::file::{MOST_DESCRIPTORS, PIPE_MAX_SIZE};
use crate::ipc::shared_memory;
use crate::memory::pressure;
use crate::program::Randomness;
use crate::thread::current_thread;
use crate::{namespace, process, random, version};

/// Where a value comes from.
enum Value {
    /// It is always this.
    Number(u64),
    /// The same, as text.
    Text(&'static str),
    /// It is made when somebody reads it.
    Now(fn() -> String),
}

/// Takes what was written to a setting.
type Store = fn(&[u8]) -> Result<(), Errno>;

/// One setting.
struct Setting {
    directory: &'static str,
    name: &'static str,
    value: Value,
    store: Option<Store>,
}

const fn number(directory: &'static str, name: &'static str, value: u64) -> Setting {
    Setting { directory, name, value: Value::Number(value), store: None }
}

const fn text(directory: &'static str, name: &'static str, value: &'static str) -> Setting {
    Setting { directory, name, value: Value::Text(value), store: None }
}

const fn now(directory: &'static str, name: &'static str, value: fn() -> String) -> Setting {
    Setting { directory, name, value: Value::Now(value), store: None }
}

const fn settable(
    directory: &'static str,
    name: &'static str,
    value: fn() -> String,
    store: fn(&[u8]) -> Result<(), Errno>,
) -> Setting {
    Setting { directory, name, value: Value::Now(value), store: Some(store) }
}

const KERNEL: &str = "kernel";
const RANDOM: &str = "kernel/random";
const MEMORY: &str = "vm";
const FILES: &str = "fs";
const NET_CORE: &str = "net/core";
const NET_V4: &str = "net/ipv4";
const NET_V6: &str = "net/ipv6";

static SETTINGS: &[Setting] = &[
    text(KERNEL, "ostype", "Linux"),
    text(KERNEL, "osrelease", version::RELEASE),
    text(KERNEL, "version", version::VERSION),
    settable(
        KERNEL,
        "hostname",
        || shown(&version::system_name().nodename),
        |name| store_name(name, version::set_host_name),
    ),
    settable(
        KERNEL,
        "domainname",
        || shown(&version::system_name().domainname),
        |name| store_name(name, version::set_domain_name),
    ),
    number(KERNEL, "pid_max", process::ID_LIMIT as u64),
    // Threads have numbers from the same space; what else limits them is memory.
    number(KERNEL, "threads-max", process::ID_LIMIT as u64),
    number(KERNEL, "ngroups_max", 65536),
    number(KERNEL, "cap_last_cap", 40),
    number(KERNEL, "overflowuid", 65534),
    number(KERNEL, "overflowgid", 65534),
    number(KERNEL, "panic", 0),
    number(KERNEL, "shmmax", shared_memory::LARGEST),
    number(KERNEL, "shmall", shared_memory::LARGEST),
    number(KERNEL, "shmmni", shared_memory::MOST_SEGMENTS as u64),
    number(KERNEL, "panic_on_oops", 1),
    number(KERNEL, "tainted", 0),
    number(KERNEL, "core_uses_pid", 0),
    text(KERNEL, "core_pattern", "core"),
    settable(
        KERNEL,
        "randomize_va_space",
        || format!("{}", Randomness::of_system() as u8),
        |input| {
            // Whatever is not one of the first two is the third, as by Linux.
            let wanted = match parse(input)? {
                0 => Randomness::Nothing,
                1 => Randomness::NotTheHeap,
                _ => Randomness::Everything,
            };
            wanted.set_for_system();
            Ok(())
        },
    ),
    now(RANDOM, "boot_id", || boot_id().into()),
    now(RANDOM, "uuid", || uuid(random::bytes())),
    number(RANDOM, "entropy_avail", 256),
    number(RANDOM, "poolsize", 256),
    settable(
        MEMORY,
        "overcommit_memory",
        || format!("{}", u8::from(promises_everything())),
        |input| {
            match parse(input)? {
                0 => set_promises_everything(false),
                1 => set_promises_everything(true),
                // Nothing keeps account of what was promised.
                _ => return Err(Errno::EINVAL),
            }
            Ok(())
        },
    ),
    number(MEMORY, "overcommit_ratio", 50),
    number(MEMORY, "overcommit_kbytes", 0),
    number(MEMORY, "panic_on_oom", 0),
    number(MEMORY, "nr_hugepages", 0),
    number(MEMORY, "mmap_min_addr", LOWEST_ADDRESS as u64),
    Setting {
        directory: MEMORY,
        name: "drop_caches",
        value: Value::Number(0),
        store: Some(|input| {
            match parse(input)? {
                // Pages, names, or both.
                1 => _ = pressure::drop_pages(),
                2 => namespace::drop_names(),
                3 => _ = pressure::drop_caches(),
                _ => return Err(Errno::EINVAL),
            }
            Ok(())
        }),
    },
    number(MEMORY, "max_map_count", 65530),
    // The number of open files has no limit of its own.
    number(FILES, "file-max", i64::MAX as u64),
    number(FILES, "nr_open", MOST_DESCRIPTORS as u64),
    settable(
        FILES,
        "pipe-max-size",
        || format!("{}", PIPE_MAX_SIZE.load(Ordering::Relaxed)),
        |input| {
            // A power of two, and a page at least, as by Linux.
            let wanted = parse(input)?.max(PAGE_SIZE as u64).checked_next_power_of_two();
            let size = wanted.and_then(|size| u32::try_from(size).ok()).ok_or(Errno::EINVAL)?;
            PIPE_MAX_SIZE.store(size, Ordering::Relaxed);
            Ok(())
        },
    ),
    number(FILES, "overflowuid", 65534),
    number(FILES, "overflowgid", 65534),
    settable(NET_CORE, "somaxconn", || format!("{}", LARGEST_BACKLOG.load(Ordering::Relaxed)), store_backlog),
    number(NET_CORE, "rmem_default", settings::DATAGRAM_BYTES as u64),
    number(NET_CORE, "rmem_max", settings::MOST_BUFFER_BYTES as u64),
    number(NET_CORE, "wmem_default", settings::DATAGRAM_BYTES as u64),
    number(NET_CORE, "wmem_max", settings::MOST_BUFFER_BYTES as u64),
    settable(
        NET_V4,
        "ip_local_port_range",
        || {
            let (first, last) = settings::ephemeral_ports();
            format!("{first}\t{last}")
        },
        store_port_range,
    ),
    number(NET_V4, "ip_unprivileged_port_start", 1024),
    text(NET_V4, "tcp_available_congestion_control", "cubic"),
    text(NET_V4, "tcp_congestion_control", "cubic"),
    number(NET_V4, "tcp_fin_timeout", net::ports::TIME_WAIT.as_secs()),
    number(NET_V4, "tcp_keepalive_intvl", 75),
    number(NET_V4, "tcp_keepalive_probes", 9),
    number(NET_V4, "tcp_keepalive_time", 7200),
    number(NET_V4, "tcp_max_tw_buckets", net::ports::MOST_TIME_WAIT as u64),
    text(NET_V4, "tcp_rmem", "4096\t131072\t6291456"),
    number(NET_V4, "tcp_sack", 1),
    number(NET_V4, "tcp_syn_retries", 6),
    number(NET_V4, "tcp_timestamps", 1),
    number(NET_V4, "tcp_tw_reuse", 2),
    number(NET_V4, "tcp_window_scaling", 1),
    text(NET_V4, "tcp_wmem", "4096\t16384\t4194304"),
    number(NET_V6, "bindv6only", 0),
];

/// Numbers in a text, as they are written to a setting.
fn numbers(input: &[u8]) -> Result<Vec<u32>, Errno> {
    let text = core::str::from_utf8(input).map_err(|_| Errno::EINVAL)?;
    text.split_ascii_whitespace().map(|word| word.parse().map_err(|_| Errno::EINVAL)).collect()
}

fn store_backlog(input: &[u8]) -> Result<(), Errno> {
    let [backlog] = numbers(input)?[..] else { return Err(Errno::EINVAL) };
    LARGEST_BACKLOG.store(backlog as usize, Ordering::Relaxed);
    Ok(())
}

fn store_port_range(input: &[u8]) -> Result<(), Errno> {
    let [first, last] = numbers(input)?[..] else { return Err(Errno::EINVAL) };
    let port = |number: u32| u16::try_from(number).map_err(|_| Errno::EINVAL);
    if settings::set_ephemeral_ports(port(first)?, port(last)?) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn shown(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The number that a text begins with, after blanks.
fn parse(input: &[u8]) -> Result<u64, Errno> {
    let text = core::str::from_utf8(input).map_err(|_| Errno::EINVAL)?;
    let number = text.split_ascii_whitespace().next().ok_or(Errno::EINVAL)?;
    number.trim_end_matches('\0').parse().map_err(|_| Errno::EINVAL)
}

/// Up to the first newline or zero, as by Linux.
fn store_name(input: &[u8], store: fn(&[u8])) -> Result<(), Errno> {
    let end = input.iter().position(|&byte| byte == b'\n' || byte == 0).unwrap_or(input.len());
    store(&input[..end.min(version::LONGEST_HOST_NAME)]);
    Ok(())
}

/// Random bytes as a UUID of version 4.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        let separator = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        // A string takes everything.
        let _ = write!(text, "{separator}{byte:02x}");
    }
    text
}

fn boot_id() -> &'static str {
    static BOOT_ID: Once<String> = Once::new();
    BOOT_ID.call_once(|| uuid(random::bytes()))
}

struct SettingFile(&'static Setting);

impl SettingFile {
    fn write(&self, output: &mut ContentBuffer) -> core::fmt::Result {
        match &self.0.value {
            Value::Number(value) => writeln!(output, "{value}"),
            Value::Text(text) => writeln!(output, "{text}"),
            Value::Now(make) => writeln!(output, "{}", make()),
        }
    }
}

impl GeneratedFile for SettingFile {
    fn produce(&self, mut output: ContentBuffer) -> Attempt<'_, ContentBuffer> {
        let outcome = self.write(&mut output).map_err(Into::into);
        output.conclude(outcome).into()
    }

    fn consume(&self, offset: u64, input: &[u8]) -> Result<usize, Errno> {
        let is_privileged = current_thread().is_none_or(|caller| caller.credentials().is_privileged());
        let store = self.0.store.filter(|_| is_privileged).ok_or(Errno::EPERM)?;
        // A value is written in one piece; what comes after it is ignored, as by Linux.
        if offset == 0 {
            store(input)?;
        }
        Ok(input.len())
    }
}

/// The directory.
pub(super) fn directory(attributes: &mut dyn FnMut(u32) -> Attributes) -> Result<Arc<dyn INode>, Errno> {
    let root = DirectoryNode::new(attributes(0o555));
    for setting in SETTINGS {
        let mut at = root.clone();
        for component in setting.directory.split('/') {
            at = below(&at, component, attributes)?;
        }
        let permissions = if setting.store.is_some() { 0o644 } else { 0o444 };
        at.add(setting.name, FileNode::new(attributes(permissions), SettingFile(setting)))?;
    }
    Ok(root)
}

/// The directory with this name, made if it is not there.
fn below(
    parent: &Arc<DirectoryNode>,
    name: &str,
    attributes: &mut dyn FnMut(u32) -> Attributes,
) -> Result<Arc<DirectoryNode>, Errno> {
    let found = parent.lookup(name.as_bytes()).done().ok().and_then(Result::ok);
    if let Some(directory) = found.and_then(|node| node.downcast::<DirectoryNode>()) {
        return Ok(directory);
    }
    let made = DirectoryNode::new(attributes(0o555));
    parent.add(name, made.clone())?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_looks_like_one() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn numbers_are_read_as_programs_write_them() {
        assert_eq!(parse(b"3\n"), Ok(3));
        assert_eq!(parse(b" 0 4\n"), Ok(0));
        assert_eq!(parse(b"7\0"), Ok(7));
        for wrong in [&b""[..], b"\n", b"x", b"-1", b"3x", b"\xff"] {
            assert_eq!(parse(wrong), Err(Errno::EINVAL), "{wrong:?}");
        }
    }

    #[test]
    fn every_setting_has_its_place() {
        let mut last = 0;
        let mut attributes = |permissions| {
            last += 1;
            Attributes::new(last, permissions, Default::default())
        };
        let root = directory(&mut attributes).unwrap();
        let find = |parent: &Arc<dyn INode>, name: &str| {
            parent.lookup(name.as_bytes()).done().ok().unwrap().unwrap()
        };
        for setting in SETTINGS {
            let at = setting.directory.split('/').fold(root.clone(), |at, name| find(&at, name));
            find(&at, setting.name);
        }
    }
}
