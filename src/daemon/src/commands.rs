//! Subcommands.

mod demo;
mod oneshot;

pub use demo::demo;
pub use oneshot::{diff, render};
