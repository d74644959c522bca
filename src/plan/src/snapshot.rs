use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::input::{EndpointSlice, Node, Service};
use crate::names::ObjectName;

/// All that the API says about Services, complete: whoever holds one has seen every initial list to its end.
///
/// Objects are shared, so that replacing one costs what that object costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    services: BTreeMap<ObjectName, Entry>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    node: Option<Arc<Node>>,
    /// Addresses of other Nodes, by their names.
    other_nodes: BTreeMap<Arc<str>, Arc<[IpAddr]>>,
    /// How often each address is one of a Node's, this one's included.
    node_addresses: HashMap<IpAddr, usize>,
    /// By name of the ServiceCIDR object.
    service_cidrs: BTreeMap<Arc<str>, Arc<[IpNet]>>,
}

/// A Service, its slices, or both: either may come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    service: Option<Arc<Service>>,
    /// Ordered by name.
    slices: Box<[Arc<EndpointSlice>]>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }
}

/// What of a snapshot changed: an upper bound of what a planner must look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Services that changed themselves or whose endpoints did.
    pub services: BTreeSet<ObjectName>,
    /// The Node or a ServiceCIDR changed.
    pub node: bool,
    /// Addresses that some Node has now and none had, or the other way round.
    pub addresses: BTreeSet<IpAddr>,
}

impl Changed {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.node && self.addresses.is_empty()
    }

    /// Adds what changed elsewhere.
    pub fn merge(&mut self, other: Changed) {
        // Not `append`, whose price is that of both sets.
        self.services.extend(other.services);
        self.addresses.extend(other.addresses);
        self.node |= other.node;
    }
}

impl Snapshot {
    /// Adds or replaces a Service.
    pub fn put_service(&mut self, service: Arc<Service>) -> Changed {
        let name = service.name.clone();
        let entry = self.services.entry(name.clone()).or_default();
        let same = entry.service.as_ref() == Some(&service);
        entry.service = Some(service);
        one_if(!same, name)
    }

    /// Removes a Service.
    pub fn remove_service(&mut self, name: &ObjectName) -> Changed {
        let Some(entry) = self.services.get_mut(name) else { return Changed::default() };
        let removed = entry.service.take().is_some();
        if entry.is_empty() {
            self.services.remove(name);
        }
        one_if(removed, name.clone())
    }

    /// Adds or replaces a slice, which may move from one Service to another.
    pub fn put_slice(&mut self, slice: Arc<EndpointSlice>) -> Changed {
        let mut changed = Changed::default();
        if self.slices.get(&slice.name).is_some_and(|old| *old == slice) {
            return changed;
        }
        changed.merge(self.remove_slice(&slice.name));
        changed.services.insert(slice.service.clone());
        let entry = self.services.entry(slice.service.clone()).or_default();
        let at = entry.slices.partition_point(|sibling| sibling.name < slice.name);
        let (before, behind) = entry.slices.split_at(at);
        entry.slices = [before, &[Arc::clone(&slice)], behind].concat().into();
        self.slices.insert(slice.name.clone(), slice);
        changed
    }

    /// Removes a slice.
    pub fn remove_slice(&mut self, name: &ObjectName) -> Changed {
        let Some(slice) = self.slices.remove(name) else { return Changed::default() };
        if let Some(entry) = self.services.get_mut(&slice.service) {
            entry.slices = entry.slices.iter().filter(|sibling| sibling.name != *name).cloned().collect();
            if entry.is_empty() {
                self.services.remove(&slice.service);
            }
        }
        one_if(true, slice.service.clone())
    }

    /// Replaces the Node.
    pub fn set_node(&mut self, node: Option<Arc<Node>>) -> Changed {
        let addresses = |node: &Option<Arc<Node>>| node.as_ref().map(|node| node.addresses.clone());
        let differs = self.node != node;
        let (before, after) = (addresses(&self.node), addresses(&node));
        self.node = node;
        let moved = self.count_addresses(&before.unwrap_or_default(), &after.unwrap_or_default());
        Changed { node: differs, addresses: moved, ..Changed::default() }
    }

    /// Adds or replaces the addresses of another Node.
    pub fn put_node_addresses(&mut self, name: &Arc<str>, addresses: Arc<[IpAddr]>) -> Changed {
        if self.other_nodes.get(name) == Some(&addresses) {
            return Changed::default();
        }
        let before = self.other_nodes.get(name).cloned();
        let moved = self.count_addresses(before.as_deref().unwrap_or_default(), &addresses);
        self.other_nodes.insert(Arc::clone(name), addresses);
        Changed { addresses: moved, ..Changed::default() }
    }

    /// Removes the addresses of another Node.
    pub fn remove_node_addresses(&mut self, name: &str) -> Changed {
        let before = self.other_nodes.remove(name);
        let moved = self.count_addresses(before.as_deref().unwrap_or_default(), &[]);
        Changed { addresses: moved, ..Changed::default() }
    }

