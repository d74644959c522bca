//! The command line: kube-proxy's flags, and subcommands of our own.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::configuration::values::parse_bool;
use crate::question::Destination;
use crate::settings::ProxyMode;

/// Service load balancing on Linux nodes. Without a subcommand: the daemon. Of a flag given twice the last counts, as in kube-proxy.
#[derive(Debug, Parser)]
#[command(
    name = "kubeweir",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    args_override_self = true
)]
pub struct Cli {
    /// Flags of the daemon.
    #[command(flatten)]
    pub flags: Flags,
    /// Remove what this program and kube-proxy in mode `nftables`, `ipvs` or `iptables` have left in the kernel, and exit. Virtual servers of
    /// others stay, and so do those of `--ipvs-exclude-cidrs` (`ipvs.excludeCIDRs`) unless this program recorded them. With the value
    /// `ours`: remove only this program's tables, for when kube-proxy serves again. A daemon that still runs programs everything again.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_cleanup)]
    pub cleanup: Option<Cleanup>,
    /// Write the configuration in effect, defaults and flags included, to this file, and exit.
    #[arg(long)]
    pub write_config_to: Option<PathBuf>,
    /// Say which version this is, and exit; `raw` says more. A version such as `v1.36.2` is accepted and changes nothing.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub version: Option<String>,
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `--cleanup` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Nothing: `false`, as kube-proxy has it.
    Nothing,
    /// What this program has left, and what kube-proxy has.
    Everything,
    /// The tables of this program. What kube-proxy uses, or may go on with, stays.
    Ours,
}

fn parse_cleanup(text: &str) -> Result<Cleanup, String> {
    match (text, parse_bool(text)) {
        ("ours", _) => Ok(Cleanup::Ours),
        (_, Ok(true)) => Ok(Cleanup::Everything),
        (_, Ok(false)) => Ok(Cleanup::Nothing),
        (other, Err(_)) => Err(format!("{other:?} is not true, false or ours")),
    }
}

/// What to do instead of running as a daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints what would be programmed, touching nothing.
    Render(Box<Flags>),
    /// Prints what separates the kernel from what should be programmed. Exits with 1 if anything does.
    Diff(Box<Flags>),
    /// Says where a packet would go, and why: by the manifests, or by what the running daemon knows.
    Explain(Box<Explain>),
    /// Lists Services as they are programmed: by what the running daemon knows, or by the manifests.
    List(Box<Flags>),
    /// Shows how busy Services are, by what the running daemon counts.
    Top(Box<Top>),
    /// Builds a playground of network namespaces and balances real connections in it.
    Demo(Demo),
}

/// Flags of `kubeweir demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Which kernel facility balances: `nftables` or `ipvs`.
    #[arg(long, default_value_t = ProxyMode::Nftables)]
    pub proxy_mode: ProxyMode,
    /// Connections to spread: enough of them for the spread to be even.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    pub connections: u32,
    /// A program to show the result with, instead of our own listing: `nft`, or `ipvsadm` in mode `ipvs`.
    #[arg(long)]
    pub witness: Option<PathBuf>,
    /// Where kernels for an emulator are, in case this one has no IPVS: as `make guest-kernels` leaves them.
    #[arg(long)]
    pub guest_kernels: Option<PathBuf>,
    /// This is the emulator.
    #[arg(long, hide = true)]
    pub in_guest: bool,
}

/// Flags of `kubeweir explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// Who sends the packet: its source address.
    #[arg(long)]
    pub from: IpAddr,
    /// Where to, as `ADDRESS:PORT/PROTOCOL`; TCP if no protocol is given.
    #[arg(long)]
    pub to: Destination,
    /// The interface it comes in through, where pods are told by that.
    #[arg(long)]
    pub interface: Option<String>,
    /// Flags of the daemon. With `--manifests` nothing else is asked; without, the daemon that serves the metrics address.
    #[command(flatten)]
    pub flags: Flags,
}

