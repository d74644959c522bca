//! Questions about the state, and their answers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use kubeweir_cluster::{ServiceVersions, Store};
use kubeweir_plan::input::Service;
use kubeweir_plan::{FrontendAddress, ObjectName, Plan, PortPlan, Scope, ServicePlan};
use serde::Serialize;
use tokio::sync::oneshot;

use super::list::Listed;
use super::{Tracker, rfc3339};
use crate::told;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the node stands.
    Summary,
    /// How a Service stands.
    Service(ObjectName),
    /// What is programmed, Service by Service.
    All,
}

/// A question for the loop, and where the answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Takes the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// How the node stands.
    Summary(Box<Summary>),
    /// How a Service stands.
    Service(Box<ServiceState>),
    /// There is nothing to program for it.
    Absent(Absence),
    /// What is programmed.
    All(Vec<Listed>),
}

/// How the node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The node.
    pub node: String,
    /// Whether a pass has succeeded since the daemon started.
    pub programmed: bool,
    /// When a pass succeeded last.
    pub last_success: Option<String>,
    /// Why the last pass failed, if it did.
    pub error: Option<String>,
    /// Services in the plan.
    pub services: usize,
    /// Services that changed and are not in force as they are.
    pub pending: usize,
    /// Lists that the API server has not delivered yet.
    pub awaited: Vec<String>,
    /// Findings and complaints that stand, by their reason.
    pub findings: BTreeMap<&'static str, u64>,
}

/// How a Service stands. What it has of frontends and endpoints is as planned last: while a change is pending, that is what is about
/// to be in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// Namespace and name.
    pub service: String,
    /// The node.
    pub node: String,
    /// Whether some state of it is in force.
    pub programmed: bool,
    /// When the pass ended that put its present state in force.
    pub since: Option<String>,
    /// Whether it, or its endpoints, changed in a way that is not in force yet.
    pub pending: bool,
    /// What is in force comes from these versions.
    pub in_force: Option<Versions>,
    /// The API has these.
    pub seen: Versions,
    /// Its ports.
    pub ports: Vec<Port>,
    /// What was found while planning it, and what the kernel did not take.
    pub findings: Vec<Told>,
    /// Why the last pass failed, if it did.
    pub error: Option<String>,
}

/// `resourceVersion`s. Objects that say none have an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// Of the Service; `None` if it is gone.
    pub service: Option<String>,
    /// Of its EndpointSlices, by their names.
    pub endpoint_slices: BTreeMap<String, String>,
}

/// One port in one address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name, which may be empty.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// The ways in.
    pub frontends: Vec<Frontend>,
    /// Where packets go.
    pub endpoints: Vec<Endpoint>,
}

/// A way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frontend {
    /// The address; `node` for those that NodePorts answer on.
    pub address: String,
    /// The port.
    pub port: u16,
    /// `ClusterIP`, `ExternalIP`, `LoadBalancer` or `NodePort`.
    pub kind: &'static str,
}

/// An endpoint that some frontend sends packets to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it runs on this node.
    pub local: bool,
    /// Its share.
    pub weight: u8,
}

/// A finding, or a complaint of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// A short name in CamelCase.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// Why there is nothing to say of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The lists are not complete.
    NotYet,
    /// The API has no such Service that is watched.
    Unknown,
    /// The Service has no ClusterIP, or is only another name for something.
    NotForUs,
}

impl Absence {
    /// What to tell whoever asks.
    pub const fn reason(self) -> &'static str {
        match self {
            Absence::NotYet => "not every list of the API server has been delivered yet",
            Absence::Unknown => {
                "there is no such Service, or it is headless or labelled for another proxy: those are not watched"
            }
            Absence::NotForUs => "the Service has no ClusterIP: there is nothing to program for it",
        }
    }
}

/// What the loop knows.
pub(crate) struct Sight<'a> {
    pub(crate) store: &'a Store,
    pub(crate) plan: &'a Plan,
    pub(crate) tracker: &'a Tracker,
    pub(crate) told: &'a told::Told,
    pub(crate) node: &'a ObjectName,
}

/// The answer. Costs what the Service has; a list costs some nanoseconds for each Service.
pub(crate) fn answer(question: &Question, sight: &Sight<'_>) -> Answer {
    match question {
        Question::Summary => Answer::Summary(Box::new(sight.summary())),
        Question::Service(name) => match sight.service(name) {
            Ok(state) => Answer::Service(Box::new(state)),
            Err(absence) => Answer::Absent(absence),
        },
        Question::All => Answer::All(sight.all()),
    }
}

