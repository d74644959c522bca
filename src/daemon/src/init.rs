//! What takes privileges and is needed once: done by `--init-only`, so that the daemon needs none but `CAP_NET_ADMIN`.
//!
//! Nothing is removed here. What another proxy left serves traffic until the daemon's own first pass is in force.

use anyhow::{Context, anyhow};
use kubeweir_netfilter::Client;
use kubeweir_netlink::module;
use tracing::{info, warn};

use crate::ipvs;
use crate::settings::{ProxyMode, Settings};
use crate::sysctl::conntrack;

/// Modules that the kernel does not, or should not, load by itself when they are needed. Others come with the first use.
const LOADED_FIRST: [&str; 2] = ["ip_vs_lblc", "ip_vs_lblcr"];

/// Prepares the host and makes sure that the kernel answers. Needs no API server.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let tracking = conntrack::all_set(conntrack::start(&settings.conntrack)).map_err(Into::into);
    let reached = match settings.mode {
        ProxyMode::Nftables => nftables().map(drop),
        ProxyMode::Ipvs => ipvs::start::prepare(settings),
    };
    both(tracking, reached)?;
    if settings.mode == ProxyMode::Ipvs {
        load_schedulers();
    }
    info!(mode = %settings.mode, "the host is prepared");
    Ok(())
}

/// The kernel's tables, which it has shown to answer.
pub(crate) fn nftables() -> anyhow::Result<Client> {
    let reached = Client::open().and_then(|mut client| client.generation().map(|_| client));
    reached.context("nf_tables cannot be reached")
}

/// Everything that is missing, at once.
pub(crate) fn both<T>(prepared: anyhow::Result<()>, made: anyhow::Result<T>) -> anyhow::Result<T> {
    match (prepared, made) {
        (Ok(()), made) => made,
        (Err(first), Ok(_)) => Err(first),
        (Err(first), Err(second)) => Err(anyhow!("{first:#}; {second:#}")),
    }
}

/// A kernel may well be built without them.
fn load_schedulers() {
    for name in LOADED_FIRST.into_iter().filter(|name| !module::load(name)) {
        warn!(module = name, "not loaded: Services cannot have this scheduler");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let told = |first: anyhow::Result<()>, second: anyhow::Result<u8>| {
            both(first, second).map_err(|e| e.to_string())
        };
        assert_eq!(told(Ok(()), Ok(1)), Ok(1));
        assert_eq!(told(Err(anyhow!("a")), Ok(1)), Err("a".to_owned()));
        assert_eq!(told(Ok(()), Err(anyhow!("b"))), Err("b".to_owned()));
        assert_eq!(told(Err(anyhow!("a")), Err(anyhow!("b"))), Err("a; b".to_owned()));
    }
}
