//! A playground of network namespaces: links between them, tiny servers in them, probes from them.
//!
//! Namespaces have no name and no file: they live as long as a [`Namespace`] value, a thread or a process of theirs
//! does. Whatever ends the program, a kill included, the kernel cleans them up, and nothing here can touch the
//! host's own namespace: every change is made on a thread that has first entered one of ours.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dial;
mod guest;
mod link;
mod namespace;
mod overlay;
mod ping;
mod probe;
mod sctp;
mod server;
mod talker;

pub use dial::{connect, connect_from};
pub use guest::{Guest, GuestError, Kernel, Shell};
pub use link::{Bridge, Veth};
pub use namespace::{Error, Namespace};
pub use overlay::{Mac, Vxlan};
pub use ping::{Echo, ping};
pub use probe::{Answer, Probe, Transport, probe};
pub use server::Server;
pub use talker::Talker;
