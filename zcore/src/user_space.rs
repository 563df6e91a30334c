//! From the initial RAM disk to the first instruction of the first program.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use executor::TaskOptions;
use kernel_hal::command_line::{CommandLine, ForInit};
use kernel_hal::{Instant, time};
use kernel_object::address_space::{AddressSpace, Layout, Limits};
use linux_abi::Errno;
use linux_abi::file::OpenFlags;
use linux_abi::stat::DeviceNumber;
use linux_object::file::{
    FileTable, FullDevice, NullDevice, OpenFile, RandomDevice, ZeroDevice, add_disk, open,
};
use linux_object::machine::{Disk, Hart, Machine};
use linux_object::memory::pressure;
use linux_object::namespace::{self, PathContext};
use linux_object::process::execute::{ProgramRequest, execute};
use linux_object::process::{first_process, set_thread_spawner, start_first_thread};
use linux_object::thread::Resources;
use linux_object::{clock, console, device_files as devices, hardware, kernel_messages, load, procfs, sysfs};
use rcore_fs::tmpfs::{Tmpfs, TmpfsOptions};

use crate::{ENTRY, HEAP, command_line, devices as machine_devices, machine_description, root_file_system};

const MEMORY_DEVICES: u32 = 1;
const NULL: u32 = 3;
const ZERO: u32 = 5;
const FULL: u32 = 7;
const RANDOM: u32 = 8;
const RANDOM_TOO: u32 = 9;
const KERNEL_MESSAGES: u32 = 11;
const TERMINAL_DEVICES: u32 = 5;
const CONTROLLING_TERMINAL: u32 = 0;
const CONSOLE: u32 = 1;
const SERIAL_DEVICES: u32 = 4;
const FIRST_SERIAL: u32 = 64;
const VIRTIO_CONSOLES: u32 = 229;

/// Starts the task that starts the first program.
pub fn start() {
    set_thread_spawner(linux_syscall::user_loop::spawn);
    if command_line().has("strace") {
        linux_syscall::strace::set_filter(command_line().value("strace"));
    }
    procfs::add_own_file("syscalls", |output| linux_syscall::counters::write(output));
    procfs::add_own_file("heap", write_heap);
    describe_machine();
    load::start();
    register_devices();
    register_disks();
    register_file_systems();
    register_harts();
    executor::spawn(TaskOptions::new("boot"), async {
        if let Err(failure) = run_first_program().await {
            panic!("{failure}");
        }
    })
    .detach();
}

/// The major number of disks, and the minor numbers that each has for itself and its partitions, as on Linux.
const DISKS: u32 = 254;
const NUMBERS_PER_DISK: u32 = 16;

fn describe_machine() {
    let description = machine_description();
    // The kernel numbers the harts in the order in which it starts them: the boot hart first.
    let boot = description.boot_hart as usize;
    let others = description.usable_harts().filter(|hart| hart.hardware_id != boot);
    let harts = description.hart(boot).into_iter().chain(others);
    let disks = crate::devices::disks().iter().enumerate().map(|(index, disk)| Disk {
        name: disk.name.as_str().into(),
        number: DeviceNumber::new(DISKS, index as u32 * NUMBERS_PER_DISK),
        device: disk.device.clone(),
    });
    linux_object::machine::describe(Machine {
        command_line: command_line().text().into(),
        harts: harts.map(|hart| Hart { hardware_id: hart.hardware_id, isa: hart.isa.into() }).collect(),
        disks: disks.collect(),
        interrupts: |visit| crate::interrupts::LINES.lines().for_each(visit),
    });
}

fn register_harts() {
    let frequency = time::ticks_per_second();
    let harts = machine_description().usable_harts().take(kernel_hal::MAX_HARTS);
    let values = harts.map(|hart| hardware::values(|name| hart.has_extension(name), frequency));
    hardware::register(values.collect());
}

fn register_devices() {
    open::register_character_devices(MEMORY_DEVICES, |device| match device.minor() {
        NULL => Ok(Arc::new(NullDevice)),
        ZERO => Ok(Arc::new(ZeroDevice)),
        KERNEL_MESSAGES => kernel_messages::open(),
        FULL => Ok(Arc::new(FullDevice)),
        RANDOM | RANDOM_TOO => Ok(Arc::new(RandomDevice)),
        _ => Err(Errno::ENXIO),
    });
    open::register_character_devices(TERMINAL_DEVICES, |device| match device.minor() {
        CONSOLE => console::open(),
        CONTROLLING_TERMINAL => console::open_controlling(),
        _ => Err(Errno::ENXIO),
    });
    // The console's own name: whichever port it is, there is one node for it.
    let (major, minor, name) = match console::name() {
        Some("hvc0") => (VIRTIO_CONSOLES, 0, "hvc0"),
        _ => (SERIAL_DEVICES, FIRST_SERIAL, "ttyS0"),
    };
    open::register_character_devices(major, |_| console::open());
    devices::add_character_device(name, DeviceNumber::new(major, minor), 0o600);
    devices::add_character_device("null", DeviceNumber::new(MEMORY_DEVICES, NULL), 0o666);
    devices::add_character_device("zero", DeviceNumber::new(MEMORY_DEVICES, ZERO), 0o666);
    devices::add_character_device("full", DeviceNumber::new(MEMORY_DEVICES, FULL), 0o666);
    devices::add_character_device("random", DeviceNumber::new(MEMORY_DEVICES, RANDOM), 0o666);
    devices::add_character_device("urandom", DeviceNumber::new(MEMORY_DEVICES, RANDOM_TOO), 0o666);
    devices::add_character_device("tty", DeviceNumber::new(TERMINAL_DEVICES, CONTROLLING_TERMINAL), 0o666);
    let messages = DeviceNumber::new(MEMORY_DEVICES, KERNEL_MESSAGES);
    devices::add_character_device("kmsg", messages, 0o644);
    devices::add_character_device("console", DeviceNumber::new(TERMINAL_DEVICES, CONSOLE), 0o600);
}

