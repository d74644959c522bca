//! "Is this Service programmed on this node, since when, and from which version of its objects?" What `/state` and `kubeweir
//! list` ask.
//!
//! The loop keeps no more for it than when what changed after the first pass came into force, by Service ([`tracker`]), and
//! the versions of objects ([`kubeweir_cluster::Version`]). Answers are put together when somebody asks ([`answer`]) and
//! written outside of the loop ([`page`]).

mod answer;
mod list;
pub mod page;
mod tracker;

pub use answer::{
    Absence, Answer, Asked, Endpoint, Frontend, Port, Question, ServiceState, Summary, Told, Versions,
};
pub(crate) use answer::{Sight, answer};
pub use list::{Listed, Row, rows, table};
pub use tracker::{Settled, Tracker};

/// A moment as RFC 3339 has it, in UTC, to the millisecond.
fn rfc3339(at: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}
