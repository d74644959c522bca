//! Names of the table, its chains and its sets.

use std::fmt;

use kubeweir_netfilter::{Choice, Family, Field, SetKind};

/// Name of the table in both families.
pub const TABLE: &str = "kubeweir";
/// Name of the table beside virtual servers, in both families.
pub const TABLE_BESIDE_SERVERS: &str = "kubeweir-ipvs";

/// The chain that translates what goes to Services, or leaves it to virtual servers.
pub const SERVICES: &str = "services";

/// Up to this many endpoints a port's slots are exactly its endpoints.
const EXACT: u32 = 16;
/// The largest class: more slots than any Service can have endpoints.
const LARGEST: u32 = 1 << 20;
/// What `nft` shows as the range of a slot in a set's declaration.
const SLOT_RANGE: u32 = 1 << 16;

/// Clients and frontends remembered at most, in each family; the kernel makes room for so many, 4 MiB, once there is
/// one. Clients beyond are served, but not remembered.
const MOST_CLIENTS: u32 = 1 << 18;

/// How a packet is recognised: by its destination address, protocol and port, or, on a node's own addresses, by protocol
/// and port alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An address of a Service.
    Service,
    /// A NodePort.
    NodePort,
}

/// Which of a frontend's two lists of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// For everybody, or for clients inside where outsiders have a list of their own.
    Main,
    /// For clients outside, where the traffic policy binds them to endpoints of this node.
    Local,
}

/// A set or map of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetId {
    /// Every ClusterIP.
    ClusterIps,
    /// Every other address that Services are reached by.
    ExternalIps,
    /// The node's addresses on which NodePorts answer, unless all of them do.
    NodePortIps,
    /// Endpoints on this node, as source and destination of a connection to itself.
    Hairpin,
    /// Endpoints by frontend and slot.
    Endpoints(Place, List),
    /// Frontends with a number of endpoints of this class.
    Slots(Place, List, u32),
    /// Frontends whose clients keep their endpoint for this many seconds.
    Sticky(Place, u32),
    /// Identities of endpoints by client and frontend: filled by rules, emptied by time.
    Affinity(Place),
    /// Identities of endpoints by frontend and slot, where clients keep their endpoint.
    StickySlots(Place, List),
    /// Endpoints by frontend and identity, where clients keep their endpoint.
    StickyEndpoints(Place, List),
    /// Frontends whose traffic is always masqueraded.
    Masqueraded(Place),
    /// Frontends under policy Local.
    PolicyLocal(Place),
    /// Frontends without any endpoint.
    Rejected(Place),
    /// Frontends that are served, but not from here.
    Dropped(Place),
    /// Frontends that only some sources may use.
    Filtered,
    /// The sources allowed for those.
    Allowed,
    /// Where virtual servers are, at addresses of Services.
    VirtualServers,
    /// Where virtual servers are, at the node's addresses, for NodePorts.
    NodePortServers,
    /// Addresses that this node has taken on for Services.
    BoundIps,
    /// Frontends that the table translates for somebody, counting.
    Counted(Place, Counted),
    /// The addresses on which NodePorts answer, where they are counted.
    CountedNodeIps,
}

/// What is counted of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counted {
    /// The first packets of connections.
    Connections,
    /// Packets from clients.
    In,
    /// Packets to clients.
    Out,
}

impl Counted {
    /// All of it.
    pub const ALL: [Counted; 3] = [Counted::Connections, Counted::In, Counted::Out];
}

impl Place {
    /// Both.
    pub const ALL: [Place; 2] = [Place::Service, Place::NodePort];

    /// The fields that make up a frontend.
    pub fn fields(self) -> Vec<Field> {
        match self {
            Place::Service => vec![Field::DestinationAddress, Field::Protocol, Field::DestinationPort],
            Place::NodePort => vec![Field::Protocol, Field::DestinationPort],
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Place::Service => "service",
            Place::NodePort => "nodeport",
        }
    }
}

impl List {
    /// Both.
    pub const ALL: [List; 2] = [List::Main, List::Local];

