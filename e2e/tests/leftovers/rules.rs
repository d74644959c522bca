//! Rules as `iptables-restore` and `nft` take them, for one family.

use std::fmt::Write;

/// Names and addresses that differ between families.
pub(crate) struct Kind {
    /// `iptables` or `ip6tables`.
    pub(crate) program: &'static str,
    /// The Service's address.
    pub(crate) service: &'static str,
    /// Addresses of its endpoints, one on each node.
    pub(crate) endpoints: [&'static str; 2],
    pods: &'static str,
    loopback: &'static str,
    bits: u8,
    /// How the names of sets begin, and the word for the family to `ipset`.
    pub(crate) sets: (&'static str, &'static str),
}

pub(crate) const KINDS: [Kind; 2] = [
    Kind {
        program: "iptables",
        service: "10.96.0.90",
        endpoints: ["10.244.1.2", "10.244.2.2"],
        pods: "10.244.0.0/16",
        loopback: "127.0.0.0/8",
        bits: 32,
        sets: ("KUBE-", "inet"),
    },
    Kind {
        program: "ip6tables",
        service: "fd00:96::90",
        endpoints: ["fd00:244:1::2", "fd00:244:2::2"],
        pods: "fd00:244::/32",
        loopback: "::1/128",
        bits: 128,
        sets: ("KUBE-6-", "inet6"),
    },
];

/// Ports of the Service, by name, with that of the endpoints and that of nodes.
pub(crate) const PORTS: [(&str, u16, u16, u16); 2] = [("http", 80, 8080, 30_090), ("echo", 81, 7000, 30_091)];

/// What kubelet makes, and chains of somebody else.
pub(crate) fn others(kind: &Kind) -> String {
    let loopback = kind.loopback;
    format!(
        r#"*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:MINE - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "mine, in front" -j MINE
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s {loopback} -d {loopback} -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A MINE -p tcp -m multiport --dports 1,2 -m limit --limit 1/sec -j RETURN
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-SVC - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals of mine" -j MINE
-A KUBE-MARK-DROP -j MARK --or-mark 0x8000
-A KUBE-SVC -j MINE
COMMIT
"#
    )
}

/// What kube-proxy makes in iptables mode for a Service of two ports.
pub(crate) fn iptables_mode(kind: &Kind) -> String {
    let chains: String = PORTS.iter().map(|port| service_chains(kind, port)).collect();
    let declared: String = ["SVC-", "EXT-", "SEP-1", "SEP-2"]
        .iter()
        .flat_map(|name| PORTS.map(|(port, ..)| declare(name, port)))
        .collect();
    format!(
        r#"*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-SERVICES -m comment --comment "e2e/empty:http has no endpoints" -p tcp -m tcp -d {service} --dport 99 -j REJECT
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
{declared}-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
{POSTROUTING}{chains}-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
"#,
        service = kind.service
    )
}

/// What kube-proxy makes in nftables mode of a Service with these two ports, for `nft -f`.
pub(crate) fn nftables_mode(kind: &Kind) -> String {
    let Kind { service, endpoints, pods, .. } = kind;
    let (family, address) = if kind.bits == 32 { ("ip", "ipv4_addr") } else { ("ip6", "ipv6_addr") };
    let mut text = format!(
        "add table {family} kube-proxy {{ comment \"rules for kube-proxy\" ; }}
add set {family} kube-proxy cluster-ips {{ type {address} ; elements = {{ {service} }} ; }}
add set {family} kube-proxy hairpin-connections {{ type {address} . {address} . inet_proto . inet_service ; }}
add map {family} kube-proxy service-ips {{ type {address} . inet_proto . inet_service : verdict ; }}
add map {family} kube-proxy service-nodeports {{ type inet_proto . inet_service : verdict ; }}
add chain {family} kube-proxy services
add rule {family} kube-proxy services {family} daddr @cluster-ips {family} saddr != {pods} meta mark set meta mark or 0x4000
add rule {family} kube-proxy services {family} daddr . meta l4proto . th dport vmap @service-ips
add rule {family} kube-proxy services fib daddr type local meta l4proto . th dport vmap @service-nodeports
add chain {family} kube-proxy masquerading
add rule {family} kube-proxy masquerading meta mark and 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random
add rule {family} kube-proxy masquerading ct status dnat {family} saddr . {family} daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
"
    );
    for (hook, priority, jump) in
        [("prerouting", -100, "services"), ("output", -100, "services"), ("postrouting", 100, "masquerading")]
    {
        let _ = writeln!(
            text,
            "add chain {family} kube-proxy nat-{hook} {{ type nat hook {hook} priority {priority} ; }}
add rule {family} kube-proxy nat-{hook} jump {jump}"
        );
    }
    for (name, port, target, node_port) in PORTS {
        let chain = format!("e2e/all/tcp/{name}");
        let [one, two] = endpoints;
        let _ = writeln!(
            text,
            "add chain {family} kube-proxy service-XXXXXXXX-{chain}
add rule {family} kube-proxy service-XXXXXXXX-{chain} meta l4proto tcp dnat {family} to numgen random mod 2 map {{ 0 : {one} . {target} , 1 : {two} . {target} }}
add chain {family} kube-proxy external-XXXXXXXX-{chain}
add rule {family} kube-proxy external-XXXXXXXX-{chain} meta mark set meta mark or 0x4000
add rule {family} kube-proxy external-XXXXXXXX-{chain} goto service-XXXXXXXX-{chain}
add element {family} kube-proxy service-ips {{ {service} . tcp . {port} : goto service-XXXXXXXX-{chain} }}
add element {family} kube-proxy service-nodeports {{ tcp . {node_port} : goto external-XXXXXXXX-{chain} }}
add element {family} kube-proxy hairpin-connections {{ {one} . {one} . tcp . {target} }}"
        );
    }
    text
}

const POSTROUTING: &str = r#"-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
"#;

fn hash(name: &str, port: &str) -> String {
    format!("KUBE-{name}{}", format!("{port}XXXXXXXXXXXXXXXX").to_uppercase()[..14].to_owned())
}

fn chain(name: &str, port: &str) -> String {
    // Chains of endpoints carry a number behind their prefix.
    name.strip_prefix("SEP-")
        .map_or_else(|| hash(name, port), |number| hash("SEP-", &format!("{number}{port}")))
}

fn declare(name: &str, port: &str) -> String {
    format!(":{} - [0:0]\n", chain(name, port))
}

fn service_chains(kind: &Kind, &(name, port, target, node_port): &(&str, u16, u16, u16)) -> String {
    let Kind { service, endpoints, pods, bits, .. } = kind;
    let [svc, ext, one, two] = ["SVC-", "EXT-", "SEP-1", "SEP-2"].map(|prefix| chain(prefix, name));
    let label = format!("e2e/all:{name}");
    let endpoint = |chain: &str, address: &str| {
        let to = if *bits == 32 { format!("{address}:{target}") } else { format!("[{address}]:{target}") };
        format!(
            "-A {chain} -m comment --comment \"{label}\" -s {address} -j KUBE-MARK-MASQ\n\
             -A {chain} -m comment --comment \"{label}\" -m tcp -p tcp -j DNAT --to-destination {to}\n"
        )
    };
    format!(
        r#"-A KUBE-SERVICES -m comment --comment "{label} cluster IP" -m tcp -p tcp -d {service}/{bits} --dport {port} -j {svc}
-A KUBE-NODEPORTS -m comment --comment "{label}" -m tcp -p tcp --dport {node_port} -j {ext}
-A {ext} -m comment --comment "masquerade traffic for {label} external destinations" -j KUBE-MARK-MASQ
-A {ext} -j {svc}
-A {svc} -m comment --comment "{label} cluster IP" -m tcp -p tcp -d {service}/{bits} --dport {port} ! -s {pods} -j KUBE-MARK-MASQ
-A {svc} -m comment --comment "{label} -> one" -m statistic --mode random --probability 0.5000000000 -j {one}
-A {svc} -m comment --comment "{label} -> two" -j {two}
{}{}"#,
        endpoint(&one, endpoints[0]),
        endpoint(&two, endpoints[1])
    )
}

/// Sets of IPVS mode: name without prefix, type, and a member, `S` being the Service's address.
pub(crate) const SETS: [(&str, &str, &str); 17] = [
    ("LOOP-BACK", "hash:ip,port,ip", "S,tcp:8080,S"),
    ("CLUSTER-IP", "hash:ip,port", "S,tcp:80"),
    ("EXTERNAL-IP", "hash:ip,port", ""),
    ("EXTERNAL-IP-LOCAL", "hash:ip,port", ""),
    ("LOAD-BALANCER", "hash:ip,port", ""),
    ("LOAD-BALANCER-LOCAL", "hash:ip,port", ""),
    ("LOAD-BALANCER-FW", "hash:ip,port", ""),
    ("LOAD-BALANCER-SOURCE-CIDR", "hash:ip,port,net", "S,tcp:80,S"),
    ("LOAD-BALANCER-SOURCE-IP", "hash:ip,port,ip", ""),
    ("NODE-PORT-TCP", "bitmap:port", "30090"),
    ("NODE-PORT-UDP", "bitmap:port", ""),
    ("NODE-PORT-SCTP-HASH", "hash:ip,port", ""),
    ("NODE-PORT-LOCAL-TCP", "bitmap:port", ""),
    ("NODE-PORT-LOCAL-UDP", "bitmap:port", ""),
    ("NODE-PORT-LOCAL-SCTP-HASH", "hash:ip,port", ""),
    ("HEALTH-CHECK-NODE-PORT", "bitmap:port", ""),
    ("IPVS-IPS", "hash:ip", "S"),
];

/// The name of a set, cut as kube-proxy cuts it.
pub(crate) fn set(kind: &Kind, name: &str) -> String {
    let mut name = format!("{}{name}", kind.sets.0);
    name.truncate(31);
    name
}

/// The sets of IPVS mode as `ipset restore` takes them.
pub(crate) fn sets(kind: &Kind) -> String {
    let lines = SETS.iter().flat_map(|(name, form, member)| {
        let named = set(kind, name);
        let parameters = match *form {
            "bitmap:port" => "range 0-65535".to_owned(),
            _ => format!("family {} hashsize 1024 maxelem 65536", kind.sets.1),
        };
        let made = format!("create {named} {form} {parameters}\n");
        let added = format!("add {named} {}\n", member.replace('S', kind.service));
        [made].into_iter().chain((!member.is_empty()).then_some(added))
    });
    lines.collect()
}

/// What kube-proxy makes with `iptables` in IPVS mode; `-m ipvs` only where the kernel has it.
pub(crate) fn ipvs_mode(kind: &Kind, has_ipvs: bool) -> String {
    let out = "-A KUBE-IPVS-OUT-FILTER -m set --match-set {SOURCE} src,dst -m ipvs --vaddr {S} --vproto tcp --vport 80 -j DROP\n";
    let out = if has_ipvs { out } else { "" };
    let text = format!(
        r#"*filter
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
-I INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-I INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-I INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
-I FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-IPVS-FILTER -m set --match-set {{LOAD-BALANCER}} dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set {{CLUSTER-IP}} dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set {{HEALTH-CHECK-NODE-PORT}} dst -j RETURN
-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set {{IPVS-IPS}} dst -j REJECT
{out}-A KUBE-NODE-PORT -m comment --comment "Kubernetes health check node port" -m set --match-set {{HEALTH-CHECK-NODE-PORT}} dst -j ACCEPT
-A KUBE-PROXY-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port for load balancer with sourceRange" -m set --match-set {{LOAD-BALANCER-FW}} dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
-A KUBE-SOURCE-RANGES-FIREWALL -m set --match-set {{LOAD-BALANCER-SOURCE-CIDR}} dst,dst,src -j RETURN
-A KUBE-SOURCE-RANGES-FIREWALL -j DROP
COMMIT
*nat
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" -m set --match-set {{NODE-PORT-TCP}} dst -j KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m set --match-set {{LOOP-BACK}} dst,dst,src -j MASQUERADE
{POSTROUTING}-A KUBE-SERVICES -m comment --comment "Kubernetes service lb portal" -m set --match-set {{LOAD-BALANCER}} dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES ! -s {pods} -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" -m set --match-set {{CLUSTER-IP}} dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set {{CLUSTER-IP}} dst,dst -j ACCEPT
COMMIT
"#,
        pods = kind.pods
    );
    let filled =
        SETS.iter().fold(text, |text, (name, ..)| text.replace(&format!("{{{name}}}"), &set(kind, name)));
    filled.replace("{SOURCE}", &set(kind, "LOAD-BALANCER")).replace("{S}", kind.service)
}
