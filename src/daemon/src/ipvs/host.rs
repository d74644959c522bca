//! What IPVS mode needs of the host before it starts: sysctls of the network namespace, and the module behind them.
//!
//! Forwarding is not switched on here: whoever runs a node decides that, and
//! [`prerequisites`](crate::prerequisites) says when it is off.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use crate::settings::Ipvs;
use crate::sysctl::{self, Unset, Write, name};

/// Where sysctls are. What is below `net` shows the network namespace of the reader.
pub const SYSCTLS: &str = "/proc/sys";
/// The version of the kernel.
const RELEASE: &str = "kernel/osrelease";

const CONNTRACK: &str = "net/ipv4/vs/conntrack";
const EXPIRE_NODEST_CONN: &str = "net/ipv4/vs/expire_nodest_conn";
const EXPIRE_QUIESCENT_TEMPLATE: &str = "net/ipv4/vs/expire_quiescent_template";
const CONN_REUSE_MODE: &str = "net/ipv4/vs/conn_reuse_mode";
const ARP_IGNORE: &str = "net/ipv4/conf/all/arp_ignore";
const ARP_ANNOUNCE: &str = "net/ipv4/conf/all/arp_announce";
/// All that may have to be set.
const ALL: [&str; 6] =
    [CONNTRACK, EXPIRE_NODEST_CONN, EXPIRE_QUIESCENT_TEMPLATE, CONN_REUSE_MODE, ARP_IGNORE, ARP_ANNOUNCE];
/// These exist as long as the module `ip_vs` is loaded.
const OF_MODULE: &str = "net/ipv4/vs/";
/// From the version that brought `conn_reuse_mode` until the one that mended it (f0a5e4d7a594, "ipvs: allow connection reuse
/// for unconfirmed conntrack"), a client that uses a port again waits a second for each connection.
const REUSE_BROKEN: std::ops::Range<Version> = Version(4, 1)..Version(5, 9);

/// Version of a kernel: major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// From what `uname -r` says.
    pub fn of_release(release: &str) -> Option<Version> {
        let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        Some(Version(number()?, number()?))
    }
}

/// What there is: sysctls by their path below `/proc/sys`, with their values. One that is not there does not exist.
pub type Values = BTreeMap<&'static str, i64>;

