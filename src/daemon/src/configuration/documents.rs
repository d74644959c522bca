//! Documents of a text of YAML. kube-proxy decodes the first one, whatever follows it.

/// What begins a document, and what ends one.
const MARKERS: [&str; 2] = ["---", "..."];

/// The first document, and whether anything is said after it. A marker at the beginning of a line counts whatever it stands in
/// (YAML 1.2, section 9.1), so nothing has to be parsed for this.
pub(super) fn first(text: &str) -> (&str, bool) {
    let (mut end, mut begun) = (0, false);
    for line in text.split_inclusive('\n') {
        let marker = after_marker(line).is_some();
        if begun && marker {
            let (document, rest) = text.split_at(end);
            return (document, rest.lines().any(says_something));
        }
        begun |= marker || says_something(line);
        end += line.len();
    }
    (text, false)
}

fn after_marker(line: &str) -> Option<&str> {
    let rest = MARKERS.iter().find_map(|marker| line.strip_prefix(marker))?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some(rest)
}

/// Neither comments nor directives do, which may stand before a document.
fn says_something(line: &str) -> bool {
    let text = after_marker(line).unwrap_or(line).trim();
    !text.is_empty() && !text.starts_with(['#', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_document_ends_where_a_marker_begins_a_line() {
        for (text, document, more) in [
            ("", "", false),
            ("a: 1", "a: 1", false),
            ("a: 1\n---\n", "a: 1\n", false),
            ("a: 1\n---", "a: 1\n", false),
            ("a: 1\r\n---\r\n# nothing\r\n...\r\n", "a: 1\r\n", false),
            ("a: 1\n...\n", "a: 1\n", false),
            ("# ours\n\n---\na: 1\n---\nb: 1\n", "# ours\n\n---\na: 1\n", true),
            ("%YAML 1.2\n--- {a: 1}\n--- {b: 1}\n", "%YAML 1.2\n--- {a: 1}\n", true),
            ("a: 1\n---\n---\nb: 1\n", "a: 1\n", true),
            ("a: |\n  ---\n  b\n----: 1\n", "a: |\n  ---\n  b\n----: 1\n", false),
            ("---\n---\na: 1\n", "---\n", true),
        ] {
            assert_eq!(first(text), (document, more), "{text:?}");
        }
    }
}
