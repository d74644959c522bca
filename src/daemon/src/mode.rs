//! What the loop needs of a mode. A mode decides nothing about Services and nothing about time.

use kubeweir_netfilter::{CommitError, Kernel, ObserveError};
use kubeweir_nftables::programmed::Difference;
use kubeweir_plan::{Plan, Update};

/// One way to program a kernel.
pub trait Mode {
    /// What separates the kernel from a plan.
    type Difference;

    /// Whether the kernel's state is known.
    fn is_known(&self) -> bool;

    /// Gives up what is known, so that the next pass reads the kernel.
    fn forget(&mut self);

    /// Reads the kernel.
    fn observe(&mut self) -> Result<(), Failure>;

    /// What separates the kernel from the plan, given what changed since the last pass.
    fn difference(&self, plan: &Plan, update: &Update) -> Self::Difference;

    /// Carries the difference out. After a failure nothing is known.
    fn apply(&mut self, difference: Self::Difference) -> Result<Applied, Failure>;
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects touched in the kernel.
    pub operations: usize,
    /// Batches sent.
    pub batches: usize,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel could not be read.
    #[error("the kernel's tables could not be read")]
    Observe(#[from] ObserveError),
    /// The kernel did not take the difference.
    #[error("the change was not programmed")]
    Commit(#[from] CommitError),
}

/// What stands where IPVS mode will.
pub fn not_built_yet() -> anyhow::Error {
    anyhow::anyhow!("mode {} is not built yet", crate::settings::ProxyMode::Ipvs)
}

impl<K: Kernel> Mode for kubeweir_nftables::Mode<K> {
    type Difference = Difference;

    fn is_known(&self) -> bool {
        self.is_known()
    }

    fn forget(&mut self) {
        self.forget();
    }

    fn observe(&mut self) -> Result<(), Failure> {
        Ok(self.observe()?)
    }

    fn difference(&self, plan: &Plan, update: &Update) -> Difference {
        self.difference(plan, &update.services, update.node)
    }

    fn apply(&mut self, difference: Difference) -> Result<Applied, Failure> {
        let done = self.apply(difference)?;
        Ok(Applied { operations: done.operations, batches: done.batches })
    }
}
