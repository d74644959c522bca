//! A configuration from flags, and the flags that say the same as a configuration.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::CommandFactory;
use kubeweir_cluster::sloppy;
use serde_json::Value;

use super::defaults::{address_and_port, without_brackets};
use super::sections::{ClientConnection, Conntrack, DetectLocal, Iptables, Ipvs, Logging, Nftables, Vmodule};
use super::values::{FlushFrequency, GoDuration};
use super::{Configuration, Error, OFF, fields, gates};
use crate::cli::{Cli, ConntrackFlags, Flags, IpvsFlags, LoggingFlags};

/// Flags that stand for a field, and the field. Of those that stand for several, the one that counts in nftables mode.
pub const FIELDS: [(&str, &str); 50] = [
    ("bind-address", "bindAddress"),
    ("bind-address-hard-fail", "bindAddressHardFail"),
    ("cluster-cidr", "clusterCIDR"),
    ("config-sync-period", "configSyncPeriod"),
    ("conntrack-max-per-core", "conntrack.maxPerCore"),
    ("conntrack-min", "conntrack.min"),
    ("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal"),
    ("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout"),
    ("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout"),
    ("conntrack-udp-timeout", "conntrack.udpTimeout"),
    ("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout"),
    ("detect-local-mode", "detectLocalMode"),
    ("feature-gates", "featureGates"),
    ("healthz-bind-address", "healthzBindAddress"),
    ("hostname-override", "hostnameOverride"),
    ("iptables-localhost-nodeports", "iptables.localhostNodePorts"),
    ("iptables-masquerade-bit", "iptables.masqueradeBit"),
    ("iptables-min-sync-period", "nftables.minSyncPeriod"),
    ("iptables-sync-period", "nftables.syncPeriod"),
    ("ipvs-drain-timeout", "ipvs.drainTimeout"),
    ("ipvs-exclude-cidrs", "ipvs.excludeCIDRs"),
    ("ipvs-min-sync-period", "ipvs.minSyncPeriod"),
    ("ipvs-scheduler", "ipvs.scheduler"),
    ("ipvs-strict-arp", "ipvs.strictARP"),
    ("ipvs-sync-period", "ipvs.syncPeriod"),
    ("ipvs-tcp-timeout", "ipvs.tcpTimeout"),
    ("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout"),
    ("ipvs-udp-timeout", "ipvs.udpTimeout"),
    ("kube-api-burst", "clientConnection.burst"),
    ("kube-api-content-type", "clientConnection.contentType"),
    ("kube-api-qps", "clientConnection.qps"),
    ("kubeconfig", "clientConnection.kubeconfig"),
    ("log-flush-frequency", "logging.flushFrequency"),
    ("log-json-info-buffer-size", "logging.options.json.infoBufferSize"),
    ("log-json-split-stream", "logging.options.json.splitStream"),
    ("log-text-info-buffer-size", "logging.options.text.infoBufferSize"),
    ("log-text-split-stream", "logging.options.text.splitStream"),
    ("logging-format", "logging.format"),
    ("masquerade-all", "nftables.masqueradeAll"),
    ("metrics-bind-address", "metricsBindAddress"),
    ("nodeport-addresses", "nodePortAddresses"),
    ("oom-score-adj", "oomScoreAdj"),
    ("pod-bridge-interface", "detectLocal.bridgeInterface"),
    ("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix"),
    ("profiling", "enableProfiling"),
    ("proxy-mode", "mode"),
    ("service-counters", "serviceCounters"),
    ("show-hidden-metrics-for-version", "showHiddenMetricsForVersion"),
    ("v", "logging.verbosity"),
    ("vmodule", "logging.vmodule"),
];