/// Something that keeps IPVS mode from starting.
#[derive(Debug)]
pub enum Problem {
    /// The module `ip_vs` is not loaded.
    NoModule,
    /// A sysctl does not exist although the module is loaded.
    NoSysctl(&'static str),
    /// A sysctl has another value, the second one, and does not take the right one.
    NotWritable(Write, i64, io::Error),
    /// The device that carries addresses cannot be made.
    NoDevice(kubeweir_netlink::Error),
}

/// What has to be done before IPVS mode can start, or was.
#[derive(Debug, Default)]
#[must_use]
pub struct Preparation {
    /// What has to be set.
    pub writes: Vec<Write>,
    /// What cannot be.
    pub problems: Vec<Problem>,
}

/// The host cannot be prepared for IPVS mode.
#[derive(Debug, thiserror::Error)]
#[error("the host is not ready for mode ipvs: {}", list(.0))]
pub struct NotReady(pub Vec<Problem>);

/// What has to be set, and what stands in the way. Pure.
pub fn wanted(settings: &Ipvs, kernel: Option<Version>, current: &Values) -> Preparation {
    let module = current.keys().any(|path| path.starts_with(OF_MODULE));
    let mut preparation = Preparation::default();
    if !module {
        preparation.problems.push(Problem::NoModule);
    }
    for write in required(settings, kernel) {
        match current.get(write.path) {
            Some(value) if *value == write.value => {}
            Some(_) => preparation.writes.push(write),
            None if !module && write.path.starts_with(OF_MODULE) => {}
            None => preparation.problems.push(Problem::NoSysctl(write.path)),
        }
    }
    preparation
}

/// Sets what differs, below this directory, usually [`SYSCTLS`]. Returns what was set, and what was not.
pub fn prepare(root: &Path, settings: &Ipvs) -> Preparation {
    let kernel = std::fs::read_to_string(root.join(RELEASE)).ok();
    let kernel = kernel.and_then(|release| Version::of_release(&release));
    let current = read(root);
    let Preparation { writes, mut problems } = wanted(settings, kernel, &current);
    let mut done = Vec::new();
    for write in writes {
        match sysctl::write(root, &write) {
            Ok(()) => done.push(write),
            Err(error) => {
                let is = current.get(write.path).copied().unwrap_or_default();
                problems.push(Problem::NotWritable(write, is, error));
            }
        }
    }
    Preparation { writes: done, problems }
}

/// What is missing where the kernel does not answer for IPVS, though it may have its sysctls.
pub fn without_module(mut problems: Vec<Problem>) -> Vec<Problem> {
    if !problems.iter().any(|problem| matches!(problem, Problem::NoModule)) {
        problems.insert(0, Problem::NoModule);
    }
    problems
}

/// What a daemon runs without, if nothing of this keeps it from running; or else all of it.
pub fn go_on(problems: Vec<Problem>) -> Result<Vec<Unset>, NotReady> {
    let unset: Option<Vec<Unset>> = problems.iter().map(Problem::unset).collect();
    unset.ok_or(NotReady(problems))
}

impl Problem {
    /// Of what traffic goes on without: what was programmed must not grow old for it.
    fn unset(&self) -> Option<Unset> {
        match self {
            // Without it packets come from addresses that they must not come from.
            Problem::NotWritable(write, ..) if write.path == CONNTRACK => None,
            Problem::NotWritable(write, _, error) => {
                Some(Unset { write: *write, why: error.to_string().into() })
            }
            Problem::NoModule | Problem::NoSysctl(_) | Problem::NoDevice(_) => None,
        }
    }
}

fn required(settings: &Ipvs, kernel: Option<Version>) -> Vec<Write> {
    let mut required = vec![
        // Without it packets of virtual servers are not masqueraded.
        Write { path: CONNTRACK, value: 1 },
        // Connections to an endpoint that is gone end, instead of hanging.
        Write { path: EXPIRE_NODEST_CONN, value: 1 },
        // Session affinity to an endpoint that is drained ends.
        Write { path: EXPIRE_QUIESCENT_TEMPLATE, value: 1 },
    ];
    if kernel.is_some_and(|kernel| REUSE_BROKEN.contains(&kernel)) {
        required.push(Write { path: CONN_REUSE_MODE, value: 0 });
    }
    if settings.strict_arp {
        required.extend([Write { path: ARP_IGNORE, value: 1 }, Write { path: ARP_ANNOUNCE, value: 2 }]);
    }
    required
}

fn read(root: &Path) -> Values {
    sysctl::read(root, &ALL).into_iter().map(|(path, current)| (path, current.value)).collect()
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NoModule => {
                write!(f, "the kernel's module ip_vs is not loaded: run `modprobe ip_vs` on the host")
            }
            Problem::NoSysctl(path) if *path == CONNTRACK => {
                write!(f, "there is no {}: the kernel is built without CONFIG_IP_VS_NFCT", name(path))
            }
            Problem::NoSysctl(path) => write!(f, "there is no {} in this kernel", name(path)),
            Problem::NoDevice(error) => {
                write!(
                    f,
                    "the device {} cannot be made ({error}): run `modprobe dummy` on the host",
                    kubeweir_ipvs::DEVICE
                )
            }
            Problem::NotWritable(write, is, error) => {
                write!(f, "{write} cannot be set, {} is {is} ({error}): ", name(write.path))?;
                write!(f, "run `kubeweir --init-only` in a privileged init container, or set it on the host")
            }
        }
    }
}

#[cfg(test)]
mod tests;
