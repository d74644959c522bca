//! Connection tracking: its limit, its table and its timeouts, set once at the start as kube-proxy does
//! (`cmd/kube-proxy/app/conntrack.go`).

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kubeweir_netlink::module;
use tracing::{info, warn};

use super::{Unset, Values, Write, name};
use crate::settings::ConntrackSettings;

const MODULE: &str = "nf_conntrack";
const NO_MODULE: &str = "there is no such sysctl: is the kernel's module nf_conntrack loaded?";
/// How many flows may be tracked. More than is asked for does no harm.
pub const MAX: &str = "net/netfilter/nf_conntrack_max";
const ESTABLISHED: &str = "net/netfilter/nf_conntrack_tcp_timeout_established";
const CLOSE_WAIT: &str = "net/netfilter/nf_conntrack_tcp_timeout_close_wait";
const LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
const UDP: &str = "net/netfilter/nf_conntrack_udp_timeout";
const UDP_STREAM: &str = "net/netfilter/nf_conntrack_udp_timeout_stream";
const ALL: [&str; 6] = [MAX, ESTABLISHED, CLOSE_WAIT, LIBERAL, UDP, UDP_STREAM];
/// Buckets of the table, below `/`. Takes no value outside of the initial network namespace.
const BUCKETS: &str = "sys/module/nf_conntrack/parameters/hashsize";
/// CPUs in use, below `/`: ranges, such as `0-3,6`.
const CPUS: &str = "sys/devices/system/cpu/online";
const SYSCTLS: &str = "proc/sys";
/// So many flows are tracked at most, however many CPUs there are.
const MOST: i64 = 1_048_576;
/// Flows for each bucket.
const DENSITY: i64 = 4;

/// The host as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The parameters.
    pub current: Values,
    /// Buckets of the table; `None` if that cannot be known.
    pub buckets: Option<i64>,
    /// CPUs in use.
    pub cpus: u32,
}

/// What has to be done.
#[derive(Debug, Default)]
#[must_use]
pub struct Preparation {
    /// What has to be set, in this order.
    pub writes: Vec<Write>,
    /// Buckets that the table is to have; `None` if it has enough.
    pub buckets: Option<i64>,
    /// What is not as it should be, and the initial network namespace's to set.
    pub left: Vec<Write>,
    /// What cannot be set.
    pub problems: Vec<Problem>,
}

/// Something that cannot be set.
#[derive(Debug)]
pub enum Problem {
    /// There is no such parameter.
    Missing(Write),
    /// It has another value and does not take the right one.
    NotWritable {
        /// What it was to be.
        write: Write,
        /// What it is.
        is: i64,
        /// Why not.
        error: io::Error,
    },
    /// The size of the table is not known.
    NoBuckets,
    /// The table does not take the right size.
    Buckets {
        /// How many it was to have.
        wanted: i64,
        /// Why not.
        error: io::Error,
    },
}

/// Connection tracking is not as it should be, and cannot be set.
#[derive(Debug, thiserror::Error)]
#[error(
    "connection tracking is not set up: {}: run `kubeweir --init-only` with the same configuration in a privileged init container, or \
     set this on the host",
    list(.0)
)]
pub struct NotReady(pub Vec<Problem>);

/// What has to be set. Pure.
pub fn wanted(settings: &ConntrackSettings, host: &Host) -> Preparation {
    let mut preparation = Preparation::default();
    for write in required(settings, host.cpus) {
        match host.current.get(write.path) {
            Some(current) if current.value == write.value => {}
            Some(current) if current.settable => preparation.writes.push(write),
            Some(_) => preparation.left.push(write),
            None => preparation.problems.push(Problem::Missing(write)),
        }
        if write.path == MAX && !preparation.left.contains(&write) {
            let least = write.value / DENSITY;
            match host.buckets {
                Some(buckets) if buckets >= least => {}
                Some(_) => preparation.buckets = Some(least),
                None => preparation.problems.push(Problem::NoBuckets),
            }
        }
    }
    preparation
}

/// Sets what differs, below this directory, usually `/`. Returns what was done, and as problems all that could not be.
pub fn prepare(root: &Path, settings: &ConntrackSettings) -> Preparation {
    let host = read(root);
    let mut done = wanted(settings, &host);
    for write in &done.writes {
        if let Err(error) = super::write(&root.join(SYSCTLS), write) {
            let is = host.current.get(write.path).map(|current| current.value).unwrap_or_default();
            done.problems.push(Problem::NotWritable { write: *write, is, error });
        }
    }
    if let Some(wanted) = done.buckets
        && let Err(error) = fs::write(root.join(BUCKETS), wanted.to_string())
    {
        done.problems.push(Problem::Buckets { wanted, error });
    }
    done
}

