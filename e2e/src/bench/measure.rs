//! Instruments.

use std::fmt;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use kubeweir_netlink::nfnl::{GROUP_NFTABLES, PROTOCOL};
use kubeweir_netlink::socket::Socket;
use kubeweir_netlink::wire;
use kubeweir_playground::Namespace;

/// `NFT_MSG_NEWGEN`: the kernel announces a new ruleset.
const NEW_GENERATION: u16 = 0x0a0f;
/// No change takes this long.
const LOST: Duration = Duration::from_secs(30);

/// The kernel's announcements of new rulesets in a namespace.
pub(crate) struct Announcements(Receiver<Instant>);

impl Announcements {
    pub(crate) fn of(namespace: &Namespace) -> Announcements {
        let (sender, receiver) = mpsc::channel();
        let mut socket = namespace.run(|| Socket::open(PROTOCOL).unwrap()).unwrap();
        socket.subscribe(GROUP_NFTABLES).unwrap();
        std::thread::spawn(move || {
            while let Ok(datagram) = socket.receive() {
                let at = Instant::now();
                let is_new = |m: wire::Message<'_>| m.header.kind == NEW_GENERATION;
                if wire::messages(datagram).flatten().any(is_new) && sender.send(at).is_err() {
                    return;
                }
            }
        });
        Announcements(receiver)
    }

    /// The time from a change to the next announcement.
    pub(crate) fn time(&mut self, change: impl FnOnce()) -> Duration {
        while self.0.try_recv().is_ok() {}
        let begun = Instant::now();
        change();
        self.0.recv_timeout(LOST).unwrap().duration_since(begun)
    }
}

/// Durations of one kind.
pub(crate) struct Samples(Vec<Duration>);

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Samples {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        Samples(sorted)
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent: usize| self.0[(self.0.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} / {:.digits$}", at(50), at(99))
    }
}

/// Memory of a process in MiB.
pub(crate) struct Resident {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

pub(crate) fn resident(process: u32) -> Resident {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    Resident { now: value("VmRSS:"), peak: value("VmHWM:") }
}

/// Waits without doing anything.
pub(crate) fn pause(duration: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(duration);
}