/// Flags of `kubeweir top`.
#[derive(Args, Clone, Debug)]
pub struct Top {
    /// Seconds between two readings.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: u64,
    /// Go on, instead of ending after one table.
    #[arg(long)]
    pub follow: bool,
    /// Flags of the daemon: for the metrics address.
    #[command(flatten)]
    pub flags: Flags,
}

/// Flags of kube-proxy under its names, and our own.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// File with a `KubeProxyConfiguration`, followed for changes. Replaces all flags but `--hostname-override`, `--master`,
    /// `--manifests`, `--init-only` and those about logging.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Directory with Service, `EndpointSlice`, Node and `ServiceCIDR` manifests, instead of an API server. Not in kube-proxy.
    #[arg(long)]
    pub manifests: Option<PathBuf>,
    /// File with the access to the API server; without it the service account of the pod is used.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Address of the API server; overrides the one in the kubeconfig.
    #[arg(long)]
    pub master: Option<String>,
    /// Prepare what takes privileges, and exit.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub init_only: Option<bool>,
    /// Name of this node, if it is not the host's name.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// `nftables` (also for an empty mode and for `iptables`, with a warning) or `ipvs`.
    #[arg(long)]
    pub proxy_mode: Option<String>,
    /// Feature gates of kube-proxy, as `A=true,B=false`. `AllowServiceExternalIPs=false` ignores external addresses.
    #[arg(long, action = ArgAction::Append)]
    pub feature_gates: Vec<String>,
    /// Prefixes of the cluster's pods, separated by commas: traffic to `ClusterIPs` from elsewhere is masqueraded.
    #[arg(long)]
    pub cluster_cidr: Option<String>,
    /// How pods are told: `ClusterCIDR`, `NodeCIDR`, `BridgeInterface` or `InterfaceNamePrefix`.
    #[arg(long)]
    pub detect_local_mode: Option<String>,
    /// The bridge that pods are behind, for `BridgeInterface`.
    #[arg(long)]
    pub pod_bridge_interface: Option<String>,
    /// How names of pod interfaces begin, for `InterfaceNamePrefix`.
    #[arg(long)]
    pub pod_interface_name_prefix: Option<String>,
    /// Masquerade all traffic to `ClusterIPs`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub masquerade_all: Option<bool>,
    /// Bit of a packet's mark that says it is to be masqueraded, in mode `ipvs`.
    #[arg(long, allow_negative_numbers = true)]
    pub iptables_masquerade_bit: Option<i32>,
    /// Where `NodePorts` answer: `primary`, or prefixes separated by commas.
    #[arg(long, action = ArgAction::Append)]
    pub nodeport_addresses: Vec<String>,
    /// An address other than `0.0.0.0` and `::` stands for this Node's address of its family. Nothing listens there.
    #[arg(long)]
    pub bind_address: Option<String>,
    /// Address and port for `/healthz` and `/livez`; `0` for none.
    #[arg(long)]
    pub healthz_bind_address: Option<String>,
    /// Address and port for `/metrics`; empty or `0` for none, as in a configuration file `metricsBindAddress: "0"`.
    #[arg(long)]
    pub metrics_bind_address: Option<String>,
    /// Deprecated: the port for `--healthz-bind-address` if that names none; 0 for no server. Not with `--config`.
    #[arg(long)]
    pub healthz_port: Option<u16>,
    /// Deprecated: the port for `--metrics-bind-address` if that names none; 0 for no server. Not with `--config`.
    #[arg(long)]
    pub metrics_port: Option<u16>,
    /// End if one of these addresses cannot be bound, instead of trying again.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub bind_address_hard_fail: Option<bool>,
    /// Longest pause between retries, in every mode but `ipvs`; health reports changes that wait twice as long.
    #[arg(long)]
    pub iptables_sync_period: Option<String>,
    /// Shortest pause between two commits, in every mode but `ipvs`.
    #[arg(long)]
    pub iptables_min_sync_period: Option<String>,
    /// Count connections, packets and bytes of each Service, for `/metrics` and `kubeweir top`. Not in kube-proxy. With `--config` the
    /// field `serviceCounters` counts instead.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub service_counters: Option<bool>,
    /// For `/proc/self/oom_score_adj`: -1000 to 1000.
    #[arg(long, allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,
    /// Flags of mode `ipvs`.
    #[command(flatten)]
    pub ipvs: IpvsFlags,
    /// Flags about tracked flows.
    #[command(flatten)]
    pub conntrack: ConntrackFlags,
    /// Flags about logging.
    #[command(flatten)]
    pub logging: LoggingFlags,
    /// Flags without an effect.
    #[command(flatten)]
    pub idle: IdleFlags,
}

