//! Functions that the chart calls, as Helm has them.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

use gtmpl::{Func, FuncError, Value as Data};
use serde_json::{Map, Value, json};

use super::execute;

pub(super) const ALL: [(&str, Func); 12] = [
    ("default", default),
    ("dict", dict),
    ("fail", fail),
    ("has", has),
    ("include", include),
    ("list", list),
    ("merge", merge),
    ("nindent", nindent),
    ("quote", quote),
    ("required", required),
    ("sha256sum", sha256sum),
    ("toYaml", to_yaml),
];

/// A value as templates have it.
pub(super) fn data(value: &Value) -> Data {
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
    match value(quoted)? {
        // As if it were not given.
        Value::Null => Ok("".into()),
        Value::String(text) => Ok(format!("{text:?}").into()),
        other => Ok(format!("{:?}", other.to_string()).into()),
    }
}

/// Whether a value says nothing, as Helm sees it: numbers and truth do so too.
fn is_empty(data: &Data) -> Result<bool, FuncError> {
    Ok(match value(data)? {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    })
}

/// `default OTHER GIVEN`: the first where the second is empty.
fn default(arguments: &[Data]) -> Result<Data, FuncError> {
    let [other, given] = arguments else { return Err(FuncError::ExactlyXArgs("default".into(), 2)) };
    Ok(if is_empty(given)? { other.clone() } else { given.clone() })
}

/// `required MESSAGE GIVEN`: the second, which must not be empty.
fn required(arguments: &[Data]) -> Result<Data, FuncError> {
    let [message, given] = arguments else { return Err(FuncError::ExactlyXArgs("required".into(), 2)) };
    if is_empty(given)? { Err(failed(text(message)?)) } else { Ok(given.clone()) }
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

/// `has ITEM LIST`: whether it is one of them.
fn has(arguments: &[Data]) -> Result<Data, FuncError> {
    let [item, Data::Array(list)] = arguments else { return Err(FuncError::ExactlyXArgs("has".into(), 2)) };
    let item = value(item)?;
    let list = list.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    Ok(list.contains(&item).into())
}

#[expect(clippy::unnecessary_wraps, reason = "what all functions of templates return")]
fn list(arguments: &[Data]) -> Result<Data, FuncError> {
    Ok(Data::Array(arguments.to_vec()))
}

fn fail(arguments: &[Data]) -> Result<Data, FuncError> {
    let [message] = arguments else { return Err(FuncError::ExactlyXArgs("fail".into(), 1)) };
    Err(failed(text(message)?))
}

/// `merge MAP MAP...`: of several values for a name the first counts that is not empty, unless all are maps.
fn merge(arguments: &[Data]) -> Result<Data, FuncError> {
    let mut merged = HashMap::new();
    for map in arguments {
        for (name, value) in fields(map)? {
            let value = match merged.get(name) {
                Some(before) if fields(before).is_ok() && fields(value).is_ok() => {
                    merge(&[Data::clone(before), value.clone()])?
                }
                Some(before) if !is_empty(before)? => before.clone(),
                _ => value.clone(),
            };
            merged.insert(name.clone(), value);
        }
    }
    Ok(Data::Map(merged))
}

/// Unlike what one would think, an empty value does not hide one of a later map.
#[test]
fn what_is_empty_is_filled_by_later_maps() {
    let map = |value: Value| data(&value);
    let (first, second) =
        (json!({"a": "", "b": 1, "c": {"d": []}}), json!({"a": "x", "b": 2, "c": {"d": [3], "e": ""}}));
    let merged = merge(&[map(first), map(second)]).unwrap();
    assert_eq!(value(&merged).unwrap(), json!({"a": "x", "b": 1, "c": {"d": [3], "e": ""}}));
}
