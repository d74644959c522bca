//! As much of Helm as the chart uses: Go templates, the values they get, and the functions that they call.
//!
//! Fields that are not there are an error here, where Helm takes them for nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use gtmpl::{Context, Func, FuncError, Template, Value as Data};
use kubeweir_e2e::api::documents;
use serde_json::{Map, Value, json};

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
    let scope = data(&scope(values));
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
    let functions: [(&str, Func); 9] = [
        ("include", include),
        ("toYaml", to_yaml),
        ("nindent", nindent),
        ("quote", quote),
        ("default", default),
        ("required", required),
        ("dict", dict),
        ("merge", merge),
        ("sha256sum", sha256sum),
    ];
    let mut template = Template::default();
    template.add_funcs(&functions);
    template
        .parse(HELPERS.with_borrow(|helpers| format!("{helpers}{text}")))
        .map_err(|error| error.to_string())?;
    template.render(&Context::from(scope)).map_err(|error| error.to_string())
}

fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Nil,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap().into(),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => Data::Array(items.iter().map(data).collect()),
        Value::Object(fields) => {
            Data::Object(fields.iter().map(|(name, value)| (name.clone(), data(value))).collect())
        }
    }
}

fn value(data: &Data) -> Result<Value, FuncError> {
    Ok(match data {
        Data::Nil | Data::NoValue => Value::Null,
        Data::Bool(value) => (*value).into(),
        Data::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().into(),
        },
        Data::String(text) => text.clone().into(),
        Data::Array(items) => items.iter().map(value).collect::<Result<Vec<_>, _>>()?.into(),
        Data::Object(fields) | Data::Map(fields) => {
            let fields = fields.iter().map(|(name, field)| Ok((name.clone(), value(field)?)));
            fields.collect::<Result<Map<_, _>, FuncError>>()?.into()
        }
        Data::Function(_) => return Err(failed("a function is no value")),
    })
}

fn failed(why: impl Into<String>) -> FuncError {
    FuncError::Generic(why.into())
}

fn text(data: &Data) -> Result<&str, FuncError> {
    match data {
        Data::String(text) => Ok(text),
        other => Err(failed(format!("{other:?} is no text"))),
    }
}

fn number(data: &Data) -> Result<usize, FuncError> {
    let number = value(data)?.as_u64().ok_or_else(|| failed("not a number"))?;
    usize::try_from(number).map_err(|_| failed("too large"))
}

fn fields(data: &Data) -> Result<&HashMap<String, Data>, FuncError> {
    match data {
        Data::Object(fields) | Data::Map(fields) => Ok(fields),
        other => Err(failed(format!("{other:?} is no map"))),
    }
}

/// `include NAME SCOPE`: what a named template says.
fn include(arguments: &[Data]) -> Result<Data, FuncError> {
    let [name, scope] = arguments else { return Err(FuncError::ExactlyXArgs("include".into(), 2)) };
    let call = format!("{{{{ template {:?} . }}}}", text(name)?);
    // Around the named templates there is nothing but empty lines, which are not theirs.
    let before = execute("", scope.clone()).map_err(failed)?;
    let all = execute(&call, scope.clone()).map_err(failed)?;
    all.strip_prefix(&before).map(Data::from).ok_or_else(|| failed("helpers that say something themselves"))
}

fn to_yaml(arguments: &[Data]) -> Result<Data, FuncError> {
    let [data] = arguments else { return Err(FuncError::ExactlyXArgs("toYaml".into(), 1)) };
    let text = serde_saphyr::to_string(&value(data)?).map_err(|error| failed(error.to_string()))?;
    Ok(text.trim_end_matches('\n').into())
}

/// `nindent COLUMNS TEXT`: on lines of its own, moved to the right.
fn nindent(arguments: &[Data]) -> Result<Data, FuncError> {
    let [columns, moved] = arguments else { return Err(FuncError::ExactlyXArgs("nindent".into(), 2)) };
    let margin = " ".repeat(number(columns)?);
    Ok(format!("\n{margin}{}", text(moved)?.replace('\n', &format!("\n{margin}"))).into())
}

fn quote(arguments: &[Data]) -> Result<Data, FuncError> {
    let [quoted] = arguments else { return Err(FuncError::ExactlyXArgs("quote".into(), 1)) };
    Ok(format!("{:?}", text(quoted)?).into())
}

/// `default OTHER GIVEN`: the first where the second is empty.
fn default(arguments: &[Data]) -> Result<Data, FuncError> {
    let [other, given] = arguments else { return Err(FuncError::ExactlyXArgs("default".into(), 2)) };
    Ok(if text(given)?.is_empty() { other.clone() } else { given.clone() })
}

/// `required MESSAGE GIVEN`: the second, which must not be empty.
fn required(arguments: &[Data]) -> Result<Data, FuncError> {
    let [message, given] = arguments else { return Err(FuncError::ExactlyXArgs("required".into(), 2)) };
    if text(given)?.is_empty() { Err(failed(text(message)?)) } else { Ok(given.clone()) }
}

fn dict(arguments: &[Data]) -> Result<Data, FuncError> {
    let pairs = arguments.chunks(2).map(|pair| match pair {
        [name, value] => Ok((text(name)?.to_owned(), value.clone())),
        _ => Err(failed("dict: a name without a value")),
    });
    Ok(Data::Map(pairs.collect::<Result<_, FuncError>>()?))
}

/// `sha256sum TEXT`: its digest, in hexadecimal digits.
fn sha256sum(arguments: &[Data]) -> Result<Data, FuncError> {
    let [given] = arguments else { return Err(FuncError::ExactlyXArgs("sha256sum".into(), 1)) };
    let given = text(given)?;
    let mut command = Command::new("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.split(' ').next().map(Data::from).ok_or_else(|| failed("no digest"))
}

/// `merge MAP MAP...`: of several values for a name the first counts, unless all are maps.
fn merge(arguments: &[Data]) -> Result<Data, FuncError> {
    let mut merged = HashMap::new();
    for map in arguments {
        for (name, value) in fields(map)? {
            let value = match merged.get(name) {
                Some(before) if fields(before).is_ok() && fields(value).is_ok() => {
                    merge(&[Data::clone(before), value.clone()])?
                }
                Some(before) => before.clone(),
                None => value.clone(),
            };
            merged.insert(name.clone(), value);
        }
    }
    Ok(Data::Map(merged))
}
