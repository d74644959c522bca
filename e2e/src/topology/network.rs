//! Ways in which pods are wired in practice.

/// How pods are wired to their node and to the pods of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// A veth pair for each pod and a route to it, no bridge; other nodes' pods by way of their node (like Calico).
    Routed,
    /// A bridge `cni0` on each node, hairpin mode on, `br_netfilter` on; host gateways between nodes.
    ///
    /// A packet to a Service is translated on the bridge and goes from port to port; so does its answer, which is translated
    /// back there. That is what `br_netfilter` is needed for: without it an answer between two pods of one bridge never
    /// meets the host. With it, a pod that is its own endpoint is sent its packet through the port that it came in through,
    /// and that is what hairpin mode is needed for.
    Bridge,
    /// As [`Network::Bridge`], with `br_netfilter` off but for an option of the bridge itself, which is as good.
    BridgeOwnFilter,
    /// As [`Network::Bridge`], with hairpin mode off: a pod does not reach itself through a Service.
    BridgeNoHairpin,
    /// As [`Network::Bridge`], with `br_netfilter` off: a pod does not reach others of its bridge through a Service, but for
    /// where it is masqueraded. Hairpin mode is off as well, to show that it does not matter here: packets to Services are
    /// routed, and what a host sends into a bridge came in through no port of it.
    BridgeNoFilter,
    /// As [`Network::Bridge`] on each node, with a VXLAN overlay between nodes (like flannel, with `flannel.1` for IPv4 and
    /// `flannel-v6.1` for IPv6, the latter over IPv6). Pods are not masqueraded on their way out of the cluster, so a pod and
    /// another node's own address use the tunnel in one direction only.
    Vxlan,
}

/// How pods are wired to their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// A veth pair and a route each.
    Routed,
    /// Ports of the bridge `cni0`.
    Bridged {
        /// Whether a port sends back out what came in through it.
        hairpin: bool,
        /// Whether what crosses the bridge meets the rules of IP (`br_netfilter`).
        filtered: Filtered,
    },
}

/// What has packets that cross a bridge meet the rules of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// The sysctls `net.bridge.bridge-nf-call-iptables` and `-ip6tables`.
    BySysctl,
    /// An option of the bridge's own.
    ByOption,
    /// Nothing.
    Not,
}

/// How the pods of other nodes are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Routes through the other node's own address (flannel's host-gw, Calico without an overlay).
    HostGateways,
    /// Through tunnels.
    Vxlan,
}

impl Network {
    /// All of them.
    pub const ALL: [Network; 6] = [
        Network::Routed,
        Network::Bridge,
        Network::BridgeOwnFilter,
        Network::BridgeNoHairpin,
        Network::BridgeNoFilter,
        Network::Vxlan,
    ];

    /// Those of practice that can do everything: scenarios run over these unless they say otherwise.
    pub const HEALTHY: [Network; 3] = [Network::Routed, Network::Bridge, Network::Vxlan];

    /// The network with this name.
    pub fn named(name: &str) -> Network {
        let found = Network::ALL.into_iter().find(|network| network.name() == name);
        found.unwrap_or_else(|| panic!("no network {name}"))
    }

    /// Its name in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Network::Routed => "routed",
            Network::Bridge => "bridge",
            Network::BridgeOwnFilter => "bridge_own_filter",
            Network::BridgeNoHairpin => "bridge_no_hairpin",
            Network::BridgeNoFilter => "bridge_no_filter",
            Network::Vxlan => "vxlan",
        }
    }

    /// How its pods are wired to their node.
    pub const fn pods(self) -> Pods {
        match self {
            Network::Routed => Pods::Routed,
            Network::Bridge | Network::Vxlan => Pods::bridged(true, Filtered::BySysctl),
            Network::BridgeOwnFilter => Pods::bridged(true, Filtered::ByOption),
            Network::BridgeNoHairpin => Pods::bridged(false, Filtered::BySysctl),
            Network::BridgeNoFilter => Pods::bridged(false, Filtered::Not),
        }
    }

    /// How the pods of other nodes are reached.
    pub const fn between(self) -> Between {
        match self {
            Network::Vxlan => Between::Vxlan,
            _ => Between::HostGateways,
        }
    }
}

impl Pods {
    const fn bridged(hairpin: bool, filtered: Filtered) -> Pods {
        Pods::Bridged { hairpin, filtered }
    }
}
