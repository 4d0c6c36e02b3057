//! `runtime.MemStats` as Go's own pages write it, under client_golang's names.

use model::Labels;
use serde::Deserialize;

use crate::scrape::{Family, FamilyType, Scrape, ScrapedSample};

/// The figures of `runtime.MemStats` that have a name in client_golang's old collector. All bytes
/// are counts of bytes; `LastGC` is nanoseconds since the epoch.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct MemStats {
    alloc: Option<f64>,
    total_alloc: Option<f64>,
    sys: Option<f64>,
    mallocs: Option<f64>,
    frees: Option<f64>,
    heap_alloc: Option<f64>,
    heap_sys: Option<f64>,
    heap_idle: Option<f64>,
    heap_inuse: Option<f64>,
    heap_released: Option<f64>,
    heap_objects: Option<f64>,
    stack_inuse: Option<f64>,
    stack_sys: Option<f64>,
    #[serde(rename = "MSpanInuse")]
    mspan_inuse: Option<f64>,
    #[serde(rename = "MSpanSys")]
    mspan_sys: Option<f64>,
    #[serde(rename = "MCacheInuse")]
    mcache_inuse: Option<f64>,
    #[serde(rename = "MCacheSys")]
    mcache_sys: Option<f64>,
    buck_hash_sys: Option<f64>,
    #[serde(rename = "GCSys")]
    gc_sys: Option<f64>,
    other_sys: Option<f64>,
    #[serde(rename = "NextGC")]
    next_gc: Option<f64>,
    #[serde(rename = "LastGC")]
    last_gc: Option<f64>,
    #[serde(rename = "NumGC")]
    num_gc: Option<f64>,
}

impl MemStats {
    /// Under client_golang's names, so that one dictionary serves both sources.
    fn samples(&self) -> [(&'static str, FamilyType, Option<f64>); 23] {
        use FamilyType::{Counter, Gauge};
        [
            ("go_memstats_alloc_bytes", Gauge, self.alloc),
            ("go_memstats_alloc_bytes_total", Counter, self.total_alloc),
            ("go_memstats_sys_bytes", Gauge, self.sys),
            ("go_memstats_mallocs_total", Counter, self.mallocs),
            ("go_memstats_frees_total", Counter, self.frees),
            ("go_memstats_heap_alloc_bytes", Gauge, self.heap_alloc),
            ("go_memstats_heap_sys_bytes", Gauge, self.heap_sys),
            ("go_memstats_heap_idle_bytes", Gauge, self.heap_idle),
            ("go_memstats_heap_inuse_bytes", Gauge, self.heap_inuse),
            ("go_memstats_heap_released_bytes", Gauge, self.heap_released),
            ("go_memstats_heap_objects", Gauge, self.heap_objects),
            ("go_memstats_stack_inuse_bytes", Gauge, self.stack_inuse),
            ("go_memstats_stack_sys_bytes", Gauge, self.stack_sys),
            ("go_memstats_mspan_inuse_bytes", Gauge, self.mspan_inuse),
            ("go_memstats_mspan_sys_bytes", Gauge, self.mspan_sys),
            ("go_memstats_mcache_inuse_bytes", Gauge, self.mcache_inuse),
            ("go_memstats_mcache_sys_bytes", Gauge, self.mcache_sys),
            ("go_memstats_buck_hash_sys_bytes", Gauge, self.buck_hash_sys),
            ("go_memstats_gc_sys_bytes", Gauge, self.gc_sys),
            ("go_memstats_other_sys_bytes", Gauge, self.other_sys),
            ("go_memstats_next_gc_bytes", Gauge, self.next_gc),
            (
                "go_memstats_last_gc_time_seconds",
                Gauge,
                self.last_gc.map(|nanos| nanos / 1e9),
            ),
            ("go_gc_duration_seconds_count", Counter, self.num_gc),
        ]
    }

    /// Adds those that are known.
    pub(crate) fn put(&self, out: &mut Scrape) {
        for (name, kind, value) in self.samples() {
            let Some(value) = value else { continue };
            out.samples.push(ScrapedSample {
                labels: Labels::metric(name, []),
                value,
                timestamp: None,
            });
            let help = String::new();
            out.families.insert(name.into(), Family { kind, help });
        }
    }

    /// The field of that name in the text of `heap?debug=1`, and the second of those that are written
    /// as pairs (`# Stack = 458752 / 458752`).
    pub(crate) fn fields(&mut self, name: &str) -> Option<[Option<&mut Option<f64>>; 2]> {
        let one = |field| Some([Some(field), None]);
        match name {
            "Alloc" => one(&mut self.alloc),
            "TotalAlloc" => one(&mut self.total_alloc),
            "Sys" => one(&mut self.sys),
            "Mallocs" => one(&mut self.mallocs),
            "Frees" => one(&mut self.frees),
            "HeapAlloc" => one(&mut self.heap_alloc),
            "HeapSys" => one(&mut self.heap_sys),
            "HeapIdle" => one(&mut self.heap_idle),
            "HeapInuse" => one(&mut self.heap_inuse),
            "HeapReleased" => one(&mut self.heap_released),
            "HeapObjects" => one(&mut self.heap_objects),
            "Stack" => Some([Some(&mut self.stack_inuse), Some(&mut self.stack_sys)]),
            "MSpan" => Some([Some(&mut self.mspan_inuse), Some(&mut self.mspan_sys)]),
            "MCache" => Some([Some(&mut self.mcache_inuse), Some(&mut self.mcache_sys)]),
            "BuckHashSys" => one(&mut self.buck_hash_sys),
            "GCSys" => one(&mut self.gc_sys),
            "OtherSys" => one(&mut self.other_sys),
            "NextGC" => one(&mut self.next_gc),
            "LastGC" => one(&mut self.last_gc),
            "NumGC" => one(&mut self.num_gc),
            _ => None,
        }
    }
}
