//! A document as a tree, and what a tree does not show: fields that are there more than once.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

/// A document, decoded as the API machinery does where it is lenient: the last of several values of a field counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// What it says.
    pub value: Value,
    /// Paths of fields that are there more than once, each named once.
    pub duplicate: Vec<String>,
}

impl Tree {
    /// From whatever can be decoded without being told what it is.
    pub fn read<'de, D: Deserializer<'de>>(source: D) -> Result<Tree, D::Error> {
        let mut duplicate = Vec::new();
        let value = Branch { at: String::new(), duplicate: &mut duplicate }.deserialize(source)?;
        Ok(Tree { value, duplicate })
    }

    /// From one document of YAML, which JSON is too.
    pub fn from_yaml(text: &str) -> Result<Tree, serde_saphyr::Error> {
        let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |source| Tree::read(source))
    }
}

/// The path of a field of what is at a path.
pub fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// Takes anything that is at a path.
struct Branch<'a> {
    at: String,
    duplicate: &'a mut Vec<String>,
}

impl Branch<'_> {
    fn below(&mut self, at: String) -> Branch<'_> {
        Branch { at, duplicate: self.duplicate }
    }
}

impl<'de> DeserializeSeed<'de> for Branch<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Branch<'_> {
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

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let at = format!("{}[{}]", self.at, list.len());
            match items.next_element_seed(self.below(at))? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let at = join(&self.at, &name);
            let value = fields.next_value_seed(self.below(at.clone()))?;
            if map.insert(name, value).is_some() && !self.duplicate.contains(&at) {
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
    fn of_a_field_that_is_there_more_than_once_the_last_counts_and_its_path_is_told_once() {
        let expected = Tree { value: json!({"a": [{"b": null}]}), duplicate: vec!["a[0].b".to_owned()] };
        let text = r#"{"a": [{"b": 1, "b": "x", "b": null}]}"#;
        assert_eq!(Tree::read(&mut serde_json::Deserializer::from_str(text)).unwrap(), expected);
        assert_eq!(Tree::from_yaml(text).unwrap(), expected);
        assert_eq!(Tree::from_yaml("a:\n- b: 1\n  b: x\n  b:\n").unwrap(), expected);
        assert!(Tree::from_yaml("a: [").is_err());
    }
}
