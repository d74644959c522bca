//! Feature gates that kube-proxy 1.36 knows and that concern it.

use super::sections::FeatureGates;
use super::validate::Complaint;

/// The one gate that changes what we do: off, Services have no `externalIPs`.
pub const EXTERNAL_IPS: &str = "AllowServiceExternalIPs";

struct Gate {
    name: &'static str,
    default: bool,
    locked: bool,
}

const fn gate(name: &'static str, default: bool, locked: bool) -> Gate {
    Gate { name, default, locked }
}

/// `pkg/features/kube_features.go` and `staging/src/k8s.io/component-base/logs/api/v1/kube_features.go`.
const GATES: [Gate; 15] = [
    gate(EXTERNAL_IPS, true, false),
    gate("AllAlpha", false, false),
    gate("AllBeta", false, false),
    gate("ComponentFlagz", true, false),
    gate("ComponentStatusz", true, false),
    gate("ContextualLogging", true, false),
    gate("InOrderInformers", true, false),
    gate("LoggingAlphaOptions", false, false),
    gate("LoggingBetaOptions", true, false),
    gate("MultiCIDRServiceAllocator", true, true),
    gate("NFTablesProxyMode", true, true),
    gate("NativeHistograms", false, false),
    gate("PreferSameTrafficDistribution", true, true),
    gate("RelaxedServiceNameValidation", true, false),
    gate("WatchListClient", true, false),
];

/// Whether a gate is on.
pub fn is_on(gates: &FeatureGates, name: &str) -> bool {
    let default = || GATES.iter().any(|gate| gate.name == name && gate.default);
    gates.get(name).copied().unwrap_or_else(default)
}

/// Gates that are set against their lock. Those that are not known here are none: kube-proxy knows the gates of all of
/// Kubernetes, and installers write the same ones into everybody's configuration.
pub(crate) fn complaints(gates: &FeatureGates) -> Vec<Complaint> {
    let complaint = |(name, value): (&String, &bool)| {
        let gate = GATES.iter().find(|gate| gate.name == name)?;
        let why = format!("the feature is locked to {}", gate.default);
        (gate.locked && gate.default != *value)
            .then(|| Complaint::invalid(format!("featureGates.{name}"), value, why))
    };
    gates.iter().filter_map(complaint).collect()
}

/// Gates set to something else than their default that nothing here depends on, and those that are not known here.
pub(super) fn without_effect(gates: &FeatureGates) -> impl Iterator<Item = String> + '_ {
    let known = |name: &str| GATES.iter().any(|gate| gate.name == name);
    let changed = move |name: &str, value: bool| !known(name) || is_on(&FeatureGates::new(), name) != value;
    let of_none = |name: &str| name != EXTERNAL_IPS && !name.starts_with("Logging");
    let idle = gates.iter().filter(move |(name, value)| changed(name, **value) && of_none(name));
    idle.map(|(name, _)| format!("featureGates.{name}"))
}

/// `A=true,B=false`, as the flag has it.
pub(super) fn parse(text: &str) -> Result<FeatureGates, String> {
    let entry = |entry: &str| {
        let (name, value) =
            entry.split_once('=').ok_or_else(|| format!("missing bool value for {entry:?}"))?;
        Ok((name.trim().to_owned(), super::values::parse_bool(value.trim())?))
    };
    text.split(',').filter(|entry| !entry.trim().is_empty()).map(|text| entry(text.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_that_are_locked_are_refused_and_those_without_effect_are_named() {
        let said = |text: &str| {
            let complaints = complaints(&parse(text).unwrap());
            complaints.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(
            said("AllowServiceExternalIPs=false,NFTablesProxyMode=true,ContextualLogging=false").is_empty()
        );
        assert_eq!(
            said("NFTablesProxyMode=false, Unheard=true"),
            [
                "KubeProxyConfiguration.featureGates.NFTablesProxyMode: Invalid value: false: the feature is locked to true"
            ]
        );
        assert!(parse("A").is_err() && parse("A=maybe").is_err());
        let gates =
            parse("AllowServiceExternalIPs=false,ContextualLogging=false,ComponentFlagz=true,Unheard=false")
                .unwrap();
        assert!(!is_on(&gates, EXTERNAL_IPS) && is_on(&FeatureGates::new(), EXTERNAL_IPS));
        let named: Vec<_> = without_effect(&gates).collect();
        assert_eq!(named, ["featureGates.ContextualLogging", "featureGates.Unheard"]);
    }
}
