use kubeweir_plan::Facts;

use crate::prerequisites::Host;

/// Everything that can happen to the loop.
#[derive(Debug)]
pub enum Event {
    /// A source reports.
    Cluster(kubeweir_cluster::Event),
    /// The host's addresses, complete.
    Host(Facts),
    /// How the host is wired, complete.
    Wiring(Host),
}