fn register_disks() {
    for disk in machine_devices::disks() {
        add_disk(&disk.name, machine_devices::with_faults(disk.device.clone()));
    }
    pressure::set_reclaimer(give_up_pages);
    kernel_object::paged_object::set_spawner(|future| {
        executor::spawn(TaskOptions::new("read-ahead"), future).detach();
    });
}

/// Gives up pages of files, and what filesystems remember of files that nobody uses if that does not help.
fn give_up_pages(most: usize) -> usize {
    let freed = kernel_object::paged_object::reclaim(most);
    if freed < most {
        namespace::mounts().iter().for_each(|mount| mount.file_system().drop_caches());
    }
    freed
}

fn register_file_systems() {
    root_file_system::register();
    namespace::register("proc", |options| without_options(options).and_then(|()| procfs::file_system()));
    namespace::register("sysfs", |options| without_options(options).and_then(|()| sysfs::file_system()));
    namespace::register("devtmpfs", |options| without_options(options).and_then(|()| devices::file_system()));
    namespace::register("tmpfs", |options| {
        let memory_pages = kernel_object::frame::statistics().total as u64;
        Ok(Tmpfs::new(clock::time_stamp, &tmpfs_options().with_words(options, memory_pages)?)?)
    });
}

/// How many objects the heap has of each size, and how much is in whole frames.
fn write_heap(output: &mut dyn core::fmt::Write) -> core::fmt::Result {
    for class in HEAP.classes() {
        writeln!(
            output,
            "{:>6} bytes: {:>8} in use, room for {:>8}",
            class.size, class.in_use, class.capacity
        )?;
    }
    writeln!(output, "frames: {} bytes", HEAP.frame_bytes_in_use())
}

fn without_options(options: &str) -> Result<(), Errno> {
    if options.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// A tmpfs may fill half of memory, as on Linux.
pub fn tmpfs_options() -> TmpfsOptions {
    let half = kernel_object::frame::statistics().total as u64 / 2;
    TmpfsOptions { most_pages: Some(half), most_inodes: Some(half), ..TmpfsOptions::default() }
}

/// Why there is no first program.
enum Failure {
    Memory,
    Root(root_file_system::Failure),
    Program(String, Errno),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Memory => f.write_str("no memory for the first program"),
            Self::Root(failure) => failure.fmt(f),
            Self::Program(name, errno) => write!(f, "cannot run {name} as the first program: {errno}"),
        }
    }
}

async fn run_first_program() -> Result<(), Failure> {
    let root = root_file_system::prepare().await.map_err(Failure::Root)?;
    let space = AddressSpace::new(Layout::default(), Limits::USUAL).map_err(|_| Failure::Memory)?;
    let resources = Resources {
        address_space: space,
        files: Arc::new(FileTable::default()),
        paths: Arc::new(PathContext::new(root.place)),
        signal_actions: Arc::default(),
        image: Arc::default(),
    };
    open_console(&resources);
    let thread = first_process(resources.clone()).map_err(|_| Failure::Memory)?;
    let command_line = command_line();
    let (arguments, environment) = words_for_init(&command_line);
    let mut last_error = Errno::ENOENT;
    for path in &root.programs {
        let mut all_arguments = alloc::vec![path.as_bytes().to_vec()];
        all_arguments.extend(arguments.iter().cloned());
        let request = ProgramRequest {
            path: path.as_bytes().to_vec(),
            place: None,
            path_is_hidden: false,
            arguments: all_arguments,
            environment: environment.clone(),
        };
        match execute(&thread, &resources, false, request).await {
            Ok(program) => {
                let entry = ENTRY.get().copied().unwrap_or_default();
                let micros = Instant::now().since(entry).as_micros();
                log::info!("first program: {path}, {micros} us after the kernel's entry");
                start_first_thread(thread, program);
                return Ok(());
            }
            Err(errno) => last_error = errno,
        }
    }
    Err(Failure::Program(root.programs.join(", "), last_error))
}

fn words_for_init(command_line: &CommandLine<'_>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut arguments = Vec::new();
    let mut environment = alloc::vec![b"HOME=/".to_vec(), b"TERM=linux".to_vec()];
    for word in command_line.for_init() {
        match word {
            ForInit::Argument(word) => arguments.push(word.to_string().into_bytes()),
            ForInit::Environment(word) => environment.push(word.to_string().into_bytes()),
        }
    }
    (arguments, environment)
}

/// Descriptors 0, 1 and 2.
fn open_console(resources: &Resources) {
    match console::open() {
        Ok(file) => {
            let opening = OpenFile::new(file, None, OpenFlags::RDWR);
            for _ in 0..3 {
                if resources.files.insert(opening.clone(), 0, false).is_err() {
                    return;
                }
            }
        }
        Err(errno) => log::warn!("the first program has no console: {errno}"),
    }
}
