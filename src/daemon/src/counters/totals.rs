//! What was counted of frontends, summed up by port.

use std::collections::BTreeMap;
use std::sync::Arc;

use kubeweir_nftables::counters::{Count, Counts};
use kubeweir_plan::{FrontendAddress, ObjectName, PortKey, PortPlan, ServicePlan};

/// By port; a port of which nothing can be counted is not in it.
pub type Totals = BTreeMap<PortKey, Count>;

/// Sums up over the frontends of each port and both families. Virtual servers count NodePorts at each address of the node: what no
/// address of a Service accounts for is a NodePort's. Pure.
pub fn totals(services: &BTreeMap<ObjectName, Arc<ServicePlan>>, mut counts: Counts) -> Totals {
    let mut totals = Totals::new();
    let mut add = |port: &PortPlan, count: Option<Count>| {
        if let Some(count) = count {
            *totals.entry(port.key.clone()).or_default() += count;
        }
    };
    for (port, address, number) in frontends(services) {
        if matches!(address, FrontendAddress::Ip(_)) {
            add(port, counts.remove(&(address, port.protocol().number(), number)));
        }
    }
    let mut node_ports = Counts::new();
    for ((address, protocol, number), count) in counts {
        *node_ports.entry((FrontendAddress::Node(address.family()), protocol, number)).or_default() += count;
    }
    for (port, address, number) in frontends(services) {
        if matches!(address, FrontendAddress::Node(_)) {
            add(port, node_ports.remove(&(address, port.protocol().number(), number)));
        }
    }
    totals
}

fn frontends(
    services: &BTreeMap<ObjectName, Arc<ServicePlan>>,
) -> impl Iterator<Item = (&PortPlan, FrontendAddress, u16)> {
    let ports = services.values().flat_map(|service| service.ports.iter());
    ports.flat_map(|port| port.frontends.iter().map(move |frontend| (port, frontend.address, frontend.port)))
}

#[cfg(test)]
mod tests {
    use kubeweir_plan::{Clients, Family, Frontend, Holder, Protocol, Scope, Verdict};

    use super::*;

    fn frontend(address: FrontendAddress, port: u16) -> Frontend {
        let (inside, outside) = (Verdict::Reject, Verdict::Reject);
        let (holder, scope, masquerade) = (Holder::Nobody, Scope::Internal, Clients::NONE);
        Frontend { address, port, holder, scope, inside, outside, masquerade, allowed_sources: None }
    }

    fn service(name: &str, frontends: Vec<Frontend>) -> (ObjectName, Arc<ServicePlan>) {
        let service = ObjectName::new("shop", name);
        let key = PortKey { service: service.clone(), port: "http".into(), protocol: Protocol::Tcp };
        let (family, frontends) = (Family::V4, frontends.into());
        let port = PortPlan { key, family, frontends, keeps: None, others: [].into() };
        (service, Arc::new(ServicePlan { ports: [port].into(), ..ServicePlan::default() }))
    }

    #[test]
    fn a_port_has_what_its_frontends_have_and_a_node_port_what_no_address_accounts_for() {
        let ip = |last: u8| FrontendAddress::Ip([192, 0, 2, last].into());
        let node = FrontendAddress::Node(Family::V4);
        let web = service("web", vec![frontend(ip(10), 80), frontend(node, 30_000)]);
        // At this node's own address, and at the number of the other's NodePort.
        let odd = service("odd", vec![frontend(ip(1), 30_000)]);
        let counted = |connections| Count { connections, ..Count::default() };
        let counts = Counts::from([
            ((ip(10), 6, 80), counted(1)),
            ((ip(10), 17, 80), counted(100)),
            ((ip(1), 6, 30_000), counted(20)),
            ((ip(2), 6, 30_000), counted(300)),
            ((ip(3), 6, 30_000), counted(4_000)),
            ((node, 6, 30_000), counted(50_000)),
        ]);
        let totals = totals(&BTreeMap::from([web, odd]), counts);
        let found: Vec<(String, u64)> =
            totals.iter().map(|(key, count)| (key.to_string(), count.connections)).collect();
        assert_eq!(found, [("shop/odd:http".to_owned(), 20), ("shop/web:http".to_owned(), 54_301)]);
    }
}
