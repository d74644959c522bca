//! From one Service's virtual servers to another version of them. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kubeweir_netlink::ipvs::{Identity, RealServer, Request};
use kubeweir_plan::{ObjectName, Protocol};

use crate::compile::{Server, Servers};
use crate::drain::{self, Draining};
use crate::schedulers::cannot_drain;
use crate::steps::{Change, Step};

/// What the differences of a pass share.
pub(crate) struct Differ<'a> {
    pub(crate) draining: &'a Draining,
    pub(crate) now: Instant,
    /// How long connections to an endpoint that is gone may go on.
    pub(crate) patience: Duration,
    pub(crate) steps: Vec<Step>,
    pub(crate) drains: Vec<(Identity, SocketAddr, drain::Change)>,
}

impl<'a> Differ<'a> {
    pub(crate) fn new(draining: &'a Draining, patience: Duration, now: Instant) -> Differ<'a> {
        Differ { draining, now, patience, steps: Vec::new(), drains: Vec::new() }
    }

    /// All of a Service's virtual servers. What the kernel has beyond those is none of this.
    pub(crate) fn servers(&mut self, service: Option<&ObjectName>, old: &Servers, new: &Servers) {
        let identities: BTreeSet<&Identity> = old.keys().chain(new.keys()).collect();
        for identity in identities {
            let mut one = One { differ: self, service, identity };
            match (old.get(identity), new.get(identity)) {
                (Some(_), None) => one.put(Request::DeleteServer(*identity)),
                (None, Some(new)) => one.create(new),
                (Some(old), Some(new)) => one.change(old, new),
                (None, None) => {}
            }
        }
    }

    pub(crate) fn step(&mut self, service: Option<&ObjectName>, change: Change) {
        self.steps.push(Step { service: service.cloned(), change });
    }
}

struct One<'d, 'a> {
    differ: &'d mut Differ<'a>,
    service: Option<&'d ObjectName>,
    identity: &'d Identity,
}

impl One<'_, '_> {
    fn put(&mut self, request: Request) {
        self.differ.step(self.service, Change::Server(request));
    }

    fn drain(&mut self, real: SocketAddr, change: drain::Change) {
        self.differ.drains.push((*self.identity, real, change));
    }

    fn create(&mut self, new: &Server) {
        self.put(Request::NewServer(*self.identity, new.scheduling.clone()));
        for real in new.real.values() {
            self.put(Request::NewReal(*self.identity, *real));
        }
        // Somebody has deleted it, and what drained with it.
        let draining: Vec<SocketAddr> = self.differ.draining.of(self.identity).copied().collect();
        for real in draining {
            self.drain(real, drain::Change::Over);
        }
    }

    fn change(&mut self, old: &Server, new: &Server) {
        if old.scheduling != new.scheduling {
            self.put(Request::SetServer(*self.identity, new.scheduling.clone()));
        }
        for (socket, real) in &new.real {
            self.wanted(*socket, old.real.get(socket), real);
        }
        let draining: Vec<SocketAddr> = self.differ.draining.of(self.identity).copied().collect();
        let leaving: BTreeSet<SocketAddr> = old.real.keys().copied().chain(draining).collect();
        for socket in leaving.iter().filter(|socket| !new.real.contains_key(socket)) {
            self.unwanted(*socket, old.real.get(socket), new);
        }
    }

    /// A real server that drains is there and only needs its weight again.
    fn wanted(&mut self, socket: SocketAddr, old: Option<&RealServer>, real: &RealServer) {
        let identity = *self.identity;
        let drains = self.differ.draining.contains(self.identity, &socket);
        if drains {
            self.drain(socket, drain::Change::Over);
        }
        match old {
            Some(old) if old == real && !drains => {}
            None if !drains => self.put(Request::NewReal(identity, *real)),
            _ => self.put(Request::SetReal(identity, *real)),
        }
    }

    fn unwanted(&mut self, socket: SocketAddr, old: Option<&RealServer>, new: &Server) {
        if cannot_drain(&new.scheduling.scheduler) {
            return self.remove(socket);
        }
        let end = match new.lingering.contains(&socket) {
            true => None,
            false if !self.is_tcp() => return self.remove(socket),
            false => Some(self.differ.now + self.differ.patience),
        };
        self.drain(socket, drain::Change::Until(end));
        if let Some(old) = old.filter(|old| old.weight != 0) {
            self.put(Request::SetReal(*self.identity, RealServer { weight: 0, ..*old }));
        }
    }

    /// Nobody tells a client without a connection that its server is gone.
    fn remove(&mut self, socket: SocketAddr) {
        if self.differ.draining.contains(self.identity, &socket) {
            self.drain(socket, drain::Change::Over);
        }
        self.put(Request::DeleteReal(*self.identity, socket));
    }

    fn is_tcp(&self) -> bool {
        matches!(self.identity, Identity::Address { protocol, .. } if *protocol == Protocol::Tcp.number())
    }
}
