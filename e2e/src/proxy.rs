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
use tempfile::TempDir;

use crate::confined::{self, User};
use crate::http;
use crate::topology::POD_PREFIXES;

/// Where metrics are served.
pub const METRICS: &str = "127.0.0.1:10249";
/// Where health is served.
pub const HEALTH: &str = "127.0.0.1:10256";
/// How long a proxy may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses between questions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A running proxy. Dropping it kills the process; what it programmed stays.
pub struct Proxy {
    child: Child,
    node: Namespace,
    log: PathBuf,
    _directory: TempDir,
}

/// How ours is started.
pub struct Ours<'a> {
    /// Flags besides the node's name, the cluster's prefixes and the mode.
    pub flags: Vec<String>,
    /// The node's name.
    pub name: &'a str,
}

impl Proxy {
    /// The proxy that packet tests are about, fed by an API server. A file given with `--config` may leave the place of the
    /// kubeconfig open.
    pub fn under_test(node: &Namespace, name: &str, kubeconfig: &Path, flags: &[String]) -> Proxy {
        let (mut command, directory) = tested(name, kubeconfig, flags);
        Proxy::start(node, &mut command, directory)
    }

    /// The same, confined as in our pods if it is ours.
    pub fn under_test_in_pod(node: &Namespace, name: &str, kubeconfig: &Path, flags: &[String]) -> Proxy {
        let (mut command, directory) = tested(name, kubeconfig, flags);
        if Proxy::is_ours() {
            return Proxy::start_confined(node, &command, User::Root, directory);
        }
        Proxy::start(node, &mut command, directory)
    }

    /// Whether tests that look inside the proxy make sense.
    pub fn is_ours() -> bool {
        std::env::var_os("KUBEWEIR_E2E_PROXY").is_none()
    }

    /// Ours.
    pub fn ours(node: &Namespace, ours: &Ours<'_>) -> Proxy {
        let directory = TempDir::with_prefix("kubeweir-e2e-").unwrap();
        Proxy::start(node, &mut self::ours(ours.name, &ours.flags), directory)
    }

    /// Ours, with these arguments and no others.
    pub fn exactly(node: &Namespace, arguments: &[String]) -> Proxy {
        let directory = TempDir::with_prefix("kubeweir-e2e-").unwrap();
        Proxy::start(node, Command::new(program()).args(arguments), directory)
    }

    /// What this command runs.
    pub fn of(node: &Namespace, command: &mut Command) -> Proxy {
        Proxy::start(node, command, TempDir::with_prefix("kubeweir-e2e-").unwrap())
    }

    /// Ours, while `strace` writes its system calls of these names to a file. The tracer is no parent of it, so that it is a child
    /// of this process as ever.
    pub fn traced(node: &Namespace, ours: &Ours<'_>, calls: &str, to: &Path) -> Proxy {
        let directory = TempDir::with_prefix("kubeweir-e2e-").unwrap();
        let command = self::ours(ours.name, &ours.flags);
        let mut tracer = Command::new("strace");
        tracer.args(["-D", "-f", "-e", &format!("trace={calls}"), "-o"]).arg(to);
        Proxy::start(node, tracer.arg(command.get_program()).args(command.get_args()), directory)
    }

    /// Ours, confined, as the main container of a pod. What takes privileges was done before by `--init-only`, as in the pod's
    /// first container; that may fail the test.
    pub fn confined(node: &Namespace, ours: &Ours<'_>, user: User) -> Proxy {
        let directory = TempDir::with_prefix("kubeweir-e2e-").unwrap();
        Proxy::start_confined(node, &self::ours(ours.name, &ours.flags), user, directory)
    }

    /// Ours as a pod of ours: a first container with these arguments, and a confined one with these.
    pub fn in_pod(node: &Namespace, first: &[String], arguments: &[String]) -> Proxy {
        let command = |arguments| {
            let mut command = Command::new(program());
            command.args::<&[String], _>(arguments);
            command
        };
        let directory = TempDir::with_prefix("kubeweir-e2e-").unwrap();
        Proxy::after(node, command(first), &command(arguments), User::Root, directory)
    }

