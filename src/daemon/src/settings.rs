//! Settings: the configuration with every default filled in and every value checked.

mod host;
mod ipvs;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use kubeweir_ipvs::schedulers::Schedulers;
use kubeweir_plan::options::{DetectLocal, NodePortOption, Options};

use crate::cli::Flags;
use crate::configuration::{self, Configuration};

pub use host::ConntrackSettings;
pub use ipvs::Ipvs;

/// Bit 14: the mark `0x4000`, as in kube-proxy.
const MASQUERADE_BIT: u8 = 14;
const SYNC_PERIOD: Duration = Duration::from_secs(30);
const OOM_SCORE_ADJ: i32 = -999;
const BIND_ADDRESS: &str = "0.0.0.0";
const HEALTHZ: &str = "0.0.0.0:10256";
const METRICS: &str = "127.0.0.1:10249";
/// `IFNAMSIZ`, less the byte that ends it.
const LONGEST_INTERFACE: usize = 15;
const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;

/// Everything the daemon needs to know; nothing is left to decide.
#[derive(Clone, Debug, PartialEq)]
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
    /// Whether the mode needs to know the addresses of all Nodes.
    pub all_nodes: bool,
    /// Where `/healthz` answers.
    pub healthz: SocketAddr,
    /// Where `/metrics` answers.
    pub metrics: SocketAddr,
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
    /// A value is not valid.
    #[error("{field}: {reason}")]
    Invalid {
        /// Name of the field in the configuration file.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Settings {
    /// From flags, and from the file they name.
    pub fn from_flags(flags: &Flags) -> Result<Settings, Error> {
        Settings::new(&Settings::configuration(flags)?, flags)
    }

    /// Of all that flags and their file say, the prefixes whose virtual servers stay: for who removes them.
    pub fn excluded(flags: &Flags) -> Result<Vec<IpNet>, Error> {
        ipvs::excluded(&Settings::configuration(flags)?)
    }

    fn configuration(flags: &Flags) -> Result<Configuration, configuration::Error> {
        match &flags.config {
            Some(path) => Configuration::from_file(path),
            None => Configuration::from_flags(flags),
        }
    }

    /// Options of nftables mode.
    pub fn nftables(&self) -> kubeweir_nftables::Options {
        kubeweir_nftables::Options::rules(self.masquerade_mark)
    }

    /// Options of IPVS mode, and the schedulers it begins with.
    pub fn servers(&self) -> (kubeweir_ipvs::Settings, Schedulers) {
        let settings = kubeweir_ipvs::Settings {
            tables: kubeweir_nftables::Options::beside_servers(self.masquerade_mark),
            excluded: self.ipvs.exclude_cidrs.clone(),
            patience: self.ipvs.drain_timeout,
        };
        (settings, Schedulers::new(&self.ipvs.scheduler))
    }

    fn new(configuration: &Configuration, flags: &Flags) -> Result<Settings, Error> {
        let mut advice = Vec::new();
        let mode = proxy_mode(&configuration.mode, &mut advice)?;
        let section = Section::in_force(mode, configuration);
        let node_address = ip_address("bindAddress", &configuration.bind_address)?;
        let plan = Options {
            node_name: node_name(configuration, flags)?.into(),
            node_address: Some(node_address).filter(|address| !address.is_unspecified()),
            detect_local: detect_local(configuration)?,
            masquerade_all: section.masquerade_all,
            node_port_addresses: node_port_addresses(mode, configuration)?,
            schedulers: if mode == ProxyMode::Ipvs { kubeweir_ipvs::schedulers::KNOWN } else { &[] },
            weights: mode == ProxyMode::Ipvs,
        };
        let (sync_period, min_sync_period) = section.periods()?;
        Ok(Settings {
            plan,
            mode,
            // What the sections of other modes say does not count, and may be wrong.
            ipvs: if mode == ProxyMode::Ipvs {
                Ipvs::new(configuration)?
            } else {
                Ipvs::elsewhere(configuration)
            },
            masquerade_mark: section.masquerade_mark()?,
            source: source(configuration, flags),
            all_nodes: mode == ProxyMode::Ipvs,
            healthz: bind_address(
                "healthzBindAddress",
                &configuration.healthz_bind_address,
                HEALTHZ,
                HEALTHZ_PORT,
            )?,
            metrics: bind_address(
                "metricsBindAddress",
                &configuration.metrics_bind_address,
                METRICS,
                METRICS_PORT,
            )?,
            bind_hard_fail: configuration.bind_address_hard_fail,
            sync_period,
            min_sync_period,
            conntrack: conntrack(&configuration.conntrack)?,
            oom_score_adj: oom_score_adj(configuration.oom_score_adj)?,
            bind_address: node_address,
            init_only: flags.init_only.unwrap_or_default(),
            advice,
        })
    }
}

