//! nftables mode: a plan as one table for each address family.
//!
//! The layout is data only. Chains and rules follow from the configuration and from which *classes* of endpoint counts are
//! in use; Services and endpoints are elements of named sets and maps, and no element is a verdict. A change of the
//! cluster is therefore a handful of set elements: the kernel validates nothing anew, whatever the cluster's size.
//!
//! Reading order: [`names`] (what there is), [`layout`] (the rules), [`frontends`] and [`elements`] (what a Service contributes),
//! [`handover`] (what virtual servers do in IPVS mode), [`seating`] (which endpoint has which slot), [`affinity`] (how a client is kept to one), [`compile`] (a whole plan), [`programmed`] (what the kernel has, and
//! the difference to a new plan), [`mode`] (reading and committing), [`counters`] (what was
//! counted).

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod affinity;
pub mod compile;
pub mod counters;
pub mod elements;
pub mod frontends;
pub mod handover;
pub mod layout;
pub mod mode;
pub mod names;
pub mod programmed;
pub mod seating;
mod tally;

pub use layout::{Options, Translation};
pub use mode::{Applied, Glance, Mode};
