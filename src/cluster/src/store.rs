use std::collections::BTreeSet;
use std::sync::Arc;

use kubeweir_plan::input::Node;
use kubeweir_plan::{Changed, ObjectName, Snapshot};

use crate::event::{Event, Kind};
use crate::version::{ServiceVersions, Versions};

/// Folds events into a snapshot.
#[derive(Debug, Default)]
pub struct Store {
    snapshot: Snapshot,
    /// Kinds whose initial list has ended.
    complete: BTreeSet<Kind>,
    lists: Lists,
    /// The Node that is gone, until there is another with addresses and pod prefixes of its own.
    lost: Option<Arc<Node>>,
    versions: Versions,
}

/// What the lists that are being delivered have named so far; `None` where none is.
#[derive(Debug, Default)]
struct Lists {
    services: Option<BTreeSet<ObjectName>>,
    slices: Option<BTreeSet<ObjectName>>,
    /// Whether the Node we are on was named.
    node: Option<bool>,
    other_nodes: Option<BTreeSet<Arc<str>>>,
    service_cidrs: Option<BTreeSet<Arc<str>>>,
}

impl Store {
    /// The snapshot, once every kind's initial list has ended. From then on there always is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        (self.complete.len() == Kind::ALL.len()).then_some(&self.snapshot)
    }

    /// Kinds whose initial list is still awaited.
    pub fn awaited(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().filter(|kind| !self.complete.contains(kind))
    }

    /// Takes one event in and says what it changed.
    pub fn apply(&mut self, event: Event) -> Changed {
        let before = self.before(&event);
        let changed = self.fold(event);
        for (name, versions) in before.into_iter().filter(|(name, _)| changed.services.contains(name)) {
            self.versions.keep(name, versions);
        }
        changed
    }

    /// What the API says of the versions of a Service and its slices.
    pub fn versions(&self, service: &ObjectName) -> ServiceVersions {
        self.versions.of(service, &self.snapshot)
    }

    /// What is in force of a Service that has changed since [`Store::settle`]; `None` if it has not.
    pub fn versions_before(&self, service: &ObjectName) -> Option<&ServiceVersions> {
        self.versions.before(service)
    }

    /// Services that have changed since [`Store::settle`].
    pub fn unsettled(&self) -> impl Iterator<Item = &ObjectName> {
        self.versions.changed()
    }

    /// What the API says now is in force.
    pub fn settle(&mut self) {
        self.versions.settle();
    }

    /// The versions of what an event may change, for Services that have not changed yet. Before everything is known nothing
    /// is in force.
    fn before(&self, event: &Event) -> Vec<(ObjectName, ServiceVersions)> {
        if self.snapshot().is_none() {
            return Vec::new();
        }
        let owner = |slice: &ObjectName| self.snapshot.owner_of(slice).cloned();
        let touched = match event {
            Event::Service(service, _) => vec![service.name.clone()],
            Event::ServiceGone(name) => vec![name.clone()],
            Event::Slice(slice, ..) => {
                let moved = owner(&slice.name).filter(|owner| *owner != slice.service);
                [slice.service.clone()].into_iter().chain(moved).collect()
            }
            Event::SliceGone(name) => owner(name).into_iter().collect(),
            Event::ListEnds(kind) => self.unnamed(*kind),
            _ => Vec::new(),
        };
        let fresh = touched.into_iter().filter(|name| self.versions.before(name).is_none());
        fresh.map(|name| (name.clone(), self.versions(&name))).collect()
    }

    /// Services that the list which ends did not name, or slices of which it did not.
    fn unnamed(&self, kind: Kind) -> Vec<ObjectName> {
        match kind {
            Kind::Service => missing(self.lists.services.as_ref(), self.snapshot.service_names()),
            Kind::EndpointSlice => missing(self.lists.slices.as_ref(), self.snapshot.slice_names())
                .iter()
                .filter_map(|slice| self.snapshot.owner_of(slice).cloned())
                .collect(),
            Kind::Node | Kind::ServiceCidr => Vec::new(),
        }
    }

    fn fold(&mut self, event: Event) -> Changed {
        match event {
            Event::ListBegins(kind) => self.begin(kind),
            Event::ListEnds(kind) => self.end(kind),
            Event::Service(service, version) => {
                name(&mut self.lists.services, &service.name);
                self.versions.service_is(&service.name, version);
                self.snapshot.put_service(service)
            }
            Event::Slice(slice, version, _) => {
                name(&mut self.lists.slices, &slice.name);
                self.versions.slice_is(&slice.name, version);
                self.snapshot.put_slice(slice)
            }
            Event::Node(node) => {
                self.lists.node = self.lists.node.map(|_| true);
                let node = self.with_what_holds_on(node);
                self.snapshot.set_node(Some(node))
            }
            Event::OtherNode(node, addresses) => {
                name(&mut self.lists.other_nodes, &node);
                self.snapshot.put_node_addresses(&node, addresses)
            }
            Event::ServiceCidr(cidr, prefixes) => {
                name(&mut self.lists.service_cidrs, &cidr);
                self.snapshot.put_service_cidr(&cidr, prefixes)
            }
            Event::ServiceGone(name) => self.lose_service(&name),
            Event::SliceGone(name) => self.lose_slice(&name),
            Event::NodeGone => self.lose_node(),
            Event::OtherNodeGone(name) => self.snapshot.remove_node_addresses(&name),
            Event::ServiceCidrGone(name) => self.snapshot.remove_service_cidr(&name),
        }
    }

    fn lose_service(&mut self, name: &ObjectName) -> Changed {
        self.versions.lose_service(name);
        self.snapshot.remove_service(name)
    }

    fn lose_slice(&mut self, name: &ObjectName) -> Changed {
        self.versions.lose_slice(name);
        self.snapshot.remove_slice(name)
    }

    /// What was known last of a Node that is gone holds on, as long as its pods and addresses may: only balancers are told
    /// to send nothing new.
    fn lose_node(&mut self) -> Changed {
        let last = self.snapshot.node().map(|node| Arc::new(Node { leaving: true, ..node.clone() }));
        self.lost.clone_from(&last);
        self.snapshot.set_node(last)
    }

    /// A Node that is registered anew gets its addresses and its pod prefixes later, usually the same. Until then it has those
    /// of the one that is gone.
    fn with_what_holds_on(&mut self, node: Arc<Node>) -> Arc<Node> {
        let Some(lost) = &self.lost else { return node };
        let mut held = (*node).clone();
        if held.addresses.is_empty() {
            held.addresses.clone_from(&lost.addresses);
        }
        if held.pod_cidrs.is_empty() {
            held.pod_cidrs.clone_from(&lost.pod_cidrs);
        }
        if held == *node {
            self.lost = None;
        }
        Arc::new(held)
    }

    fn begin(&mut self, kind: Kind) -> Changed {
        match kind {
            Kind::Service => self.lists.services = Some(BTreeSet::new()),
            Kind::EndpointSlice => self.lists.slices = Some(BTreeSet::new()),
            Kind::Node => {
                self.lists.node = Some(false);
                self.lists.other_nodes = Some(BTreeSet::new());
            }
            Kind::ServiceCidr => self.lists.service_cidrs = Some(BTreeSet::new()),
        }
        Changed::default()
    }

    /// Removes what a list did not name. After the first list there is nothing to remove.
    fn end(&mut self, kind: Kind) -> Changed {
        self.complete.insert(kind);
        let mut changed = Changed::default();
        match kind {
            Kind::Service => {
                let listed = self.lists.services.take();
                for name in missing(listed.as_ref(), self.snapshot.service_names()) {
                    changed.merge(self.lose_service(&name));
                }
            }
            Kind::EndpointSlice => {
                let listed = self.lists.slices.take();
                for name in missing(listed.as_ref(), self.snapshot.slice_names()) {
                    changed.merge(self.lose_slice(&name));
                }
            }
            Kind::Node => {
                if self.lists.node.take() == Some(false) {
                    changed.merge(self.lose_node());
                }
                let listed = self.lists.other_nodes.take();
                for name in missing(listed.as_ref(), self.snapshot.other_node_names()) {
                    changed.merge(self.snapshot.remove_node_addresses(&name));
                }
            }
            Kind::ServiceCidr => {
                let listed = self.lists.service_cidrs.take();
                for name in missing(listed.as_ref(), self.snapshot.service_cidr_names()) {
                    changed.merge(self.snapshot.remove_service_cidr(&name));
                }
            }
        }
        changed
    }
}

