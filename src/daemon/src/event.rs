use kubeweir_plan::{Facts, FlowCheck};

use crate::prerequisites::Host;
use crate::question::Asked;
use crate::settings::Settings;
use crate::state;

/// Everything that can happen to the loop.
#[derive(Debug)]
pub enum Event {
    /// A source reports.
    Cluster(kubeweir_cluster::Event),
    /// The host's addresses, complete.
    Host(Facts),
    /// The configuration was read again. What takes effect with a restart only is as it was before.
    Settings(Box<Settings>),
    /// The process ends.
    Stop,
    /// Somebody wants to know where a packet would go.
    Explain(Box<Asked>),
    /// Somebody wants to know what is programmed, and since when.
    State(Box<state::Asked>),
    /// A check of tracked flows ended; one that failed comes back.
    FlowsChecked(Result<(), Box<FlowCheck>>),
    /// How the host is wired, complete.
    Wiring(Host),
}
