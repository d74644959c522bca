//! Label and field selectors.

use serde_json::Value;

/// Both selectors of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    pub(super) labels: String,
    pub(super) fields: String,
}

impl Selector {
    /// Whether an object is selected.
    pub(super) fn admits(&self, object: &Value) -> bool {
        let label =
            |key: &str| object["metadata"]["labels"].get(key).and_then(Value::as_str).map(str::to_owned);
        terms(&self.labels).all(|term| holds(term, label))
            && terms(&self.fields).all(|term| holds(term, |path| Some(field(object, path))))
    }
}

fn terms(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').map(str::trim).filter(|term| !term.is_empty())
}

fn holds(term: &str, value: impl Fn(&str) -> Option<String>) -> bool {
    if let Some(key) = term.strip_prefix('!') {
        return value(key).is_none();
    }
    if let Some((key, wanted)) = term.split_once("!=") {
        return value(key).as_deref() != Some(wanted);
    }
    match term.split_once("==").or_else(|| term.split_once('=')) {
        Some((key, wanted)) => value(key).as_deref() == Some(wanted),
        None => value(term).is_some(),
    }
}

/// A field by its path; one that is not there is an empty string.
fn field(object: &Value, path: &str) -> String {
    let found = path.split('.').fold(object, |value, part| &value[part]);
    found.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_a_service_proxy() {
        let object = serde_json::json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"clusterIP": "None"}});
        let admits = |labels: &str, fields: &str| {
            Selector { labels: labels.into(), fields: fields.into() }.admits(&object)
        };
        assert!(admits("", "") && admits("x,x=1,x==1,y!=1,!y", "metadata.name=a"));
        assert!(!admits("!x", "") && !admits("x!=1", "") && !admits("y", ""));
        assert!(!admits("", "spec.clusterIP!=None") && admits("", "spec.clusterIP!=Some"));
    }
}