    fn start_confined(node: &Namespace, command: &Command, user: User, directory: TempDir) -> Proxy {
        let mut first = Command::new(command.get_program());
        first.args(command.get_args()).arg("--init-only");
        Proxy::after(node, first, command, user, directory)
    }

    fn after(
        node: &Namespace,
        mut first: Command,
        command: &Command,
        user: User,
        directory: TempDir,
    ) -> Proxy {
        let prepared = node.run(|| first.output()).unwrap().unwrap();
        let said = String::from_utf8_lossy(&prepared.stderr);
        assert!(prepared.status.success(), "{first:?}: {said}");
        let proxy = Proxy::start(node, &mut confined::confined(command, user), directory);
        proxy.wait_for_log("running");
        confined::check(proxy.id(), user);
        proxy
    }

    fn start(node: &Namespace, command: &mut Command, directory: TempDir) -> Proxy {
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

    /// Repeats a question until it has an answer, with pauses as long as asking takes: on one processor, who asks must not be in the
    /// way of who is asked about.
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Proxy) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "never happened: {what}\n{}", self.log());
            std::thread::park_timeout(asked.elapsed().clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
        }
    }

    /// Waits until the process ends by itself, and returns its exit code and all that it logged.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it goes on\n{}", self.log());
            std::thread::yield_now();
        };
        (status.code(), self.log())
    }

    /// Ends the process with a signal and returns its exit code, and all that it logged.
    pub fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, self.log())
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

/// The mode under test: `KUBEWEIR_E2E_MODE`, or nftables.
pub fn mode() -> String {
    std::env::var("KUBEWEIR_E2E_MODE").unwrap_or_else(|_| "nftables".to_owned())
}

/// Flags that every run of ours needs, subcommands included. Where NodePorts answer by default depends on the mode, what
/// packet tables say does not.
pub fn common_flags(mode: &str, node: &str) -> [String; 4] {
    [
        format!("--proxy-mode={mode}"),
        format!("--hostname-override={node}"),
        format!("--cluster-cidr={}", POD_PREFIXES.join(",")),
        "--nodeport-addresses=primary".to_owned(),
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

/// The common flags that these do not replace, and these: lists that are given twice would add up.
pub fn all_flags(mode: &str, node: &str, own: &[String]) -> Vec<String> {
    let name = |flag: &str| flag.split('=').next().map(str::to_owned);
    let replaced = |flag: &String| own.iter().any(|other| name(other) == name(flag));
    let common = common_flags(mode, node).into_iter().filter(|flag| !replaced(flag));
    common.chain(own.iter().cloned()).collect()
}

fn ours(name: &str, flags: &[String]) -> Command {
    let mut command = Command::new(program());
    command.arg("-v=4").args(all_flags(&mode(), name, flags));
    command
}

/// The command line that packet tests are about, and where its files are.
fn tested(name: &str, kubeconfig: &Path, flags: &[String]) -> (Command, TempDir) {
    let directory = TempDir::with_prefix("kubeweir-e2e-").unwrap();
    let mut flags: Vec<String> =
        flags.iter().map(|flag| filled_in(flag, directory.path(), &mode(), kubeconfig)).collect();
    let command = if let Ok(line) = std::env::var("KUBEWEIR_E2E_PROXY") {
        let mut command = other(&line, name, kubeconfig);
        command.args(flags);
        command
    } else {
        flags.push(format!("--kubeconfig={}", kubeconfig.display()));
        ours(name, &flags)
    };
    (command, directory)
}

/// A flag whose file, if it names a configuration, is a copy with the mode and the kubeconfig in it.
pub fn filled_in(flag: &str, directory: &Path, mode: &str, kubeconfig: &Path) -> String {
    let Some(template) = flag.strip_prefix("--config=") else { return flag.to_owned() };
    let text = std::fs::read_to_string(template).unwrap();
    let copy = directory.join("config.yaml");
    let text = text.replace("{kubeconfig}", &kubeconfig.display().to_string()).replace("{mode}", mode);
    std::fs::write(&copy, text).unwrap();
    format!("--config={}", copy.display())
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
