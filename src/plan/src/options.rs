//! What the operator decides, as far as planning needs it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Options of the planner, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Name of this node, as EndpointSlices name it.
    pub node_name: Arc<str>,
    /// `bindAddress`, unless it is unspecified: the node's address of its family, whatever the Node says.
    pub node_address: Option<IpAddr>,
    /// How to tell that a packet comes from a pod.
    pub detect_local: DetectLocal,
    /// Masquerade all traffic to ClusterIPs.
    pub masquerade_all: bool,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortOption,
    /// Names of schedulers that the mode in force knows; empty if it has no choice of scheduler.
    pub schedulers: &'static [&'static str],
    /// Whether the mode in force can prefer some endpoints to others. Otherwise all have weight 1.
    pub weights: bool,
    /// Whether Services have their `externalIPs`; otherwise these are ignored.
    pub external_ips: bool,
}

/// `detectLocalMode` with its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// Source address in the first of these prefixes of its family.
    ClusterCidr(Vec<IpNet>),
    /// Source address in the Node's first pod prefix of its family.
    NodeCidr,
    /// Arrived through this interface.
    BridgeInterface(Arc<str>),
    /// Arrived through an interface whose name begins so.
    InterfaceNamePrefix(Arc<str>),
}

/// `nodePortAddresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortOption {
    /// `primary`: the Node's first address of each family.
    Primary,
    /// Every local address but loopback.
    All,
    /// Local addresses inside these prefixes.
    Within(Vec<IpNet>),
}

impl Options {
    /// The defaults of kube-proxy's nftables mode on this node.
    pub fn for_node(name: &str) -> Options {
        Options {
            node_name: name.into(),
            node_address: None,
            detect_local: DetectLocal::ClusterCidr(Vec::new()),
            masquerade_all: false,
            node_port_addresses: NodePortOption::Primary,
            schedulers: &[],
            weights: false,
            external_ips: true,
        }
    }
}
