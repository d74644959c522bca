//! A whole plan as text: what `ipvsadm -R` restores, and the addresses on the device.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use kubeweir_netlink::ipvs::Request;
use kubeweir_nftables::handover::HandOver;
use kubeweir_plan::Plan;

use crate::compile::{self, Context, Servers};
use crate::programmed::Settings;
use crate::schedulers::Schedulers;

/// All virtual servers of a plan, and the addresses on the device.
pub fn servers(plan: &Plan, schedulers: &Schedulers, settings: &Settings) -> (Servers, BTreeSet<IpAddr>) {
    let taken = plan.services.values().flat_map(|service| compile::taken(service)).collect();
    let hand_over = HandOver::new(&plan.node, settings.tables);
    let context = Context { hand_over, taken, schedulers: schedulers.clone() };
    let servers = plan.services.values().flat_map(|service| compile::of_service(service, &context));
    let bound = plan.services.values().flat_map(|service| compile::bound(service, &context));
    (servers.collect(), bound.collect())
}

/// One command of `ipvsadm` in each line, without its name.
pub fn text(servers: &Servers) -> String {
    let mut text = String::new();
    for (identity, server) in servers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", Request::NewServer(*identity, server.scheduling.clone()));
        for real in server.real.values() {
            let _ = writeln!(text, "{}", Request::NewReal(*identity, *real));
        }
    }
    text
}
