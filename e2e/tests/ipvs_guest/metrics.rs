//! The page of metrics, held to the same list as in nftables mode.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::metrics::{expected, found, page_of_everything, promtool};
use kubeweir_playground::Namespace;

#[test]
#[ignore = "runs in a guest kernel"]
fn metrics_of_ipvs_mode_are_as_recorded_and_promtool_has_nothing_to_say() {
    let (node, api) = (Namespace::new("node").unwrap(), StandIn::start());
    let page = page_of_everything(&node, &api);
    let (found, expected) = (found(&page), expected("ipvs"));
    for (name, shape) in &expected {
        assert_eq!(found.get(name), Some(shape), "{name}\n{page}");
    }
    let more: Vec<&String> = found.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(more.is_empty(), "not recorded: {more:?}");
    assert_eq!(promtool(&page), (String::new(), Some(0)), "{page}");
}
