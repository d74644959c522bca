//! Subcommands.

mod about;
mod cleanup;
mod demo;
mod explain;
mod list;
mod oneshot;
mod top;

pub use about::{version, write_config};
pub use cleanup::cleanup;
pub use demo::demo;
pub use explain::explain;
pub use list::list;
pub use oneshot::{diff, render};
pub use top::top;
