//! Registers, configuration and queues of a modelled device.

use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard};

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::queue::{Chain, DeviceQueue};

/// The event index feature.
const EVENT_INDEX: u64 = 1 << 29;

struct State {
    offered: u64,
    accepted: u64,
    status: DeviceStatus,
    configuration: Vec<u8>,
    generation: u32,
    /// How many times the configuration still changes while it is read.
    restless: u32,
    queues: Vec<DeviceQueue>,
    interrupt: bool,
    interrupts: u64,
    refuses_features: bool,
    legacy: bool,
    emergency_output: Vec<u8>,
    resets: u64,
}

/// A modelled device, seen by the test.
#[derive(Clone)]
pub struct DeviceModel {
    state: Arc<Mutex<State>>,
    device_type: DeviceType,
}

impl DeviceModel {
    /// A device with this many queues, each of at most `queue_size` entries.
    pub fn new(
        device_type: DeviceType,
        offered: u64,
        configuration: Vec<u8>,
        queues: usize,
        queue_size: u16,
    ) -> Self {
        let state = State {
            offered,
            accepted: 0,
            status: DeviceStatus::empty(),
            configuration,
            generation: 0,
            restless: 0,
            queues: (0..queues).map(|_| DeviceQueue::new(queue_size)).collect(),
            interrupt: false,
            interrupts: 0,
            refuses_features: false,
            legacy: offered >> 32 & 1 == 0,
            emergency_output: Vec::new(),
            resets: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), device_type }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The transport to give to the driver.
    pub fn transport(&self) -> ModelTransport {
        ModelTransport(self.clone())
    }

    /// Makes the device refuse whatever features the driver accepts.
    pub fn refuse_features(&self) {
        self.state().refuses_features = true;
    }

    /// Makes the configuration change during the next `times` reads.
    pub fn be_restless(&self, times: u32) {
        self.state().restless = times;
    }

    /// The features that the driver accepted.
    pub fn accepted_features(&self) -> u64 {
        self.state().accepted
    }

    /// The device's status register.
    pub fn status(&self) -> DeviceStatus {
        self.state().status
    }

    /// How often the driver reset the device.
    pub fn resets(&self) -> u64 {
        self.state().resets
    }

    /// What was written to a console's emergency register.
    pub fn emergency_output(&self) -> Vec<u8> {
        self.state().emergency_output.clone()
    }

    /// How often the driver notified a queue.
    pub fn notifications(&self, queue: usize) -> u64 {
        self.state().queues[queue].notifications
    }

    /// How often the device raised its interrupt.
    pub fn interrupts(&self) -> u64 {
        self.state().interrupts
    }

    /// Whether the interrupt is raised: then a test calls the driver's handler, which acknowledges it.
    pub fn interrupt_pending(&self) -> bool {
        self.state().interrupt
    }

    /// Takes the next chain that the driver has offered.
    pub fn next_chain(&self, queue: usize) -> Option<Chain> {
        self.state().queues[queue].next_chain()
    }

    /// Asks to be notified of the next chain, as a device does that goes to sleep.
    pub fn sleep(&self, queue: usize) {
        let state = self.state();
        let event_index = state.accepted & EVENT_INDEX != 0;
        state.queues[queue].ask_for_notification(event_index);
    }

    /// Returns a chain to the driver and raises the interrupt if the driver wants it.
    pub fn complete(&self, queue: usize, head: u32, written: u32) {
        let mut state = self.state();
        let event_index = state.accepted & EVENT_INDEX != 0;
        if state.queues[queue].complete(head, written, event_index) {
            state.interrupt = true;
            state.interrupts += 1;
        }
    }

    /// Raises the interrupt for no reason.
    pub fn raise_interrupt(&self) {
        self.state().interrupt = true;
    }

    /// Moves the used index without having finished anything.
    pub fn jump_used_index(&self, queue: usize, distance: u16) {
        self.state().queues[queue].jump_used_index(distance);
    }
}

/// The driver's end of a modelled device.
pub struct ModelTransport(DeviceModel);

impl Transport for ModelTransport {
    fn device_type(&self) -> DeviceType {
        self.0.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.state().offered
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        let mut state = self.0.state();
        assert_eq!(driver_features & !state.offered, 0, "the driver accepted what was not offered");
        state.accepted = driver_features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.0.state().queues.get(usize::from(queue)).map_or(0, |queue| u32::from(queue.max_size))
    }

    fn notify(&mut self, queue: u16) {
        self.0.state().queues[usize::from(queue)].notifications += 1;
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.state().status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut state = self.0.state();
        state.status = status;
        if state.refuses_features {
            state.status.remove(DeviceStatus::FEATURES_OK);
        }
        if status.is_empty() {
            state.resets += 1;
            state.queues.iter_mut().for_each(DeviceQueue::reset);
            state.interrupt = false;
        }
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        self.0.state().legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let mut state = self.0.state();
        if state.legacy {
            // Old devices compute where the parts are.
            let (descriptor_bytes, ring_bytes) = (16 * u64::from(size), 2 * (u64::from(size) + 3));
            assert_eq!(driver_area, descriptors + descriptor_bytes);
            assert_eq!(device_area, (driver_area + ring_bytes).next_multiple_of(4096));
            assert_eq!(descriptors % 4096, 0);
        }
        state.queues[usize::from(queue)].set(size as u16, descriptors, driver_area, device_area);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.0.state().queues[usize::from(queue)].reset();
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.state().queues[usize::from(queue)].is_set()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let raised = std::mem::take(&mut self.0.state().interrupt);
        if raised { InterruptStatus::QUEUE_INTERRUPT } else { InterruptStatus::empty() }
    }

    fn read_config_generation(&self) -> u32 {
        let mut state = self.0.state();
        if state.restless > 0 {
            state.restless -= 1;
            state.generation += 1;
        }
        state.generation
    }

    fn read_config_space<V: FromBytes + IntoBytes>(&self, offset: usize) -> Result<V, Error> {
        assert!(align_of::<V>() <= 4 && offset.is_multiple_of(align_of::<V>()));
        let state = self.0.state();
        let bytes = state.configuration.get(offset..offset + size_of::<V>());
        V::read_from_bytes(bytes.ok_or(Error::ConfigSpaceTooSmall)?).map_err(|_| Error::InvalidParam)
    }

    fn write_config_space<V: IntoBytes + Immutable>(&mut self, offset: usize, value: V) -> Result<(), Error> {
        let mut state = self.0.state();
        if self.0.device_type == DeviceType::Console && offset == 8 {
            state.emergency_output.push(value.as_bytes()[0]);
            return Ok(());
        }
        let bytes = state.configuration.get_mut(offset..offset + size_of::<V>());
        bytes.ok_or(Error::ConfigSpaceTooSmall)?.copy_from_slice(value.as_bytes());
        Ok(())
    }
}

impl Drop for ModelTransport {
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
    }
}
