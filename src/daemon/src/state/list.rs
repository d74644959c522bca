//! What is programmed, as a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use kubeweir_plan::{ObjectName, PortPlan, ServicePlan};
use serde::{Deserialize, Serialize};

use super::rfc3339;

/// A Service as the loop hands it out: cheap, since there may be 100,000 of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its part of the plan.
    pub plan: Arc<ServicePlan>,
    /// Since when it is in force as it is; `None` if nothing is yet.
    pub since: Option<SystemTime>,
}

/// One port of a Service, of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `namespace/name:port`.
    pub name: String,
    /// `ADDRESS:PORT/PROTOCOL`, where the address of a NodePort is `node`.
    pub frontends: Vec<String>,
    /// How many endpoints get packets.
    pub endpoints: usize,
    /// Since when, as RFC 3339 has it.
    pub since: Option<String>,
}

/// The rows of Services, a row for each port.
pub fn rows(services: &[Listed]) -> Vec<Row> {
    let mut all = Vec::new();
    for service in services {
        let mut ports: BTreeMap<_, Row> = BTreeMap::new();
        for port in &service.plan.ports {
            let row = ports.entry(&port.key).or_default();
            row.name = port.key.to_string();
            row.since = service.since.map(rfc3339);
            row.frontends.extend(frontends(port));
            row.endpoints += endpoints(port);
        }
        all.extend(ports.into_values());
    }
    all
}

/// NodePorts of two families are one to whoever reads.
fn frontends(port: &PortPlan) -> impl Iterator<Item = String> + '_ {
    let protocol = port.key.protocol;
    port.frontends.iter().map(move |f| format!("{}:{}/{protocol}", f.address, f.port))
}

fn endpoints(port: &PortPlan) -> usize {
    let pools = port.pools();
    let all: std::collections::BTreeSet<_> =
        pools.iter().flat_map(|pool| pool.targets.iter().map(kubeweir_plan::Target::socket)).collect();
    all.len()
}

/// Columns one below the other, two blanks between them; the last is as long as it is.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let all = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        all.chain(header.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

impl Row {
    /// As cells of a table.
    pub fn cells(&self) -> Vec<String> {
        let mut frontends = self.frontends.clone();
        frontends.dedup();
        vec![
            self.name.clone(),
            frontends.join(","),
            self.endpoints.to_string(),
            self.since.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }

    /// Names of the cells.
    pub const HEADER: [&'static str; 4] = ["SERVICE", "FRONTENDS", "ENDPOINTS", "SINCE"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_one_below_the_other() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["shop/web:http", "1", "x"]), row(["a/b", "22", ""])];
        let expected = "NAME           N   LAST\nshop/web:http  1   x\na/b            22\n";
        assert_eq!(table(&["NAME", "N", "LAST"], &rows), expected);
    }
}
