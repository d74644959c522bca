//! What was told, so that each finding and each complaint is told once as long as it stands.

use std::collections::{BTreeMap, BTreeSet};

use kubeweir_plan::{Finding, ObjectName, Plan, Update};

use crate::core::Reasons;
use crate::mode::Complaint;

/// Findings and complaints that stand.
#[derive(Debug, Default)]
pub(crate) struct Told {
    findings: BTreeMap<ObjectName, Vec<Finding>>,
    complaints: BTreeSet<Complaint>,
    standing: Reasons,
}

/// What a mode looked at: what it does not complain about any more is mended.
#[derive(Clone, Copy)]
pub(crate) enum LookedAt<'a> {
    /// Everything.
    All,
    /// What changed.
    Changed(&'a Update),
    /// Nothing of the plan.
    Nothing,
}

impl LookedAt<'_> {
    fn contains(self, about: Option<&ObjectName>) -> bool {
        match (self, about) {
            (LookedAt::All, _) => true,
            (LookedAt::Changed(update), Some(name)) => update.services.contains(name),
            (LookedAt::Changed(_), None) | (LookedAt::Nothing, _) => false,
        }
    }
}

impl Told {
    /// How many stand.
    pub(crate) fn standing(&self) -> &Reasons {
        &self.standing
    }

    /// Findings of what changed that were not there before.
    pub(crate) fn news(
        &mut self,
        plan: &Plan,
        update: &Update,
        node: &ObjectName,
    ) -> Vec<(ObjectName, Finding)> {
        let of = |name: &ObjectName| {
            plan.services.get(name).map_or(&[] as &[Finding], |service| &service.findings)
        };
        let mut new = Vec::new();
        for name in &update.services {
            self.replace(name, of(name), &mut new);
        }
        if update.node {
            self.replace(node, &plan.node.findings, &mut new);
        }
        new
    }

    fn replace(&mut self, name: &ObjectName, findings: &[Finding], new: &mut Vec<(ObjectName, Finding)>) {
        let before = self.findings.remove(name).unwrap_or_default();
        new.extend(findings.iter().filter(|f| !before.contains(f)).map(|f| (name.clone(), f.clone())));
        for finding in &before {
            self.uncount(finding.reason());
        }
        for finding in findings {
            self.count(finding.reason());
        }
        if !findings.is_empty() {
            self.findings.insert(name.clone(), findings.to_vec());
        }
    }

    /// Complaints about a Service that stand.
    pub(crate) fn complaints_about<'a>(
        &'a self,
        service: &'a ObjectName,
    ) -> impl Iterator<Item = &'a Complaint> + 'a {
        self.complaints.iter().filter(move |complaint| complaint.about.as_ref() == Some(service))
    }

    /// Complaints that were not there before.
    pub(crate) fn complaints(&mut self, raised: Vec<Complaint>, looked_at: LookedAt<'_>) -> Vec<Complaint> {
        let raised: BTreeSet<Complaint> = raised.into_iter().collect();
        let mended = |complaint: &Complaint| {
            looked_at.contains(complaint.about.as_ref()) && !raised.contains(complaint)
        };
        let (mended, kept): (BTreeSet<_>, _) =
            std::mem::take(&mut self.complaints).into_iter().partition(mended);
        self.complaints = kept;
        for complaint in &mended {
            self.uncount(complaint.reason);
        }
        let new: Vec<Complaint> = raised.difference(&self.complaints).cloned().collect();
        for complaint in &new {
            self.count(complaint.reason);
        }
        self.complaints.extend(new.iter().cloned());
        new
    }

    fn count(&mut self, reason: &'static str) {
        *self.standing.entry(reason).or_default() += 1;
    }

    fn uncount(&mut self, reason: &'static str) {
        if let Some(count) = self.standing.get_mut(reason) {
            *count = count.saturating_sub(1);
        }
    }
}
