//! Rates between two readings, from the pages that tell them.

use std::collections::BTreeMap;

use super::{BYTES, CONNECTIONS, PACKETS, READ_AT};

/// What a page of metrics says that Services have counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// When it was read from the kernel, in seconds since 1970.
    pub at: f64,
    /// By `namespace/name:port/protocol`: connections, packets in and out, bytes in and out.
    pub counts: BTreeMap<String, [f64; 5]>,
}

/// One Service port's rates, each second: connections, packets in and out, bytes in and out.
pub type Rate = (String, [f64; 5]);

impl Page {
    /// From the text of `/metrics`; `None` if it has no counters.
    pub fn read(text: &str) -> Option<Page> {
        let mut page = Page { at: f64::NAN, counts: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((sample, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            if sample == READ_AT {
                page.at = value;
            } else if let Some((column, name)) = column_and_name(sample) {
                page.counts.entry(name).or_default()[column] += value;
            }
        }
        page.at.is_finite().then_some(page)
    }

    /// Rates since an earlier page, those with the most bytes first. What has counted less than before began anew.
    pub fn rates_since(&self, earlier: &Page) -> Vec<Rate> {
        let seconds = self.at - earlier.at;
        let rate = |name: &String, now: &[f64; 5]| {
            let before = earlier.counts.get(name).copied().unwrap_or_default();
            let more = |column: usize| {
                let grown = now[column] - before[column];
                if grown < 0.0 { now[column] } else { grown }
            };
            (name.clone(), std::array::from_fn(|column| more(column) / seconds))
        };
        let mut rates: Vec<Rate> = self.counts.iter().map(|(name, now)| rate(name, now)).collect();
        rates.sort_by(|(_, one), (_, other)| (other[3] + other[4]).total_cmp(&(one[3] + one[4])));
        rates
    }
}

fn column_and_name(sample: &str) -> Option<(usize, String)> {
    let (metric, labels) = sample.split_once('{')?;
    let label = |name: &str| {
        let (_, rest) = labels.split_once(&format!("{name}=\""))?;
        rest.split('"').next()
    };
    // "name" is the end of "namespace" no more than of any other label.
    let (namespace, name) = (label("namespace")?, label(",name")?);
    let (port, protocol) = (label("port")?, label("protocol")?);
    let outward = usize::from(label("direction") == Some("out"));
    let column = match metric.strip_suffix("_total")? {
        CONNECTIONS => 0,
        PACKETS => 1 + outward,
        BYTES => 3 + outward,
        _ => return None,
    };
    let colon = if port.is_empty() { "" } else { ":" };
    Some((column, format!("{namespace}/{name}{colon}{port}/{protocol}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(at: u32, connections: u32, bytes: u32) -> String {
        let labels = "namespace=\"shop\",name=\"web\",port=\"http\",protocol=\"TCP\"";
        format!(
            "# TYPE {CONNECTIONS} counter\n{READ_AT} {at}.500\n{CONNECTIONS}_total{{{labels}}} {connections}\n\
            {BYTES}_total{{{labels},direction=\"out\"}} {bytes}\nother 5\n"
        )
    }

    #[test]
    fn rates_are_what_came_between_two_readings() {
        let read = |text: String| Page::read(&text).unwrap();
        let rates = read(page(14, 30, 500)).rates_since(&read(page(10, 10, 100)));
        assert_eq!(rates, [("shop/web:http/TCP".to_owned(), [5.0, 0.0, 0.0, 0.0, 100.0])]);
        let anew = read(page(14, 8, 500)).rates_since(&read(page(10, 10, 100)));
        assert_eq!(anew[0].1[0].to_string(), "2");
        assert_eq!(Page::read("other 5\n"), None);
    }
}
