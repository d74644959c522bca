//! `make bench`: what start-up and changes cost, by the size of the cluster.
//!
//! Each size runs in a fresh network namespace with the real program and the real kernel. A change is timed from the moment its
//! file is in place to the kernel's announcement of the new ruleset. `nft -f` loading the same ruleset, as text, is the
//! yardstick. The machine is noisy: compare figures of one run only.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark may end itself")]

mod conntrack;
mod datapath;
mod measure;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy, program};
use kubeweir_playground::Namespace;
use measure::{Announcements, Resident, Samples, resident};
use tempfile::TempDir;

const ENDPOINTS: u32 = 3;
const CHANGES: u32 = 200;
/// Unrelated flows that the kernel tracks while the flows of one endpoint are ended.
const FLOWS: [u32; 2] = [0, 500_000];
const DATA_PATH_SERVICES: u32 = 10_000;
/// Start-ups of each kind, of which the median counts.
const STARTS: usize = 3;
const OPERATIONS: &str = "kubeweir_sync_operations_total";

fn main() {
    let sizes: Vec<u32> = std::env::args().skip(1).map(|size| size.parse().unwrap()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 100_000] } else { sizes };
    println!("Services of {ENDPOINTS} endpoints each; times in milliseconds, memory in MiB.\n");
    println!(
        "| Services | start to programmed | objects | `nft -f` of the same | restart, nothing changed | resident | peak |"
    );
    println!("|---|---|---|---|---|---|---|");
    let rows: Vec<Row> = sizes.into_iter().map(Row::measure).collect();
    println!(
        "\n{CHANGES} changes of each kind, from the file being in place to the kernel having it (p50 / p99), and the objects touched by one:\n"
    );
    println!("| Services | one endpoint replaced | scaled from 3 to 4 and back | a Service added, removed |");
    println!("|---|---|---|---|");
    for row in &rows {
        let cell = |samples: &Samples, operations: f64| format!("{samples}, {operations:.1} objects");
        println!(
            "| {} | {} | {} | {} |",
            row.services,
            cell(&row.replaced.0, row.replaced.1),
            cell(&row.scaled.0, row.scaled.1),
            cell(&row.added.0, row.added.1)
        );
    }
    println!(
        "\nThe flow of one UDP endpoint ended, from the file being in place to the kernel having it (p50 / p99):\n"
    );
    println!("| unrelated flows | flow ended | of that the check | resident before | after | peak |");
    println!("|---|---|---|---|---|---|");
    for unrelated in FLOWS {
        conntrack::measure(unrelated);
    }
    let [direct, service] = datapath::measure(DATA_PATH_SERVICES);
    println!("\nconnect() through a node with {DATA_PATH_SERVICES} Services (p50 / p99 in milliseconds):\n");
    println!("| to the pod itself | to its Service |\n|---|---|\n| {direct:.4} | {service:.4} |");
}

/// Samples and objects touched by each change.
type Series = (Samples, f64);

struct Row {
    services: u32,
    replaced: Series,
    scaled: Series,
    added: Series,
}

/// One size under measurement.
struct Bench {
    node: Namespace,
    manifests: Arc<TempDir>,
}

impl Row {
    fn measure(services: u32) -> Row {
        let bench =
            Bench { node: Namespace::new("bench").unwrap(), manifests: Arc::new(TempDir::new().unwrap()) };
        generate::write(bench.manifests.path(), services, ENDPOINTS);
        // Kept until the end: a namespace that goes away keeps the kernel busy for seconds.
        let others: Vec<Bench> = (1..STARTS).map(|_| bench.fresh()).collect();
        let starts: Vec<Duration> = others.iter().map(|bench| bench.start().1).collect();
        let (proxy, start) = bench.start();
        let start = median(starts.into_iter().chain([start]));
        let objects = proxy.count(OPERATIONS);
        let mut row = bench.changes(services, &proxy);
        row.services = services;
        let Resident { now, peak } = resident(proxy.id());
        drop(proxy);
        let restart = median((0..STARTS).map(|_| {
            let (proxy, took) = bench.start();
            assert_eq!(proxy.count(OPERATIONS), 0, "a restart must find nothing to do");
            took
        }));
        let empty: Vec<Namespace> = (0..STARTS).map(|_| Namespace::new("yardstick").unwrap()).collect();
        let yardstick = median(empty.iter().map(|empty| bench.yardstick(empty)));
        let ms = |duration: Duration| format!("{:.0}", duration.as_secs_f64() * 1000.0);
        println!(
            "| {services} | {} | {objects} | {} | {} | {now:.0} | {peak:.0} |",
            ms(start),
            ms(yardstick),
            ms(restart)
        );
        std::mem::forget((bench, others, empty));
        row
    }
}

fn median(durations: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = durations.collect();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

impl Bench {
    /// The same objects for an empty kernel.
    fn fresh(&self) -> Bench {
        Bench { node: Namespace::new("bench").unwrap(), manifests: Arc::clone(&self.manifests) }
    }

    fn start(&self) -> (Proxy, Duration) {
        let flags = vec![format!("--manifests={}", self.manifests.path().display())];
        let begun = Instant::now();
        let proxy = Proxy::ours(&self.node, &Ours { flags, name: "node-1" });
        while !proxy.log().contains("synced everything") {
            measure::pause(Duration::from_millis(1));
        }
        (proxy, begun.elapsed())
    }

    fn changes(&self, services: u32, proxy: &Proxy) -> Row {
        let directory = self.manifests.path();
        let mut announcements = Announcements::of(&self.node);
        // The first Service of a size not seen before brings a set and a rule for it: keep one of each around.
        let four = || generate::put(directory, "four.json", &generate::slice(1, 0..4).to_string());
        announcements.time(four);
        let mut series = |change: &dyn Fn(u32)| {
            let before = proxy.count(OPERATIONS);
            let samples: Samples = (0..CHANGES).map(|n| announcements.time(|| change(n))).collect();
            let spent = proxy.count(OPERATIONS) - before;
            (samples, f64::from(u32::try_from(spent).unwrap()) / f64::from(CHANGES))
        };
        let replaced = series(&|n| generate::write_slice(directory, [0, 1, 3 + n % 2]));
        let scaled = series(&|n| generate::write_slice(directory, 0..3 + (n + 1) % 2));
        let added = series(&|n| match n % 2 {
            0 => generate::put(directory, "added.json", &generate::service(services + 1).to_string()),
            _ => std::fs::remove_file(directory.join("added.json")).unwrap(),
        });
        Row { services, replaced, scaled, added }
    }

    /// How long `nft` takes to load the same from text into an empty namespace.
    fn yardstick(&self, empty: &Namespace) -> Duration {
        let text = self.manifests.path().join("ruleset.nft");
        let mut render = Command::new(program());
        render.args(["render", "--proxy-mode=nftables", "--hostname-override=node-1"]);
        render.arg(format!("--manifests={}", self.manifests.path().display()));
        render.stdout(std::fs::File::create(&text).unwrap()).stderr(Stdio::null());
        assert!(render.status().unwrap().success());
        let begun = Instant::now();
        let mut nft = empty.start(Command::new("nft").arg("-f").arg(&text)).unwrap();
        assert!(nft.wait().unwrap().success());
        begun.elapsed()
    }
}