/// Flags that count in mode `ipvs`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct IpvsFlags {
    /// Scheduler of Services that ask for none: `rr` if none is given.
    #[arg(long)]
    pub ipvs_scheduler: Option<String>,
    /// Prefixes, separated by commas, whose virtual servers are left alone.
    #[arg(long, action = ArgAction::Append)]
    pub ipvs_exclude_cidrs: Vec<String>,
    /// Do not answer ARP for balancers' addresses: sets `arp_ignore` to 1 and `arp_announce` to 2.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub ipvs_strict_arp: Option<bool>,
    /// In mode `ipvs` instead of `--iptables-sync-period`.
    #[arg(long)]
    pub ipvs_sync_period: Option<String>,
    /// In mode `ipvs` instead of `--iptables-min-sync-period`.
    #[arg(long)]
    pub ipvs_min_sync_period: Option<String>,
    /// How long idle TCP connections are kept; 0 leaves it to the kernel.
    #[arg(long)]
    pub ipvs_tcp_timeout: Option<String>,
    /// How long TCP connections are kept after their end; 0 leaves it to the kernel.
    #[arg(long)]
    pub ipvs_tcpfin_timeout: Option<String>,
    /// How long idle UDP flows are kept; 0 leaves it to the kernel.
    #[arg(long)]
    pub ipvs_udp_timeout: Option<String>,
    /// How long connections to an endpoint that is gone may go on: 5m if nothing is given, 0 ends them at once. Not in kube-proxy.
    /// With `--config` the field `ipvs.drainTimeout` counts instead.
    #[arg(long)]
    pub ipvs_drain_timeout: Option<String>,
}

/// Flags about tracked flows: what is set of the kernel's limits and timeouts at the start.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ConntrackFlags {
    /// Tracked flows for each CPU; 0 leaves the limit as it is.
    #[arg(long, allow_negative_numbers = true)]
    pub conntrack_max_per_core: Option<i32>,
    /// Tracked flows at least.
    #[arg(long, allow_negative_numbers = true)]
    pub conntrack_min: Option<i32>,
    /// How long idle established TCP connections are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_tcp_timeout_established: Option<String>,
    /// How long TCP connections that one side has closed are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_tcp_timeout_close_wait: Option<String>,
    /// Track TCP packets outside of the window too.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub conntrack_tcp_be_liberal: Option<bool>,
    /// How long UDP flows without an answer are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_udp_timeout: Option<String>,
    /// How long UDP flows with an answer are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_udp_timeout_stream: Option<String>,
}

/// Flags about logging. They count beside a configuration file, and beat it.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct LoggingFlags {
    /// Verbosity: 1 and more logs all flags at the start, 4 and more every commit.
    #[arg(short = 'v', long = "v")]
    pub verbosity: Option<u32>,
    /// Verbosity of parts of the program, as `PATTERN=LEVEL,...`: the name of a source file, with `*` and `?`.
    #[arg(long, action = ArgAction::Append)]
    pub vmodule: Vec<String>,
    /// `text` or `json`.
    #[arg(long)]
    pub logging_format: Option<String>,
    /// No effect: lines are written at once.
    #[arg(long)]
    pub log_flush_frequency: Option<String>,
    /// No effect: all lines go to standard error. Needs the feature gate `LoggingAlphaOptions`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub log_text_split_stream: Option<bool>,
    /// No effect. Needs the feature gate `LoggingAlphaOptions`.
    #[arg(long)]
    pub log_text_info_buffer_size: Option<String>,
    /// No effect: all lines go to standard error. Needs the feature gate `LoggingAlphaOptions`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub log_json_split_stream: Option<bool>,
    /// No effect. Needs the feature gate `LoggingAlphaOptions`.
    #[arg(long)]
    pub log_json_info_buffer_size: Option<String>,
}

