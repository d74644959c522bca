//! What the kernel says of this process, under the names that Prometheus' clients have for it.

use std::fmt;

use procfs::process::{LimitValue, Process as Entry};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Read whenever metrics are asked for. What cannot be read is left out.
#[derive(Debug)]
pub struct Process;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    open_descriptors: usize,
    most_descriptors: f64,
    virtual_bytes: u64,
    most_virtual_bytes: f64,
    resident_bytes: u64,
    start_seconds: f64,
}

/// When this process began, in seconds since 1970.
pub fn start_seconds() -> Option<f64> {
    read().ok().map(|reading| reading.start_seconds)
}

fn read() -> procfs::ProcResult<Reading> {
    let entry = Entry::myself()?;
    let (stat, limits) = (entry.stat()?, entry.limits()?);
    let ticks = |ticks: u64| seconds(ticks, procfs::ticks_per_second());
    Ok(Reading {
        cpu_seconds: ticks(stat.utime + stat.stime),
        open_descriptors: entry.fd_count()?,
        most_descriptors: limit(limits.max_open_files.soft_limit),
        virtual_bytes: stat.vsize,
        most_virtual_bytes: limit(limits.max_address_space.soft_limit),
        resident_bytes: stat.rss * procfs::page_size(),
        start_seconds: seconds(procfs::boot_time_secs()?, 1) + ticks(stat.starttime),
    })
}

#[expect(clippy::cast_precision_loss, reason = "seconds of centuries fit into 53 bits")]
fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second as f64
}

/// No limit is the greatest number, as in other programs.
#[expect(clippy::cast_precision_loss, reason = "what is greater than 53 bits is no limit")]
fn limit(value: LimitValue) -> f64 {
    match value {
        LimitValue::Unlimited => u64::MAX as f64,
        LimitValue::Value(value) => value as f64,
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(reading) = read() else { return Ok(()) };
        let cpu = ConstCounter::new(reading.cpu_seconds);
        write(&mut encoder, "process_cpu_seconds", "User and system time spent, in seconds", &cpu)?;
        let gauges: [(&str, &str, f64); 2] = [
            ("process_max_fds", "How many file descriptors may be open", reading.most_descriptors),
            (
                "process_virtual_memory_max_bytes",
                "How much virtual memory there may be",
                reading.most_virtual_bytes,
            ),
        ];
        for (name, help, value) in gauges {
            write(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        let open = ConstGauge::new(reading.open_descriptors);
        write(&mut encoder, "process_open_fds", "How many file descriptors are open", &open)?;
        let bytes = [
            ("process_virtual_memory_bytes", "Virtual memory size", reading.virtual_bytes),
            ("process_resident_memory_bytes", "Resident memory size", reading.resident_bytes),
        ];
        for (name, help, value) in bytes {
            write(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        let start = ConstGauge::new(reading.start_seconds);
        write(
            &mut encoder,
            "process_start_time_seconds",
            "When the process began, in seconds since 1970",
            &start,
        )
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    let help = format!("{help}.");
    metric.encode(encoder.encode_descriptor(name, &help, None, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_files_memory_and_a_beginning() {
        let reading = read().unwrap();
        assert!(reading.open_descriptors >= 1 && reading.most_descriptors >= 1.0, "{reading:?}");
        assert!(reading.virtual_bytes >= reading.resident_bytes && reading.resident_bytes > 0, "{reading:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(reading.start_seconds < now + 1.0 && reading.start_seconds > 1_000_000_000.0, "{reading:?}");
    }
}