fn name<T: Ord + Clone>(list: &mut Option<BTreeSet<T>>, name: &T) {
    if let Some(list) = list {
        list.insert(name.clone());
    }
}

fn missing<'a, T: Ord + Clone + 'a>(
    listed: Option<&BTreeSet<T>>,
    held: impl Iterator<Item = &'a T>,
) -> Vec<T> {
    let Some(listed) = listed else { return Vec::new() };
    held.filter(|name| !listed.contains(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn end_all(store: &mut Store, kinds: &[Kind]) {
        for kind in kinds {
            store.apply(Event::ListBegins(*kind));
            store.apply(Event::ListEnds(*kind));
        }
    }

    #[test]
    fn there_is_no_snapshot_before_the_last_list_has_ended() {
        for last in Kind::ALL {
            let mut store = Store::default();
            let others: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != last).collect();
            end_all(&mut store, &others);
            assert!(store.snapshot().is_none());
            assert_eq!(store.awaited().collect::<Vec<_>>(), [last]);
            store.apply(Event::ListBegins(last));
            assert!(store.snapshot().is_none());
            store.apply(Event::ListEnds(last));
            assert!(store.snapshot().is_some());
        }
    }

    #[test]
    fn a_list_removes_what_it_does_not_name_but_not_before_its_end() {
        let mut store = Store::default();
        end_all(&mut store, &Kind::ALL);
        let cidr = |store: &mut Store, name: &str| {
            store.apply(Event::ServiceCidr(name.into(), Arc::new(["10.96.0.0/16".parse().unwrap()])))
        };
        cidr(&mut store, "old");
        cidr(&mut store, "both");
        store.apply(Event::Node(Arc::new(Node::default())));
        let names = |store: &Store| {
            store.snapshot().unwrap().service_cidr_names().map(ToString::to_string).collect::<Vec<_>>()
        };
        store.apply(Event::ListBegins(Kind::ServiceCidr));
        cidr(&mut store, "both");
        assert_eq!(names(&store), ["both", "old"]);
        assert!(store.apply(Event::ListEnds(Kind::ServiceCidr)).node);
        assert_eq!(names(&store), ["both"]);
    }

    #[test]
    fn a_node_that_is_gone_is_remembered_as_leaving() {
        let mut store = Store::default();
        end_all(&mut store, &Kind::ALL);
        store.apply(Event::NodeGone);
        assert!(store.snapshot().unwrap().node().is_none(), "none was ever seen");
        let node = Node { addresses: ["192.0.2.1".parse().unwrap()].into(), ..Node::default() };
        let gone: [fn(&mut Store) -> Changed; 2] = [
            |store| store.apply(Event::NodeGone),
            |store| {
                store.apply(Event::ListBegins(Kind::Node));
                store.apply(Event::ListEnds(Kind::Node))
            },
        ];
        for lose in gone {
            store.apply(Event::Node(Arc::new(node.clone())));
            assert!(lose(&mut store).node);
            let kept = Node { leaving: true, ..node.clone() };
            assert_eq!(store.snapshot().unwrap().node(), Some(&kept));
        }
    }

    #[test]
    fn a_node_that_is_registered_anew_has_what_the_former_had_until_it_has_its_own() {
        let mut store = Store::default();
        end_all(&mut store, &Kind::ALL);
        let with = |last: Option<u8>, prefix: Option<&str>| Node {
            addresses: last.map(|last| IpAddr::from([192, 0, 2, last])).into_iter().collect(),
            pod_cidrs: prefix.map(|prefix| prefix.parse().unwrap()).into_iter().collect(),
            ..Node::default()
        };
        let former = with(Some(1), Some("10.244.1.0/24"));
        store.apply(Event::Node(Arc::new(former.clone())));
        store.apply(Event::NodeGone);
        let mut take = |node: Node| {
            store.apply(Event::Node(Arc::new(node)));
            store.snapshot().unwrap().node().unwrap().clone()
        };
        assert_eq!(take(with(None, None)), former);
        assert_eq!(take(with(Some(2), None)), with(Some(2), Some("10.244.1.0/24")));
        assert_eq!(take(with(Some(2), Some("10.244.2.0/24"))), with(Some(2), Some("10.244.2.0/24")));
        assert_eq!(take(with(None, None)), with(None, None), "it had its own, and they were taken from it");
    }

    fn addresses(last: u8) -> Arc<[IpAddr]> {
        [IpAddr::from([192, 0, 2, last])].into()
    }

    #[test]
    fn another_node_counts_by_its_addresses_only_and_until_a_list_leaves_it_out() {
        let mut store = Store::default();
        let other = |name: &str, last| Event::OtherNode(name.into(), addresses(last));
        store.apply(Event::ListBegins(Kind::Node));
        store.apply(other("b", 2));
        store.apply(other("c", 3));
        store.apply(Event::ListEnds(Kind::Node));
        end_all(&mut store, &[Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr]);
        let known = |store: &Store| {
            let snapshot = store.snapshot().unwrap();
            (1..5).filter(|last| snapshot.is_of_a_node(addresses(*last)[0])).collect::<Vec<_>>()
        };
        assert_eq!(known(&store), [2, 3]);
        assert!(store.snapshot().unwrap().node().is_none());
        assert!(store.apply(other("b", 2)).is_empty(), "a heartbeat");
        let changed = store.apply(other("b", 4));
        assert_eq!(changed.addresses, BTreeSet::from([addresses(2)[0], addresses(4)[0]]));
        assert!(!changed.node && changed.services.is_empty());
        store.apply(Event::ListBegins(Kind::Node));
        store.apply(other("b", 4));
        assert_eq!(known(&store), [3, 4], "not before the end");
        let changed = store.apply(Event::ListEnds(Kind::Node));
        assert_eq!(changed.addresses, BTreeSet::from([addresses(3)[0]]));
        assert!(!changed.node, "the Node we are on was never seen");
        store.apply(Event::OtherNodeGone("b".into()));
        assert_eq!(known(&store), [0; 0]);
    }

    #[test]
    fn a_node_that_is_gone_keeps_its_addresses_when_others_lose_theirs() {
        let mut store = Store::default();
        end_all(&mut store, &Kind::ALL);
        store.apply(Event::Node(Arc::new(Node {
            addresses: addresses(1).to_vec().into(),
            ..Node::default()
        })));
        store.apply(Event::OtherNode("b".into(), addresses(2)));
        let changed = {
            store.apply(Event::ListBegins(Kind::Node));
            store.apply(Event::ListEnds(Kind::Node))
        };
        assert!(changed.node, "it is leaving now");
        assert_eq!(changed.addresses, BTreeSet::from([addresses(2)[0]]));
        assert!(store.snapshot().unwrap().is_of_a_node(addresses(1)[0]));
    }
}
