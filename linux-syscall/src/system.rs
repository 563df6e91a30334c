//! The system as a whole: its name, its randomness, its end.

use kernel_hal::power;
use linux_abi::Errno;
use linux_abi::system::{
    LINUX_REBOOT_CMD_HALT, LINUX_REBOOT_CMD_POWER_OFF, LINUX_REBOOT_CMD_RESTART, LINUX_REBOOT_MAGIC1,
    LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C, SI_LOAD_SHIFT,
    SYSLOG_ACTION_CLOSE, SYSLOG_ACTION_OPEN, SYSLOG_ACTION_READ_ALL, SYSLOG_ACTION_SIZE_BUFFER,
    SYSLOG_ACTION_SIZE_UNREAD, Sysinfo, Utsname,
};
use linux_object::credentials::Capabilities;
use linux_object::load::FRACTION_BITS;
use linux_object::{console, kernel_messages, random, version};

use crate::argument::UserAddress;
use crate::call::{Call, Outcome, attempt, slow};

pub fn uname(call: &mut Call<'_>, result: UserAddress) -> Outcome {
    let memory = call.memory();
    let name: Utsname = version::system_name();
    attempt(call, move || memory.write(result.get(), &name).map(|()| 0))
}

pub fn sethostname(call: &mut Call<'_>, name: UserAddress, len: i32) -> Result<Outcome, Errno> {
    set_name(call, name, len, version::set_host_name)
}

pub fn setdomainname(call: &mut Call<'_>, name: UserAddress, len: i32) -> Result<Outcome, Errno> {
    set_name(call, name, len, version::set_domain_name)
}

fn set_name(call: &mut Call<'_>, name: UserAddress, len: i32, store: fn(&[u8])) -> Result<Outcome, Errno> {
    call.thread.credentials().require(Capabilities::SYS_ADMIN)?;
    let len =
        usize::try_from(len).ok().filter(|&len| len <= version::LONGEST_HOST_NAME).ok_or(Errno::EINVAL)?;
    let memory = call.memory();
    Ok(attempt(call, move || {
        let mut bytes = [0; version::LONGEST_HOST_NAME];
        memory.read_bytes(name.get(), &mut bytes[..len])?;
        store(&bytes[..len]);
        Ok(0)
    }))
}

pub fn syslog(call: &mut Call<'_>, action: i32, buffer: UserAddress, len: i32) -> Result<Outcome, Errno> {
    match action {
        SYSLOG_ACTION_READ_ALL => {
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            if buffer.is_null() {
                return Err(Errno::EINVAL);
            }
            let text = kernel_messages::read_all(len)?;
            let memory = call.memory();
            Ok(attempt(call, move || memory.write_bytes(buffer.get(), &text).map(|()| text.len())))
        }
        SYSLOG_ACTION_SIZE_UNREAD => kernel_messages::size_unread().map(Outcome::Done),
        SYSLOG_ACTION_SIZE_BUFFER => kernel_messages::size_buffer().map(Outcome::Done),
        SYSLOG_ACTION_CLOSE | SYSLOG_ACTION_OPEN => Ok(Outcome::Done(0)),
        _ => Err(Errno::EINVAL),
    }
}

/// Randomness is handed out in pieces of at most this, so that a large request can be interrupted.
const RANDOM_PIECE: usize = 256;

pub fn getrandom(
    call: &mut Call<'_>,
    buffer: UserAddress,
    count: usize,
    flags: u32,
) -> Result<Outcome, Errno> {
    const KNOWN_FLAGS: u32 = 7;
    const RANDOM_AND_INSECURE: u32 = 6;
    if flags & !KNOWN_FLAGS != 0 || flags & RANDOM_AND_INSECURE == RANDOM_AND_INSECURE {
        return Err(Errno::EINVAL);
    }
    let mut buffer = call.memory().simple_buffer(buffer.get(), count.min(i32::MAX as usize));
    Ok(attempt(call, move || {
        while buffer.remaining() > 0 {
            let mut piece = [0; RANDOM_PIECE];
            let piece = &mut piece[..RANDOM_PIECE.min(buffer.remaining())];
            random::fill(piece);
            buffer.copy_out(piece)?;
        }
        Ok(buffer.done())
    }))
}

pub fn reboot(
    call: &mut Call<'_>,
    magic: u32,
    second_magic: u32,
    command: u32,
    _argument: UserAddress,
) -> Result<Outcome, Errno> {
    let second = [LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C];
    call.thread.credentials().require(Capabilities::SYS_BOOT)?;
    if magic != LINUX_REBOOT_MAGIC1 || !second.contains(&second_magic) {
        return Err(Errno::EINVAL);
    }
    let end: fn() -> ! = match command {
        LINUX_REBOOT_CMD_POWER_OFF | LINUX_REBOOT_CMD_HALT => || power::off(0),
        LINUX_REBOOT_CMD_RESTART => || power::reboot(),
        _ => return Err(Errno::EINVAL),
    };
    Ok(slow(async move {
        console::drain().await;
        log::info!("the machine is told to end");
        end()
    }))
}

pub fn sysinfo(call: &mut Call<'_>, result: UserAddress) -> Outcome {
    let statistics = kernel_object::frame::statistics();
    let info = Sysinfo {
        uptime: (kernel_hal::Instant::now().as_nanos() / 1_000_000_000) as i64,
        totalram: (statistics.total * kernel_hal::PAGE_SIZE) as u64,
        freeram: (statistics.free * kernel_hal::PAGE_SIZE) as u64,
        procs: linux_object::process::all_processes().len() as u16,
        loads: linux_object::load::averages().map(|load| load << (SI_LOAD_SHIFT - FRACTION_BITS)),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    let memory = call.memory();
    attempt(call, move || memory.write(result.get(), &info).map(|()| 0))
}
