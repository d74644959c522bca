//! The mode's door to the kernel: read, and commit.

use std::collections::BTreeSet;

use kubeweir_netfilter::{Commit, CommitError, Family, Kernel, ObserveError};
use kubeweir_plan::{ObjectName, Plan};

use crate::layout::Options;
use crate::programmed::{self, Difference, Observed, Programmed};

/// nftables mode on one kernel.
pub struct Mode<K> {
    kernel: K,
    options: Options,
    known: Known,
    /// What tells our tables from others, by family, as first looked at after they were read.
    handles: Option<Vec<Option<u64>>>,
}

/// What a glance at our tables says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// They are those that were programmed.
    AsLeft,
    /// One is gone, or another one is in its place.
    Gone,
    /// The same, and there are tables of the other mode, which removes ours when it takes over.
    TakenOver,
}

/// What is known of the kernel's tables.
enum Known {
    /// Nothing: at the start, and after anything went wrong.
    Nothing,
    /// As read, with the generation it was read at.
    Observed(Box<Observed>, Option<u32>),
    /// As last committed.
    Programmed(Box<Programmed>),
}

/// What an [`Mode::apply`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects touched: rules, chains, sets and elements.
    pub operations: usize,
    /// Batches sent: none if there was nothing to do.
    pub batches: usize,
}

impl<K: Kernel> Mode<K> {
    /// The mode; nothing is read yet.
    pub fn new(kernel: K, options: Options) -> Mode<K> {
        Mode { kernel, options, known: Known::Nothing, handles: None }
    }

    /// The kernel behind the mode.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Whether the state is known; if not, [`Mode::observe`] comes first.
    pub fn is_known(&self) -> bool {
        !matches!(self.known, Known::Nothing)
    }

    /// Forgets what is known, so that the next pass reads the kernel: after a foreign change, or to make sure.
    pub fn forget(&mut self) {
        self.known = Known::Nothing;
    }

    /// Reads the tables from the kernel.
    pub fn observe(&mut self) -> Result<(), ObserveError> {
        let observation = self.kernel.observe(&Family::ALL.map(|family| (family, self.options.table())))?;
        let mut tables = observation.tables.into_iter();
        let observed = [tables.next().flatten(), tables.next().flatten()];
        self.known = Known::Observed(Box::new(observed), observation.generation);
        self.handles = None;
        Ok(())
    }

    /// Whether our tables are still there, which nobody tells. Costs the same whatever is in them, and sees nothing of that. While
    /// nothing is programmed, or it is not known what, nothing is missed.
    pub fn glance(&mut self) -> Result<Glance, ObserveError> {
        if !matches!(self.known, Known::Programmed(_)) {
            return Ok(Glance::AsLeft);
        }
        let found = self.kernel.handles(&Family::ALL.map(|family| (family, self.options.table())))?;
        let left = self.handles.get_or_insert_with(|| found.clone());
        if *left == found && !found.contains(&None) {
            return Ok(Glance::AsLeft);
        }
        let other = self.options.table_of_other_mode();
        let others = self.kernel.handles(&Family::ALL.map(|family| (family, other)))?;
        Ok(if others.iter().any(Option::is_some) { Glance::TakenOver } else { Glance::Gone })
    }

    /// What separates the kernel from the plan. Pure. `changed` and `node` are an upper bound of what differs from the
    /// plan applied last; after [`Mode::observe`] everything is looked at.
    pub fn difference(&self, plan: &Plan, changed: &BTreeSet<ObjectName>, node: bool) -> Difference {
        match &self.known {
            Known::Nothing => programmed::from_observed(&[None, None], plan, self.options),
            Known::Observed(observed, _) => programmed::from_observed(observed, plan, self.options),
            Known::Programmed(programmed) => programmed.difference(plan, changed, node, self.options),
        }
    }

    /// The tables as last read; `None` when something was committed since.
    pub fn observed(&self) -> Option<&Observed> {
        match &self.known {
            Known::Observed(observed, _) => Some(observed),
            _ => None,
        }
    }

    /// Commits a difference. After an error nothing is known any more. Where there are virtual servers, what
    /// [`Difference::claims`] says is left to [`Mode::claim`].
    pub fn apply(&mut self, difference: Difference) -> Result<Applied, CommitError> {
        let (from, generation) = match std::mem::replace(&mut self.known, Known::Nothing) {
            Known::Nothing => (None, None),
            Known::Observed(_, generation) => (None, generation),
            Known::Programmed(programmed) => (Some(*programmed), None),
        };
        let applied = Applied::of(&difference.commits);
        self.kernel.commit(&difference.commits, generation)?;
        if let Some(programmed) = difference.into_programmed(from) {
            self.known = Known::Programmed(Box::new(programmed));
        }
        Ok(applied)
    }

    /// Keeps others from translating what is for virtual servers, which are there now. After an error nothing is known any
    /// more.
    pub fn claim(&mut self, claims: &[Commit]) -> Result<Applied, CommitError> {
        if !claims.is_empty() {
            self.kernel.commit(claims, None).inspect_err(|_| self.known = Known::Nothing)?;
        }
        Ok(Applied::of(claims))
    }
}

impl Applied {
    fn of(commits: &[Commit]) -> Applied {
        let operations = commits.iter().map(Commit::count).sum();
        Applied { operations, batches: usize::from(!commits.is_empty()) }
    }
}
