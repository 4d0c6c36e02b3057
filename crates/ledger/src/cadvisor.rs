//! What cAdvisor and kubelet export of containers, under the names of our own series: one name and
//! one meaning, whoever read it.
//!
//! Sources: cAdvisor's docs/storage/prometheus.md, kubelet's `/metrics/cadvisor` and
//! `/metrics/resource`. `container_memory_cache` is left out: it has shared memory in it, which ours
//! keeps apart and cAdvisor does not tell.

use model::{Labels, METRIC_NAME, Sample, UnixMs};

use crate::stored::{
    CONTAINER_ACTIVE_FILE, CONTAINER_ANON, CONTAINER_EVENTS, CONTAINER_INACTIVE_FILE,
    CONTAINER_KERNEL, CONTAINER_LIMIT, CONTAINER_PRESSURE, CONTAINER_SWAP, CONTAINER_USAGE,
    CONTAINER_WORKING_SET,
};

/// Samples handed out of one scrape: 500 containers with all of theirs.
const SAMPLES_MAX: usize = 6_000;

/// Their name; our name; a label of ours that tells several of one name apart.
type Row = (
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
);

const ROWS: [Row; 13] = [
    ("container_memory_usage_bytes", CONTAINER_USAGE, None),
    (
        "container_memory_working_set_bytes",
        CONTAINER_WORKING_SET,
        None,
    ),
    ("container_memory_rss", CONTAINER_ANON, None),
    ("container_memory_kernel_usage", CONTAINER_KERNEL, None),
    ("container_memory_swap", CONTAINER_SWAP, None),
    ("container_swap_usage_bytes", CONTAINER_SWAP, None),
    (
        "container_memory_total_active_file_bytes",
        CONTAINER_ACTIVE_FILE,
        None,
    ),
    (
        "container_memory_total_inactive_file_bytes",
        CONTAINER_INACTIVE_FILE,
        None,
    ),
    ("container_spec_memory_limit_bytes", CONTAINER_LIMIT, None),
    (
        "container_memory_failcnt",
        CONTAINER_EVENTS,
        Some(("event", "max")),
    ),
    (
        "container_oom_events_total",
        CONTAINER_EVENTS,
        Some(("event", "oom_kill")),
    ),
    (
        "container_pressure_memory_waiting_seconds_total",
        CONTAINER_PRESSURE,
        Some(("kind", "some")),
    ),
    (
        "container_pressure_memory_stalled_seconds_total",
        CONTAINER_PRESSURE,
        Some(("kind", "full")),
    ),
];

/// Whether [`container_series`] reads a metric of this name.
#[must_use]
pub fn is_container_figure(name: &str) -> bool {
    ROWS.iter().any(|(theirs, ..)| *theirs == name)
}

/// The samples of containers in a scrape, as our series with the labels `namespace`, `pod` and
/// `container`; at most 6,000. Rows of pods and of the cgroups above them (without a container) are
/// passed over, and so are those of the pause container: their memory is counted elsewhere already.
pub fn container_series<'a>(
    samples: impl IntoIterator<Item = (&'a Labels, f64)>,
    at: UnixMs,
) -> Vec<(Labels, Sample)> {
    let known = samples.into_iter().filter_map(|(labels, v)| {
        let row = ROWS.iter().find(|(theirs, ..)| *theirs == labels.name())?;
        // Kubernetes before 1.16 wrote the second names.
        let label = |name, old| labels.get(name).or(labels.get(old)).unwrap_or("");
        let container = label("container", "container_name");
        let is_limit = row.1 == CONTAINER_LIMIT;
        let usable = v.is_finite() && v >= 0.0 && !(is_limit && v == 0.0);
        if container.is_empty() || container == "POD" || !usable {
            return None;
        }
        let pairs = [
            (METRIC_NAME, row.1),
            ("namespace", label("namespace", "namespace")),
            ("pod", label("pod", "pod_name")),
            ("container", container),
        ];
        let labels = Labels::new(pairs.into_iter().chain(row.2));
        Some((labels, Sample { t: at, v }))
    });
    known.take(SAMPLES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_containers_get_our_names_and_others_are_passed_over() {
        let of = |name: &str, pairs: &[(&str, &str)], v: f64| {
            let labels = Labels::metric(name, pairs.iter().copied());
            let all = container_series([(&labels, v)], UnixMs(7));
            all.into_iter()
                .next()
                .map(|(labels, sample)| (labels.to_string(), sample))
        };
        let shop = [
            ("container", "app"),
            ("namespace", "shop"),
            ("pod", "web-1"),
            ("id", "/x"),
        ];
        let old = [
            ("container_name", "app"),
            ("namespace", "shop"),
            ("pod_name", "web-1"),
        ];
        let (usage, at) = of("container_memory_usage_bytes", &shop, 5.0).unwrap();
        let want = Labels::metric(
            CONTAINER_USAGE,
            [
                ("container", "app"),
                ("namespace", "shop"),
                ("pod", "web-1"),
            ],
        );
        assert_eq!(usage, want.to_string());
        assert_eq!(
            at,
            Sample {
                t: UnixMs(7),
                v: 5.0
            }
        );
        let old = of("container_memory_usage_bytes", &old, 5.0).unwrap();
        assert_eq!(old.0, want.to_string(), "an old kubelet");
        let (oom, _) = of("container_oom_events_total", &shop, 1.0).unwrap();
        assert!(oom.contains(r#"event="oom_kill""#), "{oom}");
        let pod = [("namespace", "shop"), ("pod", "web-1"), ("container", "")];
        let pause = [
            ("namespace", "shop"),
            ("pod", "web-1"),
            ("container", "POD"),
        ];
        for (why, name, pairs, v) in [
            ("a pod's row", "container_memory_usage_bytes", &pod[..], 5.0),
            (
                "the pause container",
                "container_memory_usage_bytes",
                &pause[..],
                5.0,
            ),
            (
                "no limit",
                "container_spec_memory_limit_bytes",
                &shop[..],
                0.0,
            ),
            ("no number", "container_memory_rss", &shop[..], f64::NAN),
            (
                "another metric",
                "container_cpu_usage_seconds_total",
                &shop[..],
                5.0,
            ),
        ] {
            assert_eq!(of(name, pairs, v), None, "{why}");
        }
    }
}
