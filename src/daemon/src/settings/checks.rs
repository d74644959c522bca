//! Checks of values, field by field. What is not valid is complained about and replaced, so that all complaints come at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use kubeweir_cluster::sloppy;
use kubeweir_plan::options::{DetectLocal, NodePortOption};

use super::{ConntrackSettings, ProxyMode};
use crate::configuration::values::GoDuration;
use crate::configuration::{Complaint, Complaints, Configuration, Conntrack, KIND, Logging, OFF, gates};

/// `IFNAMSIZ`, less the byte that ends it.
const LONGEST_INTERFACE: usize = 15;
const LONGEST_MIN_SYNC_PERIOD: GoDuration = GoDuration::seconds(3600);
/// The version whose hidden metrics may be asked for: the one before that which we stand in for.
const PREVIOUS_VERSION: &str = "1.35";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const POSITIVE: &str = "must be greater than 0";

/// What every mode has settings for, from the section that counts in this one.
pub(super) struct Section {
    name: &'static str,
    masquerade: &'static str,
    masquerade_bit: i32,
    pub(super) masquerade_all: bool,
    sync_period: GoDuration,
    min_sync_period: GoDuration,
    longest_min: Option<GoDuration>,
}

impl Section {
    /// IPVS mode masquerades by the section of iptables mode, as in kube-proxy
    /// (`pkg/proxy/apis/config/v1alpha1/conversion.go`).
    pub(super) fn in_force(mode: ProxyMode, effective: &Configuration) -> Section {
        let Configuration { nftables, iptables, ipvs, .. } = effective;
        match mode {
            ProxyMode::Nftables => Section {
                name: "nftables",
                masquerade: "nftables.masqueradeBit",
                masquerade_bit: nftables.masquerade_bit.unwrap_or_default(),
                masquerade_all: nftables.masquerade_all,
                sync_period: nftables.sync_period,
                min_sync_period: nftables.min_sync_period,
                longest_min: Some(LONGEST_MIN_SYNC_PERIOD),
            },
            ProxyMode::Ipvs => Section {
                name: "ipvs",
                masquerade: "iptables.masqueradeBit",
                masquerade_bit: iptables.masquerade_bit.unwrap_or_default(),
                masquerade_all: iptables.masquerade_all,
                sync_period: ipvs.sync_period,
                min_sync_period: ipvs.min_sync_period,
                longest_min: None,
            },
        }
    }

    pub(super) fn masquerade_mark(&self, c: &mut Complaints) -> u32 {
        c.check(mark(self.masquerade, self.masquerade_bit))
    }

    /// The longest and the shortest.
    pub(super) fn periods(&self, c: &mut Complaints) -> (Duration, Duration) {
        let (longest, shortest) = (self.sync_period, self.min_sync_period);
        let (path, longest_path) =
            (format!("{}.minSyncPeriod", self.name), format!("{}.syncPeriod", self.name));
        c.unless(longest > GoDuration(0), &longest_path, &longest, POSITIVE);
        c.unless(shortest >= GoDuration(0), &path, &shortest, NOT_NEGATIVE);
        let why = format!("must be greater than or equal to {KIND}.{path}");
        c.unless(shortest <= longest, &longest_path, &longest, &why);
        let short_enough = self.longest_min.is_none_or(|limit| shortest <= limit);
        c.unless(
            short_enough,
            &path,
            &shortest,
            "must be less than or equal to 1h: everything is compared anew that often",
        );
        (longest.unsigned(), shortest.unsigned())
    }
}

fn mark(path: &str, bit: i32) -> Result<u32, Complaint> {
    let mark = u32::try_from(bit).ok().and_then(|bit| 1_u32.checked_shl(bit));
    mark.ok_or_else(|| Complaint::invalid(path, &bit, "must be within the range [0, 31]"))
}

/// Fields that are checked in every mode although they may not count.
pub(super) fn besides(effective: &Configuration, c: &mut Complaints) {
    if effective.mode != "ipvs" {
        c.check(mark("iptables.masqueradeBit", effective.iptables.masquerade_bit.unwrap_or_default()));
    }
    c.0.extend(gates::complaints(&effective.feature_gates));
    let client = &effective.client_connection;
    c.unless(client.burst >= 0, "clientConnection.burst", &client.burst, "must be non-negative");
    c.unless(client.qps.is_finite(), "clientConnection.qps", &client.qps, "must be a number");
    let period = effective.config_sync_period;
    c.unless(period > GoDuration(0), "configSyncPeriod", &period, POSITIVE);
    let version = &effective.show_hidden_metrics_for_version;
    let known = version.is_empty() || version == PREVIOUS_VERSION;
    let why = format!(
        "must be omitted or have the value {PREVIOUS_VERSION:?}; only the previous minor version is allowed"
    );
    c.unless(known, "showHiddenMetricsForVersion", version, &why);
    let alpha = gates::is_on(&effective.feature_gates, "LoggingAlphaOptions");
    logging(&effective.logging, alpha, c);
}

