//! Starting IPVS mode: everything that it needs of the host is looked at before anything is said to be missing.

use std::path::Path;

use anyhow::Context;
use kubeweir_ipvs::kernel::Kernel;
use kubeweir_ipvs::{Client, DEVICE, Mode};
use kubeweir_netlink::ipvs::Timeouts;
use kubeweir_netlink::{Error, link};
use tracing::{info, warn};

use super::host::{self, NotReady, Preparation, Problem, SYSCTLS};
use crate::settings::{Ipvs, Settings};
use crate::sysctl::Unset;

/// What the mode is made of: rules and virtual servers.
type Ready = Mode<kubeweir_netfilter::Client, Client>;

/// Prepares the host, wholly.
pub(crate) fn prepare(settings: &Settings) -> anyhow::Result<()> {
    match client(&settings.ipvs)? {
        (Some(client), problems) if problems.is_empty() => made(settings, client).map(drop),
        (_, problems) => Err(NotReady(problems).into()),
    }
}

/// The mode on this host's kernel, which is prepared for it, and what it runs without.
pub(crate) fn mode(settings: &Settings) -> anyhow::Result<(Ready, Vec<Unset>)> {
    match client(&settings.ipvs)? {
        (Some(client), problems) => {
            let unset = host::go_on(problems)?;
            Ok((made(settings, client)?, unset))
        }
        (None, problems) => Err(NotReady(problems).into()),
    }
}

fn made(settings: &Settings, mut servers: Client) -> anyhow::Result<Ready> {
    if let Err(error) = set_timeouts(&mut servers, &settings.ipvs) {
        warn!(%error, "the timeouts of IPVS stay as they are");
    }
    let tables = kubeweir_netfilter::Client::open().context("nf_tables cannot be reached")?;
    let (options, schedulers) = settings.servers();
    Ok(Mode::new(tables, servers, options, schedulers))
}

/// A client if the kernel has IPVS, and all that it lacks: something, if there is no client. Asking for IPVS lets the kernel load it, so that comes first.
fn client(settings: &Ipvs) -> anyhow::Result<(Option<Client>, Vec<Problem>)> {
    let opened = Client::open();
    let Preparation { writes, mut problems } = host::prepare(Path::new(SYSCTLS), settings);
    for write in writes {
        info!(%write, "sysctl set");
    }
    match opened {
        Ok(mut client) => {
            problems.extend(client.prepare().err().map(Problem::NoDevice));
            Ok((Some(client), problems))
        }
        Err(Error::NoFamily { .. }) => {
            problems.extend(no_device());
            Ok((None, host::without_module(problems)))
        }
        Err(error) => Err(error).context("IPVS cannot be reached"),
    }
}

/// Whether the device could be made, found out by making it: it is of no use without IPVS, and goes again.
fn no_device() -> Option<Problem> {
    let mut links = link::Client::open().ok()?;
    if links.find(DEVICE).ok()?.is_some() {
        return None;
    }
    match links.create_dummy(DEVICE) {
        Ok(made) => links.delete(made.index).err().map(Problem::NoDevice),
        Err(error) => Some(Problem::NoDevice(error)),
    }
}

/// Sets the timeouts once more, after they changed. Those that are 0 now stay as they were.
pub(crate) fn renew_timeouts(settings: &Ipvs) -> anyhow::Result<()> {
    let mut client = Client::open().context("IPVS cannot be reached")?;
    set_timeouts(&mut client, settings).context("timeouts of IPVS cannot be set")
}

/// Timeouts hold for the whole network namespace; 0 keeps what there is. Parts of a second count as one.
fn set_timeouts(client: &mut Client, settings: &Ipvs) -> Result<(), Error> {
    let seconds = |time: std::time::Duration| {
        let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        u32::try_from(whole).unwrap_or(u32::MAX)
    };
    let wanted = Timeouts {
        tcp: seconds(settings.tcp_timeout),
        tcp_fin: seconds(settings.tcp_fin_timeout),
        udp: seconds(settings.udp_timeout),
    };
    if wanted == Timeouts::default() {
        return Ok(());
    }
    client.ipvs().set_timeouts(&wanted)
}
