//! Options of endpoints.

use core::time::Duration;

/// How many options are only kept and told.
pub const TOLD_OPTIONS: usize = 24;

/// What a program can set. A connection that is accepted has the listener's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `IPV6_V6ONLY`.
    pub only_v6: bool,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `SO_LINGER`: seconds, if it is on.
    pub linger: Option<u32>,
    /// `TCP_NODELAY`.
    pub no_delay: bool,
    /// `TCP_CORK`.
    pub cork: bool,
    /// `SO_KEEPALIVE`.
    pub keep_alive: bool,
    /// `TCP_KEEPIDLE`, in seconds.
    pub keep_idle: Option<u32>,
    /// `TCP_KEEPINTVL`, in seconds.
    pub keep_interval: Option<u32>,
    /// `TCP_KEEPCNT`.
    pub keep_count: Option<u8>,
    /// `TCP_DEFER_ACCEPT`, in seconds.
    pub defer_accept: u32,
    /// `SO_RCVTIMEO`.
    pub receive_timeout: Option<Duration>,
    /// `SO_SNDTIMEO`.
    pub send_timeout: Option<Duration>,
    /// What means nothing without packets (`TCP_NODELAY`, `TCP_KEEPIDLE`, `IP_TOS`): kept to be told, by the numbers that
    /// the family gives them; what differs from the default.
    pub told: [i32; TOLD_OPTIONS],
}
