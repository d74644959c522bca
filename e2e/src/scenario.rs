//! Scenarios: objects, and the packets that must come of them.
//!
//! A scenario is a directory with steps `1.yaml`, `2.yaml` and so on. Each file holds all objects there are in that step;
//! beside it, `1.packets` is a table with a row for each question:
//!
//! ```text
//! n1-a     -> tcp 10.96.0.10:80      : n1-b n2-a as client, n1-a as node-1
//! outside  -> udp [fd00:96::10]:53   : n2-b as node-1
//! node-2   -> tcp 192.0.2.1:30080    : refused
//! ```
//!
//! A row holds if every endpoint it names answers, none else does, and each sees the client under the address said: `client`
//! for the client's own, or the name of a member for one of that member's. `one of` before the endpoints: only one of them
//! answers, whichever, and the same one every time. `refused` is a reset or an ICMP error, `silence` is no answer. Lines
//! that begin with `#` are for people.
//!
//! A file `setup` may say with which flags the proxies run, over which networks of pods (if not all that are
//! [healthy](Network::HEALTHY)), which sysctls and further addresses nodes have, and whose objects these are if not the
//! scenario's own, one line each:
//!
//! ```text
//! flags: --masquerade-all --nodeport-addresses=192.0.2.0/24
//! networks: routed
//! addresses: node-1=203.0.113.50 node-1=2001:db8:113::50
//! objects-of: masquerade
//! sysctls: ipv4/conf/all/rp_filter=1
//! ```
//!
//! A file `config.yaml` beside it is given to the proxies with `--config`, `{kubeconfig}` and `{mode}` in it filled in.
//!
//! All modes are held to the same tables, but for the rows of [`differs`].

pub mod differs;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use kubeweir_playground::{Answer, Probe, Transport};

use crate::proxy;
use crate::topology::{self, Member, Network, Topology};

/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(400);
/// How long an expected answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Probes for each endpoint that is expected: all of 5 are seen but once in a million times.
const PROBES_EACH: usize = 16;
/// Rows asked at a time. Over IPv6 a refusal of TCP takes the kernel a second where client and proxy share a machine: the
/// error comes while the client still holds its socket.
const PARALLEL: usize = 24;
/// What is said of a row of which not every server answered.
const REACHED_ONLY: &str = "reached only";
/// Probes where no answer is expected.
const PROBES_NONE: usize = 1;

/// One row of a packet table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who asks.
    pub client: String,
    /// How.
    pub transport: Transport,
    /// Where.
    pub to: SocketAddr,
    /// What must come of it.
    pub expect: Expect,
    /// Where the row stands.
    pub place: String,
}

/// What must come of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// These servers answer, each seeing the client under this address.
    Reached(Vec<(String, SeenAs)>),
    /// One of these servers answers every time, seeing the client under this address.
    OneOf(Vec<(String, SeenAs)>),
    /// Refused.
    Refused,
    /// No answer.
    Silence,
}

/// Under which address a server sees the client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeenAs {
    /// The client's own.
    Client,
    /// One of this member's.
    Member(String),
}

/// A scenario as it stands in its directory.
pub struct Scenario {
    /// Flags of the proxies besides those that every run needs.
    pub flags: Vec<String>,
    /// How pods are wired, each in a run of its own.
    pub networks: Vec<Network>,
    /// Sysctls of the nodes, below `/proc/sys/net`.
    pub sysctls: Vec<(String, String)>,
    /// Further addresses of nodes, on their loopback interface: it is no other interface's affair then.
    pub addresses: Vec<(String, IpAddr)>,
    /// At least one.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// The networks that its rows are walked over on paper: none where they are about a host or a network that lacks
    /// something.
    pub fn on_paper(&self) -> Vec<Network> {
        let healthy = self.networks.iter().copied().filter(|network| Network::HEALTHY.contains(network));
        if self.sysctls.is_empty() { healthy.collect() } else { Vec::new() }
    }
}

/// One step: its objects and its rows.
pub struct Step {
    /// All objects, as YAML.
    pub objects: String,
    /// All rows.
    pub rows: Vec<Row>,
}

/// The scenario in a directory, as the mode under test has it.
pub fn load(directory: &Path) -> Scenario {
    load_for(&proxy::mode(), directory)
}

