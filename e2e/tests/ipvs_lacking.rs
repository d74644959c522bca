//! IPVS mode on a host that is not ready for it: the daemon says once all that is missing, and ends. Run on the host, where
//! the kernel need not have IPVS, and in guests, whose kernels have it.

use std::path::Path;
use std::process::Command;

use kubeweir_e2e::proxy::{common_flags, program};
use kubeweir_playground::Namespace;
use tempfile::TempDir;

/// Sysctls cannot be written in a mount namespace like this, as in a container that is not privileged.
const READ_ONLY: &str =
    "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";

/// The kernel's module is either there, with its sysctls at values that will not do, or it is named.
#[test]
fn all_that_is_missing_is_said_in_one_message() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", READ_ONLY, "sh"])
        .arg(program())
        .args(common_flags("ipvs", "node-1"));
    command.arg(format!("--manifests={}", manifests.path().display())).arg("--ipvs-strict-arp");
    let output = node.run(|| command.output()).unwrap().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("not ready")).collect();
    let [line] = lines[..] else { panic!("not one message:\n{said}") };
    let has_ipvs = node.run(|| Path::new("/proc/sys/net/ipv4/vs/conntrack").exists()).unwrap();
    let module = "the kernel's module ip_vs is not loaded: run `modprobe ip_vs` on the host";
    assert_eq!(line.contains(module), !has_ipvs, "{said}");
    let has_dummy = node.run(|| Command::new("ip").args(["link", "add", "d0", "type", "dummy"]).output());
    let has_dummy = has_dummy.unwrap().unwrap().status.success();
    assert_eq!(line.contains("run `modprobe dummy` on the host"), !has_dummy, "{said}");
    for (sysctl, of_module) in [
        ("net.ipv4.vs.conntrack=1", true),
        ("net.ipv4.vs.expire_nodest_conn=1", true),
        ("net.ipv4.vs.expire_quiescent_template=1", true),
        ("net.ipv4.conf.all.arp_ignore=1", false),
        ("net.ipv4.conf.all.arp_announce=2", false),
    ] {
        let named = line.contains(&format!("{sysctl} cannot be set"));
        assert_eq!(named, has_ipvs || !of_module, "{sysctl}: {said}");
    }
}
