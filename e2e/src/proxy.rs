//! The proxy under test: a real process inside a node's namespace.
//!
//! `KUBEWEIR_E2E_PROXY` may hold another command line, with `{kubeconfig}`, `{node}` and `{cluster_cidr}` in it, for
//! example `kube-proxy --kubeconfig={kubeconfig} --hostname-override={node} --proxy-mode=nftables
//! --cluster-cidr={cluster_cidr}`. Packet tests then run that, so that expectations can be held against it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kubeweir_playground::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::http;
use crate::topology::POD_PREFIXES;

/// Where metrics are served.
pub const METRICS: &str = "127.0.0.1:10249";
/// Where health is served.
pub const HEALTH: &str = "127.0.0.1:10256";
/// How long a proxy may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running proxy. Dropping it kills the process; what it programmed stays.
pub struct Proxy {
    child: Child,
    node: Namespace,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

/// How ours is started.
pub struct Ours<'a> {
    /// Flags besides the node's name, the cluster's prefixes and the mode.
    pub flags: Vec<String>,
    /// The node's name.
    pub name: &'a str,
}

impl Proxy {
    /// The proxy that packet tests are about, fed by an API server.
    pub fn under_test(node: &Namespace, name: &str, kubeconfig: &Path, flags: &[String]) -> Proxy {
        if let Ok(line) = std::env::var("KUBEWEIR_E2E_PROXY") {
            return Proxy::start(node, other(&line, name, kubeconfig).args(flags));
        }
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let flags = std::iter::once(kubeconfig).chain(flags.iter().cloned()).collect();
        Proxy::ours(node, &Ours { flags, name })
    }

    /// Whether tests that look inside the proxy make sense.
    pub fn is_ours() -> bool {
        std::env::var_os("KUBEWEIR_E2E_PROXY").is_none()
    }

    /// Ours.
    pub fn ours(node: &Namespace, ours: &Ours<'_>) -> Proxy {
        let mut command = Command::new(program());
        Proxy::start(node, command.arg("-v=4").args(common_flags(ours.name)).args(&ours.flags))
    }

    fn start(node: &Namespace, command: &mut Command) -> Proxy {
        let directory = tempfile::TempDir::with_prefix("kubeweir-e2e-").unwrap();
        let log = directory.path().join("log");
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = node.start(command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Proxy { child, node: node.clone(), log, _directory: directory }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until the log says so.
    pub fn wait_for_log(&self, what: &str) {
        self.wait(what, |proxy| proxy.log().contains(what).then_some(()));
    }

    /// A page of its metrics port.
    pub fn page(&self, path: &str) -> Option<(u16, String)> {
        http::get(&self.node, METRICS.parse().unwrap(), path)
    }

    /// A page of its health port.
    pub fn health(&self, path: &str) -> Option<(u16, String)> {
        http::get(&self.node, HEALTH.parse().unwrap(), path)
    }

    /// The value of a metric that counts something; 0 where it is not there yet.
    pub fn count(&self, name: &str) -> u64 {
        let page = self.wait("metrics", |proxy| proxy.page("/metrics"));
        http::count(&page.1, name).unwrap_or(0)
    }

    /// Repeats a question until it has an answer.
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Proxy) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "never happened: {what}\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// Ends the process with a signal and returns its exit code.
    pub fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }

    /// The process, for its resident memory.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Flags that every run of ours needs, subcommands included.
pub fn common_flags(node: &str) -> [String; 3] {
    [
        "--proxy-mode=nftables".to_owned(),
        format!("--hostname-override={node}"),
        format!("--cluster-cidr={}", POD_PREFIXES.join(",")),
    ]
}

/// The program that was built together with this test.
pub fn program() -> PathBuf {
    let mut directory = std::env::current_exe().unwrap();
    while directory.pop() {
        let program = directory.join("kubeweir");
        if program.is_file() {
            return program;
        }
    }
    panic!("the kubeweir program is not built: run `cargo build` first");
}

fn other(line: &str, node: &str, kubeconfig: &Path) -> Command {
    let kubeconfig = kubeconfig.display().to_string();
    let filled = line
        .replace("{kubeconfig}", &kubeconfig)
        .replace("{node}", node)
        .replace("{cluster_cidr}", &POD_PREFIXES.join(","));
    let mut words = filled.split_whitespace();
    let mut command = Command::new(words.next().expect("KUBEWEIR_E2E_PROXY is empty"));
    command.args(words);
    command
}
