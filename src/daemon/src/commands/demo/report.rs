//! What the demo prints.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::bail;

use super::stage::{CLIENT, NODE, PODS, Pod, SERVICE};

/// Width of the longest bar.
const BAR: u32 = 48;

/// Tells what was built.
pub(super) fn introduce() {
    println!("client {CLIENT} ── node {NODE} ─┬─ {} {}", PODS[0].name, PODS[0].address);
    for (position, pod) in PODS.iter().enumerate().skip(1) {
        let branch = if position + 1 == PODS.len() { "└" } else { "├" };
        println!("{:>41}─ {} {}", branch, pod.name, pod.address);
    }
    println!("Service demo/web at {SERVICE}");
}

/// How connections were spread.
#[derive(Debug, Default)]
pub(super) struct Spread(BTreeMap<String, u32>);

impl Spread {
    pub(super) fn add(&mut self, server: &str) {
        *self.0.entry(server.to_owned()).or_default() += 1;
    }

    /// Whether these pods, and no others, have about the same share.
    pub(super) fn check(&self, pods: &[Pod], tolerance: f64) -> anyhow::Result<()> {
        let even = f64::from(self.total()) / f64::from(u32::try_from(pods.len())?);
        for pod in pods {
            let share = f64::from(self.0.get(pod.name).copied().unwrap_or(0));
            if share > even * tolerance || share < even / tolerance {
                bail!("{} got {share} connections where about {even:.0} were expected", pod.name);
            }
        }
        match self.0.keys().find(|name| pods.iter().all(|pod| pod.name != name.as_str())) {
            Some(other) => bail!("{other} got connections that were not meant for it"),
            None => Ok(()),
        }
    }

    fn total(&self) -> u32 {
        self.0.values().sum()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.0.values().copied().max().unwrap_or(1);
        for (name, count) in &self.0 {
            let bar = "█".repeat((count * BAR / most) as usize);
            let percent = f64::from(*count) * 100.0 / f64::from(self.total());
            writeln!(f, "  {name:<6} {count:>6}  {percent:>5.1} %  {bar}")?;
        }
        Ok(())
    }
}
