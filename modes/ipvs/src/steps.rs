//! Changes in the order in which they are made. IPVS has no transactions, so each order is chosen to leave no gap.

use std::fmt;
use std::net::IpAddr;

use kubeweir_netlink::ipvs::Request;
use kubeweir_plan::ObjectName;

use crate::DEVICE;

/// One change, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The Service; `None` for what no Service wants any more.
    pub service: Option<ObjectName>,
    /// The change.
    pub change: Change,
}

/// Something to do to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Take on an address.
    Bind(IpAddr),
    /// Give an address up.
    Unbind(IpAddr),
    /// A virtual or real server.
    Server(Request),
}

/// All changes of a pass, in order.
///
/// Before the tables: addresses are given up and virtual servers deleted, since the table's set of virtual servers says which
/// are ours. Then come the tables, so that marks, filter and shield are there before anything answers. After them: virtual
/// servers, real servers, weights, what drains, what goes; addresses come last, when everything behind them is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Steps {
    /// Before the tables are committed.
    pub before: Vec<Step>,
    /// After that.
    pub after: Vec<Step>,
}

impl Steps {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Puts steps, gathered Service by Service, into the order in which they are made.
    pub(crate) fn ordered(gathered: Vec<Step>) -> Steps {
        let (mut before, mut after): (Vec<Step>, Vec<Step>) =
            gathered.into_iter().partition(|step| rank(&step.change) <= Rank::Delete);
        // Stable: what belongs together stays together.
        before.sort_by_key(|step| rank(&step.change));
        after.sort_by_key(|step| rank(&step.change));
        Steps { before, after }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Unbind,
    Delete,
    Create,
    Reschedule,
    Add,
    Weigh,
    Drain,
    Remove,
    Bind,
}

/// Where in the order a change is made.
pub(crate) fn rank(change: &Change) -> Rank {
    match change {
        Change::Unbind(_) => Rank::Unbind,
        Change::Bind(_) => Rank::Bind,
        Change::Server(request) => match request {
            Request::DeleteServer(_) => Rank::Delete,
            Request::NewServer(..) => Rank::Create,
            Request::SetServer(..) => Rank::Reschedule,
            Request::NewReal(..) => Rank::Add,
            Request::SetReal(_, real) if real.weight == 0 => Rank::Drain,
            Request::SetReal(..) => Rank::Weigh,
            Request::DeleteReal(..) => Rank::Remove,
        },
    }
}

/// In the words of `ip` and `ipvsadm`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Bind(address) => write!(f, "address {address} on {DEVICE}"),
            Change::Unbind(address) => write!(f, "address {address} off {DEVICE}"),
            Change::Server(request) => write!(f, "{request}"),
        }
    }
}