fn logging(logging: &Logging, alpha: bool, c: &mut Complaints) {
    let format = &logging.format;
    c.unless(["text", "json"].contains(&format.as_str()), "logging.format", format, "unsupported log format");
    let vmodule = &logging.vmodule;
    c.unless(
        vmodule.is_empty() || format == "text",
        "logging.vmodule",
        vmodule,
        "only supported for text log format",
    );
    for entry in vmodule {
        let pattern = &entry.file_pattern;
        let fine = !pattern.is_empty() && !pattern.contains(['=', ',']);
        c.unless(fine, "logging.vmodule.filePattern", pattern, "must not be empty and have neither = nor ,");
    }
    for (name, options) in [("text", &logging.options.text), ("json", &logging.options.json)] {
        let path = |field: &str| format!("logging.options.{name}.{field}");
        let why = "feature LoggingAlphaOptions is disabled";
        c.unless(alpha || !options.split_stream, &path("splitStream"), &options.split_stream, why);
        let size = &options.info_buffer_size;
        c.unless(alpha || size.is_zero(), &path("infoBufferSize"), size, why);
    }
}

pub(super) fn mode(name: &str, c: &mut Complaints) -> ProxyMode {
    name.parse().unwrap_or_else(|_| {
        let why = "must be iptables, ipvs or nftables (blank means nftables)";
        c.unless(false, "mode", &name, why);
        ProxyMode::Nftables
    })
}

/// Node names are lower case. Without one it is the host's.
pub(super) fn node_name(given: &str, c: &mut Complaints) -> String {
    let name = match given {
        "" => nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        given => given.to_owned(),
    };
    let name = name.trim().to_lowercase();
    c.unless(!name.is_empty(), "hostnameOverride", &given, "empty hostname is invalid");
    name
}

pub(super) fn detect_local(effective: &Configuration, c: &mut Complaints) -> DetectLocal {
    let section = &effective.detect_local;
    match effective.detect_local_mode.as_str() {
        "ClusterCIDR" => DetectLocal::ClusterCidr(c.check(cluster_cidrs(&effective.cluster_cidr))),
        "NodeCIDR" => DetectLocal::NodeCidr,
        "BridgeInterface" => {
            let name = interface("detectLocal.bridgeInterface", &section.bridge_interface);
            DetectLocal::BridgeInterface(c.check(name).into())
        }
        "InterfaceNamePrefix" => {
            let prefix = interface("detectLocal.interfaceNamePrefix", &section.interface_name_prefix);
            DetectLocal::InterfaceNamePrefix(c.check(prefix).into())
        }
        other => {
            let why = "must be ClusterCIDR, NodeCIDR, BridgeInterface, or InterfaceNamePrefix, or blank";
            c.unless(false, "detectLocalMode", &other, why);
            DetectLocal::NodeCidr
        }
    }
}

fn interface(path: &str, name: &str) -> Result<String, Complaint> {
    let why = match name {
        "" => "must be set",
        long if long.len() > LONGEST_INTERFACE => "must not be longer than 15 bytes",
        text if text.contains(|c: char| c.is_whitespace() || "/:\"*".contains(c)) => {
            "must be the name of an interface"
        }
        text => return Ok(text.to_owned()),
    };
    Err(Complaint::invalid(path, &name, why))
}

/// One prefix, or one of each family.
fn cluster_cidrs(text: &str) -> Result<Vec<IpNet>, Complaint> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let prefixes = prefixes("clusterCIDR", text.split(','))?;
    let v4 = prefixes.iter().filter(|prefix| prefix.addr().is_ipv4()).count();
    if v4 > 1 || prefixes.len() - v4 > 1 {
        let why = "must be one CIDR, or one of each address family (e.g. 10.100.0.0/16,fde4:8dba:82e1::/48)";
        return Err(Complaint::invalid("clusterCIDR", &text, why));
    }
    Ok(prefixes)
}

pub(super) fn prefixes(
    path: &str,
    entries: impl Iterator<Item = impl AsRef<str>>,
) -> Result<Vec<IpNet>, Complaint> {
    let prefix = |(index, entry): (usize, &str)| {
        let why = "must be a CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)";
        sloppy::prefix(entry).ok_or_else(|| Complaint::invalid(format!("{path}[{index}]"), &entry, why))
    };
    entries.enumerate().map(|(index, entry)| prefix((index, entry.as_ref()))).collect()
}

