//! Schedulers of the kernel, and which one a virtual server gets.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use kubeweir_netlink::ipvs::{Flags, Netmask, Scheduling};
use kubeweir_plan::{Family, ObjectName, ServicePlan};

/// Every scheduler that a kernel may have (`net/netfilter/ipvs/Kconfig`), `twos` since Linux 5.11. Whether this one has them
/// all it says when it is asked.
pub const KNOWN: &[&str] =
    &["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf", "twos"];

/// What every kernel with IPVS has.
pub const DEFAULT: &str = "rr";

/// Which scheduler a Service gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedulers {
    /// For Services that ask for none.
    pub default: Arc<str>,
    /// What the kernel turned out not to have.
    pub unavailable: BTreeSet<Arc<str>>,
}

/// A scheduler that the kernel lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// The Service that asks for it; `None` if it is what Services get that ask for none.
    pub service: Option<ObjectName>,
    /// The scheduler.
    pub scheduler: Arc<str>,
    /// What takes its place.
    pub instead: Arc<str>,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this kernel has no scheduler {}: {} takes its place", self.scheduler, self.instead)
    }
}

impl Default for Schedulers {
    fn default() -> Schedulers {
        Schedulers::new(DEFAULT)
    }
}

impl Schedulers {
    /// With this one for Services that ask for none; empty for the kernel's simplest.
    pub fn new(default: &str) -> Schedulers {
        let default = if default.is_empty() { DEFAULT } else { default };
        Schedulers { default: default.into(), unavailable: BTreeSet::new() }
    }

    /// How a virtual server chooses, for a Service that asks for this scheduler and keeps clients for so many seconds.
    pub fn scheduling(&self, asked: Option<&str>, affinity: Option<u32>, family: Family) -> Scheduling {
        let name = self.pick(asked);
        let mut flags = of_scheduler(name);
        if affinity.is_some() {
            flags = flags | Flags::PERSISTENT;
        }
        Scheduling {
            scheduler: name.to_owned(),
            flags,
            timeout: affinity.unwrap_or(0),
            netmask: Netmask::host(match family {
                Family::V4 => kubeweir_netlink::Family::V4,
                Family::V6 => kubeweir_netlink::Family::V6,
            }),
        }
    }

    /// What a virtual server gets instead of a scheduler that the kernel lacks.
    pub fn instead_of(&self, lacking: &Scheduling) -> Scheduling {
        let name = self.pick(None);
        let persistent = lacking.flags.contains(Flags::PERSISTENT);
        let kept = if persistent { Flags::PERSISTENT } else { Flags::default() };
        Scheduling { scheduler: name.to_owned(), flags: of_scheduler(name) | kept, ..lacking.clone() }
    }

    /// What is lacking for these Services, by what they ask for, and for those that ask for none.
    pub fn lacking<'a>(
        &self,
        services: impl Iterator<Item = (&'a ObjectName, &'a ServicePlan)>,
    ) -> Vec<Lacking> {
        let missing = |service: Option<&ObjectName>, scheduler: &Arc<str>| {
            self.unavailable.contains(scheduler).then(|| Lacking {
                service: service.cloned(),
                scheduler: Arc::clone(scheduler),
                instead: self.pick(None).into(),
            })
        };
        let of_services = services.filter_map(|(name, plan)| missing(Some(name), plan.scheduler.as_ref()?));
        missing(None, &self.default).into_iter().chain(of_services).collect()
    }

    /// The scheduler asked for, or what takes its place where the kernel lacks it.
    fn pick<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        let candidates = asked.into_iter().chain([&*self.default]);
        candidates.into_iter().find(|name| !self.unavailable.contains(*name)).unwrap_or(DEFAULT)
    }
}

/// `mh` and `sh` pass over real servers of weight 0 only with their fallback flags, and refuse connections otherwise; `mh` tells
/// connections of one client apart only with its port flag (`IP_VS_SVC_F_SCHED_MH_FALLBACK`, `IP_VS_SVC_F_SCHED_MH_PORT`,
/// `IP_VS_SVC_F_SCHED_SH_FALLBACK`).
fn of_scheduler(name: &str) -> Flags {
    match name {
        "mh" => Flags::MH_FALLBACK | Flags::MH_PORT,
        "sh" => Flags::SCHEDULER_1,
        _ => Flags::default(),
    }
}

/// Whether real servers of weight 0 keep others from being chosen: `dh` refuses what hashes to one.
pub(crate) fn cannot_drain(name: &str) -> bool {
    name == "dh"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(schedulers: &Schedulers, asked: Option<&str>) -> String {
        schedulers.scheduling(asked, None, Family::V4).scheduler
    }

    #[test]
    fn what_the_kernel_lacks_is_the_default_and_then_the_simplest() {
        let mut schedulers = Schedulers::new("lc");
        assert_eq!(name(&schedulers, None), "lc");
        assert_eq!(name(&schedulers, Some("sh")), "sh");
        schedulers.unavailable.insert("sh".into());
        assert_eq!(name(&schedulers, Some("sh")), "lc");
        schedulers.unavailable.insert("lc".into());
        assert_eq!(name(&schedulers, Some("sh")), "rr");
        assert_eq!(name(&Schedulers::new(""), None), "rr");
    }

    #[test]
    fn mh_has_both_its_flags_and_affinity_is_persistence() {
        let mh = Schedulers::new("mh").scheduling(None, Some(300), Family::V6);
        assert_eq!((mh.flags, mh.timeout), (Flags::MH_FALLBACK | Flags::MH_PORT | Flags::PERSISTENT, 300));
    }
}
