//! The cluster: Kubernetes objects, watched in an API server or in a directory of manifests, as the planner's input.
//!
//! Both sources speak one language of [`Event`]s, and [`Store`] folds events into a [`Snapshot`](kubeweir_plan::Snapshot).
//! Objects are trimmed to what planning needs the moment they arrive.
//!
//! Invariant: before every kind's initial list has been delivered to its end there is no snapshot to be had.
//!
//! Reading order: [`event`], [`store`], [`convert`], [`api`], [`manifests`]; the way back is [`notice`].

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod api;
pub mod convert;
pub mod event;
pub mod manifests;
pub mod notice;
pub mod sloppy;
mod store;
pub mod tree;
mod version;

pub use event::{Event, Kind, Trigger};
pub use store::Store;
pub use version::{ServiceVersions, Version};