/// Flags of kube-proxy that have no effect here. They are accepted, and named in the log if they ask for something.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct IdleFlags {
    /// No effect: there is one encoding of requests.
    #[arg(long)]
    pub kube_api_content_type: Option<String>,
    /// No effect: there are few requests.
    #[arg(long, allow_negative_numbers = true)]
    pub kube_api_burst: Option<i32>,
    /// No effect: there are few requests.
    #[arg(long)]
    pub kube_api_qps: Option<f32>,
    /// No effect.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub profiling: Option<bool>,
    /// No effect: no metric is hidden.
    #[arg(long)]
    pub show_hidden_metrics_for_version: Option<String>,
    /// No effect: `NodePorts` do not answer on loopback addresses.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub iptables_localhost_nodeports: Option<bool>,
    /// No effect: there is nothing to be read again.
    #[arg(long)]
    pub config_sync_period: Option<String>,
    /// No effect.
    #[arg(long)]
    pub boot_id_file: Option<String>,
    /// No effect.
    #[arg(long)]
    pub machine_id_file: Option<String>,
}

/// A command line as clap takes it: in names of flags an underscore is as good as a hyphen.
pub fn normalized(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut flags_end = false;
    let mut hyphens = |word: OsString| {
        flags_end |= word == "--";
        match word.to_str() {
            Some(text) if text.starts_with("--") && !flags_end => {
                let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
                format!("{}{value}", name.replace('_', "-")).into()
            }
            _ => word,
        }
    };
    words.into_iter().map(&mut hyphens).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(normalized(line.split_whitespace().map(OsString::from)))
    }

    #[test]
    fn underscores_are_hyphens_in_names_but_not_in_values() {
        let cli =
            parsed("kubeweir --hostname_override=a_b --masquerade_all=F --cluster_cidr 10.0.0.0/8 -v 4")
                .unwrap();
        assert_eq!(cli.flags.hostname_override.as_deref(), Some("a_b"));
        assert_eq!(cli.flags.masquerade_all, Some(false));
        assert_eq!(cli.flags.cluster_cidr.as_deref(), Some("10.0.0.0/8"));
        assert_eq!(cli.flags.logging.verbosity, Some(4));
    }

    #[test]
    fn cleanup_may_ask_for_less() {
        let cleanup = |line: &str| parsed(line).unwrap().cleanup;
        assert_eq!(cleanup("kubeweir"), None);
        assert_eq!(cleanup("kubeweir --cleanup"), Some(Cleanup::Everything));
        assert_eq!(cleanup("kubeweir --cleanup=F"), Some(Cleanup::Nothing));
        assert_eq!(cleanup("kubeweir --cleanup=ours"), Some(Cleanup::Ours));
    }

    #[test]
    fn words_that_are_neither_flags_nor_commands_are_refused() {
        assert!(parsed("kubeweir positional").is_err());
        assert!(parsed("kubeweir --masquerade-all true").is_err(), "as with kube-proxy, the value needs a =");
        assert!(parsed("kubeweir --masquerade-all=maybe").is_err());
        assert!(parsed("kubeweir --unheard-of").is_err());
        assert!(parsed("kubeweir --cleanup=theirs").is_err() && parsed("kubeweir --cleanup ours").is_err());
        let cli = parsed("kubeweir --version=raw --oom-score-adj=-1 --conntrack-min -5").unwrap();
        assert_eq!((cli.version.as_deref(), cli.flags.oom_score_adj), (Some("raw"), Some(-1)));
        assert_eq!(cli.flags.conntrack.conntrack_min, Some(-5));
    }
}
