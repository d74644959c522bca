//! Settings: the configuration with every default filled in and every value checked.

mod checks;
mod host;
mod ipvs;
mod loaded;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use kubeweir_ipvs::schedulers::Schedulers;
use kubeweir_plan::options::Options;

use crate::cli::Flags;
use crate::configuration::{self, Complaints, Configuration, fields, flags, gates};
use crate::shown::Shown;
use checks::Section;

pub use host::ConntrackSettings;
pub use ipvs::Ipvs;
pub use loaded::Loaded;

/// Everything the daemon needs to know; nothing is left to decide.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in kube-proxy")]
pub struct Settings {
    /// Options of the planner.
    pub plan: Options,
    /// Which kernel facility balances.
    pub mode: ProxyMode,
    /// Options of IPVS mode.
    pub ipvs: Ipvs,
    /// The bit of a packet's mark that says it is to be masqueraded, in whatever mode.
    pub masquerade_mark: u32,
    /// Where the objects come from.
    pub source: Source,
    /// Whether connections, packets and bytes of each Service are counted.
    pub service_counters: bool,
    /// Whether the mode needs to know the addresses of all Nodes.
    pub all_nodes: bool,
    /// Where `/healthz` answers, if anywhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` answers, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// End if an address cannot be bound.
    pub bind_hard_fail: bool,
    /// Longest pause between retries; health reports changes that wait twice as long.
    pub sync_period: Duration,
    /// Shortest pause between two commits.
    pub min_sync_period: Duration,
    /// `conntrack`: limits and timeouts of tracked flows.
    pub conntrack: ConntrackSettings,
    /// `oomScoreAdj`, for `/proc/self/oom_score_adj`: -1000 to 1000.
    pub oom_score_adj: i32,
    /// `bindAddress`. Nothing listens there: an address other than `0.0.0.0` and `::` stands for the Node's address of its
    /// family.
    pub bind_address: IpAddr,
    /// `--init-only`: prepare what takes privileges, and exit.
    pub init_only: bool,
    /// `configSyncPeriod`, of which nothing depends here: watches are never started anew for its sake.
    pub config_sync_period: Duration,
    /// `enableProfiling`, of which nothing depends here.
    pub enable_profiling: bool,
    /// What is logged.
    pub logging: configuration::Logging,
    /// What the process says about itself.
    pub shown: Arc<Shown>,
    /// What an operator should know about the configuration.
    pub advice: Vec<String>,
}

/// Which kernel facility balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// nftables alone.
    Nftables,
    /// IPVS, with a little nftables around it.
    Ipvs,
}

impl ProxyMode {
    /// All of them.
    pub const ALL: [ProxyMode; 2] = [ProxyMode::Nftables, ProxyMode::Ipvs];

    /// The name that kube-proxy has for it.
    pub const fn name(self) -> &'static str {
        match self {
            ProxyMode::Nftables => "nftables",
            ProxyMode::Ipvs => "ipvs",
        }
    }
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such mode.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not one of nftables and ipvs")]
pub struct UnknownMode(String);

impl FromStr for ProxyMode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<ProxyMode, UnknownMode> {
        let known = ProxyMode::ALL.into_iter().find(|mode| mode.name() == name);
        known.ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server.
    Api {
        /// Kubeconfig file; without it the service account of the pod.
        kubeconfig: Option<PathBuf>,
        /// Overrides the server's address.
        master: Option<String>,
    },
    /// A directory.
    Manifests(PathBuf),
}

/// The settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be read.
    #[error(transparent)]
    Configuration(#[from] configuration::Error),
    /// Values are not valid.
    #[error("{0}")]
    Invalid(Complaints),
}

impl Settings {
    /// From flags, and from the file they name.
    pub fn from_flags(flags: &Flags) -> Result<Settings, Error> {
        Ok(Loaded::from_flags(flags)?.settings)
    }

    /// Of all that flags and their file say, the prefixes whose virtual servers stay: for who removes them.
    pub fn excluded(flags: &Flags) -> Result<Vec<IpNet>, Error> {
        let (effective, _) = loaded::read(flags)?.configuration.effective();
        ipvs::excluded(&effective).map_err(|complaint| Error::Invalid(Complaints(vec![complaint])))
    }

