//! Chains of kube-proxy in the tables of `iptables-legacy`. Nothing here removes them: the kernel takes such a table only as a
//! whole, in the form it has in memory. Who reads this has the program that knows that form.

use kubeweir_netfilter::Family as TableFamily;
use kubeweir_netlink::Family;
use kubeweir_netlink::xtables;

use super::iptables::{CHAINS, PREFIXES, is_of_kube_proxy};

/// What there is, and the command that removes it; empty where there is nothing.
pub(crate) fn advice() -> Vec<String> {
    let mut found = Vec::new();
    for (family, table_family, program) in
        [(Family::V4, TableFamily::Ip, "iptables-legacy"), (Family::V6, TableFamily::Ip6, "ip6tables-legacy")]
    {
        let tables = xtables::tables(family);
        let known = tables.iter().filter(|table| CHAINS.iter().any(|(of, _)| of == table));
        let mut any = false;
        for table in known {
            let place = format!("table {table_family} {table} of {program}");
            match xtables::chains(family, table) {
                Ok(chains) => {
                    let count = chains.iter().filter(|chain| is_of_kube_proxy(table, chain)).count();
                    if count > 0 {
                        any = true;
                        found.push(format!("{place}: {count} chains of kube-proxy"));
                    }
                }
                Err(error) => {
                    any = true;
                    found.push(format!("{place}: perhaps chains of kube-proxy, it cannot be read ({error})"));
                }
            }
        }
        if any {
            found.push(format!("the command that removes them: {}", command(program)));
        }
    }
    found
}

/// Writes all tables again without the lines that name chains of kube-proxy.
fn command(program: &str) -> String {
    let mut names: Vec<String> = CHAINS
        .iter()
        .flat_map(|(_, names)| names.iter())
        .map(|name| name.trim_start_matches("KUBE-").to_owned())
        .collect();
    names.sort();
    names.dedup();
    let prefixes = PREFIXES.map(|prefix| prefix.trim_start_matches("KUBE-").trim_end_matches('-')).join("|");
    let pattern = format!("KUBE-(({prefixes})-[A-Z0-9]+|{})", names.join("|"));
    format!("{program}-save | grep -vwE '{pattern}' | {program}-restore")
}
