//! Sets that kube-proxy in IPVS mode made with `ipset`.

use std::thread;
use std::time::Duration;

use kubeweir_netlink::Error;
use kubeweir_netlink::bulk::Outcome as Answer;
use kubeweir_netlink::ipset::{Client, IN_USE, LONGEST_NAME};

use super::{Doors, Outcome, Removed};

/// Names without what they begin with, which is `KUBE-` or, for IPv6, `KUBE-6-`.
const NAMES: [&str; 17] = [
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-SOURCE-CIDR",
    "LOAD-BALANCER-SOURCE-IP",
    "NODE-PORT-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
    "IPVS-IPS",
];
/// The kernel lets go of the sets of rules that were deleted a little after their batch was committed.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// The kernel's sets, real or simulated.
pub trait Sets {
    /// Names of all sets.
    fn names(&mut self) -> Result<Vec<String>, Error>;

    /// Destroys these, and says what became of each.
    fn destroy(&mut self, names: &[&str]) -> Result<Vec<Answer>, Error>;
}

impl Sets for Client {
    fn names(&mut self) -> Result<Vec<String>, Error> {
        self.names()
    }

    fn destroy(&mut self, names: &[&str]) -> Result<Vec<Answer>, Error> {
        self.destroy(names)
    }
}

/// Whether kube-proxy makes a set of this name.
fn is_of_kube_proxy(set: &str) -> bool {
    let is = |name: &str| &name[..name.len().min(LONGEST_NAME)] == set;
    NAMES.iter().any(|name| is(&format!("KUBE-{name}")) || is(&format!("KUBE-6-{name}")))
}

/// Removes them; the rules that look into them must be gone.
pub(super) fn remove(doors: &mut impl Doors, outcome: &mut Outcome) {
    let opened = doors.sets();
    let Some(Some(sets)) = outcome.tried(opened, what) else { return };
    let listed = sets.names();
    let Some(mut left) = outcome.tried(listed, what) else { return };
    left.retain(|name| is_of_kube_proxy(name));
    left.sort();
    let mut removed = 0;
    for attempt in 1..=ATTEMPTS {
        if left.is_empty() {
            break;
        }
        let names: Vec<&str> = left.iter().map(String::as_str).collect();
        let answers = sets.destroy(&names);
        let Some(answers) = outcome.tried(answers, what) else { return };
        let refused: Vec<(String, String)> = refused(left, answers, &mut removed);
        if attempt == ATTEMPTS {
            outcome.failed.extend(refused.iter().map(|(name, why)| format!("set {name}: {why}")));
        }
        left = refused.into_iter().map(|(name, _)| name).collect();
        if !left.is_empty() && attempt < ATTEMPTS {
            wait();
        }
    }
    if removed > 0 {
        outcome.removed.push(Removed::Sets(removed));
    }
}

#[expect(clippy::disallowed_methods, reason = "the kernel tells nobody when it lets go of a set")]
fn wait() {
    thread::sleep(PAUSE);
}

/// Those that are still there, and why.
fn refused(names: Vec<String>, answers: Vec<Answer>, removed: &mut usize) -> Vec<(String, String)> {
    let mut refused = Vec::new();
    for (name, answer) in names.into_iter().zip(answers) {
        match answer {
            Ok(()) => *removed += 1,
            Err(refusal) if refusal.errno == kubeweir_netlink::Errno::ENOENT => {}
            Err(refusal) if refusal.errno == IN_USE => refused.push((name, "it is in use".to_owned())),
            Err(refusal) => refused.push((name, refusal.to_string())),
        }
    }
    refused
}

fn what() -> String {
    "sets of ipset".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_those_of_ipv6_are_cut() {
        for name in ["KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "KUBE-LOAD-BALANCER-SOURCE-CIDR"] {
            assert!(is_of_kube_proxy(name), "{name}");
        }
        assert!(is_of_kube_proxy("KUBE-6-LOAD-BALANCER-SOURCE-CID"));
        for name in ["KUBE-CLUSTER", "KUBE-CLUSTER-IP-2", "KUBE-NWPLCY-1", "kube-cluster-ip", "CLUSTER-IP"] {
            assert!(!is_of_kube_proxy(name), "{name}");
        }
    }
}
