//! Values as Go and Kubernetes write them: durations, quantities, booleans.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SECOND: i64 = 1_000_000_000;
/// Suffixes of quantities (`k8s.io/apimachinery/pkg/api/resource`); exponents besides.
const SUFFIXES: [&str; 16] =
    ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A duration in nanoseconds, written as Go does: `1h0m30s`, `250ms`. It may be negative, so that whoever checks it can say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

impl GoDuration {
    /// Whole seconds.
    pub const fn seconds(seconds: i64) -> GoDuration {
        GoDuration(seconds.saturating_mul(SECOND))
    }

    /// Whether it is zero, which mostly means that nothing is said.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This, or that where nothing is said.
    #[must_use]
    pub const fn or(self, other: GoDuration) -> GoDuration {
        if self.is_zero() { other } else { self }
    }

    /// Without a sign: what is negative becomes zero.
    pub fn unsigned(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<GoDuration, String> {
        if matches!(text, "0" | "+0" | "-0") {
            return Ok(GoDuration(0));
        }
        let is_go = text.chars().all(|c| c.is_ascii_digit() || "hmsnuµμ.+-".contains(c));
        let parsed = is_go.then(|| text.parse::<jiff::SignedDuration>().ok()).flatten();
        let nanoseconds = parsed.and_then(|duration| i64::try_from(duration.as_nanos()).ok());
        nanoseconds.map(GoDuration).ok_or_else(|| format!("{text:?} is not a duration such as 30s"))
    }
}

impl fmt::Display for GoDuration {
    /// As `time.Duration.String` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = |unit: u64| {
            let digits = unit.ilog10() as usize;
            let text = format!("{}.{:0digits$}", nanoseconds / unit, nanoseconds % unit);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match nanoseconds {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{sign}{nanoseconds}ns"),
            1_000..1_000_000 => write!(f, "{sign}{}µs", fraction(1_000)),
            1_000_000..1_000_000_000 => write!(f, "{sign}{}ms", fraction(1_000_000)),
            _ => {
                let unit = SECOND.unsigned_abs();
                let (whole, rest) = (nanoseconds / unit, nanoseconds % unit);
                let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
                let seconds = format!("{seconds}.{rest:09}");
                let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
                match (hours, minutes) {
                    (0, 0) => write!(f, "{sign}{seconds}s"),
                    (0, _) => write!(f, "{sign}{minutes}m{seconds}s"),
                    _ => write!(f, "{sign}{hours}h{minutes}m{seconds}s"),
                }
            }
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<GoDuration, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

/// `logging.flushFrequency`: a duration, or a count of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FlushFrequency(pub GoDuration);

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a string or a number")]
enum Either {
    Number(serde_json::Number),
    Text(String),
}

impl<'de> Deserialize<'de> for FlushFrequency {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<FlushFrequency, D::Error> {
        match Either::deserialize(source)? {
            Either::Number(number) => {
                let whole = number.as_i64().map(|nanoseconds| FlushFrequency(GoDuration(nanoseconds)));
                whole.ok_or_else(|| {
                    D::Error::custom("must be a duration such as 5s, or nanoseconds in digits alone")
                })
            }
            Either::Text(text) => text.parse().map(FlushFrequency).map_err(D::Error::custom),
        }
    }
}

/// A resource quantity, such as `64Ki`; kept as it was written. Empty where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    /// Whether it is zero, or nothing is said.
    pub fn is_zero(&self) -> bool {
        self.0.is_empty() || self.0.bytes().all(|byte| b"+-0.".contains(&byte))
    }

    /// This, or zero where nothing is said.
    #[must_use]
    pub fn or_zero(self) -> Quantity {
        if self.0.is_empty() { Quantity("0".to_owned()) } else { self }
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Quantity, String> {
        let unsigned = text.trim_start_matches(['+', '-']);
        let number = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let (digits, suffix) = unsigned.split_at(unsigned.len() - number.len());
        let is_number = text.len() - unsigned.len() <= 1 && digits.parse::<f64>().is_ok();
        let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i8>().is_ok());
        let is_quantity = is_number && (exponent || SUFFIXES.contains(&suffix));
        is_quantity
            .then(|| Quantity(text.to_owned()))
            .ok_or_else(|| format!("{text:?} is not a quantity such as 64Ki"))
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Quantity, D::Error> {
        match Either::deserialize(source)? {
            Either::Number(bytes) => bytes.to_string().parse().map_err(D::Error::custom),
            Either::Text(text) if text.is_empty() => Ok(Quantity::default()),
            Either::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// A boolean as Go's `strconv.ParseBool` takes it: the value of a flag.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(format!("{other:?} is not true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does_and_read_back() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (30 * SECOND, "30s"),
            (90 * SECOND, "1m30s"),
            (3600 * SECOND, "1h0m0s"),
            (5_400 * SECOND + 500_000_000, "1h30m0.5s"),
            (-5 * SECOND, "-5s"),
            (-SECOND - 1, "-1.000000001s"),
        ] {
            assert_eq!(GoDuration(nanoseconds).to_string(), text);
            assert_eq!(text.parse(), Ok(GoDuration(nanoseconds)), "{text}");
        }
        assert_eq!("1.5h".parse(), Ok(GoDuration::seconds(5_400)));
        assert_eq!("1us".parse(), Ok(GoDuration(1_000)));
        for bad in ["", "soon", "5", "1 hour", "PT5S", "3000000h"] {
            assert!(bad.parse::<GoDuration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_and_booleans_are_those_of_kubernetes() {
        for good in ["0", "64k", "1Mi", "1.5Gi", "12e6", "-1", ".5"] {
            assert!(good.parse::<Quantity>().is_ok(), "{good}");
        }
        for bad in ["", "Mi", "1Q", "1.2.3", "--1", "1eX"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
        assert_eq!((parse_bool("T"), parse_bool("0")), (Ok(true), Ok(false)));
        assert!(parse_bool("yes").is_err());
    }
}
