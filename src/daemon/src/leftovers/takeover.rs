//! A mode takes over from another: what that one left goes once the own rules are in force, so that no packet meets neither.
//!
//! New connections are served throughout: the table beside virtual servers lets nobody else translate what is theirs, so that
//! is ended first, long before they go. What becomes of established ones:
//!
//! - What a table translated goes on: connection tracking keeps it, as long as any table translates.
//! - What virtual servers carried ends with them. The next packet is taken for that of a new connection, and the endpoint
//!   that it is sent to resets it; or goes on with it, if it happens to be the right one.
//! - An entry of a virtual server that ends takes along the tracked connection with its client, port and frontend
//!   (`ip_vs_conn_drop_conntrack`), also if that is a newer one, which a table translates: made while virtual servers are still
//!   there, from a port that IPVS remembers. IPVS does not see these and cannot be told.
//! - The host's own connections to Services, through virtual servers or begun while these were still there, are *from* the
//!   address on the device. They are not reset when it goes: whoever has them must time out.
//!
//! To drain them first, [`PAUSE`] would have to last until `connections` of all of them are none.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use kubeweir_netfilter::{Commit, Family, Kernel, Operation};
use kubeweir_nftables::names::{SERVICES, TABLE, TABLE_BESIDE_SERVERS};
use tracing::{info, warn};

use super::{
    Doors, Live, OfServers, Outcome, Removed, Scope, TABLE_OF_KUBE_PROXY, advice_on_legacy, chain,
    is_missing, remove,
};
use crate::core::SyncReport;
use crate::settings::{ProxyMode, Settings};

/// How long virtual servers outlast the pass that replaces them. Connections end with their virtual server; those that are
/// just being made then, before rules translated new ones, have so long to be done with.
const PAUSE: Duration = Duration::from_secs(5);

/// What is still to be taken over.
pub(crate) struct Takeover {
    tables: Scope,
    servers: Scope,
    next: Next,
}

/// What is to be removed next, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Tables, after the next pass that looks at everything.
    Waiting,
    /// Tables, at once: what they translate they translate by what is known no more. The flows that they have
    /// translated go on.
    Tables,
    /// Virtual servers, later, and sets, of which the kernel has let go by then.
    Servers(Instant),
    /// Nothing, however often somebody puts it there: the daemon does not fight with another that runs.
    Nothing,
}

impl Takeover {
    /// Of the mode that the settings name.
    pub(crate) fn of(settings: &Settings) -> Takeover {
        Takeover::by(settings.mode, &settings.ipvs.exclude_cidrs)
    }

    /// IPVS mode itself looks after virtual servers and the device.
    fn by(mode: ProxyMode, excluded: &[IpNet]) -> Takeover {
        let (tables, servers): (&[_], _) = match mode {
            ProxyMode::Nftables => (&[TABLE_OF_KUBE_PROXY], Some(OfServers { excluded: excluded.to_vec() })),
            ProxyMode::Ipvs => (&[TABLE, TABLE_OF_KUBE_PROXY], None),
        };
        let tables = Scope { tables, servers: None, chains: true, sets: false };
        let servers = Scope { tables: &[], servers, chains: false, sets: true };
        Takeover { tables, servers, next: Next::Waiting }
    }

    /// A pass has ended.
    pub(crate) fn passed(&mut self, report: &SyncReport) {
        if self.next == Next::Waiting && report.whole && report.outcome.is_ok() {
            self.next = Next::Tables;
        }
    }

    /// When something is to be removed.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        match self.next {
            Next::Waiting | Next::Nothing => None,
            Next::Tables => Some(now),
            Next::Servers(at) => Some(at),
        }
    }

    /// Removes what is due. What fails is tried again after the next whole pass. Returns how much failed.
    pub(crate) fn act(&mut self, now: Instant) -> usize {
        if self.due(now).is_none_or(|due| due > now) {
            return 0;
        }
        match Live::open() {
            Ok(mut doors) => {
                let outcome = self.act_on(&mut doors, now);
                tell(&outcome);
                if self.next == Next::Nothing {
                    for advice in advice_on_legacy() {
                        warn!("left by iptables-legacy: {advice}");
                    }
                }
                outcome.failed.len()
            }
            Err(error) => {
                warn!(reason = %error, "what another mode has left is not looked at");
                self.next = Next::Waiting;
                1
            }
        }
    }

    fn act_on(&mut self, doors: &mut impl Doors, now: Instant) -> Outcome {
        let scope = if self.next == Next::Tables { &self.tables } else { &self.servers };
        let mut outcome = remove(doors, scope);
        if self.next == Next::Tables && self.servers.servers.is_some() {
            release(doors.tables(), &mut outcome);
        }
        self.next = match self.next {
            _ if !outcome.failed.is_empty() => Next::Waiting,
            Next::Tables => Next::Servers(now + PAUSE),
            _ => Next::Nothing,
        };
        outcome
    }
}