    /// Counts what a Node has instead of what it had. Returns the addresses that some Node has now and none had, or
    /// the other way round.
    fn count_addresses(&mut self, before: &[IpAddr], after: &[IpAddr]) -> BTreeSet<IpAddr> {
        let all: BTreeSet<IpAddr> = before.iter().chain(after).copied().collect();
        let had: Vec<bool> = all.iter().map(|ip| self.is_of_a_node(*ip)).collect();
        for ip in after {
            *self.node_addresses.entry(*ip).or_default() += 1;
        }
        for ip in before {
            if let hash_map::Entry::Occupied(mut count) = self.node_addresses.entry(*ip) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        let moved = all.into_iter().zip(had).filter(|(ip, had)| self.is_of_a_node(*ip) != *had);
        moved.map(|(ip, _)| ip).collect()
    }

    /// Adds or replaces a ServiceCIDR object.
    pub fn put_service_cidr(&mut self, name: &Arc<str>, prefixes: Arc<[IpNet]>) -> Changed {
        let differs = self.service_cidrs.get(name) != Some(&prefixes);
        self.service_cidrs.insert(Arc::clone(name), prefixes);
        Changed { node: differs, ..Changed::default() }
    }

    /// Removes a ServiceCIDR object.
    pub fn remove_service_cidr(&mut self, name: &str) -> Changed {
        Changed { node: self.service_cidrs.remove(name).is_some(), ..Changed::default() }
    }

    /// The Service with this name.
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name)?.service.as_deref()
    }

    /// The slices of a Service, ordered by name.
    pub fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &EndpointSlice> {
        self.services.get(service).into_iter().flat_map(|entry| entry.slices.iter()).map(Arc::as_ref)
    }

    /// The Service that a slice belongs to; `None` if there is no such slice.
    pub fn owner_of(&self, slice: &ObjectName) -> Option<&ObjectName> {
        self.slices.get(slice).map(|slice| &slice.service)
    }

    /// The Node, unless it does not exist.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_deref()
    }

    /// Whether some Node, this one included, has the address.
    pub fn is_of_a_node(&self, address: IpAddr) -> bool {
        self.node_addresses.contains_key(&address)
    }

    /// Names of all other Nodes.
    pub fn other_node_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.other_nodes.keys()
    }

    /// Names of all Services.
    pub fn service_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.services.iter().filter(|(_, entry)| entry.service.is_some()).map(|(name, _)| name)
    }

    /// Names of all slices.
    pub fn slice_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.slices.keys()
    }

    /// Names of all ServiceCIDR objects.
    pub fn service_cidr_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.service_cidrs.keys()
    }

    /// All prefixes of all ServiceCIDR objects, each once.
    pub fn service_cidrs(&self) -> BTreeSet<IpNet> {
        self.service_cidrs.values().flat_map(|prefixes| prefixes.iter()).map(IpNet::trunc).collect()
    }
}

fn one_if(changed: bool, name: ObjectName) -> Changed {
    Changed { services: changed.then_some(name).into_iter().collect(), ..Changed::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(lasts: &[u8]) -> Arc<[IpAddr]> {
        lasts.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect()
    }

    #[test]
    fn addresses_of_nodes_change_with_the_first_and_the_last_that_has_them() {
        let mut snapshot = Snapshot::default();
        let put = |name: &str, lasts: &[u8]| (name.to_owned(), Some(ips(lasts)));
        let gone = |name: &str| (name.to_owned(), None);
        let steps = [
            ("new, one of them twice", put("a", &[1, 2, 1]), vec![1, 2]),
            ("the same again", put("a", &[1, 2, 1]), vec![]),
            ("in another order", put("a", &[2, 1]), vec![]),
            ("shared", put("b", &[2, 3]), vec![3]),
            ("no longer shared", put("a", &[1]), vec![]),
            ("another instead", put("a", &[4]), vec![1, 4]),
            ("gone", gone("a"), vec![4]),
            ("gone again", gone("a"), vec![]),
            ("this one", put(THIS, &[3, 5]), vec![5]),
            ("one of this one's leaves the other", gone("b"), vec![2]),
            ("this one is gone", gone(THIS), vec![3, 5]),
        ];
        for (what, (name, addresses), expected) in steps {
            let before = snapshot.clone();
            let changed = step(&mut snapshot, &name, addresses);
            assert_eq!(changed.addresses, ips(&expected).iter().copied().collect(), "{what}");
            for ip in &changed.addresses {
                assert_ne!(snapshot.is_of_a_node(*ip), before.is_of_a_node(*ip), "{what}");
            }
            assert_eq!(changed.is_empty(), expected.is_empty(), "{what}");
            assert_eq!(changed.node, name == THIS, "{what}");
        }
        assert_eq!(snapshot, Snapshot::default());
    }

    const THIS: &str = "this";

    fn step(snapshot: &mut Snapshot, name: &str, addresses: Option<Arc<[IpAddr]>>) -> Changed {
        match addresses {
            _ if name == THIS => snapshot.set_node(addresses.map(|ips| node(&ips))),
            Some(addresses) => snapshot.put_node_addresses(&name.into(), addresses),
            None => snapshot.remove_node_addresses(name),
        }
    }

    fn node(addresses: &[IpAddr]) -> Arc<Node> {
        Arc::new(Node { addresses: addresses.into(), ..Node::default() })
    }
}
