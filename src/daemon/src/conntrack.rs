//! Carries out checks of tracked flows, on a thread of its own: programming is never held up by them.

use std::net::IpAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use kubeweir_netlink::Error;
use kubeweir_netlink::conntrack::{self, Client, Filter};
use kubeweir_plan::flows::{Flow, Scope};
use kubeweir_plan::{Family, FlowCheck};
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use crate::Event;
use crate::metrics::Metrics;

/// Starts the thread. It works off what is sent, and reports each check to the loop.
pub fn start(metrics: Metrics, events: Sender<Event>) -> anyhow::Result<mpsc::Sender<FlowCheck>> {
    let (sender, checks) = mpsc::channel::<FlowCheck>();
    let work = move || {
        for check in checks {
            let outcome = carry_out(&check, &metrics);
            if let Err(error) = &outcome {
                warn!(reason = format!("{error:#}"), "stale flows were not ended, will be retried");
            }
            if events.blocking_send(Event::FlowsChecked(outcome.map_err(|_| Box::new(check)))).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("conntrack".to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(sender)
}

/// Both families, even if one fails. Says why the first that failed did.
fn carry_out(check: &FlowCheck, metrics: &Metrics) -> anyhow::Result<()> {
    let scopes = check.scopes();
    let mut outcome = Ok(());
    for family in Family::ALL {
        let mine: Vec<Scope> = scopes.iter().copied().filter(|scope| scope.family == family).collect();
        if mine.is_empty() {
            continue;
        }
        let begun = Instant::now();
        // Its own sockets, since a listing that was given up leaves its socket in the middle of it.
        let ended = Client::open().and_then(|mut client| end_flows(&mut client, check, &mine));
        metrics.flows_checked(family, begun.elapsed(), *ended.as_ref().unwrap_or(&0));
        match ended {
            Ok(ended) => debug!(%family, ended, took = begun.elapsed().as_secs_f64(), "ended stale flows"),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    Ok(outcome?)
}

fn end_flows(client: &mut Client, check: &FlowCheck, scopes: &[Scope]) -> Result<u64, Error> {
    let mut ended = 0;
    for scope in scopes {
        let judge = |flow: &conntrack::Flow| {
            check.ends(&Flow {
                protocol: scope.protocol,
                destination: flow.original.destination,
                answered_by: flow.reply.source,
                is_zoned: flow.is_zoned,
            })
        };
        ended += client.end_flows(&filter(scope), judge)?;
    }
    Ok(ended)
}

fn filter(scope: &Scope) -> Filter {
    let family = match scope.family {
        Family::V4 => conntrack::Family::V4,
        Family::V6 => conntrack::Family::V6,
    };
    let address = match scope.address {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    Filter { family, protocol: scope.protocol.number(), port: scope.port, address }
}
