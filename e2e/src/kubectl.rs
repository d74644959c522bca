//! The real `kubectl`, as a witness.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What it prints, or what it complains of. Its caches go beside the kubeconfig.
pub fn run(kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new("kubectl");
    let home = kubeconfig.parent().unwrap();
    command.arg(format!("--kubeconfig={}", kubeconfig.display())).args(arguments).env("HOME", home);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| unreachable!("kubectl must be installed: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(format!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The minor version of this client of Kubernetes 1.
pub fn minor() -> u32 {
    let version =
        run(Path::new("/nonexistent/kubeconfig"), &["version", "--client", "-o", "json"], "").unwrap();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    version["clientVersion"]["minor"].as_str().unwrap().trim_end_matches('+').parse().unwrap()
}

/// The flag for validation by the server. Before 1.27 `kubectl` validates with documents that only a whole API server has.
pub fn validation() -> &'static str {
    if minor() < 27 { "--validate=false" } else { "--validate=true" }
}
