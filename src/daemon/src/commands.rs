//! Subcommands.

mod demo;
mod explain;
mod oneshot;

pub use demo::demo;
pub use explain::explain;
pub use oneshot::{diff, render};
