//! Netlink: sockets, the message codec, dumps, acknowledgements, batches, and what of the kernel is spoken to by it.
//!
//! This room knows bytes and errno, nothing of rulesets and nothing of Kubernetes. All of the
//! workspace's `unsafe` code lives in [`socket`], behind socket options that the `netlink-sys` crate does not offer and calls of libc
//! that [`module`] and [`xtables`] need.
//!
//! Reading order: [`wire`] (bytes), [`ack`] (what the kernel answers), [`socket`] (the file
//! descriptor), [`dump`] (reading), [`batch`] (writing all or nothing), [`bulk`] (writing many things that succeed or fail
//! each on its own), [`nfnl`] (netfilter's subsystem numbers), [`conntrack`] (tracked flows), [`generic`] (families that have
//! a name), [`ipvs`] (virtual and real servers), [`ipset`] (sets that `iptables` rules look into), [`link`] (interfaces and their addresses), and [`xtables`], which is no netlink at all.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod ack;
pub mod batch;
pub mod bulk;
pub mod conntrack;
pub mod dump;
mod error;
mod family;
pub mod generic;
pub mod ipset;
pub mod ipvs;
pub mod link;
pub mod module;
pub mod nfnl;
pub mod socket;
pub mod wire;
pub mod xtables;

pub use error::{Errno, Error};
pub use family::Family;
