//! What modes leave in the kernel, ours and kube-proxy's, and its removal: when another mode takes over, and for good.
//!
//! Nothing else is touched: tables go by name, virtual servers only if they are certainly ours, the device only if it is a
//! dummy; chains that kube-proxy made with `iptables`, and sets that it made with `ipset`, by their exact names.

mod ipset;
mod iptables;
mod kernel;
mod legacy;
mod takeover;

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use kubeweir_ipvs::cleanup;
use kubeweir_ipvs::kernel::Kernel as Servers;
use kubeweir_ipvs::programmed::Seen;
use kubeweir_netfilter::survey::Surveyed;
use kubeweir_netfilter::{Commit, CommitError, Family, Kernel, ObserveError, Operation};
use kubeweir_netlink::ipvs::Identity;
use kubeweir_netlink::{Errno, Error};
use kubeweir_nftables::names::{TABLE, TABLE_BESIDE_SERVERS};
use kubeweir_nftables::programmed::Observed;

pub use ipset::Sets;
pub use kernel::Live;
pub(crate) use legacy::advice as advice_on_legacy;
pub(crate) use takeover::Takeover;

/// The table of kube-proxy in nftables mode.
pub const TABLE_OF_KUBE_PROXY: &str = "kube-proxy";

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Tables of both families, by name.
    pub tables: &'static [&'static str],
    /// What IPVS mode leaves: virtual servers, the device, the table beside them.
    pub servers: Option<OfServers>,
    /// Whether chains go that kube-proxy made with `iptables`.
    pub chains: bool,
    /// Whether sets go that kube-proxy made with `ipset`. Rules that look into them must be gone by then, or go with it.
    pub sets: bool,
}

/// What to know for the removal of virtual servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfServers {
    /// Addresses whose virtual servers stay, unless it is certain that we made them.
    pub excluded: Vec<IpNet>,
}

/// The kernel, real or simulated. Only the last one asks for IPVS, which makes the kernel load it.
pub trait Doors {
    /// Tables.
    type Tables: Kernel;
    /// Virtual servers.
    type Servers: Servers;
    /// Sets.
    type Sets: Sets;

    /// Tables of others, as far as they matter here.
    fn survey(&mut self, family: Family, tables: &[&str]) -> Result<Vec<Surveyed>, ObserveError>;

    /// Deletes rules and chains of such tables, all or none.
    fn remove_chains(&mut self, commits: &[Commit]) -> Result<(), CommitError>;

    /// Sets; `None` if the kernel has none, which is found out without making it load anything.
    fn sets(&mut self) -> Result<Option<&mut Self::Sets>, Error>;

    /// Tables.
    fn tables(&mut self) -> &mut Self::Tables;

    /// Whether the device that carries addresses is there.
    fn has_device(&mut self) -> Result<bool, Error>;

    /// Removes it with all its addresses.
    fn remove_device(&mut self) -> Result<(), Error>;

    /// Virtual servers; `None` if the kernel has no IPVS.
    fn servers(&mut self) -> Result<Option<&mut Self::Servers>, Error>;
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    /// What was removed, in order.
    pub removed: Vec<Removed>,
    /// Virtual servers that stay, not being ours.
    pub foreign: Vec<Identity>,
    /// Chains that stay because somebody else leads to them.
    pub held: Vec<String>,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Virtual servers.
    Servers(Vec<Identity>),
    /// The device with its addresses.
    Device,
    /// A table.
    Table(Family, &'static str),
    /// Chains of a table, and how many.
    Chains(String, usize),
    /// Sets, and how many.
    Sets(usize),
}

impl Scope {
    /// Everything of ours and of kube-proxy's.
    pub fn everything(excluded: Vec<IpNet>) -> Scope {
        let servers = Some(OfServers { excluded });
        Scope { tables: &[TABLE, TABLE_OF_KUBE_PROXY], servers, chains: true, sets: true }
    }

    /// Our tables alone, for when kube-proxy serves again. Virtual servers and the device stay: in IPVS mode it goes on with those
    /// that it finds, in nftables mode it has removed them itself.
    pub fn ours() -> Scope {
        Scope { tables: &[TABLE, TABLE_BESIDE_SERVERS], servers: None, chains: false, sets: false }
    }
}

/// Removes all of it. What fails does not keep the rest from being tried.
///
/// Virtual servers go first, then the device, then the table beside them. The table records which virtual servers are ours,
/// and an address on the device says so of kube-proxy's: neither goes before these are gone, or nobody would ever know again.
/// The table also closes the host's other ports at those addresses, and masquerades what the host sends from them, so it
/// outlasts the device. Tables that translate by themselves have nothing to do with any of this.
pub fn remove(doors: &mut impl Doors, scope: &Scope) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(of_servers) = &scope.servers {
        remove_servers(doors, of_servers, &mut outcome);
    }
    for name in scope.tables {
        remove_table(doors.tables(), name, &mut outcome);
    }
    if scope.chains {
        iptables::remove(doors, &mut outcome);
    }
    if scope.sets {
        ipset::remove(doors, &mut outcome);
    }
    outcome
}

