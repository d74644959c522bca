//! A request's body as a tree, and what a tree does not show: fields that are there more than once.

use kubeweir_cluster::tree::Tree;
use serde_json::Value;

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
        let tree = Body::from_json(&text).or_else(|_| Tree::from_yaml(&text)).map_err(bad)?;
        Ok(Body { object: tree.value, duplicate: tree.duplicate })
    }

    fn from_json(text: &str) -> Result<Tree, serde_json::Error> {
        let mut source = serde_json::Deserializer::from_str(text);
        let tree = Tree::read(&mut source)?;
        source.end()?;
        Ok(tree)
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
