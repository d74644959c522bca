//! Subcommands.

mod cleanup;
mod demo;
mod explain;
mod oneshot;

pub use cleanup::cleanup;
pub use demo::demo;
pub use explain::explain;
pub use oneshot::{diff, render};