/// The scenario in a directory, as a mode has it.
pub fn load_for(mode: &str, directory: &Path) -> Scenario {
    let setup = Setup::read(directory);
    let mut flags = setup.words("flags");
    let config = directory.join("config.yaml");
    flags.extend(config.is_file().then(|| format!("--config={}", config.display())));
    let networks: Vec<Network> = setup.words("networks").iter().map(|name| Network::named(name)).collect();
    let objects = setup.words("objects-of").pop().map(|name| directory.with_file_name(name));
    Scenario {
        flags,
        networks: if networks.is_empty() { Network::HEALTHY.to_vec() } else { networks },
        sysctls: setup.words("sysctls").iter().map(|word| sysctl(word)).collect(),
        addresses: setup.words("addresses").iter().map(|word| member_address(word)).collect(),
        steps: differs::in_mode(mode, directory, steps(directory, objects.as_deref().unwrap_or(directory))),
    }
}

/// The file `setup`; empty if there is none.
struct Setup(String);

impl Setup {
    fn read(directory: &Path) -> Setup {
        let path = directory.join("setup");
        let text = if path.is_file() { read(&path) } else { String::new() };
        let known = ["flags:", "networks:", "sysctls:", "addresses:", "objects-of:"];
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            assert!(known.iter().any(|key| line.starts_with(key)), "{}: what is {line:?}?", path.display());
        }
        Setup(text)
    }

    fn words(&self, key: &str) -> Vec<String> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
    }
}

fn sysctl(word: &str) -> (String, String) {
    let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word} is not NAME=VALUE"));
    (name.to_owned(), value.to_owned())
}

fn member_address(word: &str) -> (String, IpAddr) {
    let parsed = word.split_once('=').and_then(|(name, ip)| Some((name.to_owned(), ip.parse().ok()?)));
    parsed.unwrap_or_else(|| panic!("{word} is not NODE=ADDRESS"))
}

fn steps(directory: &Path, objects: &Path) -> Vec<Step> {
    let table = |number: usize| directory.join(format!("{number}.packets"));
    let step = |number| Step {
        objects: read(&objects.join(format!("{number}.yaml"))),
        rows: parse(&table(number).display().to_string(), &read(&table(number))),
    };
    let numbers = (1..).take_while(|number| table(*number).is_file());
    let steps: Vec<Step> = numbers.map(step).collect();
    assert!(!steps.is_empty(), "no scenario in {}", directory.display());
    steps
}

/// The directories of all scenarios.
pub fn all() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Parses a packet table.
pub fn parse(file: &str, text: &str) -> Vec<Row> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let rows = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    rows.map(|(number, line)| {
        let place = format!("{file}:{number}");
        row(line, &place).unwrap_or_else(|reason| panic!("{place}: {reason}: {line}"))
    })
    .collect()
}

fn row(line: &str, place: &str) -> Result<Row, String> {
    let (client, rest) = line.split_once("->").ok_or("no ->")?;
    let (question, expect) = rest.split_once(" : ").ok_or("no ' : '")?;
    let (transport, to) = question.trim().split_once(' ').ok_or("no destination")?;
    let transport = match transport {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "sctp" => Transport::Sctp,
        other => return Err(format!("{other} is no transport")),
    };
    let expect = expected(expect.trim())?;
    if transport == Transport::Sctp && expect == Expect::Refused {
        return Err("a client of SCTP, which has a raw socket, hears of no refusal".to_owned());
    }
    let to = to.trim().parse().map_err(|_| format!("{to} is no address with a port"))?;
    Ok(Row { client: client.trim().to_owned(), transport, to, expect, place: place.to_owned() })
}

fn expected(text: &str) -> Result<Expect, String> {
    match text {
        "refused" => return Ok(Expect::Refused),
        "silence" => return Ok(Expect::Silence),
        _ => {}
    }
    match text.strip_prefix("one of ") {
        Some(text) => Ok(Expect::OneOf(servers(text)?)),
        None => Ok(Expect::Reached(servers(text)?)),
    }
}

fn servers(text: &str) -> Result<Vec<(String, SeenAs)>, String> {
    let mut reached = Vec::new();
    for group in text.split(',') {
        let (servers, seen_as) = group.split_once(" as ").ok_or("no ' as '")?;
        let seen_as = match seen_as.trim() {
            "client" => SeenAs::Client,
            member => SeenAs::Member(member.to_owned()),
        };
        reached.extend(servers.split_whitespace().map(|server| (server.to_owned(), seen_as.clone())));
    }
    Ok(reached)
}

