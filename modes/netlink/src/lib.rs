//! Netlink: sockets, the message codec, dumps, acknowledgements and nfnetlink batches.
//!
//! This room knows bytes and errno, nothing of rulesets and nothing of Kubernetes. All of the
//! workspace's `unsafe` code lives in [`socket`], behind two socket options that the `netlink-sys` crate
//! does not offer.
//!
//! Reading order: [`wire`] (bytes), [`ack`] (what the kernel answers), [`socket`] (the file
//! descriptor), [`dump`] (reading), [`batch`] (writing), [`nfnl`] (netfilter's subsystem numbers),
//! [`conntrack`] (tracked flows).

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod ack;
pub mod batch;
pub mod conntrack;
pub mod dump;
mod error;
pub mod nfnl;
pub mod socket;
pub mod wire;

pub use error::{Errno, Error};