/// The value in effect of every flag of the daemon, by its name.
pub fn in_effect(flags: &Flags, effective: &Configuration) -> BTreeMap<String, String> {
    let object = effective.object();
    let of_field = |(flag, path): &(&str, &str)| {
        let other = matches!(*flag, "masquerade-all") && effective.mode == "ipvs";
        let path = if other { "iptables.masqueradeAll" } else { path };
        ((*flag).to_owned(), shown(fields::at(&object, path)))
    };
    let mut all: BTreeMap<String, String> = FIELDS.iter().map(of_field).collect();
    let text = |flag: &Option<String>| flag.clone().unwrap_or_default();
    let path = |flag: &Option<std::path::PathBuf>| {
        flag.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    let besides = [
        ("boot-id-file", text(&flags.idle.boot_id_file)),
        // Neither runs a daemon.
        ("cleanup", "false".to_owned()),
        ("config", path(&flags.config)),
        ("healthz-port", port(&effective.healthz_bind_address)),
        ("init-only", flags.init_only.unwrap_or_default().to_string()),
        ("machine-id-file", text(&flags.idle.machine_id_file)),
        ("manifests", path(&flags.manifests)),
        ("master", text(&flags.master)),
        ("metrics-port", port(&effective.metrics_bind_address)),
        ("version", "false".to_owned()),
        ("write-config-to", String::new()),
    ];
    all.extend(besides.map(|(name, value)| (name.to_owned(), value)));
    all
}

/// Names of all flags of the daemon, as the command line knows them.
pub fn names() -> Vec<String> {
    let mut command = Cli::command();
    command.build();
    let named = command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned));
    named.filter(|name| name != "help").collect()
}

fn port(address: &str) -> String {
    address.rsplit_once(':').map_or(OFF, |(_, port)| port).to_owned()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let item = |item: &Value| match item.get("filePattern") {
                Some(pattern) => format!("{}={}", shown(pattern), shown(&item["verbosity"])),
                None => shown(item),
            };
            items.iter().map(item).collect::<Vec<_>>().join(",")
        }
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| format!("{name}={}", shown(value));
            entries.iter().map(entry).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

impl Configuration {
    /// From flags alone.
    pub fn from_flags(flags: &Flags) -> Result<Configuration, Error> {
        let configuration = Configuration::parsed_from(flags)?;
        positive_periods(flags)?;
        Ok(configuration)
    }

    /// From flags that can be parsed, which is asked of them whether they count or not.
    pub(crate) fn parsed_from(flags: &Flags) -> Result<Configuration, Error> {
        addresses(flags)?;
        let period = parsed("iptables-sync-period", flags.iptables_sync_period.as_ref())?;
        let min_period =
            parsed("iptables-min-sync-period", flags.iptables_min_sync_period.as_ref())?.unwrap_or_default();
        let masquerade_all = flags.masquerade_all.unwrap_or_default();
        let idle = &flags.idle;
        let mut configuration = Configuration {
            feature_gates: with("feature-gates", Some(&flags.feature_gates.join(",")), gates::parse)?
                .unwrap_or_default(),
            client_connection: ClientConnection {
                kubeconfig: flags.kubeconfig.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
                accept_content_types: String::new(),
                content_type: text(idle.kube_api_content_type.as_ref()),
                qps: idle.kube_api_qps.unwrap_or_default(),
                burst: idle.kube_api_burst.unwrap_or_default(),
            },
            bind_address: text(flags.bind_address.as_ref()),
            healthz_bind_address: address(
                flags.healthz_bind_address.as_deref(),
                flags.healthz_port,
                "0.0.0.0",
            ),
            metrics_bind_address: match flags.metrics_bind_address.as_deref() {
                Some("") => OFF.to_owned(),
                given => address(given, flags.metrics_port, "127.0.0.1"),
            },
            bind_address_hard_fail: flags.bind_address_hard_fail.unwrap_or_default(),
            enable_profiling: idle.profiling.unwrap_or_default(),
            show_hidden_metrics_for_version: text(idle.show_hidden_metrics_for_version.as_ref()),
            mode: text(flags.proxy_mode.as_ref()),
            iptables: Iptables {
                masquerade_bit: flags.iptables_masquerade_bit,
                masquerade_all,
                localhost_node_ports: idle.iptables_localhost_nodeports,
                ..Iptables::default()
            },
            ipvs: Ipvs::from_flags(&flags.ipvs)?,
            nftables: Nftables {
                masquerade_bit: None,
                masquerade_all,
                sync_period: period.unwrap_or_default(),
                min_sync_period: min_period,
            },
            detect_local_mode: text(flags.detect_local_mode.as_ref()),
            detect_local: DetectLocal {
                bridge_interface: text(flags.pod_bridge_interface.as_ref()),
                interface_name_prefix: text(flags.pod_interface_name_prefix.as_ref()),
            },
            cluster_cidr: text(flags.cluster_cidr.as_ref()),
            node_port_addresses: list(&flags.nodeport_addresses),
            oom_score_adj: flags.oom_score_adj,
            service_counters: flags.service_counters.unwrap_or_default(),
            conntrack: Conntrack::from_flags(&flags.conntrack)?,
            config_sync_period: parsed("config-sync-period", idle.config_sync_period.as_ref())?
                .unwrap_or_default(),
            ..Configuration::default()
        };
        configuration.overlay(flags)?;
        Ok(configuration)
    }