/// Has the table beside virtual servers translate nothing any more, so that the own one translates all new connections. All else
/// of it stays with virtual servers and the device: it records which are ours, closes the host's ports at their addresses and
/// masquerades what the host sends from these.
fn release(tables: &mut impl Kernel, outcome: &mut Outcome) {
    for family in Family::ALL {
        let mut commit = Commit::new(family, TABLE_BESIDE_SERVERS);
        commit.push(Operation::FlushChain(SERVICES.to_owned()));
        if let Err(error) = tables.commit(&[commit], None)
            && !is_missing(&error)
        {
            outcome.failed.push(format!("table {family} {TABLE_BESIDE_SERVERS}: {:#}", chain(error)));
        }
    }
}

fn tell(outcome: &Outcome) {
    for removed in &outcome.removed {
        info!("removed what another mode has left: {removed}");
    }
    if outcome.removed.iter().any(|removed| matches!(removed, Removed::Servers(_)))
        && !outcome.foreign.is_empty()
    {
        info!(count = outcome.foreign.len(), "virtual servers that are not ours stay");
    }
    for held in &outcome.held {
        warn!("what another mode has left stays: {held}");
    }
    for failed in &outcome.failed {
        warn!(reason = failed, "what another mode has left stays until all is synced again");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Simulated, with_leftovers};
    use super::*;
    use crate::mode::{Applied, Failure};

    fn report(whole: bool, outcome: Result<Applied, Failure>) -> SyncReport {
        SyncReport {
            took: Duration::ZERO,
            whole,
            outcome,
            findings: Vec::new(),
            complaints: Vec::new(),
            standing: crate::core::Reasons::new(),
            triggers: Vec::new(),
            services: 0,
            health_ports: crate::healthports::ledger::Difference::default(),
            unserved: kubeweir_plan::Unserved::default(),
        }
    }

    fn passed(mode: ProxyMode) -> (Takeover, Simulated, Instant) {
        let mut takeover = Takeover::by(mode, &[]);
        takeover.passed(&report(true, Ok(Applied::default())));
        (takeover, with_leftovers(), Instant::now())
    }

    fn names(outcome: &Outcome) -> Vec<String> {
        outcome.removed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_goes_before_everything_was_programmed() {
        let mut takeover = Takeover::by(ProxyMode::Nftables, &[]);
        let now = Instant::now();
        let failure = Failure::Commit(kubeweir_netfilter::CommitError::Outdated);
        for report in [report(false, Ok(Applied::default())), report(true, Err(failure))] {
            takeover.passed(&report);
            assert_eq!(takeover.due(now), None);
        }
        takeover.passed(&report(true, Ok(Applied::default())));
        assert_eq!(takeover.due(now), Some(now));
    }

    #[test]
    fn nftables_mode_removes_tables_at_once_and_virtual_servers_a_little_later() {
        let (mut takeover, mut doors, now) = passed(ProxyMode::Nftables);
        let outcome = takeover.act_on(&mut doors, now);
        assert_eq!(names(&outcome), ["table ip kube-proxy", "table ip6 kube-proxy"]);
        assert_eq!(takeover.due(now), Some(now + PAUSE));
        let outcome = takeover.act_on(&mut doors, now + PAUSE);
        let ipvs = [
            "virtual servers: 3",
            "device kube-ipvs0 with its addresses",
            "table ip kubeweir-ipvs",
            "table ip6 kubeweir-ipvs",
        ];
        assert_eq!(names(&outcome), ipvs);
        assert_eq!(takeover.due(now + PAUSE), None, "once");
        takeover.passed(&report(true, Ok(Applied::default())));
        assert_eq!(takeover.due(now + PAUSE), None, "no fight with whoever puts it back");
    }

    #[test]
    fn the_table_beside_virtual_servers_translates_nothing_more_while_they_still_serve_what_they_have() {
        let (mut takeover, mut doors, now) = passed(ProxyMode::Nftables);
        assert!(takeover.act_on(&mut doors, now).failed.is_empty());
        let table = doors.tables.table(Family::Ip, TABLE_BESIDE_SERVERS).unwrap();
        assert!(table.chains[SERVICES].rules.is_empty() && !table.sets.is_empty());
        assert!(doors.servers.has_device && doors.servers.log.is_empty());
    }

    #[test]
    fn ipvs_mode_removes_tables_and_leaves_the_rest_to_itself() {
        let (mut takeover, mut doors, now) = passed(ProxyMode::Ipvs);
        let outcome = takeover.act_on(&mut doors, now);
        let tables = ["ip kubeweir", "ip6 kubeweir", "ip kube-proxy", "ip6 kube-proxy"];
        assert_eq!(names(&outcome), tables.map(|table| format!("table {table}")));
        let outcome = takeover.act_on(&mut doors, now + PAUSE);
        assert_eq!((names(&outcome), takeover.due(now + PAUSE), doors.opened), (Vec::new(), None, 0));
    }

    #[test]
    fn what_fails_is_tried_again_after_the_next_whole_pass() {
        let (mut takeover, mut doors, now) = passed(ProxyMode::Nftables);
        doors.tables.refuse_next = 1;
        assert_eq!(takeover.act_on(&mut doors, now).failed.len(), 1);
        assert_eq!(takeover.due(now), None);
        takeover.passed(&report(true, Ok(Applied::default())));
        assert_eq!(names(&takeover.act_on(&mut doors, now)), ["table ip kube-proxy"]);
    }
}
