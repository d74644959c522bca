//! As much of Helm as the chart uses: Go templates, the values they get, and the functions that they call.
//!
//! Fields that are not there are an error here, where Helm takes them for nothing.

mod functions;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use gtmpl::{Context, Template, Value as Data};
use kubeweir_e2e::api::documents;
use serde_json::{Value, json};

use crate::objects::{names_in, root};

/// Where tests have it installed.
const NAMESPACE: &str = "kube-system";

thread_local! {
    /// Named templates, for `include`: functions are given their arguments and nothing else.
    static HELPERS: RefCell<String> = const { RefCell::new(String::new()) };
}

fn chart() -> PathBuf {
    root().join("charts/kubeweir")
}

fn yaml(file: &str) -> Value {
    let text = fs::read_to_string(chart().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Files with values to test the chart with, whatever there is.
pub(crate) fn values_files() -> Vec<String> {
    let names = names_in(&chart().join("ci"));
    assert!(names.len() >= 3, "{names:?}");
    names.into_iter().map(|name| format!("ci/{name}")).collect()
}

/// `Chart.yaml`.
pub(crate) fn metadata() -> Value {
    yaml("Chart.yaml")
}

/// Values by default.
pub(crate) fn defaults() -> Value {
    yaml("values.yaml")
}

/// Values of a file over those by default.
pub(crate) fn values(file: &str) -> Value {
    let mut values = defaults();
    overlay(&mut values, &yaml(file));
    values
}

/// Maps are merged, anything else is replaced, and null takes away.
fn overlay(values: &mut Value, over: &Value) {
    match (values, over) {
        (Value::Object(values), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    values.remove(name);
                } else {
                    overlay(values.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (values, over) => *values = over.clone(),
    }
}

/// Objects of the chart with the values of a file.
pub(crate) fn rendered(file: &str) -> Vec<Value> {
    let text = render(&values(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    documents(&text)
}

/// The text that Helm would send to the cluster, or why it would not.
pub(crate) fn render(values: &Value) -> Result<String, String> {
    let names = names_in(&chart().join("templates"));
    let read = |name: &String| fs::read_to_string(chart().join("templates").join(name)).unwrap();
    let (helpers, templates): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.starts_with('_'));
    HELPERS.set(helpers.into_iter().map(read).collect());
    let scope = functions::data(&scope(values));
    let texts = templates
        .into_iter()
        .map(|name| execute(&read(name), scope.clone()).map_err(|error| format!("{name}: {error}")));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n---\n"))
}

/// What templates can see.
fn scope(values: &Value) -> Value {
    let metadata = metadata();
    json!({
        "Values": values,
        "Release": {"Name": "test", "Namespace": NAMESPACE, "Service": "Helm"},
        "Chart": {"Name": metadata["name"], "Version": metadata["version"], "AppVersion": metadata["appVersion"]},
    })
}

fn execute(text: &str, scope: Data) -> Result<String, String> {
    let mut template = Template::default();
    template.add_funcs(&functions::ALL);
    template
        .parse(HELPERS.with_borrow(|helpers| format!("{helpers}{text}")))
        .map_err(|error| error.to_string())?;
    template.render(&Context::from(scope)).map_err(|error| error.to_string())
}