    /// Puts the flags over it that count beside a file.
    pub fn overlay(&mut self, flags: &Flags) -> Result<(), Error> {
        if let Some(name) = &flags.hostname_override {
            self.hostname_override.clone_from(name);
        }
        self.logging.overlay(&flags.logging)
    }
}

impl Logging {
    /// Puts flags over it, which beat it.
    pub fn overlay(&mut self, flags: &LoggingFlags) -> Result<(), Error> {
        over(&mut self.verbosity, flags.verbosity);
        over(&mut self.format, flags.logging_format.clone());
        let flush = parsed("log-flush-frequency", flags.log_flush_frequency.as_ref())?;
        over(&mut self.flush_frequency, flush.map(FlushFrequency));
        let mut vmodule = with("vmodule", Some(&flags.vmodule.join(",")), vmodule)?.unwrap_or_default();
        vmodule.append(&mut self.vmodule);
        self.vmodule = vmodule;
        over(&mut self.options.text.split_stream, flags.log_text_split_stream);
        over(&mut self.options.json.split_stream, flags.log_json_split_stream);
        let size = parsed("log-text-info-buffer-size", flags.log_text_info_buffer_size.as_ref())?;
        over(&mut self.options.text.info_buffer_size, size);
        let size = parsed("log-json-info-buffer-size", flags.log_json_info_buffer_size.as_ref())?;
        over(&mut self.options.json.info_buffer_size, size);
        Ok(())
    }
}

impl Ipvs {
    fn from_flags(flags: &IpvsFlags) -> Result<Ipvs, Error> {
        let duration = |flag, text: &Option<String>| parsed(flag, text.as_ref());
        Ok(Ipvs {
            scheduler: text(flags.ipvs_scheduler.as_ref()),
            exclude_cidrs: list(&flags.ipvs_exclude_cidrs),
            strict_arp: flags.ipvs_strict_arp.unwrap_or_default(),
            sync_period: duration("ipvs-sync-period", &flags.ipvs_sync_period)?.unwrap_or_default(),
            min_sync_period: duration("ipvs-min-sync-period", &flags.ipvs_min_sync_period)?
                .unwrap_or_default(),
            tcp_timeout: duration("ipvs-tcp-timeout", &flags.ipvs_tcp_timeout)?.unwrap_or_default(),
            tcp_fin_timeout: duration("ipvs-tcpfin-timeout", &flags.ipvs_tcpfin_timeout)?.unwrap_or_default(),
            udp_timeout: duration("ipvs-udp-timeout", &flags.ipvs_udp_timeout)?.unwrap_or_default(),
            drain_timeout: duration("ipvs-drain-timeout", &flags.ipvs_drain_timeout)?,
        })
    }
}

impl Conntrack {
    fn from_flags(flags: &ConntrackFlags) -> Result<Conntrack, Error> {
        let duration = |flag, text: &Option<String>| parsed::<GoDuration>(flag, text.as_ref());
        Ok(Conntrack {
            max_per_core: flags.conntrack_max_per_core,
            min: flags.conntrack_min,
            tcp_established_timeout: duration(
                "conntrack-tcp-timeout-established",
                &flags.conntrack_tcp_timeout_established,
            )?,
            tcp_close_wait_timeout: duration(
                "conntrack-tcp-timeout-close-wait",
                &flags.conntrack_tcp_timeout_close_wait,
            )?,
            tcp_be_liberal: flags.conntrack_tcp_be_liberal.unwrap_or_default(),
            udp_timeout: duration("conntrack-udp-timeout", &flags.conntrack_udp_timeout)?.unwrap_or_default(),
            udp_stream_timeout: duration(
                "conntrack-udp-timeout-stream",
                &flags.conntrack_udp_timeout_stream,
            )?
            .unwrap_or_default(),
        })
    }
}

fn text(flag: Option<&String>) -> String {
    flag.cloned().unwrap_or_default()
}

fn over<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