fn conntrack(given: &configuration::Conntrack) -> Result<ConntrackSettings, Error> {
    let default = ConntrackSettings::default();
    let limit = |field, given: Option<i32>, default| match given.map(u32::try_from) {
        None => Ok(default),
        Some(Ok(limit)) => Ok(limit),
        Some(Err(_)) => Err(invalid(field, "is negative")),
    };
    Ok(ConntrackSettings {
        max_per_core: limit("conntrack.maxPerCore", given.max_per_core, default.max_per_core)?,
        min: limit("conntrack.min", given.min, default.min)?,
        tcp_established: given.tcp_established_timeout.unwrap_or(default.tcp_established),
        tcp_close_wait: given.tcp_close_wait_timeout.unwrap_or(default.tcp_close_wait),
        tcp_be_liberal: given.tcp_be_liberal,
        udp: given.udp_timeout,
        udp_stream: given.udp_stream_timeout,
    })
}

fn oom_score_adj(given: Option<i32>) -> Result<i32, Error> {
    let score = given.unwrap_or(OOM_SCORE_ADJ);
    let possible = (-1000..=1000).contains(&score);
    possible
        .then_some(score)
        .ok_or_else(|| invalid("oomScoreAdj", format!("{score} is not within -1000 to 1000")))
}

fn ip_address(field: &'static str, text: &str) -> Result<IpAddr, Error> {
    let text = if text.is_empty() { BIND_ADDRESS } else { text };
    text.parse().map_err(|_| invalid(field, format!("{text:?} is not an address")))
}

/// What every mode has settings for, from the section that counts in this one.
struct Section {
    masquerade_bit: Option<u8>,
    masquerade_bit_field: &'static str,
    masquerade_all: bool,
    sync_period: Duration,
    min_sync_period: Duration,
    min_sync_period_field: &'static str,
}

impl Section {
    /// IPVS mode masquerades by the section of iptables mode, as in kube-proxy
    /// (`pkg/proxy/apis/config/v1alpha1/conversion.go`).
    fn in_force(mode: ProxyMode, configuration: &Configuration) -> Section {
        let Configuration { nftables, iptables, ipvs, .. } = configuration;
        match mode {
            ProxyMode::Nftables => Section {
                masquerade_bit: nftables.masquerade_bit,
                masquerade_bit_field: "nftables.masqueradeBit",
                masquerade_all: nftables.masquerade_all,
                sync_period: nftables.sync_period,
                min_sync_period: nftables.min_sync_period,
                min_sync_period_field: "nftables.minSyncPeriod",
            },
            ProxyMode::Ipvs => Section {
                masquerade_bit: iptables.masquerade_bit,
                masquerade_bit_field: "iptables.masqueradeBit",
                masquerade_all: iptables.masquerade_all,
                sync_period: ipvs.sync_period,
                min_sync_period: ipvs.min_sync_period,
                min_sync_period_field: "ipvs.minSyncPeriod",
            },
        }
    }

    fn masquerade_mark(&self) -> Result<u32, Error> {
        let bit = self.masquerade_bit.unwrap_or(MASQUERADE_BIT);
        let mark = 1_u32.checked_shl(u32::from(bit));
        mark.ok_or_else(|| invalid(self.masquerade_bit_field, format!("{bit} is not within 0 to 31")))
    }

    /// The longest and the shortest.
    fn periods(&self) -> Result<(Duration, Duration), Error> {
        let (longest, shortest) = (or_default(self.sync_period, SYNC_PERIOD), self.min_sync_period);
        if shortest > longest {
            let reason = format!("{shortest:?} is longer than syncPeriod {longest:?}");
            return Err(invalid(self.min_sync_period_field, reason));
        }
        Ok((longest, shortest))
    }
}

fn invalid(field: &'static str, reason: impl Into<String>) -> Error {
    Error::Invalid { field, reason: reason.into() }
}

fn or_default(duration: Duration, default: Duration) -> Duration {
    if duration.is_zero() { default } else { duration }
}

fn proxy_mode(name: &str, advice: &mut Vec<String>) -> Result<ProxyMode, Error> {
    if let "" | "iptables" = name {
        advice.push(format!("mode {name:?} is not offered: nftables is used instead"));
        return Ok(ProxyMode::Nftables);
    }
    name.parse().map_err(|error: UnknownMode| invalid("mode", error.to_string()))
}

