//! What passed through each Service: counted by the kernel, read when somebody asks.
//!
//! A thread of its own reads, over sockets of its own, so that neither a scrape nor a list of 100,000 elements holds up a change.
//! It is told which Services there are by the loop, each time some came into force. Reading may cost it a share of a
//! processor and no more: whoever asks sooner is told what was read last.

mod rates;
mod text;
mod thread;
mod totals;

pub use rates::{Page, Rate};
pub use text::append;
pub use thread::{Changes, Counters, Reading, start};
pub use totals::{Totals, totals};

/// Connections, and flows of connectionless protocols.
pub const CONNECTIONS: &str = "kubeweir_service_connections";
/// Packets, by direction.
pub const PACKETS: &str = "kubeweir_service_packets";
/// Bytes from the IP header on, by direction.
pub const BYTES: &str = "kubeweir_service_bytes";
/// When all of them were read from the kernel.
pub const READ_AT: &str = "kubeweir_service_counters_read_timestamp_seconds";