/// Of a list that is given again each counts.
fn list(flags: &[String]) -> Vec<String> {
    let entries = flags.iter().flat_map(|flag| flag.split(',')).map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// An address whose port, where none is named, is a flag of its own. Port 0 switches the server off.
fn address(given: Option<&str>, port: Option<u16>, default: &str) -> String {
    let given = given.unwrap_or_default();
    match port {
        Some(0) => OFF.to_owned(),
        None => given.to_owned(),
        Some(_) if given.parse::<std::net::SocketAddr>().is_ok() => given.to_owned(),
        Some(port) => {
            let address = if given.is_empty() { default } else { given };
            let address = without_brackets(address);
            if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
        }
    }
}

fn vmodule(text: &str) -> Result<Vec<Vmodule>, String> {
    let entry = |entry: &str| {
        let parts = entry.split_once('=').filter(|(pattern, _)| !pattern.is_empty());
        let (pattern, level) = parts.ok_or_else(|| format!("{entry:?} is not PATTERN=LEVEL"))?;
        let verbosity = level.parse().map_err(|_| format!("{level:?} is not a level"))?;
        Ok(Vmodule { file_pattern: pattern.to_owned(), verbosity })
    };
    text.split(',').filter(|text| !text.is_empty()).map(entry).collect()
}

/// Zero in a file means that nothing is said. A flag that is given says something.
fn positive_periods(flags: &Flags) -> Result<(), Error> {
    // The mode has one of them.
    let of_mode = match flags.proxy_mode.as_deref() {
        Some("ipvs") => ("ipvs-sync-period", &flags.ipvs.ipvs_sync_period),
        _ => ("iptables-sync-period", &flags.iptables_sync_period),
    };
    for (flag, text) in [of_mode, ("config-sync-period", &flags.idle.config_sync_period)] {
        if parsed(flag, text.as_ref())?.is_some_and(GoDuration::is_zero) {
            return Err(Error::Flag { flag, reason: "must be greater than zero".to_owned() });
        }
    }
    Ok(())
}

/// Looks at addresses, which are kept as they are given. An empty one is none.
fn addresses(flags: &Flags) -> Result<(), Error> {
    let address = |text: &str| {
        let fine = text.is_empty() || sloppy::address(text).is_some();
        if fine { Ok(()) } else { Err(format!("{text:?} is not a valid IP address")) }
    };
    let server = |text: &str| {
        let fine = text.is_empty() || text == OFF || address_and_port(text).is_some();
        if fine { Ok(()) } else { Err(format!("{text:?} is not in a valid format (IP or IP:port)")) }
    };
    with("bind-address", flags.bind_address.as_ref(), address)?;
    with("healthz-bind-address", flags.healthz_bind_address.as_ref(), server)?;
    with("metrics-bind-address", flags.metrics_bind_address.as_ref(), server)?;
    Ok(())
}

fn parsed<T: FromStr<Err = String>>(flag: &'static str, text: Option<&String>) -> Result<Option<T>, Error> {
    with(flag, text, str::parse)
}

fn with<T>(
    flag: &'static str,
    text: Option<&String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Error> {
    text.map(|text| parse(text)).transpose().map_err(|reason| Error::Flag { flag, reason })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn flags(line: &str) -> Flags {
        Cli::parse_from(["kubeweir"].into_iter().chain(line.split_whitespace())).flags
    }

    #[test]
    fn every_flag_has_a_value_in_effect_and_only_flags_have() {
        let (effective, _) = Configuration::default().effective();
        let shown: Vec<String> = in_effect(&Flags::default(), &effective).into_keys().collect();
        let mut known = names();
        known.sort();
        assert_eq!(shown, known);
        for (flag, path) in FIELDS {
            assert!(!fields::at(&effective.object(), path).is_null(), "--{flag}: there is no {path}");
        }
    }

    #[test]
    fn what_is_in_effect_can_be_given_as_flags() {
        let given = flags(
            "--feature-gates=AllowServiceExternalIPs=false --vmodule=a*=3,b=4 --nodeport-addresses=10.0.0.0/8,fd00::/8 \
             --kube-api-qps=7.5 --cluster-cidr=10.1.0.0/16 --iptables-sync-period=90s --v=2 --metrics-port=9",
        );
        let (effective, _) = Configuration::from_flags(&given).unwrap().effective();
        let shown = in_effect(&given, &effective);
        let expected = [
            ("feature-gates", "AllowServiceExternalIPs=false"),
            ("vmodule", "a*=3,b=4"),
            ("nodeport-addresses", "10.0.0.0/8,fd00::/8"),
            ("kube-api-qps", "7.5"),
            ("iptables-sync-period", "1m30s"),
            ("metrics-bind-address", "127.0.0.1:9"),
            ("metrics-port", "9"),
            ("v", "2"),
        ];
        for (flag, value) in expected {
            assert_eq!(shown[flag], value, "{flag}");
        }
        let said = FIELDS.iter().filter(|(flag, _)| !shown[*flag].is_empty());
        let words: Vec<String> = said.map(|(flag, _)| format!("--{flag}={}", shown[*flag])).collect();
        let line = words.join(" ");
        let (again, _) = Configuration::from_flags(&flags(&line)).unwrap().effective();
        assert_eq!(again, effective);
    }

    #[test]
    fn flags_about_logging_and_the_name_beat_a_file() {
        let mut file = Configuration { hostname_override: "file".into(), ..Configuration::default() };
        file.logging.verbosity = 9;
        file.logging.vmodule = vec![Vmodule { file_pattern: "b".into(), verbosity: 2 }];
        let mut both = file.clone();
        both.overlay(&Flags::default()).unwrap();
        assert_eq!(both, file);
        both.overlay(&flags("--hostname-override=flag --v=0 --vmodule=a=1 --logging-format=json")).unwrap();
        assert_eq!((both.hostname_override.as_str(), both.logging.verbosity), ("flag", 0));
        let order: Vec<&str> = both.logging.vmodule.iter().map(|entry| entry.file_pattern.as_str()).collect();
        assert_eq!((order, both.logging.format.as_str()), (vec!["a", "b"], "json"));
    }

    #[test]
    fn servers_are_switched_off_by_a_port_of_0_or_an_empty_metrics_address() {
        let of = |line: &str| {
            let configuration = Configuration::from_flags(&flags(line)).unwrap();
            (configuration.healthz_bind_address, configuration.metrics_bind_address)
        };
        let both = |healthz: &str, metrics: &str| (healthz.to_owned(), metrics.to_owned());
        assert_eq!(of(""), both("", ""));
        assert_eq!(of("--healthz-port=0 --metrics-port=0"), both("0", "0"));
        assert_eq!(of("--healthz-bind-address= --metrics-bind-address="), both("", "0"));
        assert_eq!(
            of("--healthz-port=5 --metrics-bind-address=::1 --metrics-port=6"),
            both("0.0.0.0:5", "[::1]:6")
        );
        assert_eq!(of("--healthz-bind-address=10.0.0.1:7 --healthz-port=5"), both("10.0.0.1:7", ""));
    }

    #[test]
    fn a_value_that_makes_no_sense_names_its_flag() {
        for line in [
            "--iptables-sync-period=soon",
            "--feature-gates=A",
            "--vmodule=x",
            "--log-json-info-buffer-size=Q",
            "--iptables-sync-period=0",
            "--ipvs-sync-period=0s --proxy-mode=ipvs",
            "--config-sync-period=0",
            "--bind-address=here",
            "--healthz-bind-address=[::1",
            "--metrics-bind-address=127.0.0.1:70000",
        ] {
            let error = Configuration::from_flags(&flags(line)).unwrap_err().to_string();
            assert!(error.starts_with(line.split('=').next().unwrap()), "{error}");
        }
        for line in [
            "--iptables-sync-period=0 --proxy-mode=ipvs",
            "--ipvs-sync-period=0",
            "--iptables-min-sync-period=0",
        ] {
            assert!(Configuration::from_flags(&flags(line)).is_ok(), "{line} does not count");
        }
    }

    #[test]
    fn of_a_list_that_is_given_again_each_counts_and_of_anything_else_the_last() {
        let given = flags(
            "--nodeport-addresses=10.0.0.0/8 --nodeport-addresses=fd00::/8,192.0.2.0/24 --ipvs-exclude-cidrs=10.1.0.0/16 \
             --ipvs-exclude-cidrs=10.2.0.0/16 --vmodule=a=1 --vmodule=b=2 --feature-gates=A=true,B=true --feature-gates=B=false \
             --cluster-cidr=10.1.0.0/16 --cluster-cidr=10.2.0.0/16",
        );
        let read = Configuration::from_flags(&given).unwrap();
        assert_eq!(read.node_port_addresses, ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]);
        assert_eq!(read.ipvs.exclude_cidrs, ["10.1.0.0/16", "10.2.0.0/16"]);
        let patterns: Vec<&str> = read.logging.vmodule.iter().map(|entry| &*entry.file_pattern).collect();
        assert_eq!(patterns, ["a", "b"]);
        assert_eq!(read.feature_gates, [("A".to_owned(), true), ("B".to_owned(), false)].into());
        assert_eq!(read.cluster_cidr, "10.2.0.0/16");
    }
}
