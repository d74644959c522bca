//! Settings of IPVS mode.

use std::time::Duration;

use ipnet::IpNet;
use kubeweir_ipvs::schedulers::KNOWN;

use super::checks::{not_negative, prefixes};
use crate::configuration::{Complaint, Complaints, Configuration};

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
    pub(super) fn elsewhere(effective: &Configuration) -> Ipvs {
        Ipvs { exclude_cidrs: excluded(effective).unwrap_or_default(), ..Ipvs::default() }
    }

    pub(super) fn new(effective: &Configuration, c: &mut Complaints) -> Ipvs {
        let given = &effective.ipvs;
        Ipvs {
            scheduler: c.check(scheduler(&given.scheduler)),
            exclude_cidrs: c.check(excluded(effective)),
            strict_arp: given.strict_arp,
            tcp_timeout: not_negative("ipvs.tcpTimeout", given.tcp_timeout, c),
            tcp_fin_timeout: not_negative("ipvs.tcpFinTimeout", given.tcp_fin_timeout, c),
            udp_timeout: not_negative("ipvs.udpTimeout", given.udp_timeout, c),
            drain_timeout: match given.drain_timeout {
                Some(timeout) => not_negative("ipvs.drainTimeout", timeout, c),
                None => DRAIN_TIMEOUT,
            },
        }
    }
}

pub(super) fn excluded(effective: &Configuration) -> Result<Vec<IpNet>, Complaint> {
    prefixes("ipvs.excludeCIDRs", effective.ipvs.exclude_cidrs.iter())
}

fn scheduler(given: &str) -> Result<String, Complaint> {
    if KNOWN.contains(&given) {
        return Ok(given.to_owned());
    }
    let why = format!("must be one of {}", KNOWN.join(", "));
    Err(Complaint::invalid("ipvs.scheduler", &given, why))
}
