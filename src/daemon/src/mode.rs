//! What the loop needs of a mode. A mode decides nothing about Services, and time is told to it.

use std::time::Instant;

use kubeweir_netfilter::{CommitError, Kernel, ObserveError};
use kubeweir_nftables::Glance;
use kubeweir_nftables::programmed::Difference;
use kubeweir_plan::{ObjectName, Plan, Update};

use crate::settings::Settings;

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

    /// What separates the kernel from the plan, given what changed since the last pass. What begins with it, such as a
    /// draining, begins now.
    fn difference(&self, plan: &Plan, update: &Update, now: Instant) -> Self::Difference;

    /// Carries the difference out. After a failure nothing is known.
    fn apply(&mut self, difference: Self::Difference) -> Result<Applied, Failure>;

    /// Takes over what it can of other settings; how tables are laid out stays as it was.
    fn reconfigure(&mut self, _settings: &Settings) {}

    /// When the mode wants to be tended although nothing changes: something that it began comes to its end. `None` if
    /// nothing is under way.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Whether what was programmed is still there, which nobody tells: a few requests, however much it is.
    fn glance(&mut self) -> Result<Option<Loss>, Failure>;

    /// Carries out what is due. Asked only while the state is known and not before [`Mode::due`]; after a failure nothing is
    /// known.
    fn tend(&mut self, _now: Instant) -> Result<Applied, Failure> {
        Ok(Applied::default())
    }
}

/// What a pass, or tending, did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Applied {
    /// Objects touched in the kernel.
    pub operations: usize,
    /// Batches sent to nf_tables.
    pub batches: usize,
    /// Requests sent besides them.
    pub requests: usize,
    /// What does not go as the plan has it although nothing failed: of all that was looked at in this pass, whether told
    /// before or not.
    pub complaints: Vec<Complaint>,
}

/// Something that was programmed is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Somebody has removed it, or put something else in its place.
    Removed(String),
    /// A daemon of the other mode has.
    TakenOver,
}

/// Something that the kernel cannot do, or did not take, without the pass failing for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The Service that it is about; `None` for the node.
    pub about: Option<ObjectName>,
    /// A short name in CamelCase, the same for all complaints of the kind.
    pub reason: &'static str,
    /// A sentence for an operator.
    pub text: String,
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
    /// IPVS mode failed.
    #[error(transparent)]
    Ipvs(#[from] kubeweir_ipvs::Error),
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

    fn difference(&self, plan: &Plan, update: &Update, _now: Instant) -> Difference {
        self.difference(plan, &update.services, update.node)
    }

    fn apply(&mut self, difference: Difference) -> Result<Applied, Failure> {
        let done = self.apply(difference)?;
        Ok(Applied { operations: done.operations, batches: done.batches, ..Applied::default() })
    }

    fn glance(&mut self) -> Result<Option<Loss>, Failure> {
        Ok(match self.glance()? {
            Glance::AsLeft => None,
            Glance::Gone => Some(Loss::Removed("our nftables tables".to_owned())),
            Glance::TakenOver => Some(Loss::TakenOver),
        })
    }
}

impl<K: Kernel, S: kubeweir_ipvs::kernel::Kernel> Mode for kubeweir_ipvs::Mode<K, S> {
    type Difference = kubeweir_ipvs::Difference;

    fn is_known(&self) -> bool {
        self.is_known()
    }

    fn forget(&mut self) {
        self.forget();
    }

    fn observe(&mut self) -> Result<(), Failure> {
        Ok(self.observe()?)
    }

    fn difference(&self, plan: &Plan, update: &Update, now: Instant) -> kubeweir_ipvs::Difference {
        self.difference(plan, &update.services, update.node, now)
    }

    fn apply(&mut self, difference: kubeweir_ipvs::Difference) -> Result<Applied, Failure> {
        let done = self.apply(difference)?;
        Ok(applied(done))
    }

    fn reconfigure(&mut self, settings: &Settings) {
        let (settings, schedulers) = settings.servers();
        self.reconfigure(settings, schedulers);
    }

    fn due(&self) -> Option<Instant> {
        self.due()
    }

    fn glance(&mut self) -> Result<Option<Loss>, Failure> {
        Ok(self.glance()?.map(|loss| match loss {
            kubeweir_ipvs::glance::Loss::TakenOver => Loss::TakenOver,
            loss => Loss::Removed(loss.to_string()),
        }))
    }

    fn tend(&mut self, now: Instant) -> Result<Applied, Failure> {
        Ok(applied(self.tend(now)?))
    }
}

fn applied(done: kubeweir_ipvs::Applied) -> Applied {
    let refused = done.refused.into_iter().map(|failed| Complaint {
        about: failed.step.service.clone(),
        reason: "RefusedByKernel",
        text: failed.to_string(),
    });
    Applied {
        operations: done.operations,
        batches: done.batches,
        requests: usize::try_from(done.requests).unwrap_or(usize::MAX),
        complaints: done.lacking.into_iter().map(complaint).chain(refused).collect(),
    }
}

fn complaint(lacking: kubeweir_ipvs::schedulers::Lacking) -> Complaint {
    let text = lacking.to_string();
    Complaint { about: lacking.service, reason: "SchedulerUnavailable", text }
}
