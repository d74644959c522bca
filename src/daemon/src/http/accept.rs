//! What a client accepts, and what it gets.

use crate::metrics::Format;

/// The API group of structured pages.
const GROUP: &str = "config.k8s.io";
/// Their versions, the oldest of which are deprecated.
const VERSIONS: [(&str, bool); 2] = [("v1beta1", false), ("v1alpha1", true)];

/// How a page for people can be had by programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text.
    Text,
    /// JSON.
    Json(Revision),
    /// YAML.
    Yaml(Revision),
}

/// A version of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// Group and version.
    pub(super) api_version: &'static str,
    /// Whether there is a newer one.
    pub(super) deprecated: bool,
}

/// A media range with its parameters.
struct Range<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u16,
}

/// Which format of metrics to write: the classic one, unless the other is wanted more.
pub(super) fn format(accepted: &str) -> Format {
    let quality = |matches: fn(&str) -> bool| {
        ranges(accepted).iter().filter(|range| matches(range.kind)).map(|range| range.quality).max()
    };
    let open = quality(|kind| kind == "application/openmetrics-text").unwrap_or(0);
    let classic = quality(|kind| matches!(kind, "text/plain" | "text/*" | "*/*")).unwrap_or(0);
    if open > 0 && open >= classic { Format::OpenMetrics } else { Format::Classic }
}

/// Which shape of a page to send: the first of those wanted most that there is. Without a wish it is text; a program that
/// names no version gets the newest. `None` if nothing is acceptable.
pub(super) fn shape(accepted: &str, kind: &str) -> Option<Shape> {
    if accepted.trim().is_empty() {
        return Some(Shape::Text);
    }
    let mut ranges = ranges(accepted);
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    ranges.iter().filter(|range| range.quality > 0).find_map(|range| shape_of(range, kind))
}

fn shape_of(range: &Range<'_>, kind: &str) -> Option<Shape> {
    match range.kind {
        "text/plain" | "text/*" | "*/*" => Some(Shape::Text),
        "application/json" | "application/*" => revision(range, kind).map(Shape::Json),
        "application/yaml" => revision(range, kind).map(Shape::Yaml),
        _ => None,
    }
}

fn revision(range: &Range<'_>, kind: &str) -> Option<Revision> {
    let of = |name| range.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let is_ours = of("g").is_none_or(|group| group == GROUP) && of("as").is_none_or(|wanted| wanted == kind);
    let wanted = of("v").unwrap_or(VERSIONS[0].0);
    let (_, deprecated) = VERSIONS.into_iter().find(|(version, _)| is_ours && *version == wanted)?;
    let api_version = if deprecated { "config.k8s.io/v1alpha1" } else { "config.k8s.io/v1beta1" };
    Some(Revision { api_version, deprecated })
}

fn ranges(accepted: &str) -> Vec<Range<'_>> {
    accepted.split(',').map(range).collect()
}

fn range(text: &str) -> Range<'_> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let quality =
        parameters.iter().find(|(key, _)| *key == "q").map_or(1000, |(_, value)| thousandths(value));
    Range { kind, parameters, quality }
}

/// `0.8` is 800. What is no number is not wanted.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.chars().chain("000".chars()).take(3).collect::<String>();
    format!("{whole}{digits}").parse().map_or(0, |value: u16| value.min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_classic_unless_open_metrics_is_wanted_as_much() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accepted, expected) in [
            ("", Format::Classic),
            ("*/*", Format::Classic),
            ("text/html, application/xml;q=0.9", Format::Classic),
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.3", Format::Classic),
            ("application/openmetrics-text;q=0", Format::Classic),
            ("application/openmetrics-text;q=x", Format::Classic),
        ] {
            assert_eq!(format(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn pages_are_text_unless_a_known_object_is_asked_for() {
        let beta = Revision { api_version: "config.k8s.io/v1beta1", deprecated: false };
        let alpha = Revision { api_version: "config.k8s.io/v1alpha1", deprecated: true };
        for (accepted, expected) in [
            ("", Some(Shape::Text)),
            ("text/html,*/*;q=0.8", Some(Shape::Text)),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", Some(Shape::Json(beta))),
            ("application/yaml; v=v1alpha1; g=config.k8s.io; as=Flagz", Some(Shape::Yaml(alpha))),
            ("application/json", Some(Shape::Json(beta))),
            ("text/plain;q=0.5,application/json", Some(Shape::Json(beta))),
            ("application/json;v=v1;g=config.k8s.io;as=Flagz", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Statusz,text/plain", Some(Shape::Text)),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(shape(accepted, "Flagz"), expected, "{accepted}");
        }
    }
}