impl Sight<'_> {
    fn summary(&self) -> Summary {
        Summary {
            node: self.node.name.to_string(),
            programmed: self.tracker.last().is_some(),
            last_success: self.tracker.last().map(rfc3339),
            error: self.tracker.error().map(str::to_owned),
            services: self.plan.services.len(),
            pending: self.store.unsettled().count(),
            awaited: self.store.awaited().map(|kind| kind.to_string()).collect(),
            findings: self.told.standing().iter().filter(|(_, n)| **n > 0).map(|(r, n)| (*r, *n)).collect(),
        }
    }

    fn service(&self, name: &ObjectName) -> Result<ServiceState, Absence> {
        let snapshot = self.store.snapshot().ok_or(Absence::NotYet)?;
        let (service, plan) = (snapshot.service(name), self.plan.services.get(name));
        if service.is_none() && plan.is_none() {
            return Err(Absence::Unknown);
        }
        // One that has not been planned yet may well be for us.
        if plan.is_some_and(|plan| plan.cluster_ips.is_empty()) {
            return Err(Absence::NotForUs);
        }
        let (pending, in_force) = self.in_force(name);
        Ok(ServiceState {
            service: name.to_string(),
            node: self.node.name.to_string(),
            programmed: in_force.is_some(),
            since: in_force.as_ref().and_then(|_| self.tracker.since(name)).map(rfc3339),
            pending,
            in_force,
            seen: versions(&self.store.versions(name)),
            ports: plan.iter().flat_map(|plan| plan.ports.iter()).map(|p| self::port(p, service)).collect(),
            findings: self.findings(name, plan.map(Arc::as_ref)),
            error: self.tracker.error().map(str::to_owned),
        })
    }

    /// Whether a change is pending, and the versions of what is in force.
    fn in_force(&self, name: &ObjectName) -> (bool, Option<Versions>) {
        if self.tracker.last().is_none() {
            return (true, None);
        }
        match self.store.versions_before(name) {
            Some(before) => (true, before.service.is_some().then(|| versions(before))),
            None => (false, Some(versions(&self.store.versions(name)))),
        }
    }

    fn findings(&self, name: &ObjectName, plan: Option<&ServicePlan>) -> Vec<Told> {
        let found = plan.into_iter().flat_map(|plan| plan.findings.iter());
        let found = found.map(|f| Told { reason: f.reason(), message: f.to_string() });
        let complaints = self.told.complaints_about(name);
        found.chain(complaints.map(|c| Told { reason: c.reason, message: c.text.clone() })).collect()
    }

    fn all(&self) -> Vec<Listed> {
        let services = self.plan.services.iter().filter(|(_, plan)| !plan.ports.is_empty());
        let listed = |(name, plan): (&ObjectName, &Arc<ServicePlan>)| Listed {
            name: name.clone(),
            plan: Arc::clone(plan),
            since: self.tracker.since(name),
        };
        services.map(listed).collect()
    }
}

fn versions(of: &ServiceVersions) -> Versions {
    let slices = of.slices.iter().map(|(name, version)| (name.name.to_string(), version.to_string()));
    Versions { service: of.service.as_ref().map(ToString::to_string), endpoint_slices: slices.collect() }
}

fn port(port: &PortPlan, service: Option<&Service>) -> Port {
    let frontends = port.frontends.iter().map(|frontend| Frontend {
        address: frontend.address.to_string().trim_matches(['[', ']']).to_owned(),
        port: frontend.port,
        kind: kind(frontend, service),
    });
    let targets = port.pools();
    let endpoints: BTreeSet<Endpoint> = targets
        .iter()
        .flat_map(|pool| pool.targets.iter())
        .map(|t| Endpoint { address: t.socket(), local: t.local, weight: t.weight })
        .collect();
    Port {
        name: port.key.port.to_string(),
        protocol: port.key.protocol.to_string(),
        family: port.family.to_string(),
        frontends: frontends.collect(),
        endpoints: endpoints.into_iter().collect(),
    }
}

fn kind(frontend: &kubeweir_plan::Frontend, service: Option<&Service>) -> &'static str {
    match (frontend.address, frontend.scope) {
        (FrontendAddress::Node(_), _) => "NodePort",
        (FrontendAddress::Ip(_), Scope::Internal) => "ClusterIP",
        (FrontendAddress::Ip(ip), Scope::External) => {
            let is_balancers = |service: &Service| service.ingress.iter().any(|entry| entry.address == ip);
            if service.is_some_and(is_balancers) { "LoadBalancer" } else { "ExternalIP" }
        }
    }
}
