//! Patches: JSON merge (RFC 7386) and Kubernetes' strategic merge, as far as `kubectl apply` uses it on our kinds.

use serde_json::{Map, Value};

/// Lists that are merged item by item, and the field that tells items apart.
const MERGE_KEYS: [(&str, &str); 8] = [
    ("ports", "port"),
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
];

/// Applies a merge patch.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    apply(target, patch, false);
}

/// Applies a strategic merge patch.
pub(super) fn strategic(target: &mut Value, patch: &Value) {
    apply(target, patch, true);
}

fn apply(target: &mut Value, patch: &Value, by_key: bool) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, change) in changes.iter().filter(|(name, _)| !name.starts_with('$')) {
        let key = MERGE_KEYS.iter().find(|(list, _)| by_key && list == name).map(|(_, key)| *key);
        match (change, key) {
            (Value::Null, _) => drop(fields.remove(name)),
            (Value::Array(items), Some(key)) => {
                let list = fields.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                merge_items(list, items, key);
            }
            _ => apply(fields.entry(name.clone()).or_insert(Value::Null), change, by_key),
        }
    }
}

fn merge_items(list: &mut Value, items: &[Value], key: &str) {
    let Some(list) = list.as_array_mut() else { return };
    for item in items {
        let at = list.iter().position(|held| held[key] == item[key]);
        match (item["$patch"] == "delete", at) {
            (true, Some(at)) => drop(list.remove(at)),
            (true, None) => {}
            (false, Some(at)) => apply(&mut list[at], item, true),
            (false, None) => list.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_replaced_by_merge_and_merged_by_strategic_merge() {
        let service =
            json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}], "type": "x"}});
        let patch = json!({"spec": {"type": null, "ports": [{"port": 80, "name": "c"}, {"port": 81, "$patch": "delete"}, {"port": 82}],
            "$setElementOrder/ports": [{"port": 80}]}});
        let mut merged = service.clone();
        strategic(&mut merged, &patch);
        assert_eq!(merged, json!({"spec": {"ports": [{"port": 80, "name": "c"}, {"port": 82}]}}));
        let mut replaced = service;
        merge(&mut replaced, &json!({"spec": {"ports": [{"port": 1}]}}));
        assert_eq!(replaced, json!({"spec": {"ports": [{"port": 1}], "type": "x"}}));
    }
}
