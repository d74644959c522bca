//! Ours from its image, as a pod's container on the host's network: set up by an OCI runtime (`crun`), with what Kubernetes asks of one.
//!
//! No daemon, no cgroups, no network of its own: the container has the network namespace in which the command is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// What a container may do. In none can the image be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// `privileged: true`: what matters of it.
    Privileged,
    /// `CAP_NET_ADMIN` alone, no new privileges, and the profile `RuntimeDefault`.
    Confined,
}

/// A container that is not yet started. Dropping it removes its files.
pub struct Container {
    bundle: TempDir,
    args: Vec<String>,
    rights: Rights,
    mounts: Vec<(PathBuf, String)>,
}

/// Capabilities that a program like ours has a use for. Without `CAP_SYS_RESOURCE`, which a test machine may not have itself: it is for
/// the OOM score, which is a wish.
const PRIVILEGED: &[&str] =
    &["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_DAC_OVERRIDE"];
/// The runtime looks at control groups even if it is told to leave them alone, and gives up on some ways to mount them.
const WITHOUT_CGROUPS: &str =
    r#"mount -t tmpfs none /sys/fs/cgroup && exec crun --cgroup-manager=disabled "$@""#;
/// What runtimes hide of `/proc` and `/sys`, and what can only be read.
const MASKED: &[&str] = &["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Container runtimes' default profile, of the package that `buildah` depends on.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

impl Container {
    /// From the root file system in a tar archive, with the words of its command: all of them, the entry point included.
    pub fn new(layer: &Path, args: &[&str], rights: Rights) -> Container {
        let bundle = TempDir::with_prefix("kubeweir-bundle-").unwrap();
        let root = bundle.path().join("rootfs");
        fs::create_dir(&root).unwrap();
        let unpacked = Command::new("tar").arg("-xf").arg(layer).arg("-C").arg(&root).status().unwrap();
        assert!(unpacked.success());
        let args = args.iter().map(|&word| word.to_owned()).collect();
        Container { bundle, args, rights, mounts: Vec::new() }
    }

    /// Shows a directory of the host in the container, to be read only.
    #[must_use]
    pub fn mount(mut self, source: &Path, at: &str) -> Container {
        self.mounts.push((source.to_owned(), at.to_owned()));
        self
    }

    /// The command that runs it. Whoever kills the process kills the container.
    pub fn command(&self) -> Command {
        let bundle = self.bundle.path();
        fs::write(bundle.join("config.json"), self.config().to_string()).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", WITHOUT_CGROUPS, "sh"]);
        command.arg("--root").arg(bundle.join("state")).arg("run").arg("--bundle").arg(bundle).arg("ours");
        command
    }

    fn config(&self) -> Value {
        let confined = self.rights == Rights::Confined;
        let capabilities = if confined { &["CAP_NET_ADMIN"] } else { PRIVILEGED };
        let namespaces = ["mount", "pid", "ipc", "uts"].map(|kind| json!({"type": kind}));
        let mut linux = json!({"namespaces": namespaces});
        if confined {
            linux["maskedPaths"] = json!(MASKED);
            linux["readonlyPaths"] = json!(READ_ONLY);
            linux["seccomp"] = profile(capabilities);
        }
        json!({
            "ociVersion": "1.0.0",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "cwd": "/",
                "args": self.args,
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
                "noNewPrivileges": confined,
            },
            "mounts": self.mounts(confined),
            "linux": linux,
        })
    }

    fn mounts(&self, confined: bool) -> Vec<Value> {
        let write = if confined { "ro" } else { "rw" };
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "noexec", "mode=755", "size=64k"]}),
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", write]}),
        ];
        let own = |(source, at): &(PathBuf, String)| json!({"destination": at, "type": "bind", "source": source, "options": ["rbind", "ro"]});
        mounts.extend(self.mounts.iter().map(own));
        mounts
    }
}

/// The default profile for a container with these capabilities on this machine, as a runtime takes it: its rules depend on both.
fn profile(capabilities: &[&str]) -> Value {
    let profile: Value = serde_json::from_str(&fs::read_to_string(PROFILE).unwrap()).unwrap();
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let names = |value: &Value| -> Vec<String> {
        let names = value.as_array().into_iter().flatten();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let has = |capability: &String| capabilities.contains(&capability.as_str());
    let applies = |rule: &&Value| {
        let (with, without) = (&rule["includes"], &rule["excludes"]);
        let machines = names(&with["arches"]);
        names(&with["caps"]).iter().all(has)
            && !names(&without["caps"]).iter().any(has)
            && (machines.is_empty() || machines.iter().any(|name| name == machine))
            && !names(&without["arches"]).iter().any(|name| name == machine)
    };
    let clean = |rule: &Value| {
        let mut clean = json!({"names": rule["names"], "action": rule["action"]});
        for key in ["args", "errnoRet"] {
            if !rule[key].is_null() {
                clean[key] = rule[key].clone();
            }
        }
        clean
    };
    let rules = profile["syscalls"].as_array().unwrap();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "syscalls": rules.iter().filter(applies).map(clean).collect::<Vec<_>>(),
    })
}

/// The process inside: the last of a chain of processes each of which has one child.
pub fn innermost(process: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    match children.split_whitespace().next() {
        Some(child) => innermost(child.parse().unwrap()),
        None => process,
    }
}
