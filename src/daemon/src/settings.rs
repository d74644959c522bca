//! Settings: the configuration with every default filled in and every value checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use kubeweir_plan::options::{DetectLocal, NodePortOption, Options};

use crate::cli::Flags;
use crate::configuration::{self, Configuration};

/// Bit 14: the mark `0x4000`, as in kube-proxy.
const MASQUERADE_BIT: u8 = 14;
const SYNC_PERIOD: Duration = Duration::from_secs(30);
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
    /// Options of nftables mode.
    pub nftables: kubeweir_nftables::Options,
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
    /// What an operator should know about the configuration.
    pub advice: Vec<String>,
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
        let configuration = match &flags.config {
            Some(path) => Configuration::from_file(path)?,
            None => Configuration::from_flags(flags)?,
        };
        Settings::new(&configuration, flags)
    }

    fn new(configuration: &Configuration, flags: &Flags) -> Result<Settings, Error> {
        let mut advice = Vec::new();
        check_mode(&configuration.mode, &mut advice)?;
        let plan = Options {
            node_name: node_name(configuration, flags)?.into(),
            detect_local: detect_local(configuration)?,
            masquerade_all: configuration.nftables.masquerade_all,
            node_port_addresses: node_port_addresses(configuration)?,
            schedulers: &[],
            weights: false,
        };
        let bit = configuration.nftables.masquerade_bit.unwrap_or(MASQUERADE_BIT);
        let mark = 1_u32.checked_shl(u32::from(bit));
        let mark =
            mark.ok_or_else(|| invalid("nftables.masqueradeBit", format!("{bit} is not within 0 to 31")))?;
        let sync_period = or_default(configuration.nftables.sync_period, SYNC_PERIOD);
        let min_sync_period = configuration.nftables.min_sync_period;
        if min_sync_period > sync_period {
            let reason = format!("{min_sync_period:?} is longer than syncPeriod {sync_period:?}");
            return Err(invalid("nftables.minSyncPeriod", reason));
        }
        Ok(Settings {
            plan,
            nftables: kubeweir_nftables::Options { masquerade_mark: mark },
            source: source(configuration, flags),
            all_nodes: false,
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
            advice,
        })
    }
}

fn invalid(field: &'static str, reason: impl Into<String>) -> Error {
    Error::Invalid { field, reason: reason.into() }
}

fn or_default(duration: Duration, default: Duration) -> Duration {
    if duration.is_zero() { default } else { duration }
}

fn check_mode(mode: &str, advice: &mut Vec<String>) -> Result<(), Error> {
    match mode {
        "nftables" => Ok(()),
        "" | "iptables" => {
            advice.push(format!("mode {mode:?} is not offered: nftables is used instead"));
            Ok(())
        }
        other => Err(invalid("mode", format!("{other:?} is not one of nftables and iptables"))),
    }
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

fn node_port_addresses(configuration: &Configuration) -> Result<NodePortOption, Error> {
    let entries = &configuration.node_port_addresses;
    let field = "nodePortAddresses";
    match entries.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
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
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Configuration)) -> Result<Settings, Error> {
        let mut configuration = Configuration { mode: "nftables".into(), ..Configuration::default() };
        change(&mut configuration);
        let flags = Flags { hostname_override: Some(" Node-1 ".into()), ..Flags::default() };
        Settings::new(&configuration, &flags)
    }

    #[test]
    fn defaults_are_those_of_kube_proxy() {
        let settings = settings(|_| {}).unwrap();
        assert_eq!(settings.plan, Options::for_node("node-1"));
        assert_eq!(settings.nftables.masquerade_mark, 0x4000);
        assert_eq!(
            (settings.healthz.to_string(), settings.metrics.to_string()),
            (HEALTHZ.into(), METRICS.into())
        );
        assert!(settings.advice.is_empty());
    }

    #[test]
    fn a_mode_that_we_do_not_have_is_replaced_with_advice_or_refused() {
        for mode in ["", "iptables"] {
            assert_eq!(settings(|c| c.mode = mode.into()).unwrap().advice.len(), 1);
        }
        assert!(settings(|c| c.mode = "userspace".into()).unwrap_err().to_string().starts_with("mode:"));
    }

    #[test]
    fn values_that_make_no_sense_name_their_field() {
        let error = |change: fn(&mut Configuration)| settings(change).unwrap_err().to_string();
        assert!(error(|c| c.cluster_cidr = "10.0.0.0/8,10.1.0.0/16".into()).starts_with("clusterCIDR:"));
        assert!(error(|c| c.cluster_cidr = "pods".into()).contains("\"pods\""));
        assert!(error(|c| c.nftables.masquerade_bit = Some(32)).starts_with("nftables.masqueradeBit:"));
        assert!(error(|c| c.detect_local_mode = "BridgeInterface".into()).contains("bridgeInterface"));
        let bridge = |name: &str| {
            let name = name.to_owned();
            settings(|c| {
                c.detect_local_mode = "BridgeInterface".into();
                c.detect_local.bridge_interface = name;
            })
        };
        assert!(bridge("cni0").is_ok());
        assert!(bridge("a-name-beyond-15").unwrap_err().to_string().contains("longer"));
        assert!(bridge("a\"b").unwrap_err().to_string().contains("no name"));
        assert!(error(|c| c.node_port_addresses = vec!["primary".into(), "::/0".into()]).contains("alone"));
        assert!(error(|c| c.healthz_bind_address = "here".into()).starts_with("healthzBindAddress:"));
        assert!(error(|c| c.nftables.min_sync_period = Duration::from_secs(60)).contains("longer"));
    }

    #[test]
    fn an_address_gets_its_port() {
        let bound =
            |text: &str| settings(|c| c.healthz_bind_address = text.into()).unwrap().healthz.to_string();
        assert_eq!(bound("127.0.0.1"), "127.0.0.1:10256");
        assert_eq!(bound("[::1]"), "[::1]:10256");
        assert_eq!(bound("[::1]:99"), "[::1]:99");
    }
}