    const fn prefix(self) -> &'static str {
        match self {
            List::Main => "",
            List::Local => "local-",
        }
    }
}

impl SetId {
    /// The sets that every table has, whatever the cluster. The others exist while something needs them.
    pub fn fixed() -> impl Iterator<Item = SetId> {
        let single = [
            SetId::ClusterIps,
            SetId::ExternalIps,
            SetId::NodePortIps,
            SetId::Hairpin,
            SetId::Filtered,
            SetId::Allowed,
        ];
        let placed = Place::ALL.into_iter().flat_map(|place| {
            [
                SetId::Endpoints(place, List::Main),
                SetId::Endpoints(place, List::Local),
                SetId::Masqueraded(place),
                SetId::PolicyLocal(place),
                SetId::Rejected(place),
                SetId::Dropped(place),
            ]
        });
        single.into_iter().chain(placed)
    }

    /// The further sets that the table beside virtual servers has.
    pub const BESIDE_SERVERS: [SetId; 3] = [SetId::VirtualServers, SetId::NodePortServers, SetId::BoundIps];

    /// The further sets of a table that counts.
    pub fn counting() -> impl Iterator<Item = SetId> {
        let all = Place::ALL.into_iter();
        let all = all.flat_map(|place| Counted::ALL.map(|what| SetId::Counted(place, what)));
        all.chain([SetId::CountedNodeIps])
    }

    /// What its keys and data are.
    pub fn kind(self, family: Family) -> SetKind {
        let address = [Field::DestinationAddress];
        let service = Place::Service.fields();
        match self {
            SetId::ClusterIps
            | SetId::ExternalIps
            | SetId::NodePortIps
            | SetId::BoundIps
            | SetId::CountedNodeIps => SetKind::set(family, &address),
            SetId::Hairpin => SetKind::set(family, &hairpin_fields()),
            SetId::Endpoints(place, _) => SetKind::map(family, &slot_fields(place, slot(SLOT_RANGE))),
            SetId::StickySlots(place, _) => {
                SetKind::priority_map(family, &slot_fields(place, slot(SLOT_RANGE)))
            }
            SetId::StickyEndpoints(place, _) => SetKind::map(family, &slot_fields(place, Field::Priority)),
            SetId::Affinity(place) => {
                SetKind::dynamic_priority_map(family, &client_fields(place), MOST_CLIENTS)
            }
            SetId::Slots(place, ..)
            | SetId::Sticky(place, _)
            | SetId::Masqueraded(place)
            | SetId::PolicyLocal(place)
            | SetId::Rejected(place)
            | SetId::Dropped(place) => SetKind::set(family, &place.fields()),
            SetId::Filtered | SetId::VirtualServers | SetId::NodePortServers => {
                SetKind::set(family, &service)
            }
            SetId::Counted(place, _) => SetKind::set(family, &place.fields()).counting(),
            SetId::Allowed => SetKind::ranges(family, &source_fields()),
        }
    }

