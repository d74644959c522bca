//! The plan: what one node must do for the cluster's Services, as a value.
//!
//! [`Planner::update`] turns a [`Snapshot`] (what the API says), [`Facts`] (what the host says) and [`Options`] (what the
//! operator says) into a [`Plan`]. It is pure: no clock, no network, no log. After it no Kubernetes word and no policy
//! decision is left: a mode that compiles a plan for its kernel only translates.
//!
//! Invariants: the same inputs give the same plan whatever the order of events; a part whose inputs did not change
//! keeps its `Arc`, so that whoever compares plans can skip it by pointer; each frontend belongs to one port only.
//!
//! Reading order: [`input`], [`plan`], [`endpoints`] (which endpoints), [`service`] (which frontends), [`planner`],
//! [`oracle`] (where would this packet go?), [`explain`] (and why?), [`flows`] (which flows must not go on),
//! [`lint`](mod@lint).

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod address;
mod claims;
pub mod endpoints;
pub mod explain;
pub mod finding;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod flows;
mod health_check;
pub mod input;
pub mod lint;
mod names;
pub mod node;
pub mod options;
pub mod oracle;
pub mod plan;
pub mod planner;
pub mod service;
mod snapshot;
mod unserved;

pub use address::FrontendAddress;
pub use finding::Finding;
pub use flows::FlowCheck;
pub use health_check::HealthCheck;
pub use names::{Family, ObjectName, PortKey, Protocol};
pub use node::Facts;
pub use options::Options;
pub use plan::{
    Client, Clients, Frontend, Holder, LocalSources, NodePlan, NodePortAddresses, Plan, Pool, PortPlan,
    Scope, ServicePlan, Target, Verdict,
};
pub use planner::{Planner, Update};
pub use snapshot::{Changed, Snapshot};
pub use unserved::Unserved;
