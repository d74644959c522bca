//! A process confined as in a container of ours: no capability but `CAP_NET_ADMIN`, nothing that it could write to, no new privileges,
//! and no system call that container runtimes refuse.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::proxy::program;

/// Who the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// User 0, as in a container of Kubernetes.
    Root,
    /// Another user, with the capability as an ambient one.
    Other,
}

/// Nobody's number.
const OTHER: u32 = 65_532;
/// Opens the program, which the user may not be able to reach.
const OPEN: &str = r#"exec 9<"$1"; shift; exec "$@""#;

/// The command with its program confined. What it writes to are files that were open before.
pub fn confined(command: &Command, user: User) -> Command {
    let mut confined = Command::new("unshare");
    confined.args(["--mount", "sh", "-c", OPEN, "sh"]).arg(command.get_program());
    confined.arg(program().with_file_name("kubeweir-refuse")).arg("setpriv");
    if user == User::Other {
        confined.args([format!("--reuid={OTHER}"), format!("--regid={OTHER}"), "--clear-groups".to_owned()]);
    }
    let only = |set: &str| format!("--{set}=-all,+net_admin");
    confined.args(["inh-caps", "ambient-caps", "bounding-set"].map(only)).arg("--no-new-privs");
    confined.arg("/proc/self/fd/9").args(command.get_args());
    confined
}

/// Makes sure that a process is confined, by what the kernel says of it.
pub fn check(process: u32, user: User) {
    check_rights(process, user);
    let mounts = std::fs::read_to_string(format!("/proc/{process}/mounts")).unwrap();
    // Of two mounts at one place the later is the one to be seen.
    let mounts: BTreeMap<&str, &str> =
        mounts.lines().filter_map(|line| Some((line.split(' ').nth(1)?, line))).collect();
    for (place, mount) in mounts {
        let options = mount.split(' ').nth(3).unwrap_or_default();
        assert!(options.split(',').any(|option| option == "ro") || !Path::new(place).exists(), "{mount}");
    }
}

/// As [`check`], but for what it could write to.
pub fn check_rights(process: u32, user: User) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().to_owned()
    };
    let net_admin = format!("{:016x}", 1 << 12);
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), net_admin, "{set}");
    }
    // What a program run by this one would get: nothing, or no more.
    for set in ["CapInh:", "CapAmb:"] {
        assert!([net_admin.as_str(), "0000000000000000"].contains(&field(set).as_str()), "{set}");
    }
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    let user = if user == User::Root { 0 } else { OTHER };
    assert_eq!(field("Uid:"), [user; 4].map(|user| user.to_string()).join("\t"));
}