pub(super) fn node_port_addresses(effective: &Configuration, c: &mut Complaints) -> NodePortOption {
    let path = "nodePortAddresses";
    let entries: Vec<&str> = effective.node_port_addresses.iter().map(String::as_str).collect();
    match entries.as_slice() {
        [] | ["0.0.0.0/0", "::/0"] => NodePortOption::All,
        ["primary"] => NodePortOption::Primary,
        several if several.contains(&"primary") => {
            c.unless(false, path, &several, "\"primary\" must be the only entry");
            NodePortOption::Primary
        }
        several => NodePortOption::Within(c.check(prefixes(path, several.iter()))),
    }
}

/// The address of a server, or none if it is switched off.
pub(super) fn server(path: &str, text: &str, c: &mut Complaints) -> Option<SocketAddr> {
    if text == OFF {
        return None;
    }
    let address = text.parse::<SocketAddr>().map_err(|_| Complaint::invalid(path, &text, "must be IP:port"));
    let with_port = address.and_then(|address| match address.port() {
        0 => Err(Complaint::invalid(path, &text, "port must be within the range [1, 65535]")),
        _ => Ok(Some(address)),
    });
    c.check(with_port)
}

pub(super) fn bind_address(text: &str, c: &mut Complaints) -> IpAddr {
    sloppy::address(text).unwrap_or_else(|| {
        c.unless(false, "bindAddress", &text, "not a valid textual representation of an IP address");
        Ipv4Addr::UNSPECIFIED.into()
    })
}

pub(super) fn oom_score_adj(score: Option<i32>, c: &mut Complaints) -> i32 {
    let score = score.unwrap_or_default();
    let possible = (-1000..=1000).contains(&score);
    c.unless(possible, "oomScoreAdj", &score, "must be within the range [-1000, 1000]");
    score
}

pub(super) fn not_negative(path: &str, duration: GoDuration, c: &mut Complaints) -> Duration {
    c.unless(duration >= GoDuration(0), path, &duration, NOT_NEGATIVE);
    duration.unsigned()
}

pub(super) fn conntrack(effective: &Conntrack, c: &mut Complaints) -> ConntrackSettings {
    let limit = |path: &str, limit: Option<i32>| {
        let limit = limit.unwrap_or_default();
        u32::try_from(limit).map_err(|_| Complaint::invalid(path, &limit, NOT_NEGATIVE))
    };
    let established = effective.tcp_established_timeout.unwrap_or_default();
    let close_wait = effective.tcp_close_wait_timeout.unwrap_or_default();
    ConntrackSettings {
        max_per_core: c.check(limit("conntrack.maxPerCore", effective.max_per_core)),
        min: c.check(limit("conntrack.min", effective.min)),
        tcp_established: not_negative("conntrack.tcpEstablishedTimeout", established, c),
        tcp_close_wait: not_negative("conntrack.tcpCloseWaitTimeout", close_wait, c),
        tcp_be_liberal: effective.tcp_be_liberal,
        udp: not_negative("conntrack.udpTimeout", effective.udp_timeout, c),
        udp_stream: not_negative("conntrack.udpStreamTimeout", effective.udp_stream_timeout, c),
    }
}

/// What is valid but seldom meant.
pub(super) fn sanity(effective: &Configuration) -> Vec<String> {
    let mut advice = Vec::new();
    let everywhere = effective.node_port_addresses.iter().filter(|entry| entry.ends_with("/0")).count();
    if effective.node_port_addresses.is_empty() || everywhere == 2 {
        let text = "nodePortAddresses is unset or names everything: NodePorts answer on all local addresses; consider \"primary\"";
        advice.push(text.to_owned());
    }
    let families = |entries: &mut dyn Iterator<Item = &str>| {
        let v6: Vec<bool> =
            entries.filter_map(sloppy::prefix).map(|prefix| prefix.addr().is_ipv6()).collect();
        (v6.contains(&false), v6.contains(&true))
    };
    let other = |(v4, v6): (bool, bool)| match (v4, v6) {
        (true, false) => Some("IPv6"),
        (false, true) => Some("IPv4"),
        _ => None,
    };
    let mut entries = effective.node_port_addresses.iter().map(String::as_str);
    if let Some(family) = other(families(&mut entries)) {
        advice.push(format!(
            "nodePortAddresses has no {family} prefix: {family} NodePorts answer on all local addresses"
        ));
    }
    if effective.detect_local_mode == "ClusterCIDR" {
        match effective.cluster_cidr.as_str() {
            "" => advice.push(
                "clusterCIDR is unset: pods cannot be told from others, and nothing is masqueraded for it"
                    .to_owned(),
            ),
            text => {
                let missing = other(families(&mut text.split(',')));
                let text = |family| {
                    format!("clusterCIDR has no {family} prefix: of {family} pods cannot be told from others")
                };
                advice.extend(missing.map(text));
            }
        }
    }
    advice
}
