//! One entry for fuzzers over everything that is made of a scrape's samples.

use std::time::Duration;

use model::{
    ContainerMemory, Labels, Ledger, MappingBytes, ProcessMemory, Sample, Series, TARGET_LABEL,
    UnixMs,
};

use crate::{
    LiveTracker, LoadKind, LoadRow, LoadTracker, Mapped, Reading, Sides, channels,
    container_ledger, container_series, go_memory, go_version, native, process_ledger,
    reading_samples, remote_process,
};

/// No machine has more.
const BYTES_MAX: u64 = 1 << 50;
/// What a reading may become: see [`reading_samples`] and [`container_series`].
const SAMPLES_MAX: usize = 100;
const CONTAINER_SAMPLES_MAX: usize = 6_000;
const PERIOD: Duration = Duration::from_secs(15);

/// Takes `samples` for two scrapes of one target, walks them through all that is here, and checks what
/// must hold whatever they say.
///
/// # Panics
/// If an invariant does not hold: then there is a defect here.
pub fn fuzz_one(samples: &[(Labels, f64)]) {
    let (mut live, mut load) = (LiveTracker::default(), LoadTracker::default());
    let mut at = UnixMs(1_795_300_200_000);
    let mut stored = Vec::new();
    for _ in 0..2 {
        at = at.after(PERIOD);
        stored.extend(round(samples, at, &mut live, &mut load));
    }
    let series = stored.into_iter().map(|(labels, sample)| Series {
        labels,
        samples: vec![sample],
    });
    for channel in channels(&series.collect::<Vec<_>>()) {
        assert!(!channel.values.is_empty(), "a channel without a value");
    }
}

fn round(
    samples: &[(Labels, f64)],
    at: UnixMs,
    live: &mut LiveTracker,
    load: &mut LoadTracker,
) -> Vec<(Labels, Sample)> {
    let pairs = || samples.iter().map(|(labels, value)| (labels, *value));
    let _ = go_version(pairs());
    let go = go_memory(pairs(), at);
    let process = remote_process(pairs(), at).and_then(|process| process.memory());
    let process = process.unwrap_or_else(|| kernel(samples, at));
    let live = go.as_ref().and_then(|go| live.update(go, None));
    let sides = Sides {
        kernel: &process,
        go: go.as_ref(),
        maps: None,
        live,
        frees_lazily: false,
    };
    let ledger = process_ledger(&sides);
    assert_adds_up(&ledger, process.rss_bytes);
    let maps = Mapped::new(mappings(samples, at), &process, go.as_ref());
    let mapped = Sides {
        maps: Some(&maps),
        frees_lazily: true,
        ..sides
    };
    assert_adds_up(&process_ledger(&mapped), process.rss_bytes);
    let _ = native(&mapped);
    let container = container(samples, at);
    assert_adds_up(&container_ledger(&container), container.usage_bytes);
    let rows = samples
        .iter()
        .enumerate()
        .map(|(number, (labels, value))| LoadRow {
            name: labels.name(),
            kind: [LoadKind::Counter, LoadKind::Count, LoadKind::Gauge][number % 3],
            value: *value,
        });
    let load = load.update(at, rows);
    let target = Labels::new([(TARGET_LABEL, "fuzzed")]);
    let mut stored = reading_samples(
        &target,
        &Reading {
            at,
            process: Some(&process),
            go: go.as_ref(),
            live,
            native: native(&sides),
            ledger: Some(&ledger),
            container: Some(&container),
            load: &load,
        },
    );
    assert!(stored.len() <= SAMPLES_MAX, "{} samples", stored.len());
    for (labels, sample) in &stored {
        assert!(sample.v.is_finite(), "{labels} is {}", sample.v);
        assert_eq!(labels.get(TARGET_LABEL), Some("fuzzed"), "{labels}");
    }
    let others = container_series(pairs(), at);
    assert!(others.len() <= CONTAINER_SAMPLES_MAX, "{}", others.len());
    assert!(others.iter().all(|(_, s)| s.v.is_finite() && s.v >= 0.0));
    stored.extend(others);
    stored
}

fn assert_adds_up(ledger: &Ledger, total_bytes: u64) {
    let lines = ledger.components.iter().map(|line| i128::from(line.bytes));
    let sum = lines.sum::<i128>() + i128::from(ledger.unexplained_bytes);
    assert_eq!(sum, i128::from(total_bytes), "{ledger:?}");
}

/// The values as bytes, one after the other.
fn figures(samples: &[(Labels, f64)]) -> impl Iterator<Item = u64> {
    samples
        .iter()
        .map(|(_, value)| (*value as u64).min(BYTES_MAX))
}

fn kernel(samples: &[(Labels, f64)], at: UnixMs) -> ProcessMemory {
    let mut figures = figures(samples);
    let mut next = || figures.next().unwrap_or(0);
    ProcessMemory {
        at,
        rss_bytes: next(),
        anon_bytes: next(),
        file_bytes: next(),
        shmem_bytes: next(),
        swap_bytes: next(),
        threads: next(),
        fds: Some(next()),
        sockets: Some(next()),
        cpu_ms: next(),
    }
}

fn mappings(samples: &[(Labels, f64)], at: UnixMs) -> MappingBytes {
    let mut figures = figures(samples);
    let mut next = || figures.next().unwrap_or(0);
    MappingBytes {
        at,
        go_bytes: next(),
        go_tables_bytes: next(),
        brk_bytes: next(),
        stack_bytes: next(),
        anon_other_bytes: next(),
        ..MappingBytes::default()
    }
}

fn container(samples: &[(Labels, f64)], at: UnixMs) -> ContainerMemory {
    let mut figures = figures(samples);
    let mut next = || figures.next();
    ContainerMemory {
        at,
        usage_bytes: next().unwrap_or(0),
        anon_bytes: next(),
        file_bytes: next(),
        shmem_bytes: next(),
        kernel_bytes: next(),
        sockets_bytes: next(),
        active_file_bytes: next(),
        inactive_file_bytes: next(),
        swap_bytes: next(),
        limit_bytes: next(),
        processes_rss_bytes: next(),
        ..ContainerMemory::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_cannot_be_are_borne() {
        let names = [
            "process_resident_memory_bytes",
            "go_memstats_heap_alloc_bytes",
            "go_memstats_heap_inuse_bytes",
            "go_memstats_heap_idle_bytes",
            "go_memstats_heap_released_bytes",
            "go_memstats_stack_inuse_bytes",
            "go_memstats_sys_bytes",
            "go_memstats_next_gc_bytes",
            "go_gc_duration_seconds_count",
            "process_start_time_seconds",
            "container_memory_usage_bytes",
        ];
        for value in [0.0, -1.0, 1e308, f64::INFINITY, f64::NAN, 2e19, 5e-324] {
            let labels = |name| Labels::metric(name, [("container", "c")]);
            let samples = names.map(|name| (labels(name), value));
            fuzz_one(&samples);
        }
    }
}
