//! `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`), as far as it has an effect here.
//!
//! Fields that we do not know are passed over, and a zero value means the default: kubeadm writes the file like that.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::cli::{ConntrackFlags, Flags, IpvsFlags};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// The configuration as written, before defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// `mode`.
    pub mode: String,
    /// `clusterCIDR`.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    /// `hostnameOverride`.
    pub hostname_override: String,
    /// `healthzBindAddress`.
    pub healthz_bind_address: String,
    /// `metricsBindAddress`.
    pub metrics_bind_address: String,
    /// `bindAddressHardFail`.
    pub bind_address_hard_fail: bool,
    /// `detectLocalMode`.
    pub detect_local_mode: String,
    /// `detectLocal`.
    pub detect_local: DetectLocal,
    /// `nodePortAddresses`.
    #[serde(deserialize_with = "null_is_default")]
    pub node_port_addresses: Vec<String>,
    /// `clientConnection`.
    pub client_connection: ClientConnection,
    /// `nftables`.
    pub nftables: Nftables,
    /// `iptables`, which IPVS mode masquerades by.
    pub iptables: Iptables,
    /// `ipvs`.
    pub ipvs: Ipvs,
    /// `bindAddress`.
    pub bind_address: String,
    /// `oomScoreAdj`.
    pub oom_score_adj: Option<i32>,
    /// `conntrack`.
    pub conntrack: Conntrack,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conntrack {
    /// `maxPerCore`.
    pub max_per_core: Option<i32>,
    /// `min`.
    pub min: Option<i32>,
    /// `tcpEstablishedTimeout`.
    #[serde(deserialize_with = "optional_duration")]
    pub tcp_established_timeout: Option<Duration>,
    /// `tcpCloseWaitTimeout`.
    #[serde(deserialize_with = "optional_duration")]
    pub tcp_close_wait_timeout: Option<Duration>,
    /// `tcpBeLiberal`.
    pub tcp_be_liberal: bool,
    /// `udpTimeout`.
    #[serde(deserialize_with = "duration")]
    pub udp_timeout: Duration,
    /// `udpStreamTimeout`.
    #[serde(deserialize_with = "duration")]
    pub udp_stream_timeout: Duration,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DetectLocal {
    /// `bridgeInterface`.
    pub bridge_interface: String,
    /// `interfaceNamePrefix`.
    pub interface_name_prefix: String,
}

/// `clientConnection`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConnection {
    /// `kubeconfig`.
    pub kubeconfig: String,
}

/// `nftables`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Nftables {
    /// `masqueradeBit`.
    pub masquerade_bit: Option<u8>,
    /// `masqueradeAll`.
    pub masquerade_all: bool,
    /// `syncPeriod`.
    #[serde(deserialize_with = "duration")]
    pub sync_period: Duration,
    /// `minSyncPeriod`.
    #[serde(deserialize_with = "duration")]
    pub min_sync_period: Duration,
}

/// `iptables`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Iptables {
    /// `masqueradeBit`.
    pub masquerade_bit: Option<u8>,
    /// `masqueradeAll`.
    pub masquerade_all: bool,
}

/// `ipvs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ipvs {
    /// `scheduler`.
    pub scheduler: String,
    /// `excludeCIDRs`.
    #[serde(rename = "excludeCIDRs", deserialize_with = "null_is_default")]
    pub exclude_cidrs: Vec<String>,
    /// `strictARP`.
    #[serde(rename = "strictARP")]
    pub strict_arp: bool,
    /// `syncPeriod`.
    #[serde(deserialize_with = "duration")]
    pub sync_period: Duration,
    /// `minSyncPeriod`.
    #[serde(deserialize_with = "duration")]
    pub min_sync_period: Duration,
    /// `tcpTimeout`.
    #[serde(deserialize_with = "duration")]
    pub tcp_timeout: Duration,
    /// `tcpFinTimeout`.
    #[serde(deserialize_with = "duration")]
    pub tcp_fin_timeout: Duration,
    /// `udpTimeout`.
    #[serde(deserialize_with = "duration")]
    pub udp_timeout: Duration,
    /// `drainTimeout`: ours. kube-proxy passes fields over that it does not know, and nobody writes a zero here who does not
    /// mean it.
    #[serde(deserialize_with = "optional_duration")]
    pub drain_timeout: Option<Duration>,
}

/// The configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// A flag has a value that makes no sense.
    #[error("--{flag}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Header {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    kind: String,
}

