//! Real servers that get no new connections and are not gone yet. Pure: time and counts are arguments.
//!
//! A real server that is not wanted any more has weight 0 and keeps its connections. It is deleted when it has none left, or
//! when its time is over. Its time starts when the endpoint itself is gone: connections to an endpoint that merely gets no
//! new ones may go on. The kernel does not tell when a connection ends, so counts are asked for, of these servers only, at
//! intervals that grow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kubeweir_netlink::ipvs::Identity;

/// Until counts are looked at again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// All that drain.
#[derive(Clone, Debug, Default)]
pub struct Draining(BTreeMap<Identity, Server>);

/// The real servers of one virtual server that drain.
#[derive(Clone, Debug)]
struct Server {
    /// With the end of their time; `None` while they have all the time they want.
    real: BTreeMap<SocketAddr, Option<Instant>>,
    /// When counts are looked at next, and how long after that.
    next: Instant,
    pause: Duration,
}

/// What changes about draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It drains from now on, or its time is another. A time that runs already is not prolonged.
    Until(Option<Instant>),
    /// It is wanted again, or gone.
    Over,
}

impl Draining {
    /// Whether this real server drains.
    pub fn contains(&self, identity: &Identity, real: &SocketAddr) -> bool {
        self.0.get(identity).is_some_and(|server| server.real.contains_key(real))
    }

    /// The real servers of a virtual server that drain.
    pub fn of(&self, identity: &Identity) -> impl Iterator<Item = &SocketAddr> {
        self.0.get(identity).into_iter().flat_map(|server| server.real.keys())
    }

    /// How many drain.
    pub fn count(&self) -> usize {
        self.0.values().map(|server| server.real.len()).sum()
    }

    /// Carries out changes that begin now.
    pub fn take(&mut self, identity: &Identity, real: SocketAddr, change: Change, now: Instant) {
        match change {
            Change::Until(end) => {
                let first = || Server { real: BTreeMap::new(), next: now, pause: PAUSES[0] };
                let server = self.0.entry(*identity).or_insert_with(first);
                let known = server.real.get(&real).copied();
                let kept = known.flatten().filter(|_| end.is_some());
                server.real.insert(real, kept.or(end));
                if known.is_none() {
                    (server.next, server.pause) = (now, PAUSES[0]);
                }
            }
            Change::Over => {
                let Some(server) = self.0.get_mut(identity) else { return };
                server.real.remove(&real);
                if server.real.is_empty() {
                    self.0.remove(identity);
                }
            }
        }
    }

    /// Forgets virtual servers that are gone.
    pub fn forget(&mut self, identity: &Identity) {
        self.0.remove(identity);
    }

    /// When the next look is due.
    pub fn due(&self) -> Option<Instant> {
        let ends = self.0.values().flat_map(|server| server.real.values().flatten().copied());
        self.0.values().map(|server| server.next).chain(ends).min()
    }

    /// The virtual servers whose counts are due.
    pub fn ripe(&self, now: Instant) -> Vec<Identity> {
        let due =
            |server: &Server| server.next <= now || server.real.values().flatten().any(|end| *end <= now);
        self.0.iter().filter(|(_, server)| due(server)).map(|(identity, _)| *identity).collect()
    }

    /// Which real servers may go, given how many connections each has; one that the kernel does not have counts as gone, and
    /// is not returned.
    pub fn judge(
        &mut self,
        identity: &Identity,
        connections: &BTreeMap<SocketAddr, u32>,
        now: Instant,
    ) -> Vec<SocketAddr> {
        let Some(server) = self.0.get_mut(identity) else { return Vec::new() };
        server.real.retain(|real, _| connections.contains_key(real));
        let is_over = |real: &SocketAddr, end: &Option<Instant>| {
            connections.get(real) == Some(&0) || end.is_some_and(|end| end <= now)
        };
        let over =
            server.real.iter().filter(|(real, end)| is_over(real, end)).map(|(real, _)| *real).collect();
        server.next = now + server.pause;
        server.pause = (server.pause * 2).min(PAUSES[1]);
        if server.real.is_empty() {
            self.0.remove(identity);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn identity() -> Identity {
        Identity::Address { protocol: 6, address: [10, 0, 0, 1].into(), port: 80 }
    }

    fn real(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 244, 0, n], 8080))
    }

    fn draining(ends: &[(u8, Option<Instant>)], now: Instant) -> Draining {
        let mut draining = Draining::default();
        for (n, end) in ends {
            draining.take(&identity(), real(*n), Change::Until(*end), now);
        }
        draining
    }

    #[test]
    fn who_has_no_connection_goes_and_who_has_some_goes_when_its_time_is_over() {
        let now = Instant::now();
        let mut draining = draining(&[(1, None), (2, None), (3, Some(now + 9 * SECOND))], now);
        let counts = BTreeMap::from([(real(1), 0), (real(2), 4), (real(3), 4)]);
        assert_eq!(draining.judge(&identity(), &counts, now), [real(1)]);
        draining.take(&identity(), real(1), Change::Over, now);
        let later = now + 9 * SECOND;
        assert_eq!(draining.ripe(later), [identity()]);
        assert_eq!(draining.judge(&identity(), &counts, later), [real(3)]);
    }

    #[test]
    fn looks_become_rarer_but_no_end_is_missed() {
        let now = Instant::now();
        let mut draining = draining(&[(1, Some(now + 100 * SECOND))], now);
        let counts = BTreeMap::from([(real(1), 1)]);
        let (mut at, mut looks) = (now, 0);
        while let Some(due) = draining.due() {
            (at, looks) = (due, looks + 1);
            for gone in draining.judge(&identity(), &counts, at) {
                draining.take(&identity(), gone, Change::Over, at);
            }
        }
        assert_eq!((at, looks), (now + 100 * SECOND, 9));
    }

    #[test]
    fn a_time_that_runs_is_not_prolonged_and_ends_if_the_endpoint_is_back() {
        let now = Instant::now();
        let mut draining = draining(&[(1, Some(now + SECOND))], now);
        draining.take(&identity(), real(1), Change::Until(Some(now + 9 * SECOND)), now);
        assert!(draining.due().is_some());
        let counts = BTreeMap::from([(real(1), 1)]);
        assert_eq!(draining.judge(&identity(), &counts, now + SECOND), [real(1)]);
        draining.take(&identity(), real(1), Change::Until(None), now);
        assert!(draining.judge(&identity(), &counts, now + 99 * SECOND).is_empty());
        draining.take(&identity(), real(1), Change::Over, now);
        assert_eq!(draining.due(), None);
    }

    #[test]
    fn what_the_kernel_does_not_have_is_over() {
        let now = Instant::now();
        let mut draining = draining(&[(1, None)], now);
        assert!(draining.judge(&identity(), &BTreeMap::new(), now).is_empty());
        assert_eq!(draining.due(), None);
    }
}
