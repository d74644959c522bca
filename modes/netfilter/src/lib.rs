//! nftables tables as typed values: what they hold, how they differ, how they read as `nft` text, and how they
//! travel to the kernel and back.
//!
//! The same [`Table`] type holds what is wanted and what the kernel has, so that equality is the difference. A
//! [`Rule`] is written as [`Statement`]s and stored as the kernel's expressions together with its `nft` text.
//!
//! Invariants: no anonymous sets; no rule whose lookup key comes out of another lookup (it would abort
//! `nft list ruleset`); every rule and set this room can build is one that `nft` 1.0.6 lists and reloads.
//!
//! Reading order: [`table`], [`chain`], [`statement`], [`set`], [`operation`], [`diff`], [`kernel`], [`survey`].

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod chain;
mod client;
mod datatype;
mod decode;
pub mod diff;
mod encode;
pub mod expr;
mod family;
mod field;
pub mod kernel;
pub mod operation;
mod register;
pub mod set;
#[cfg(feature = "sim")]
pub mod sim;
pub mod statement;
pub mod survey;
pub mod table;
pub mod text;
mod udata;
mod value;

pub use chain::{Chain, Hook, HookPoint, Rule};
pub use client::{Client, batch_bytes};
pub use datatype::DataType;
#[doc(hidden)]
pub use decode::decode_anything;
pub use family::Family;
pub use field::{Choice, Field};
pub use kernel::{CommitError, Kernel, Observation, ObserveError};
pub use operation::{Commit, Operation};
pub use set::{Counter, Element, Elements, Set, SetKind};
pub use statement::{Match, Statement};
pub use table::Table;
pub use value::{Data, Key};
