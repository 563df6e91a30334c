//! The console as a file: what is written goes to the boot's chosen device.

use alloc::sync::Arc;

use ksync::{Once, WaitQueue};
use linux_abi::Errno;
use linux_abi::poll::PollEvents;
use zcore_drivers::serial::SerialPort;

use crate::file::File;
use crate::obstacle::{Attempt, Obstacle, Waitable};
use crate::user_buffer::UserBuffer;

/// Bytes that are moved to the device at once.
const PIECE: usize = 256;

static CONSOLE: Once<Arc<Console>> = Once::new();

/// The system's console.
pub struct Console(Arc<dyn SerialPort>);

/// Sets which device the console is. Called once, at boot.
pub fn set_device(device: Arc<dyn SerialPort>) {
    CONSOLE.call_once(|| Arc::new(Console(device)));
}

/// The console, for whoever opens it.
pub fn open() -> Result<Arc<dyn File>, Errno> {
    let console = CONSOLE.get().ok_or(Errno::ENXIO)?;
    Ok(console.clone())
}

impl Waitable for Console {
    fn wait_queue(&self) -> &WaitQueue {
        self.0.readable()
    }
}

impl Console {
    fn not_ready() -> Obstacle {
        match CONSOLE.get() {
            Some(console) => Obstacle::NotReady(console.clone()),
            None => Obstacle::Error(Errno::EIO),
        }
    }
}

impl File for Console {
    fn try_read(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        if !self.0.is_readable() {
            return Err(Self::not_ready());
        }
        let mut piece = [0; PIECE];
        let most = buffer.remaining().min(PIECE);
        let count = self.0.try_read(&mut piece[..most]);
        buffer.copy_out(&piece[..count])?;
        Ok(buffer.done())
    }

    fn try_write(&self, _offset: u64, buffer: &mut UserBuffer) -> Attempt {
        while buffer.remaining() > 0 {
            let mut piece = [0; PIECE];
            let most = buffer.remaining().min(PIECE);
            let count = buffer.copy_in(&mut piece[..most])?;
            self.0.write_polled(&piece[..count]);
        }
        Ok(buffer.done())
    }

    fn ready(&self) -> PollEvents {
        let mut events = PollEvents::OUT | PollEvents::WRNORM;
        events.set(PollEvents::IN | PollEvents::RDNORM, self.0.is_readable());
        events
    }
}
