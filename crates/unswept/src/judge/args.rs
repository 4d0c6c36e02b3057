//! What `unswept judge` can be asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use model::UnixMs;

use crate::args::{FailOn, Format, time};

/// Judge recorded series as they came in: what would have been told, and when
///
/// A back-test on your own history, before anything is deployed. Each target is replayed from its first reading to
/// its last, and only what was known at a moment counts. Prints one line of JSON for each incident, and one for each
/// target without any (schema unswept/backtest/1); on a terminal a table follows on standard error.
///
/// FILES are OpenMetrics text with times, or JSON: an object with `labels` and `samples` a line, or a saved
/// answer of Prometheus' API. With --prometheus the samples are read from a Prometheus, or whatever has its API; it
/// is only read from.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub(crate) struct Judge {
    /// Recorded series; `-` for standard input
    #[arg(required_unless_present = "prometheus", conflicts_with = "prometheus")]
    pub(crate) files: Vec<PathBuf>,

    /// Read from this Prometheus: what stands before /api/v1
    #[arg(long, value_name = "URL", requires = "selector")]
    pub(crate) prometheus: Option<String>,

    /// Which series, as PromQL has it; may be given several times, such as once for the service and once for its
    /// containers
    #[arg(long, value_name = "SELECTOR", requires = "prometheus")]
    pub(crate) selector: Vec<String>,

    /// How far back
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time, requires = "prometheus")]
    pub(crate) last: Duration,

    /// Until when, such as 2026-11-21T22:30:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "prometheus")]
    pub(crate) until: Option<UnixMs>,

    /// File with a bearer token for Prometheus
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    pub(crate) bearer_token_file: Option<PathBuf>,

    /// A label that only tells which of several Prometheus recorded a series, such as prometheus_replica
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    pub(crate) drop_label: Vec<String>,

    /// JSON lines, or a table for people
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) format: Format,

    /// Fail with code 3 if there was an incident, with code 4 where a target stays unsure
    #[arg(long, value_name = "ANSWER", value_enum, value_delimiter = ',')]
    pub(crate) fail_on: Vec<FailOn>,

    /// Samples held in memory at a time, as memory: larger files are read several times
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    pub(crate) max_memory: u64,
}

const HELP: &str = "\
Examples:
  promtool tsdb dump-openmetrics data/ > shop.om      a Prometheus' own data, as text
  unswept judge shop.om
  unswept judge --format text shop.om                  a table for people
  unswept judge --prometheus http://prometheus:9090 --selector '{job=\"shop\"}'
  unswept judge --prometheus http://thanos:10902 --last 14d --drop-label prometheus_replica \\
      --selector '{namespace=\"shop\"}' --selector '{__name__=~\"container_.+\",namespace=\"shop\"}'
  unswept judge shop.om | jq 'select(.detected_at) | [.labels.instance, .kind, .detected_at]'
  unswept judge --fail-on leak soak.om                 in a soak test: exit code 3 if it leaks

What it needs: memory figures (process_resident_memory_bytes, go_memstats_*, container_memory_*).
Better with go_gc_heap_live_bytes, go_goroutines, the limit (container_spec_memory_limit_bytes), the
start (process_start_time_seconds), and whatever tells the load. docs/judge.md has it all.

Exit codes: 0 done; 1 something you can mend; 2 usage; 3 there was an incident (with --fail-on leak);
4 a target could not be decided (with --fail-on unsure).";

fn moment(text: &str) -> Result<UnixMs, String> {
    UnixMs::parse_rfc3339(text).ok_or_else(|| "expected a time such as 2026-11-21T22:30:00Z".into())
}

fn size(text: &str) -> Result<u64, String> {
    match model::size::parse_size(text) {
        Ok(size) if size < 1 << 20 => Err("expected 1MiB or more".into()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}
