//! Carrying steps out. What one object is refused does not keep others from being programmed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use kubeweir_netlink::bulk::{Outcome, Refusal};
use kubeweir_netlink::ipvs::{Identity, Request};
use kubeweir_netlink::{Errno, Error};

use crate::kernel::Kernel;
use crate::schedulers::Schedulers;
use crate::steps::{Change, Step, rank};

/// What came of steps.
#[derive(Debug)]
pub struct Carried {
    schedulers: Schedulers,
    /// Schedulers that the kernel turned out not to have.
    pub lacking: BTreeSet<Arc<str>>,
    /// What was refused.
    pub failed: Vec<Failed>,
    /// Virtual servers that could not be made: their real servers cannot be either.
    missing: BTreeSet<Identity>,
}

/// A step that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The step.
    pub step: Step,
    /// Why not.
    pub refusal: Refusal,
}

impl Failed {
    /// Whether what the kernel has is not what was thought, so that it must be read again. Anything else the kernel does not
    /// take, and will not take soon either.
    pub fn is_surprise(&self) -> bool {
        [Errno::ENOENT, Errno::ESRCH, Errno::EEXIST, Errno::ENODEV].contains(&self.refusal.errno)
    }
}

impl Carried {
    /// Nothing yet, with these schedulers.
    pub fn new(schedulers: Schedulers) -> Carried {
        Carried { schedulers, lacking: BTreeSet::new(), failed: Vec::new(), missing: BTreeSet::new() }
    }

    fn fail(&mut self, step: &Step, refusal: Refusal) {
        if let Change::Server(request) = &step.change {
            if self.missing.contains(request.server()) {
                return;
            }
            if matches!(request, Request::NewServer(..)) {
                self.missing.insert(*request.server());
            }
        }
        self.failed.push(Failed { step: step.clone(), refusal });
    }

    /// Enters that a virtual server's scheduler is lacking; returns the request to make instead.
    fn lacks(&mut self, step: &Step) -> Option<Request> {
        let Change::Server(Request::NewServer(_, how) | Request::SetServer(_, how)) = &step.change else {
            return None;
        };
        let lacking: Arc<str> = how.scheduler.as_str().into();
        self.schedulers.unavailable.insert(Arc::clone(&lacking));
        let instead = self.schedulers.instead_of(how);
        if instead.scheduler == how.scheduler {
            return None;
        }
        self.lacking.insert(lacking);
        match &step.change {
            Change::Server(Request::NewServer(id, _)) => Some(Request::NewServer(*id, instead)),
            Change::Server(Request::SetServer(id, _)) => Some(Request::SetServer(*id, instead)),
            _ => None,
        }
    }
}

/// Carries steps out, those of one kind together.
pub fn carry_out(kernel: &mut impl Kernel, steps: &[Step], carried: &mut Carried) -> Result<(), Error> {
    for group in steps.chunk_by(|one, next| rank(&one.change) == rank(&next.change)) {
        let outcomes = together(kernel, group)?;
        let mut again = Vec::new();
        for (step, outcome) in group.iter().zip(outcomes) {
            let Err(refusal) = outcome else { continue };
            if is_done(&step.change, refusal.errno) {
                continue;
            }
            let instead = (refusal.errno == Errno::ENOENT).then(|| carried.lacks(step)).flatten();
            match instead {
                Some(request) => again.push(Step { change: Change::Server(request), ..step.clone() }),
                None => carried.fail(step, refusal),
            }
        }
        // Ends, since each round takes schedulers away.
        if !again.is_empty() {
            carry_out(kernel, &again, carried)?;
        }
    }
    Ok(())
}

fn together(kernel: &mut impl Kernel, group: &[Step]) -> Result<Vec<Outcome>, Error> {
    let addresses = || group.iter().filter_map(|step| address(&step.change)).collect::<Vec<_>>();
    match group.first().map(|step| &step.change) {
        None => Ok(Vec::new()),
        Some(Change::Bind(_)) => {
            kernel.prepare()?;
            kernel.bind(&addresses())
        }
        Some(Change::Unbind(_)) => kernel.unbind(&addresses()),
        Some(Change::Server(_)) => {
            let requests: Vec<Request> = group.iter().filter_map(|step| request(&step.change)).collect();
            kernel.execute(&requests)
        }
    }
}

fn address(change: &Change) -> Option<IpAddr> {
    match change {
        Change::Bind(address) | Change::Unbind(address) => Some(*address),
        Change::Server(_) => None,
    }
}

fn request(change: &Change) -> Option<Request> {
    match change {
        Change::Server(request) => Some(request.clone()),
        Change::Bind(_) | Change::Unbind(_) => None,
    }
}

/// Whether the kernel says that there is nothing left to do.
fn is_done(change: &Change, errno: Errno) -> bool {
    match change {
        Change::Bind(_) => errno == Errno::EEXIST,
        Change::Unbind(_) => errno == Errno::EADDRNOTAVAIL,
        Change::Server(Request::DeleteServer(_)) => errno == Errno::ESRCH,
        Change::Server(Request::DeleteReal(..)) => [Errno::ENOENT, Errno::ESRCH].contains(&errno),
        Change::Server(_) => false,
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { service, change } = &self.step;
        match service {
            Some(service) => write!(f, "{change} for Service {service}: {}", self.refusal),
            None => write!(f, "{change}: {}", self.refusal),
        }
    }
}
