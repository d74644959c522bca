//! What IPVS mode needs around it.

pub mod host;
pub(crate) mod start;
