//! Settings of the process and of the host that it prepares.

use std::time::Duration;

/// What is set of `net.netfilter.nf_conntrack_*` at the start. Zero leaves to the kernel what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// Tracked flows for each CPU; 0 leaves `nf_conntrack_max` as it is.
    pub max_per_core: u32,
    /// Tracked flows at least, where `max_per_core` is not 0.
    pub min: u32,
    /// `nf_conntrack_tcp_timeout_established`, of which the kernel takes whole seconds.
    pub tcp_established: Duration,
    /// `nf_conntrack_tcp_timeout_close_wait`, of which the kernel takes whole seconds.
    pub tcp_close_wait: Duration,
    /// Whether to set `nf_conntrack_tcp_be_liberal` to 1; otherwise it is not touched.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_udp_timeout`, of which the kernel takes whole seconds.
    pub udp: Duration,
    /// `nf_conntrack_udp_timeout_stream`, of which the kernel takes whole seconds.
    pub udp_stream: Duration,
}

impl Default for ConntrackSettings {
    fn default() -> ConntrackSettings {
        ConntrackSettings {
            max_per_core: 32_768,
            min: 131_072,
            tcp_established: Duration::from_secs(24 * 3600),
            tcp_close_wait: Duration::from_secs(3600),
            tcp_be_liberal: false,
            udp: Duration::ZERO,
            udp_stream: Duration::ZERO,
        }
    }
}
