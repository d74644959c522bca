//! The daemon: settings, the loop that owns all state, and its doors to the world.
//!
//! Data flows one way: sources and the host report [`Event`]s; [`core`] folds them, plans, asks the mode for the
//! difference and commits it; what came of it is published for health, metrics and logs. No rule about Services is
//! decided here.
//!
//! Reading order: [`settings`], [`core`], [`pace`], [`mode`], [`prerequisites`], [`leftovers`], [`run`], [`reload`], then the doors:
//! [`host`], [`sysctl`], [`ipvs`], [`conntrack`], [`recorder`], [`health`], [`healthports`], [`metrics`], [`http`], [`state`], [`counters`], and the
//! commands.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checks;
pub mod cli;
pub mod commands;
pub mod configuration;
pub mod conntrack;
pub mod core;
pub mod counters;
mod event;
pub mod health;
pub mod healthports;
pub mod host;
pub mod http;
mod init;
pub mod ipvs;
pub mod leftovers;
pub mod logging;
pub mod metrics;
pub mod mode;
mod oom;
pub mod pace;
pub mod prerequisites;
mod publisher;
pub mod question;
pub mod recorder;
pub mod reload;
pub mod run;
pub mod settings;
pub mod shown;
mod socket;
mod source;
pub mod state;
pub mod sysctl;
mod told;

pub use event::Event;