/// Node names are lower case.
fn node_name(configuration: &Configuration, flags: &Flags) -> Result<String, Error> {
    let given = flags.hostname_override.as_ref().unwrap_or(&configuration.hostname_override);
    let name = match given.as_str() {
        "" => nix::unistd::gethostname()
            .map_err(|error| {
                invalid("hostnameOverride", format!("not given, and the host has no name: {error}"))
            })?
            .to_string_lossy()
            .into_owned(),
        given => given.to_owned(),
    };
    let name = name.trim().to_lowercase();
    if name.is_empty() { Err(invalid("hostnameOverride", "is blank")) } else { Ok(name) }
}

fn source(configuration: &Configuration, flags: &Flags) -> Source {
    if let Some(directory) = &flags.manifests {
        return Source::Manifests(directory.clone());
    }
    let kubeconfig = Some(&configuration.client_connection.kubeconfig).filter(|path| !path.is_empty());
    Source::Api { kubeconfig: kubeconfig.map(PathBuf::from), master: flags.master.clone() }
}

fn prefixes(
    field: &'static str,
    entries: impl Iterator<Item = impl AsRef<str>>,
) -> Result<Vec<IpNet>, Error> {
    let parse = |entry: &str| entry.parse().map_err(|_| invalid(field, format!("{entry:?} is not a prefix")));
    entries.map(|entry| parse(entry.as_ref().trim())).collect()
}

fn detect_local(configuration: &Configuration) -> Result<DetectLocal, Error> {
    let given = |field, text: &String| match text.as_str() {
        "" => Err(invalid(field, "is required by detectLocalMode")),
        text if text.len() > LONGEST_INTERFACE => Err(invalid(
            field,
            format!("{text:?} is longer than an interface's name can be, {LONGEST_INTERFACE}"),
        )),
        text if text.contains(|c: char| c.is_whitespace() || "/:\"*".contains(c)) => {
            Err(invalid(field, format!("{text:?} is no name of an interface")))
        }
        text => Ok(text.into()),
    };
    match configuration.detect_local_mode.as_str() {
        "" | "ClusterCIDR" => Ok(DetectLocal::ClusterCidr(cluster_cidrs(&configuration.cluster_cidr)?)),
        "NodeCIDR" => Ok(DetectLocal::NodeCidr),
        "BridgeInterface" => {
            let name = given("detectLocal.bridgeInterface", &configuration.detect_local.bridge_interface)?;
            Ok(DetectLocal::BridgeInterface(name))
        }
        "InterfaceNamePrefix" => {
            let prefix =
                given("detectLocal.interfaceNamePrefix", &configuration.detect_local.interface_name_prefix)?;
            Ok(DetectLocal::InterfaceNamePrefix(prefix))
        }
        other => Err(invalid("detectLocalMode", format!("{other:?} is not known"))),
    }
}

/// One prefix, or one of each family.
fn cluster_cidrs(text: &str) -> Result<Vec<IpNet>, Error> {
    let prefixes = prefixes("clusterCIDR", text.split(',').filter(|entry| !entry.trim().is_empty()))?;
    let v4 = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4()).count();
    if v4 > 1 || prefixes.len() - v4 > 1 {
        return Err(invalid("clusterCIDR", "more than one prefix of a family"));
    }
    Ok(prefixes)
}

/// Where nothing is said, kube-proxy's modes differ.
fn node_port_addresses(mode: ProxyMode, configuration: &Configuration) -> Result<NodePortOption, Error> {
    let entries = &configuration.node_port_addresses;
    let field = "nodePortAddresses";
    match entries.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] if mode == ProxyMode::Ipvs => Ok(NodePortOption::All),
        [] | ["primary"] => Ok(NodePortOption::Primary),
        several if several.contains(&"primary") => Err(invalid(field, "primary stands alone")),
        several => Ok(NodePortOption::Within(prefixes(field, several.iter())?)),
    }
}

/// An address with or without a port.
fn bind_address(field: &'static str, text: &str, default: &str, port: u16) -> Result<SocketAddr, Error> {
    let text = if text.is_empty() { default } else { text };
    let bare = || text.trim_matches(['[', ']']).parse().ok().map(|ip| SocketAddr::new(ip, port));
    let parsed = text.parse().ok().or_else(bare);
    parsed.ok_or_else(|| invalid(field, format!("{text:?} is not an address with or without a port")))
}

#[cfg(test)]
mod tests;