    /// Whether several Services may contribute the same element.
    pub const fn is_shared(self) -> bool {
        matches!(self, SetId::ClusterIps | SetId::ExternalIps | SetId::Hairpin | SetId::BoundIps)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetId::ClusterIps => write!(f, "cluster-ips"),
            SetId::ExternalIps => write!(f, "external-ips"),
            SetId::NodePortIps => write!(f, "nodeport-ips"),
            SetId::Hairpin => write!(f, "hairpin"),
            SetId::Endpoints(Place::Service, list) => write!(f, "{}endpoints", list.prefix()),
            SetId::Endpoints(Place::NodePort, list) => write!(f, "{}nodeport-endpoints", list.prefix()),
            SetId::Slots(place, list, class) => write!(f, "{}{}s-{class}", list.prefix(), place.noun()),
            SetId::Sticky(place, seconds) => write!(f, "sticky-{}s-{seconds}", place.noun()),
            SetId::Affinity(place) => write!(f, "{}-affinity", place.noun()),
            SetId::StickySlots(Place::Service, list) => write!(f, "{}sticky-slots", list.prefix()),
            SetId::StickySlots(Place::NodePort, list) => write!(f, "{}nodeport-sticky-slots", list.prefix()),
            SetId::StickyEndpoints(Place::Service, list) => write!(f, "{}sticky-endpoints", list.prefix()),
            SetId::StickyEndpoints(Place::NodePort, list) => {
                write!(f, "{}nodeport-sticky-endpoints", list.prefix())
            }
            SetId::Masqueraded(place) => write!(f, "masqueraded-{}s", place.noun()),
            SetId::PolicyLocal(place) => write!(f, "policy-local-{}s", place.noun()),
            SetId::Rejected(place) => write!(f, "rejected-{}s", place.noun()),
            SetId::Dropped(place) => write!(f, "dropped-{}s", place.noun()),
            SetId::Filtered => write!(f, "filtered-services"),
            SetId::Allowed => write!(f, "allowed-sources"),
            SetId::VirtualServers => write!(f, "virtual-servers"),
            SetId::NodePortServers => write!(f, "nodeport-servers"),
            SetId::BoundIps => write!(f, "bound-ips"),
            SetId::Counted(place, Counted::Connections) => write!(f, "{}-connections", place.noun()),
            SetId::Counted(place, Counted::In) => write!(f, "{}-traffic-in", place.noun()),
            SetId::Counted(place, Counted::Out) => write!(f, "{}-traffic-out", place.noun()),
            SetId::CountedNodeIps => write!(f, "counted-nodeport-ips"),
        }
    }
}

/// The chain that picks an endpoint from a list.
pub fn pick_chain(place: Place, list: List) -> String {
    format!("pick-{}{}", list.prefix(), place.noun())
}

/// The chain that picks an endpoint of a frontend of a class beyond the exact ones.
pub fn throw_chain(place: Place, list: List, class: u32) -> String {
    format!("{}-{class}", pick_chain(place, list))
}

/// The chain that picks an endpoint from a list where clients keep theirs.
pub fn sticky_chain(place: Place, list: List) -> String {
    format!("sticky-{}{}", list.prefix(), place.noun())
}

/// The chain that draws an endpoint of a class beyond the exact ones where clients keep theirs.
pub fn sticky_throw_chain(place: Place, list: List, class: u32) -> String {
    format!("{}-{class}", sticky_chain(place, list))
}

/// The chain for frontends under policy Local.
pub fn policy_local_chain(place: Place) -> String {
    format!("policy-local-{}", place.noun())
}

/// The class of a number of endpoints: the number itself up to 16, the next power of two beyond.
///
/// Few classes keep the chain that looks for a frontend's class short, and fixed: it never depends on the cluster.
pub fn class(endpoints: usize) -> u32 {
    let count = u32::try_from(endpoints).unwrap_or(LARGEST).min(LARGEST);
    if count <= EXACT { count } else { count.next_power_of_two() }
}

/// Whether frontends of this class have all their slots taken.
pub const fn is_exact(class: u32) -> bool {
    class <= EXACT
}

/// A frontend's fields and a slot.
pub fn slot_fields(place: Place, slot: Field) -> Vec<Field> {
    let mut fields = place.fields();
    fields.push(slot);
    fields
}

/// A client and a frontend.
pub fn client_fields(place: Place) -> Vec<Field> {
    let mut fields = vec![Field::SourceAddress];
    fields.extend(place.fields());
    fields
}

/// A slot drawn at random below a number.
pub const fn slot(below: u32) -> Field {
    Field::Number { choice: Choice::Random, modulus: below }
}

/// Source, destination, protocol and port of a connection to itself.
pub fn hairpin_fields() -> Vec<Field> {
    let mut fields = vec![Field::SourceAddress];
    fields.extend(Place::Service.fields());
    fields
}

/// A frontend and a source.
pub fn source_fields() -> Vec<Field> {
    let mut fields = Place::Service.fields();
    fields.push(Field::SourceAddress);
    fields
}
