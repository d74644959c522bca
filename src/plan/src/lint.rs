//! A second opinion on a plan: checks what the planner promises, without knowing how it plans.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::FrontendAddress;
use crate::names::Family;
use crate::plan::{Frontend, Holder, NodePlan, Plan, PortPlan, Target, Verdict};

/// All broken promises, one sentence each; empty for a sound plan.
pub fn lint(plan: &Plan) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut places = BTreeMap::new();
    for (name, service) in &plan.services {
        for port in &service.ports {
            if port.key.service != *name {
                breaches.push(format!("{} stands in the plan of {name}", port.key));
            }
            if !port.keeps.as_ref().is_none_or(|keeps| keeps.is_sorted()) {
                breaches.push(format!("{}: endpoints that keep flows are not in order", port.key));
            }
            check_others(port, &mut breaches);
            for frontend in &port.frontends {
                check(port, frontend, &mut breaches);
                check_holder(port, frontend, &plan.node, &mut breaches);
                let place = (frontend.address, port.key.protocol, frontend.port);
                if let Some(other) = places.insert(place, &port.key) {
                    breaches.push(format!("{other} and {} share {place:?}", port.key));
                }
            }
        }
    }
    let mut checked = BTreeSet::new();
    for (name, service) in &plan.services {
        let Some(check) = &service.health_check else { continue };
        if check.port == 0 || check.ready == [None; 2] {
            breaches.push(format!("{name}: a health check that nobody can ask for"));
        }
        for place in check.places().filter(|place| places.contains_key(place) || !checked.insert(*place)) {
            breaches.push(format!("{name}: the health check shares {place:?}"));
        }
    }
    breaches
}

fn check(port: &PortPlan, frontend: &Frontend, breaches: &mut Vec<String>) {
    if frontend.address.family() != port.family {
        breaches.push(format!("{}: a frontend of another family", port.key));
    }
    if frontend.port == 0 {
        breaches.push(format!("{}: a frontend on port 0", port.key));
    }
    for verdict in [&frontend.inside, &frontend.outside] {
        let Verdict::Forward(pool) = verdict else { continue };
        if pool.targets.is_empty() {
            breaches.push(format!("{}: forwards to an empty pool", port.key));
        }
        if !pool.targets.is_sorted()
            || pool.targets.windows(2).any(|pair| pair[0].socket() == pair[1].socket())
        {
            breaches.push(format!("{}: targets are not in order, each once", port.key));
        }
        if pool.targets.iter().any(|target| target.weight > Target::GREATEST_WEIGHT) {
            breaches.push(format!("{}: a weight that is too great", port.key));
        }
        if pool.targets.iter().any(|target| Family::of(target.address) != port.family) {
            breaches.push(format!("{}: a target of another family", port.key));
        }
    }
}

fn check_others(port: &PortPlan, breaches: &mut Vec<String>) {
    if !port.others.windows(2).all(|pair| pair[0] < pair[1]) {
        breaches.push(format!("{}: other endpoints are not in order, each once", port.key));
    }
    if port.others.iter().any(|socket| Family::of(socket.ip()) != port.family) {
        breaches.push(format!("{}: another endpoint is of another family", port.key));
    }
    let mut targets = port.pools().into_iter().flat_map(|pool| &pool.targets);
    if targets.any(|target| port.others.contains(&target.socket())) {
        breaches.push(format!("{}: a target is among the other endpoints", port.key));
    }
}

fn check_holder(port: &PortPlan, frontend: &Frontend, node: &NodePlan, breaches: &mut Vec<String>) {
    let is_here = match frontend.address {
        FrontendAddress::Ip(ip) => node.own_addresses.contains(&ip),
        FrontendAddress::Node(_) => true,
    };
    if is_here != (frontend.holder == Holder::ThisNode) {
        breaches.push(format!("{}: {} is not held by whom it says", port.key, frontend.address));
    }
}
