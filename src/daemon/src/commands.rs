//! Subcommands.

mod about;
mod cleanup;
mod demo;
mod explain;
mod oneshot;

pub use about::{version, write_config};
pub use cleanup::cleanup;
pub use demo::demo;
pub use explain::explain;
pub use oneshot::{diff, render};
