use std::vec::Vec;

use super::*;
use crate::device_tree::DeviceTreeError;
use crate::device_tree::builder::TestNode;

/// A tree like that of QEMU's `virt` with `aclint=on`, two harts and 1 GiB.
pub(super) fn virt_machine() -> TestNode {
    let hart = |number: u32, controller: u32| {
        TestNode::new(&format!("cpu@{number}"))
            .strings("device_type", &["cpu"])
            .cells("reg", &[number])
            .strings("status", &["okay"])
            .strings("riscv,isa-extensions", &["i", "m", "a", "f", "d", "c", "zicsr", "sstc"])
            .strings("riscv,isa", &["rv64imafdc_zicsr_sstc"])
            .strings("mmu-type", &["riscv,sv57"])
            .child(
                TestNode::new("interrupt-controller")
                    .cells("#interrupt-cells", &[1])
                    .flag("interrupt-controller")
                    .strings("compatible", &["riscv,cpu-intc"])
                    .cells("phandle", &[controller]),
            )
    };
    let slot = |number: u32| {
        TestNode::new(&format!("virtio_mmio@{:x}", 0x1000_0000 + number * 0x1000))
            .cells("interrupts", &[number])
            .cells("interrupt-parent", &[9])
            .cells("reg", &[0, 0x1000_0000 + number * 0x1000, 0, 0x1000])
            .strings("compatible", &["virtio,mmio"])
    };
    let mut soc = TestNode::new("soc")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .strings("compatible", &["simple-bus"])
        .flag("ranges")
        .child(
            TestNode::new("rtc@101000")
                .cells("reg", &[0, 0x10_1000, 0, 0x1000])
                .strings("compatible", &["google,goldfish-rtc"]),
        )
        .child(
            TestNode::new("serial@10000000")
                .cells("interrupts", &[10])
                .cells("interrupt-parent", &[9])
                .cells("clock-frequency", &[3_686_400])
                .cells("reg", &[0, 0x1000_0000, 0, 0x100])
                .strings("compatible", &["ns16550a"]),
        )
        .child(
            TestNode::new("test@100000")
                .cells("reg", &[0, 0x10_0000, 0, 0x1000])
                .strings("compatible", &["sifive,test1", "sifive,test0", "syscon"]),
        );
    for number in (1..=8).rev() {
        soc = soc.child(slot(number));
    }
    soc = soc
        .child(
            TestNode::new("plic@c000000")
                .cells("phandle", &[9])
                .cells("riscv,ndev", &[95])
                .cells("reg", &[0, 0xc00_0000, 0, 0x60_0000])
                .cells("interrupts-extended", &[8, 11, 8, 9, 6, 11, 6, 9])
                .strings("compatible", &["sifive,plic-1.0.0", "riscv,plic0"]),
        )
        .child(
            TestNode::new("sswi@2f00000")
                .cells("interrupts-extended", &[8, 1, 6, 1])
                .cells("reg", &[0, 0x2f0_0000, 0, 0x4000])
                .strings("compatible", &["riscv,aclint-sswi"]),
        );
    TestNode::new("")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .strings("compatible", &["riscv-virtio"])
        .child(
            TestNode::new("platform-bus@4000000")
                .cells("ranges", &[0, 0, 0x400_0000, 0x200_0000])
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[1])
                .strings("compatible", &["qemu,platform", "simple-bus"]),
        )
        .child(
            TestNode::new("memory@80000000")
                .strings("device_type", &["memory"])
                .cells("reg", &[0, 0x8000_0000, 0, 0x4000_0000]),
        )
        .child(
            TestNode::new("cpus")
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[0])
                .cells("timebase-frequency", &[10_000_000])
                .child(hart(0, 8))
                .child(hart(1, 6)),
        )
        .child(TestNode::new("aliases").strings("serial0", &["/soc/serial@10000000"]))
        .child(
            TestNode::new("chosen")
                .strings("bootargs", &["root=/dev/vda rw"])
                .cells("linux,initrd-start", &[0, 0xa020_0000])
                .cells("linux,initrd-end", &[0, 0xa030_0000])
                .strings("stdout-path", &["/soc/serial@10000000"])
                .bytes("rng-seed", &[7; 32]),
        )
        .child(
            TestNode::new("reserved-memory")
                .cells("#address-cells", &[2])
                .cells("#size-cells", &[2])
                .flag("ranges")
                .child(
                    TestNode::new("mmode_resv0@80000000")
                        .cells("reg", &[0, 0x8000_0000, 0, 0x4_0000])
                        .flag("no-map"),
                ),
        )
        .child(soc)
}

