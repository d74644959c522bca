//! A request's body as a tree, and what a tree does not show: fields that are there more than once.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::store::Refusal;

/// A body, JSON or YAML.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Body {
    pub(super) object: Value,
    /// Paths of fields that are there more than once: the last counts.
    pub(super) duplicate: Vec<String>,
}

impl Body {
    pub(super) fn parse(body: &[u8]) -> Result<Body, Refusal> {
        let text = String::from_utf8_lossy(body);
        let bad = |error: serde_saphyr::Error| Refusal::new(400, "BadRequest", error.to_string());
        Body::from_json(&text).or_else(|_| Body::from_yaml(&text)).map_err(bad)
    }

    fn from_json(text: &str) -> Result<Body, serde_json::Error> {
        let mut duplicate = Vec::new();
        let mut source = serde_json::Deserializer::from_str(text);
        let object = Tree { at: String::new(), duplicate: &mut duplicate }.deserialize(&mut source)?;
        source.end()?;
        Ok(Body { object, duplicate })
    }

    fn from_yaml(text: &str) -> Result<Body, serde_saphyr::Error> {
        let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
        let mut duplicate = Vec::new();
        let object = serde_saphyr::with_deserializer_from_str_with_options(text, options, |source| {
            Tree { at: String::new(), duplicate: &mut duplicate }.deserialize(source)
        })?;
        Ok(Body { object, duplicate })
    }
}

/// The path of a field of what is at a path.
pub(super) fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// Takes anything, and keeps the last of several values of a field.
struct Tree<'a> {
    at: String,
    duplicate: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        self.deserialize(source)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree {
            at: format!("{}[{}]", self.at, list.len()),
            duplicate: &mut *self.duplicate,
        })? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let at = join(&self.at, &name);
            let value = fields.next_value_seed(Tree { at: at.clone(), duplicate: &mut *self.duplicate })?;
            if map.insert(name, value).is_some() {
                self.duplicate.push(at);
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_field_that_is_there_twice_the_last_counts_and_its_path_is_told() {
        let expected = Body { object: json!({"a": [{"b": 2}]}), duplicate: vec!["a[0].b".to_owned()] };
        assert_eq!(Body::parse(br#"{"a": [{"b": 1, "b": 2}]}"#).unwrap(), expected);
        assert_eq!(Body::parse(b"a:\n- b: 1\n  b: 2\n").unwrap(), expected);
        assert_eq!(Body::parse(b"a: [").unwrap_err().code, 400);
    }
}
