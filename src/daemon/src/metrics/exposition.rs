//! All metrics as text, in either of two formats.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Classic,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The media type, with its parameters.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Everything registered. A family without samples is left out: as in kube-proxy, one with labels appears with its
    /// first use.
    pub fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut open_metrics = String::new();
        text::encode_registry(&mut open_metrics, registry)?;
        let mut page = String::with_capacity(open_metrics.len());
        for family in families(&open_metrics) {
            match self {
                Format::Classic => family.write_classic(&mut page),
                Format::OpenMetrics => family.write(&mut page),
            }
        }
        if self == Format::OpenMetrics {
            text::encode_eof(&mut page)?;
        }
        Ok(page)
    }
}

/// The lines of a metric family as `OpenMetrics` has them.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    samples: &'a str,
}

/// Splits the text into families that have samples. Ours have no units and no exemplars.
fn families(text: &str) -> impl Iterator<Item = Family<'_>> {
    let blocks = text.split("# HELP ").filter_map(|block| {
        let (help, rest) = block.split_once('\n')?;
        let (kind, samples) = rest.split_once('\n')?;
        let (name, help) = help.split_once(' ')?;
        let kind = kind.rsplit(' ').next()?;
        Some(Family { name, help, kind, samples })
    });
    blocks.filter(|family| !family.samples.is_empty())
}

impl Family<'_> {
    fn write(&self, page: &mut String) {
        let Family { name, help, kind, samples } = self;
        page.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n", samples]);
    }

    /// Here a counter's family has the same name as its samples. A gauge that is named like a counter, as one of kube-proxy's is,
    /// has no type: linters take it for a mistake. Types mean nothing to queries, but the text of bounds does.
    fn write_classic(&self, page: &mut String) {
        let suffix = if self.kind == "counter" { "_total" } else { "" };
        let name = format!("{}{suffix}", self.name);
        let kind = match self.kind {
            "gauge" if name.ends_with("_total") => "untyped",
            "unknown" => "untyped",
            kind => kind,
        };
        match kind {
            "histogram" => {
                let samples: String = self.samples.split_inclusive('\n').map(with_short_bound).collect();
                Family { name: &name, kind, samples: &samples, ..*self }.write(page);
            }
            _ => Family { name: &name, kind, ..*self }.write(page),
        }
    }
}

/// A bucket's line with its bound as Go programs write it here: `1`, where `OpenMetrics` has `1.0`.
fn with_short_bound(line: &str) -> Cow<'_, str> {
    let shorter = || {
        let (before, rest) = line.split_once("_bucket{le=\"")?;
        let (bound, after) = rest.split_once('"')?;
        Some(format!("{before}_bucket{{le=\"{}\"{after}", bound.strip_suffix(".0")?))
    };
    shorter().map_or(Cow::Borrowed(line), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register("things", "Things", counter);
        registry.register("unused", "Never used", Family::<Vec<(String, String)>, Counter>::default());
        let gauge: Gauge = Gauge::default();
        registry.register("odd_total", "A gauge", gauge.clone());
        registry.register("level", "Another", gauge);
        let histogram = Histogram::new([0.0, 0.75, 1.0]);
        histogram.observe(0.5);
        registry.register("took", "A histogram", histogram);
        registry
    }

    #[test]
    fn both_formats_say_the_same_and_leave_out_what_was_never_used() {
        let histogram = "# HELP took A histogram.\n# TYPE took histogram\ntook_sum 0.5\ntook_count 1\n";
        let short = "took_bucket{le=\"0\"} 0\ntook_bucket{le=\"0.75\"} 1\ntook_bucket{le=\"1\"} 1\n\
            took_bucket{le=\"+Inf\"} 1\n";
        let long = "took_bucket{le=\"0.0\"} 0\ntook_bucket{le=\"0.75\"} 1\ntook_bucket{le=\"1.0\"} 1\n\
            took_bucket{le=\"+Inf\"} 1\n";
        let level = "# HELP level Another.\n# TYPE level gauge\nlevel 0\n";
        let classic = "# HELP things_total Things.\n# TYPE things_total counter\nthings_total 1\n\
            # HELP odd_total A gauge.\n# TYPE odd_total untyped\nodd_total 0\n";
        let open = "# HELP things Things.\n# TYPE things counter\nthings_total 1\n\
            # HELP odd_total A gauge.\n# TYPE odd_total gauge\nodd_total 0\n";
        assert_eq!(
            Format::Classic.encode(&registry()).unwrap(),
            format!("{classic}{level}{histogram}{short}")
        );
        assert_eq!(
            Format::OpenMetrics.encode(&registry()).unwrap(),
            format!("{open}{level}{histogram}{long}# EOF\n")
        );
    }
}
