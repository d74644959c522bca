//! The command line: kube-proxy's flags, and subcommands of our own.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::question::Destination;
use crate::settings::ProxyMode;

/// Service load balancing on Linux nodes. Without a subcommand: the daemon. Of a flag given twice the last counts, as in kube-proxy.
#[derive(Debug, Parser)]
#[command(name = "kubeweir", version, args_conflicts_with_subcommands = true, args_override_self = true)]
pub struct Cli {
    /// Flags of the daemon.
    #[command(flatten)]
    pub flags: Flags,
    /// Remove what this program and kube-proxy in mode `nftables` or `ipvs` have left in the kernel, and exit. Virtual servers of
    /// others stay, and so do those of `--ipvs-exclude-cidrs` (`ipvs.excludeCIDRs`) unless this program recorded them.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cleanup: Option<bool>,
    /// What to do instead.
    #[command(subcommand)]
    pub command: Option<Command>,
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

/// Flags of kube-proxy that have an effect here, under its names, and our own.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// File with a `KubeProxyConfiguration`. Replaces all flags but `--hostname-override`, `--manifests` and those about logging.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Directory with Service, `EndpointSlice`, Node and `ServiceCIDR` manifests, instead of an API server.
    #[arg(long)]
    pub manifests: Option<PathBuf>,
    /// File with the access to the API server; without it the service account of the pod is used.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Address of the API server; overrides the one in the kubeconfig.
    #[arg(long)]
    pub master: Option<String>,
    /// Name of this node, if it is not the host's name.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// `nftables` (also for an empty mode and for `iptables`, with a warning) or `ipvs`.
    #[arg(long)]
    pub proxy_mode: Option<String>,
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
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub masquerade_all: Option<bool>,
    /// Bit of a packet's mark that says it is to be masqueraded, in mode `ipvs`.
    #[arg(long)]
    pub iptables_masquerade_bit: Option<u8>,
    /// Where `NodePorts` answer: `primary`, or prefixes separated by commas.
    #[arg(long)]
    pub nodeport_addresses: Option<String>,
    /// Address and port for `/healthz` and `/livez`.
    #[arg(long)]
    pub healthz_bind_address: Option<String>,
    /// Address and port for `/metrics`.
    #[arg(long)]
    pub metrics_bind_address: Option<String>,
    /// End if one of these addresses cannot be bound, instead of trying again.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub bind_address_hard_fail: Option<bool>,
    /// How long a change may stay unprogrammed before health says so, and the longest pause between retries.
    #[arg(long)]
    pub iptables_sync_period: Option<String>,
    /// Shortest pause between two commits.
    #[arg(long)]
    pub iptables_min_sync_period: Option<String>,
    /// Flags of mode `ipvs`.
    #[command(flatten)]
    pub ipvs: IpvsFlags,
    /// An address other than `0.0.0.0` and `::` stands for this Node's address of its family. Nothing listens there.
    #[arg(long)]
    pub bind_address: Option<String>,
    /// For `/proc/self/oom_score_adj`: -1000 to 1000.
    #[arg(long, allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,
    /// Prepare what takes privileges, and exit.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub init_only: Option<bool>,
    /// Flags about tracked flows.
    #[command(flatten)]
    pub conntrack: ConntrackFlags,
    /// Verbosity: 4 and more logs every commit.
    #[arg(short = 'v', long = "v")]
    pub verbosity: Option<u8>,
    /// `text` or `json`.
    #[arg(long)]
    pub logging_format: Option<String>,
}

/// Flags about tracked flows: what is set of the kernel's limits and timeouts at the start.
#[derive(Args, Clone, Debug, Default)]
pub struct ConntrackFlags {
    /// Tracked flows for each CPU; 0 leaves the limit as it is.
    #[arg(long)]
    pub conntrack_max_per_core: Option<i32>,
    /// Tracked flows at least.
    #[arg(long)]
    pub conntrack_min: Option<i32>,
    /// How long idle established TCP connections are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_tcp_timeout_established: Option<String>,
    /// How long TCP connections that one side has closed are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_tcp_timeout_close_wait: Option<String>,
    /// Track TCP packets outside of the window too.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub conntrack_tcp_be_liberal: Option<bool>,
    /// How long UDP flows without an answer are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_udp_timeout: Option<String>,
    /// How long UDP flows with an answer are tracked; 0 leaves it to the kernel.
    #[arg(long)]
    pub conntrack_udp_timeout_stream: Option<String>,
}

/// Flags that count in mode `ipvs`.
#[derive(Args, Clone, Debug, Default)]
pub struct IpvsFlags {
    /// Scheduler of Services that ask for none: `rr` if none is given.
    #[arg(long)]
    pub ipvs_scheduler: Option<String>,
    /// Prefixes, separated by commas, whose virtual servers are left alone.
    #[arg(long)]
    pub ipvs_exclude_cidrs: Option<String>,
    /// Do not answer ARP for balancers' addresses: sets `arp_ignore` to 1 and `arp_announce` to 2.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
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
    #[arg(long)]
    pub ipvs_drain_timeout: Option<String>,
}
