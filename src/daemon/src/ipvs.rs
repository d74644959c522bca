//! What IPVS mode needs around it.

pub mod host;
