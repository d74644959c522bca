//! The door to the kernel's tables: read them whole, or commit a difference.

use std::fmt;

use kubeweir_netlink::batch::Failure;
use kubeweir_netlink::{Errno, Error};

use crate::{Commit, Family, Table};

/// A kernel, real or simulated.
pub trait Kernel {
    /// Reads these tables as of one generation.
    fn observe(&mut self, tables: &[(Family, &str)]) -> Result<Observation, ObserveError>;

    /// What tells each of these tables from any other that ever had its name; `None` for a table that does not exist.
    fn handles(&mut self, tables: &[(Family, &str)]) -> Result<Vec<Option<u64>>, ObserveError>;

    /// Carries out all operations. With a generation, only if nobody changed any table since then. Atomic unless the
    /// operations exceed what one batch can hold; then each part is, and the order of a [`Commit`] keeps traffic whole.
    fn commit(&mut self, commits: &[Commit], generation: Option<u32>) -> Result<(), CommitError>;
}

/// Tables as read from the kernel.
#[derive(Debug)]
pub struct Observation {
    /// In the order asked for; `None` for a table that does not exist.
    pub tables: Vec<Option<Table>>,
    /// The generation that all of it belongs to; `None` if others wrote so busily that no quiet moment was found.
    pub generation: Option<u32>,
}

/// The kernel's tables could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} of table {family} {table}")]
pub struct ObserveError {
    /// What was being read.
    pub what: &'static str,
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: String,
    /// Why not.
    #[source]
    pub source: Error,
}

/// A commit did not happen. In all cases the caller reads the state again before it tries once more.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The kernel refused these operations and did nothing.
    #[error("the kernel refused {}", list(.0))]
    Refused(Vec<Refused>),
    /// Somebody else changed the ruleset in between; nothing was done.
    #[error("the ruleset changed since it was read")]
    Outdated,
    /// Nothing was done, or it is not known what was.
    #[error("the commit failed")]
    Failed(#[source] Failure),
}

/// An operation that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The operation, with the element's text if it was about one.
    pub operation: String,
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words, where it had any.
    pub message: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.errno)?;
        self.message.iter().try_for_each(|message| write!(f, " ({message})"))
    }
}

/// How many refusals a message spells out.
const SPELLED_OUT: usize = 3;

fn list(refused: &[Refused]) -> String {
    let mut text = refused.iter().take(SPELLED_OUT).map(Refused::to_string).collect::<Vec<_>>().join("; ");
    if refused.len() > SPELLED_OUT {
        text = format!("{text}; and {} more", refused.len() - SPELLED_OUT);
    }
    text
}