fn region(start: usize, bytes: usize) -> Region {
    Region { start: PhysAddr::new(start), bytes }
}

fn describe<R>(tree: &TestNode, check: impl FnOnce(Result<MachineDescription<'_>, MachineError>) -> R) -> R {
    let blob = tree.build();
    check(MachineDescription::read(&DeviceTree::parse(&blob).unwrap()))
}

fn problems_of(tree: &TestNode) -> Vec<String> {
    describe(tree, |machine| machine.unwrap().problems.iter().map(ToString::to_string).collect())
}

#[test]
fn the_virt_machine_is_understood() {
    describe(&virt_machine(), |machine| {
        let machine = machine.unwrap();
        assert!(machine.problems.is_empty(), "{:?}", machine.problems);
        assert_eq!(machine.memory, [region(0x8000_0000, 0x4000_0000)]);
        let firmware = ReservedRegion { region: region(0x8000_0000, 0x4_0000), no_map: true };
        assert_eq!(machine.reserved, [firmware]);
        assert_eq!(machine.timebase_frequency_hz, 10_000_000);
        assert_eq!(machine.harts.iter().map(|hart| hart.hardware_id).collect::<Vec<_>>(), [0, 1]);
        assert!(machine.harts[0].has_sstc() && machine.harts[0].has_extension("d"));
        assert!(!machine.harts[0].has_extension("v"));
        assert_eq!(machine.chosen.command_line, "root=/dev/vda rw");
        assert_eq!(machine.chosen.initial_ramdisk, Some(region(0xa020_0000, 0x10_0000)));
        assert_eq!(machine.chosen.random_seed, [7; 32]);
        let uart = Uart {
            registers: region(0x1000_0000, 0x100),
            interrupt: Some(10),
            register_shift: 0,
            register_bytes: 1,
            clock_hz: Some(3_686_400),
        };
        assert_eq!(machine.uart, Some(uart));
        let plic = machine.plic.unwrap();
        assert_eq!((plic.supervisor_context(0), plic.supervisor_context(1)), (Some(1), Some(3)));
        assert_eq!(plic.supervisor_context(2), None);
        assert_eq!(machine.software_interrupts.unwrap().register_index(1), Some(1));
        let lines: Vec<u32> = machine.virtio_mmio.iter().map(|slot| slot.interrupt).collect();
        assert_eq!(lines, [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(machine.virtio_mmio[0].registers, region(0x1000_8000, 0x1000));
        assert_eq!(machine.test_finisher, Some(region(0x10_0000, 0x1000)));
        assert_eq!(machine.real_time_clock, Some(region(0x10_1000, 0x1000)));
    });
}

#[test]
fn memory_is_sorted_and_merged() {
    let banks = [
        [1, 0, 0, 0x1000],
        [0, 0x9000_0000, 0, 0x1000_0000],
        [0, 0x8000_0000, 0, 0x1000_0000],
        [0, 0x8800_0000, 0, 0x100],
        [0, 0, 0, 0],
    ];
    let bytes: Vec<u8> = banks.iter().flatten().flat_map(|cell: &u32| cell.to_be_bytes()).collect();
    let tree = virt_machine().with(&["memory@80000000"], "reg", &bytes);
    describe(&tree, |machine| {
        let machine = machine.unwrap();
        assert_eq!(machine.memory, [region(0x8000_0000, 0x2000_0000), region(1 << 32, 0x1000)]);
        assert!(machine.problems.is_empty());
    });
}

#[test]
fn a_machine_without_the_essentials_is_refused() {
    let error = |tree: TestNode| describe(&tree, |machine| machine.unwrap_err());
    assert_eq!(error(virt_machine().without(&["memory@80000000"], "reg")), MachineError::NoMemory);
    assert_eq!(
        error(virt_machine().without(&["cpus"], "timebase-frequency")),
        MachineError::NoTimebaseFrequency
    );
    let disabled = b"disabled\0";
    let tree = virt_machine().with(&["cpus", "cpu@0"], "status", disabled).with(
        &["cpus", "cpu@1"],
        "status",
        disabled,
    );
    assert_eq!(error(tree), MachineError::NoHarts);
}

#[test]
fn what_is_malformed_is_left_out_and_named() {
    let slot = ["soc", "virtio_mmio@10003000"];
    let tree = virt_machine()
        .with(&slot, "interrupts", &0u32.to_be_bytes())
        .with(&["soc", "serial@10000000"], "reg", &[0; 7])
        .with(&["chosen"], "bootargs", b"no end")
        .with(&["chosen"], "linux,initrd-end", &[0; 8]);
    assert_eq!(
        problems_of(&tree),
        [
            "device tree node chosen: bad or missing property linux,initrd-start",
            "device tree node chosen: bad or missing property bootargs",
            "device tree node serial@10000000: its address is not reachable",
            "device tree node virtio_mmio@10003000: its interrupt is not known",
        ]
    );
    describe(&tree, |machine| {
        let machine = machine.unwrap();
        assert_eq!(machine.virtio_mmio.len(), 7);
        assert_eq!((machine.uart, machine.chosen.initial_ramdisk), (None, None));
    });
}

#[test]
fn an_overlong_command_line_is_cut_at_a_character() {
    let text = format!("{}\u{e9}{}\0", "a".repeat(MAX_COMMAND_LINE_BYTES - 1), "b".repeat(10));
    let tree = virt_machine().with(&["chosen"], "bootargs", text.as_bytes());
    describe(&tree, |machine| {
        let machine = machine.unwrap();
        assert_eq!(machine.chosen.command_line, "a".repeat(MAX_COMMAND_LINE_BYTES - 1));
        assert_eq!(machine.problems.iter().count(), 1);
    });
}

#[test]
fn bus_addresses_are_translated_and_checked() {
    let cells = |cells: &[u32]| -> Vec<u8> { cells.iter().flat_map(|cell| cell.to_be_bytes()).collect() };
    // The bus shows its addresses 0x1000_0000 to 0x1001_0000 at 0x5_0000_0000, and nothing else.
    let window = cells(&[0, 0x1000_0000, 5, 0, 0, 0x1_0000]);
    describe(&virt_machine().with(&["soc"], "ranges", &window), |machine| {
        let machine = machine.unwrap();
        assert_eq!(machine.uart.unwrap().registers.start, PhysAddr::new(0x5_0000_0000));
        assert_eq!(machine.plic, None);
    });
    describe(&virt_machine().without(&["soc"], "ranges"), |machine| {
        assert_eq!(machine.unwrap().uart, None);
    });
}

#[test]
fn the_console_is_the_one_that_firmware_names() {
    let second = TestNode::new("serial@10010000")
        .cells("interrupts", &[11])
        .cells("interrupt-parent", &[9])
        .cells("reg", &[0, 0x1001_0000, 0, 0x100])
        .strings("compatible", &["ns16550a"]);
    let mut tree = virt_machine();
    let soc = tree.at(&["soc"]);
    *soc = soc.clone().child(second);
    let base = |path: &[u8]| {
        describe(&tree.clone().with(&["chosen"], "stdout-path", path), |machine| {
            machine.unwrap().uart.unwrap().registers.start.as_usize()
        })
    };
    assert_eq!(base(b"/soc/serial@10010000:115200\0"), 0x1001_0000);
    assert_eq!(base(b"serial0:115200n8\0"), 0x1000_0000);
    assert_eq!(base(b"/nowhere\0"), 0x1000_0000);
}

#[test]
fn lists_that_overflow_are_cut_and_named() {
    let reservations: Vec<(u64, u64)> = (1..100).map(|number| (number << 20, 0x1000)).collect();
    let blob = virt_machine().build_with_reservations(&reservations);
    let machine = MachineDescription::read(&DeviceTree::parse(&blob).unwrap()).unwrap();
    assert_eq!(machine.reserved.len(), MAX_RESERVED_REGIONS);
    assert_eq!(machine.problems.iter().collect::<Vec<_>>(), [&Problem::TooMany("reserved regions")]);
}

#[test]
fn errors_explain_themselves() {
    assert_eq!(DeviceTreeError::BadMagic(0).to_string(), "not a device tree: it starts with 0x00000000");
    assert_eq!(MachineError::NoMemory.to_string(), "the device tree describes no memory");
}