fn remove_servers(doors: &mut impl Doors, of_servers: &OfServers, outcome: &mut Outcome) {
    let device = doors.has_device();
    let Some(has_device) = outcome.tried(device, || format!("device {}", kubeweir_ipvs::DEVICE)) else {
        return;
    };
    let beside = beside_servers(doors.tables());
    let Some(beside) = outcome.tried(beside, || format!("table {TABLE_BESIDE_SERVERS}")) else { return };
    if !cleanup::is_hinted_at(has_device, &beside) {
        return;
    }
    let before = outcome.failed.len();
    delete_servers(doors, of_servers, &beside, outcome);
    if outcome.failed.len() > before {
        return;
    }
    if has_device {
        let removed = doors.remove_device();
        if outcome.tried(removed, || format!("device {}", kubeweir_ipvs::DEVICE)).is_none() {
            return;
        }
        outcome.removed.push(Removed::Device);
    }
    remove_table(doors.tables(), TABLE_BESIDE_SERVERS, outcome);
}

fn beside_servers(tables: &mut impl Kernel) -> Result<Observed, kubeweir_netfilter::ObserveError> {
    let observation = tables.observe(&Family::ALL.map(|family| (family, TABLE_BESIDE_SERVERS)))?;
    let mut tables = observation.tables.into_iter();
    Ok([tables.next().flatten(), tables.next().flatten()])
}

fn delete_servers(doors: &mut impl Doors, of_servers: &OfServers, beside: &Observed, outcome: &mut Outcome) {
    let opened = doors.servers();
    let Some(Some(kernel)) = outcome.tried(opened, || "virtual servers".to_owned()) else { return };
    let observed = kernel.observe();
    let Some(observed) = outcome.tried(observed, || "virtual servers".to_owned()) else { return };
    let seen = Seen { kernel: &observed, recorded: &cleanup::recorded(beside) };
    let sorted = cleanup::sort(seen, &of_servers.excluded);
    outcome.foreign = sorted.foreign;
    let deleted = cleanup::delete(kernel, &sorted.ours);
    let Some(refused) = outcome.tried(deleted, || "virtual servers".to_owned()) else { return };
    outcome.failed.extend(refused.iter().map(|failed| format!("virtual server: {failed}")));
    let stay: BTreeSet<&Identity> = refused.iter().filter_map(cleanup::server_of).collect();
    let gone: Vec<Identity> = sorted.ours.into_iter().filter(|identity| !stay.contains(identity)).collect();
    if !gone.is_empty() {
        outcome.removed.push(Removed::Servers(gone));
    }
}

/// A table that is not there is none of ours to remove: that the kernel says so is cheaper than asking before.
fn remove_table(tables: &mut impl Kernel, name: &'static str, outcome: &mut Outcome) {
    for family in Family::ALL {
        let mut commit = Commit::new(family, name);
        commit.push(Operation::DeleteTable);
        match tables.commit(&[commit], None) {
            Ok(()) => outcome.removed.push(Removed::Table(family, name)),
            Err(error) if is_missing(&error) => {}
            Err(error) => outcome.failed.push(format!("table {family} {name}: {:#}", chain(error))),
        }
    }
}

fn is_missing(error: &CommitError) -> bool {
    matches!(error, CommitError::Refused(refused) if refused.iter().all(|one| one.errno == Errno::ENOENT))
}

impl Outcome {
    /// The value, or the failure entered under the name of what it was about.
    fn tried<T, E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        result: Result<T, E>,
        what: impl Fn() -> String,
    ) -> Option<T> {
        result.map_err(|error| self.failed.push(format!("{}: {:#}", what(), chain(error)))).ok()
    }
}

/// With its causes.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(error)
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Removed::Servers(servers) => write!(f, "virtual servers: {}", servers.len()),
            Removed::Device => write!(f, "device {} with its addresses", kubeweir_ipvs::DEVICE),
            Removed::Table(family, name) => write!(f, "table {family} {name}"),
            Removed::Chains(table, count) => write!(f, "chains of kube-proxy in table {table}: {count}"),
            Removed::Sets(count) => write!(f, "sets of kube-proxy: {count}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