/// Sets what differs on this host, and tells what was set. Returns what could not be. The parameters are there once the module
/// is.
pub fn start(settings: &ConntrackSettings) -> Vec<Problem> {
    let root = Path::new("/");
    if !required(settings, 1).is_empty() && !root.join(SYSCTLS).join(MAX).exists() {
        module::load(MODULE);
    }
    let done = prepare(root, settings);
    let failed = |write: &Write| done.problems.iter().any(|problem| problem.is_about(write));
    for write in done.writes.iter().filter(|write| !failed(write)) {
        info!(%write, "sysctl set");
    }
    if let Some(buckets) = done.buckets.filter(|_| !done.problems.iter().any(Problem::is_about_buckets)) {
        info!(buckets, "size of the table of tracked flows set");
    }
    for write in &done.left {
        info!("{write} is left to whoever runs the initial network namespace: it cannot be set in another");
    }
    done.problems
}

/// All has been set, or nothing is to begin.
pub fn all_set(problems: Vec<Problem>) -> Result<(), NotReady> {
    if problems.is_empty() { Ok(()) } else { Err(NotReady(problems)) }
}

/// What can be read again, to see whether somebody else has set it since; the rest is told now. For a daemon, whose traffic
/// goes on with other values: what was programmed must not grow old for them.
pub fn go_on(problems: Vec<Problem>) -> Vec<Unset> {
    let (unset, rest): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| !problem.is_about_buckets());
    for problem in &rest {
        warn!("{problem}: the table of tracked flows stays as it is");
    }
    unset.iter().filter_map(Problem::unset).collect()
}

impl Problem {
    fn unset(&self) -> Option<Unset> {
        match self {
            Problem::Missing(write) => Some(Unset { write: *write, why: NO_MODULE.into() }),
            Problem::NotWritable { write, error, .. } => {
                Some(Unset { write: *write, why: error.to_string().into() })
            }
            Problem::NoBuckets | Problem::Buckets { .. } => None,
        }
    }

    fn is_about(&self, write: &Write) -> bool {
        self.unset().is_some_and(|unset| unset.write == *write)
    }

    fn is_about_buckets(&self) -> bool {
        self.unset().is_none()
    }
}

fn required(settings: &ConntrackSettings, cpus: u32) -> Vec<Write> {
    let seconds = |time: Duration| {
        let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        (whole > 0).then(|| i64::try_from(whole).unwrap_or(i64::MAX))
    };
    let wanted = [
        (MAX, most_flows(settings, cpus)),
        (ESTABLISHED, seconds(settings.tcp_established)),
        (CLOSE_WAIT, seconds(settings.tcp_close_wait)),
        (LIBERAL, settings.tcp_be_liberal.then_some(1)),
        (UDP, seconds(settings.udp)),
        (UDP_STREAM, seconds(settings.udp_stream)),
    ];
    wanted.into_iter().filter_map(|(path, value)| value.map(|value| Write { path, value })).collect()
}

/// The limit beats the minimum, as in kube-proxy.
fn most_flows(settings: &ConntrackSettings, cpus: u32) -> Option<i64> {
    let scaled = i64::from(settings.max_per_core) * i64::from(cpus);
    match scaled {
        0 => None,
        _ if scaled > MOST => Some(MOST),
        _ => Some(scaled.max(i64::from(settings.min))),
    }
}

fn read(root: &Path) -> Host {
    let online = fs::read_to_string(root.join(CPUS)).ok().and_then(|text| count(&text));
    let usable = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Host {
        current: super::read(&root.join(SYSCTLS), &ALL),
        buckets: super::number(&root.join(BUCKETS)),
        cpus: online.unwrap_or_else(|| u32::try_from(usable()).unwrap_or(u32::MAX)),
    }
}

/// How many numbers there are in ranges such as `0-3,6`.
fn count(ranges: &str) -> Option<u32> {
    let of = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    ranges.trim().split(',').map(of).sum()
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Missing(write) => {
                write!(f, "{write} cannot be set, {NO_MODULE}")
            }
            Problem::NotWritable { write, is, error } => {
                write!(f, "{write} cannot be set, {} is {is} ({error})", name(write.path))
            }
            Problem::NoBuckets => write!(f, "/{BUCKETS} cannot be read"),
            Problem::Buckets { wanted, error } => write!(f, "/{BUCKETS} cannot be set to {wanted} ({error})"),
        }
    }
}

#[cfg(test)]
mod tests;
