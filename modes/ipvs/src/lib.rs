//! IPVS mode: a plan as virtual servers, with one table beside them for each address family.
//!
//! What all clients of a frontend share is a virtual server, with the endpoints as its real servers; its address is on the
//! device `kube-ipvs0`. Everything else is the table's: masquerade, filters, refusals, a shield for what answers on those
//! addresses besides virtual servers, and the endpoints of outsiders under policy Local (see [`kubeweir_nftables::handover`]).
//!
//! Reading order: [`schedulers`] and [`compile`] (a Service as virtual servers), [`steps`] (changes and their order),
//! [`drain`] (how a real server goes), [`programmed`] (what the kernel has, and the difference to a new plan), [`kernel`]
//! (the door) and [`client`] (the real one), [`carry`] (carrying steps out), [`mode`], [`counters`], [`render`] (as text), [`cleanup`]
//! (what is left when another mode takes over).

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod carry;
pub mod cleanup;
pub mod client;
pub mod compile;
pub mod counters;
mod diff;
pub mod drain;
pub mod glance;
pub mod kernel;
pub mod mode;
pub mod programmed;
pub mod render;
pub mod schedulers;
#[cfg(feature = "sim")]
pub mod sim;
pub mod steps;

pub use client::Client;
pub use mode::{Applied, Difference, Error, Mode};
pub use programmed::Settings;

/// The device that carries addresses of Services: by this name `ip addr` and other programs know it.
pub const DEVICE: &str = "kube-ipvs0";