impl Configuration {
    /// Reads a file, YAML or JSON.
    pub fn from_file(path: &Path) -> Result<Configuration, Error> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Unreadable { path: shown.clone(), source })?;
        Configuration::from_text(&text).map_err(|reason| Error::Invalid { path: shown, reason })
    }

    /// Reads a file's text; the error says where and what is wrong.
    pub fn from_text(text: &str) -> Result<Configuration, String> {
        let header: Header = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if (header.api_version.as_str(), header.kind.as_str()) != (API_VERSION, KIND) {
            let Header { api_version, kind } = header;
            return Err(format!("expected {KIND} of {API_VERSION}, found {kind:?} of {api_version:?}"));
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// From flags alone.
    pub fn from_flags(flags: &Flags) -> Result<Configuration, Error> {
        let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
        Ok(Configuration {
            mode: text(&flags.proxy_mode),
            cluster_cidr: text(&flags.cluster_cidr),
            hostname_override: String::new(),
            healthz_bind_address: text(&flags.healthz_bind_address),
            metrics_bind_address: text(&flags.metrics_bind_address),
            bind_address_hard_fail: flags.bind_address_hard_fail.unwrap_or_default(),
            detect_local_mode: text(&flags.detect_local_mode),
            detect_local: DetectLocal {
                bridge_interface: text(&flags.pod_bridge_interface),
                interface_name_prefix: text(&flags.pod_interface_name_prefix),
            },
            node_port_addresses: flag_list(flags.nodeport_addresses.as_deref()),
            client_connection: ClientConnection {
                kubeconfig: flags
                    .kubeconfig
                    .as_ref()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
            },
            nftables: Nftables {
                masquerade_bit: None,
                masquerade_all: flags.masquerade_all.unwrap_or_default(),
                sync_period: flag_duration("iptables-sync-period", flags.iptables_sync_period.as_ref())?,
                min_sync_period: flag_duration(
                    "iptables-min-sync-period",
                    flags.iptables_min_sync_period.as_ref(),
                )?,
            },
            iptables: Iptables {
                masquerade_bit: flags.iptables_masquerade_bit,
                masquerade_all: flags.masquerade_all.unwrap_or_default(),
            },
            ipvs: Ipvs::from_flags(&flags.ipvs)?,
            bind_address: text(&flags.bind_address),
            oom_score_adj: flags.oom_score_adj,
            conntrack: Conntrack::from_flags(&flags.conntrack)?,
        })
    }
}

impl Conntrack {
    fn from_flags(flags: &ConntrackFlags) -> Result<Conntrack, Error> {
        let optional = |flag, text: &Option<String>| {
            text.as_ref().map(|text| flag_duration(flag, Some(text))).transpose()
        };
        Ok(Conntrack {
            max_per_core: flags.conntrack_max_per_core,
            min: flags.conntrack_min,
            tcp_established_timeout: optional(
                "conntrack-tcp-timeout-established",
                &flags.conntrack_tcp_timeout_established,
            )?,
            tcp_close_wait_timeout: optional(
                "conntrack-tcp-timeout-close-wait",
                &flags.conntrack_tcp_timeout_close_wait,
            )?,
            tcp_be_liberal: flags.conntrack_tcp_be_liberal.unwrap_or_default(),
            udp_timeout: flag_duration("conntrack-udp-timeout", flags.conntrack_udp_timeout.as_ref())?,
            udp_stream_timeout: flag_duration(
                "conntrack-udp-timeout-stream",
                flags.conntrack_udp_timeout_stream.as_ref(),
            )?,
        })
    }
}

impl Ipvs {
    fn from_flags(flags: &IpvsFlags) -> Result<Ipvs, Error> {
        Ok(Ipvs {
            scheduler: flags.ipvs_scheduler.clone().unwrap_or_default(),
            exclude_cidrs: flag_list(flags.ipvs_exclude_cidrs.as_deref()),
            strict_arp: flags.ipvs_strict_arp.unwrap_or_default(),
            sync_period: flag_duration("ipvs-sync-period", flags.ipvs_sync_period.as_ref())?,
            min_sync_period: flag_duration("ipvs-min-sync-period", flags.ipvs_min_sync_period.as_ref())?,
            tcp_timeout: flag_duration("ipvs-tcp-timeout", flags.ipvs_tcp_timeout.as_ref())?,
            tcp_fin_timeout: flag_duration("ipvs-tcpfin-timeout", flags.ipvs_tcpfin_timeout.as_ref())?,
            udp_timeout: flag_duration("ipvs-udp-timeout", flags.ipvs_udp_timeout.as_ref())?,
            drain_timeout: match &flags.ipvs_drain_timeout {
                None => None,
                given => Some(flag_duration("ipvs-drain-timeout", given.as_ref())?),
            },
        })
    }
}

fn flag_list(text: Option<&str>) -> Vec<String> {
    let entries = text.unwrap_or_default().split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

fn flag_duration(flag: &'static str, text: Option<&String>) -> Result<Duration, Error> {
    let parsed = text.map_or(Ok(Duration::ZERO), |text| parse_duration(text));
    parsed.map_err(|reason| Error::Flag { flag, reason })
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    source: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    Ok(optional_duration(source)?.unwrap_or_default())
}

fn optional_duration<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(source)?;
    text.map(|text| parse_duration(&text)).transpose().map_err(serde::de::Error::custom)
}

/// A duration as Go writes it, such as `1h0m30s` or `250ms`; not negative.
fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let positive = parsed.ok().and_then(|duration| Duration::try_from(duration).ok());
    positive.ok_or_else(|| format!("{text:?} is not a duration such as 30s"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_file_that_kubeadm_writes_is_read() {
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nbindAddress: 0.0.0.0\nbindAddressHardFail: false\n\
            clientConnection:\n  acceptContentTypes: \"\"\n  burst: 0\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n\
            clusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\nconntrack:\n  maxPerCore: null\n\
            detectLocal:\n  bridgeInterface: \"\"\n  interfaceNamePrefix: \"\"\ndetectLocalMode: \"\"\n\
            iptables:\n  localhostNodePorts: null\n  masqueradeAll: false\n  masqueradeBit: null\n  minSyncPeriod: 0s\n  syncPeriod: 0s\n\
            ipvs:\n  excludeCIDRs: null\n  minSyncPeriod: 0s\n  scheduler: \"\"\n  strictARP: false\n  syncPeriod: 0s\n\
            \x20 tcpFinTimeout: 0s\n  tcpTimeout: 0s\n  udpTimeout: 0s\n\
            kind: KubeProxyConfiguration\nmode: \"\"\nnftables:\n  masqueradeAll: false\n  masqueradeBit: null\n\
            \x20 minSyncPeriod: 0s\n  syncPeriod: 1h30m0.5s\nnodePortAddresses: null\n";
        let read = Configuration::from_text(text).unwrap();
        assert_eq!(read.cluster_cidr, "10.244.0.0/16");
        assert_eq!(read.nftables.sync_period, Duration::from_millis(5_400_500));
        assert_eq!(read.client_connection.kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
        assert_eq!((read.ipvs, read.iptables), (Ipvs::default(), Iptables::default()));
    }

    #[test]
    fn the_section_of_ipvs_is_read_and_flags_say_the_same() {
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nipvs:\n\
            \x20 scheduler: lc\n  excludeCIDRs: [10.0.0.0/8, 'fd00::/8']\n  strictARP: true\n  syncPeriod: 1m\n\
            \x20 minSyncPeriod: 2s\n  tcpTimeout: 3s\n  tcpFinTimeout: 4s\n  udpTimeout: 5s\n  drainTimeout: 0s\n\
            iptables:\n  masqueradeBit: 3\n  masqueradeAll: true\n";
        let read = Configuration::from_text(text).unwrap();
        let line = "kubeweir --ipvs-scheduler=lc --ipvs-exclude-cidrs=10.0.0.0/8,fd00::/8 --ipvs-strict-arp \
            --ipvs-sync-period=1m --ipvs-min-sync-period=2s --ipvs-tcp-timeout=3s --ipvs-tcpfin-timeout=4s \
            --ipvs-udp-timeout=5s --ipvs-drain-timeout=0s --iptables-masquerade-bit=3 --masquerade-all";
        let flags = Cli::parse_from(line.split_whitespace()).flags;
        let given = Configuration::from_flags(&flags).unwrap();
        let seconds = |seconds| Duration::from_secs(seconds);
        let expected = Ipvs {
            scheduler: "lc".into(),
            exclude_cidrs: vec!["10.0.0.0/8".into(), "fd00::/8".into()],
            strict_arp: true,
            sync_period: seconds(60),
            min_sync_period: seconds(2),
            tcp_timeout: seconds(3),
            tcp_fin_timeout: seconds(4),
            udp_timeout: seconds(5),
            drain_timeout: Some(Duration::ZERO),
        };
        assert_eq!((&read.ipvs, &given.ipvs), (&expected, &expected));
        let masquerade = Iptables { masquerade_bit: Some(3), masquerade_all: true };
        assert_eq!((&read.iptables, &given.iptables), (&masquerade, &masquerade));
        assert!(given.nftables.masquerade_all, "the flag counts in every mode");
        let text = text.replace("udpTimeout: 5s", "udpTimeout: -5s");
        assert!(Configuration::from_text(&text).unwrap_err().contains("-5s"));
    }

    #[test]
    fn what_is_not_a_configuration_is_refused_with_the_place() {
        assert!(Configuration::from_text("kind: Pod\n").unwrap_err().contains("found \"Pod\""));
        let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nnftables:\n  syncPeriod: soon\n";
        let error = Configuration::from_text(text).unwrap_err();
        assert!(error.contains("soon") && error.contains('4'), "{error}");
    }
}
