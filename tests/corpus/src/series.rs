//! Histories as text that Prometheus reads: OpenMetrics with times.

use std::fmt::Write as _;

use crate::{History, Reading, Replica};

/// The beginning of every history: 2026-01-01, a Thursday.
const EPOCH_S: f64 = 1_767_225_600.0;

/// Which figures somebody happens to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All there are.
    All,
    /// What the process collector tells of a program that is not known to be of Go.
    Rss,
    /// What cAdvisor tells of its container.
    Container,
    /// What `MemStats` tells, without what the kernel says and without requests.
    MemStats,
}

type Value = fn(&History, &Reading) -> f64;

/// Name, kind, and where it comes from.
const SERIES: &[(&str, &str, &[View], Value)] = {
    use View::{All, Container, MemStats, Rss};
    &[
        (
            "process_resident_memory_bytes",
            "gauge",
            &[All, Rss],
            |_, r| r.memory.rss,
        ),
        (
            "process_start_time_seconds",
            "gauge",
            &[All, Rss, MemStats],
            |_, r| EPOCH_S + r.started_s,
        ),
        (
            "go_memstats_heap_alloc_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.heap_alloc,
        ),
        (
            "go_memstats_heap_inuse_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.heap_inuse,
        ),
        (
            "go_memstats_heap_idle_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.heap_idle,
        ),
        (
            "go_memstats_heap_released_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.heap_released,
        ),
        (
            "go_memstats_heap_sys_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.heap_sys,
        ),
        (
            "go_memstats_stack_inuse_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.stacks,
        ),
        (
            "go_memstats_gc_sys_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.runtime,
        ),
        (
            "go_memstats_next_gc_bytes",
            "gauge",
            &[All, MemStats],
            |_, r| r.memory.next_gc,
        ),
        ("go_gc_heap_live_bytes", "gauge", &[All], |_, r| {
            r.memory.live
        }),
        ("go_gc_cycles_total_gc_cycles", "counter", &[All], |_, r| {
            r.memory.gc_cycles
        }),
        ("go_goroutines", "gauge", &[All, MemStats], |_, r| {
            r.memory.goroutines
        }),
        ("http_requests", "counter", &[All], |_, r| r.requests),
        ("http_connections", "gauge", &[All], |_, r| r.connections),
        (
            "container_memory_rss",
            "gauge",
            &[All, Container],
            |_, r| r.memory.rss,
        ),
        (
            "container_memory_cache",
            "gauge",
            &[All, Container],
            |_, r| r.page_cache,
        ),
        (
            "container_memory_usage_bytes",
            "gauge",
            &[All, Container],
            |_, r| r.memory.rss + r.page_cache,
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            &[All, Container],
            |_, r| r.memory.rss + 0.3 * r.page_cache,
        ),
        (
            "container_spec_memory_limit_bytes",
            "gauge",
            &[All, Container],
            |h, _| h.limit,
        ),
        (
            "container_start_time_seconds",
            "gauge",
            &[Container],
            |_, r| EPOCH_S + r.started_s,
        ),
    ]
};

impl Replica {
    /// Its history in OpenMetrics' text format, every reading with its time.
    pub fn open_metrics(&self, history: &History, view: View) -> String {
        let mut text = String::new();
        let told = SERIES
            .iter()
            .filter(|(_, _, views, _)| views.contains(&view));
        for (name, kind, _, value) in told {
            let total = if *kind == "counter" { "_total" } else { "" };
            // Writing to a string never fails.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for reading in &self.readings {
                let _ = writeln!(
                    text,
                    "{name}{total}{{job=\"{}\",instance=\"{}\"}} {} {:.3}",
                    history.family.name(),
                    self.instance,
                    value(history, reading).round(),
                    EPOCH_S + reading.at_s,
                );
            }
        }
        text.push_str("# EOF\n");
        text
    }
}
