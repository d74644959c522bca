//! Settings of IPVS mode.

use std::time::Duration;

use ipnet::IpNet;
use kubeweir_ipvs::schedulers::KNOWN;

use super::{Error, invalid, prefixes};
use crate::configuration::Configuration;

/// For a Service that asks for none, as in kube-proxy.
const SCHEDULER: &str = "rr";
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Settings of IPVS mode; the defaults, but for excluded prefixes, where another mode is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipvs {
    /// One of [`KNOWN`].
    pub scheduler: String,
    /// Virtual servers with these addresses are not deleted at a start, unless it is certain that we made them.
    pub exclude_cidrs: Vec<IpNet>,
    /// Whether the host answers and announces only addresses of the interface itself, so that nobody learns from it where
    /// balancers' addresses are.
    pub strict_arp: bool,
    /// How long an idle TCP connection is kept; zero leaves it to the kernel.
    pub tcp_timeout: Duration,
    /// How long a TCP connection is kept after its end; zero leaves it to the kernel.
    pub tcp_fin_timeout: Duration,
    /// How long an idle UDP flow is kept; zero leaves it to the kernel.
    pub udp_timeout: Duration,
    /// How long connections may go on to an endpoint that no longer is one; zero ends them at once.
    pub drain_timeout: Duration,
}

impl Default for Ipvs {
    fn default() -> Ipvs {
        Ipvs {
            scheduler: SCHEDULER.to_owned(),
            exclude_cidrs: Vec::new(),
            strict_arp: false,
            tcp_timeout: Duration::ZERO,
            tcp_fin_timeout: Duration::ZERO,
            udp_timeout: Duration::ZERO,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

impl Ipvs {
    /// Of another mode, which removes virtual servers that it finds, but not these.
    pub(super) fn elsewhere(configuration: &Configuration) -> Ipvs {
        Ipvs { exclude_cidrs: excluded(configuration).unwrap_or_default(), ..Ipvs::default() }
    }

    pub(super) fn new(configuration: &Configuration) -> Result<Ipvs, Error> {
        let given = &configuration.ipvs;
        Ok(Ipvs {
            scheduler: scheduler(&given.scheduler)?,
            exclude_cidrs: excluded(configuration)?,
            strict_arp: given.strict_arp,
            tcp_timeout: given.tcp_timeout,
            tcp_fin_timeout: given.tcp_fin_timeout,
            udp_timeout: given.udp_timeout,
            drain_timeout: given.drain_timeout.unwrap_or(DRAIN_TIMEOUT),
        })
    }
}

pub(super) fn excluded(configuration: &Configuration) -> Result<Vec<IpNet>, Error> {
    let given = prefixes("ipvs.excludeCIDRs", configuration.ipvs.exclude_cidrs.iter())?;
    Ok(given.iter().map(IpNet::trunc).collect())
}

fn scheduler(given: &str) -> Result<String, Error> {
    match given {
        "" => Ok(SCHEDULER.to_owned()),
        known if KNOWN.contains(&known) => Ok(known.to_owned()),
        other => {
            let known = KNOWN.join(", ");
            Err(invalid("ipvs.scheduler", format!("{other:?} is not known: it can be one of {known}")))
        }
    }
}