/// Asks all rows, several at a time, and returns what did not hold. Where servers are picked in turn, two clients that ask in step
/// see only every other one: rows of which not every server answered are asked again, alone.
pub fn check(topology: &Topology, rows: &[Row]) -> Vec<String> {
    let failures = check_at_once(topology, rows);
    let (in_step, mut rest): (Vec<_>, Vec<_>) =
        failures.into_iter().partition(|failure| failure.contains(REACHED_ONLY));
    let again = rows.iter().filter(|row| in_step.iter().any(|failure| failure.starts_with(&row.place)));
    rest.extend(again.filter_map(|row| ask(topology, row).err()));
    rest
}

fn check_at_once(topology: &Topology, rows: &[Row]) -> Vec<String> {
    let rows = Mutex::new(rows.iter());
    let work = || {
        let next = || rows.lock().unwrap().next();
        std::iter::from_fn(next).filter_map(|row| ask(topology, row).err()).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn ask(topology: &Topology, row: &Row) -> Result<(), String> {
    let client = topology.member(&row.client);
    let mut seen = BTreeSet::new();
    let (wanted, limit) = match &row.expect {
        Expect::Reached(servers) => (servers.len(), servers.len() * PROBES_EACH),
        Expect::OneOf(_) => (usize::MAX, PROBES_EACH),
        Expect::Refused | Expect::Silence => (usize::MAX, PROBES_NONE),
    };
    let patience = if row.expect == Expect::Silence { SILENCE } else { PATIENCE };
    let probe = Probe { transport: row.transport, to: row.to, patience };
    for _ in 0..limit {
        let answer = kubeweir_playground::probe(&client.namespace, &probe).unwrap();
        admit(topology, client, row, &answer).map_err(|reason| format!("{}: {row}: {reason}", row.place))?;
        if let Answer::Reached { server, .. } = answer {
            seen.insert(server);
        }
        if seen.len() == wanted {
            return Ok(());
        }
    }
    match row.expect {
        Expect::OneOf(_) if seen.len() > 1 => Err(format!("{}: {row}: reached {seen:?}", row.place)),
        Expect::Reached(_) => Err(format!("{}: {row}: {REACHED_ONLY} {seen:?}", row.place)),
        _ => Ok(()),
    }
}

/// Whether one answer agrees with the row.
fn admit(topology: &Topology, client: &Member, row: &Row, answer: &Answer) -> Result<(), String> {
    match (&row.expect, answer) {
        (Expect::Refused, Answer::Refused) | (Expect::Silence, Answer::Silence) => Ok(()),
        (Expect::Reached(servers) | Expect::OneOf(servers), Answer::Reached { server, seen_as }) => {
            let expected = servers.iter().find(|(name, _)| name == server);
            let (_, expected) = expected.ok_or_else(|| format!("reached {server}"))?;
            let addresses: Vec<IpAddr> = match expected {
                SeenAs::Client => client.addresses.to_vec(),
                SeenAs::Member(name) => addresses_of(topology.member(name)),
            };
            if addresses.contains(seen_as) { Ok(()) } else { Err(format!("{server} saw {seen_as}")) }
        }
        (_, answer) => Err(format!("got {answer}")),
    }
}

/// A node has its own addresses, those of the gateways to its pods, and those inside tunnels.
fn addresses_of(member: &Member) -> Vec<IpAddr> {
    let mut addresses = member.addresses.to_vec();
    if let Some(number) = member.name.strip_prefix("node-").map(|number| number.parse().unwrap()) {
        addresses.extend(topology::gateways(number).into_iter().chain(topology::tunnel_ends(number)));
    }
    addresses
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {:?} {}", self.client, self.transport, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let text = "# people\nn1-a -> tcp 10.96.0.10:80 : n1-b n2-a as client, n1-a as node-1\n\noutside -> udp [fd00::1]:53 : silence\n";
        let rows = parse("x", text);
        let reached = |name: &str, seen_as| (name.to_owned(), seen_as);
        let node = SeenAs::Member("node-1".into());
        let expect =
            vec![reached("n1-b", SeenAs::Client), reached("n2-a", SeenAs::Client), reached("n1-a", node)];
        assert_eq!(rows[0].expect, Expect::Reached(expect));
        assert_eq!((rows[1].transport, rows[1].place.as_str()), (Transport::Udp, "x:4"));
        let one = parse("x", "n1-a -> tcp 10.96.0.10:80 : one of n1-b n2-a as client");
        let either = ["n1-b", "n2-a"].map(|name| reached(name, SeenAs::Client));
        assert_eq!(one[0].expect, Expect::OneOf(either.to_vec()));
        assert!(row("a -> tcp 1.2.3.4:5 : b", "").is_err());
        assert!(row("a -> sctp 1.2.3.4:5 : refused", "").is_err());
    }
}