    /// Options of nftables mode.
    pub fn nftables(&self) -> kubeweir_nftables::Options {
        kubeweir_nftables::Options::rules(self.masquerade_mark).counting(self.service_counters)
    }

    /// Options of IPVS mode, and the schedulers it begins with.
    pub fn servers(&self) -> (kubeweir_ipvs::Settings, Schedulers) {
        let settings = kubeweir_ipvs::Settings {
            tables: kubeweir_nftables::Options::beside_servers(self.masquerade_mark)
                .counting(self.service_counters),
            excluded: self.ipvs.exclude_cidrs.clone(),
            patience: self.ipvs.drain_timeout,
        };
        (settings, Schedulers::new(&self.ipvs.scheduler))
    }

    /// From a configuration in effect. All complaints about it come at once.
    pub(crate) fn new(
        effective: &Configuration,
        flags: &Flags,
        mut advice: Vec<String>,
    ) -> Result<Settings, Error> {
        let mut complaints = Complaints::default();
        let c = &mut complaints;
        let mode = checks::mode(&effective.mode, c);
        let section = Section::in_force(mode, effective);
        checks::besides(effective, c);
        let (sync_period, min_sync_period) = section.periods(c);
        let ipvs_mode = mode == ProxyMode::Ipvs;
        let bind_address = checks::bind_address(&effective.bind_address, c);
        let plan = Options {
            node_name: checks::node_name(&effective.hostname_override, c).into(),
            node_address: Some(bind_address).filter(|address| !address.is_unspecified()),
            detect_local: checks::detect_local(effective, c),
            masquerade_all: section.masquerade_all,
            node_port_addresses: checks::node_port_addresses(effective, c),
            schedulers: if ipvs_mode { kubeweir_ipvs::schedulers::KNOWN } else { &[] },
            weights: ipvs_mode,
            external_ips: gates::is_on(&effective.feature_gates, gates::EXTERNAL_IPS),
        };
        advice.extend(checks::sanity(effective));
        let idle = fields::without_effect(effective, mode);
        if !idle.is_empty() {
            advice.push(format!("without an effect in mode {mode}: {}", idle.join(", ")));
        }
        let settings = Settings {
            plan,
            mode,
            // What the sections of other modes say does not count, and may be wrong.
            ipvs: if ipvs_mode { Ipvs::new(effective, c) } else { Ipvs::elsewhere(effective) },
            masquerade_mark: section.masquerade_mark(c),
            source: source(effective, flags),
            service_counters: effective.service_counters,
            all_nodes: ipvs_mode,
            healthz: checks::server("healthzBindAddress", &effective.healthz_bind_address, c),
            metrics: checks::server("metricsBindAddress", &effective.metrics_bind_address, c),
            bind_hard_fail: effective.bind_address_hard_fail,
            sync_period,
            min_sync_period,
            conntrack: checks::conntrack(&effective.conntrack, c),
            oom_score_adj: checks::oom_score_adj(effective.oom_score_adj, c),
            bind_address,
            init_only: flags.init_only.unwrap_or_default(),
            config_sync_period: effective.config_sync_period.unsigned(),
            enable_profiling: effective.enable_profiling,
            logging: effective.logging.clone(),
            shown: Arc::new(Shown {
                configuration: effective.object(),
                flags: flags::in_effect(flags, effective),
            }),
            advice,
        };
        if complaints.0.is_empty() { Ok(settings) } else { Err(Error::Invalid(complaints)) }
    }
}

fn source(configuration: &Configuration, flags: &Flags) -> Source {
    if let Some(directory) = &flags.manifests {
        return Source::Manifests(directory.clone());
    }
    let kubeconfig = Some(&configuration.client_connection.kubeconfig).filter(|path| !path.is_empty());
    Source::Api { kubeconfig: kubeconfig.map(PathBuf::from), master: flags.master.clone() }
}

#[cfg(test)]
mod tests;
