//! Which recorded series matter, and whose they are.

use ledger::{LoadKind, LoadRow};
use model::Labels;

/// When the container began, as cAdvisor tells it.
pub(crate) const CONTAINER_START: &str = "container_start_time_seconds";
/// A container's limit, as kube-state-metrics tells it.
pub(crate) const KUBE_LIMITS: &str = "kube_pod_container_resource_limits";

/// The container of figures that name none, though they are of one: the dictionary passes over rows without.
pub(crate) const NO_CONTAINER: &str = "-";

/// Series that are read together, since one may tell the other's limit: a container's with those of the
/// processes in it, else those of one scraped instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    /// By the labels `cluster`, `namespace`, `pod` and `container`.
    Container([Box<str>; 4]),
    /// By the labels `cluster`, `namespace`, `job` and `instance`.
    Instance([Box<str>; 4]),
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Container(parts) | Self::Instance(parts)) = self;
        let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        f.write_str(&parts.collect::<Vec<_>>().join("/"))
    }
}

/// Who tells something within a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    /// A process, by its job and instance.
    Process([Box<str>; 2]),
    /// Whoever watches the container from outside.
    Container,
}

/// What a series tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A figure of the process or its runtime.
    Figure,
    /// Perhaps how much it has to do.
    Load(LoadKind),
    /// A figure of the container.
    Container,
}

impl What {
    /// Whether a series of this name tells what a target uses, and not only its limit or its load.
    pub(crate) fn tells_memory(self, name: &str) -> bool {
        match self {
            Self::Figure => true,
            Self::Load(_) => false,
            Self::Container => matches!(
                name,
                "container_memory_usage_bytes" | "container_memory_rss"
            ),
        }
    }
}

/// Where a series belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) unit: Unit,
    pub(crate) side: Side,
    /// The values of the labels that were dropped: who recorded it.
    pub(crate) replica: Box<str>,
    pub(crate) what: What,
    /// Without what was dropped.
    pub(crate) labels: Labels,
}

/// Where a series of these labels belongs; `None` where it tells nothing that is judged.
///
/// * Rows of pods and cgroups that are no container are passed over, and so is the pause container: their memory is
///   counted elsewhere already.
/// * `drop`: labels that only tell who recorded a series.
pub(crate) fn place(labels: &Labels, drop: &[String]) -> Option<Place> {
    let what = what(labels)?;
    let replica: Vec<&str> = drop.iter().filter_map(|name| labels.get(name)).collect();
    let mut kept = labels.clone();
    for name in drop.iter().filter(|name| labels.get(name).is_some()) {
        kept = kept.without(name);
    }
    let (unit, side) = whose(&kept, what)?;
    if what == What::Container && matches!(unit, Unit::Instance(_)) {
        kept = kept.with([("container", NO_CONTAINER)]);
    }
    Some(Place {
        unit,
        side,
        replica: replica.join(",").into(),
        what,
        labels: kept,
    })
}

fn what(labels: &Labels) -> Option<What> {
    let name = labels.name();
    if ledger::is_container_figure(name) || name == CONTAINER_START {
        return Some(What::Container);
    }
    if name == KUBE_LIMITS {
        return (labels.get("resource") == Some("memory")).then_some(What::Container);
    }
    if ledger::is_figure(name) {
        return Some(What::Figure);
    }
    let kind = LoadKind::by_name(name).filter(|_| labels.get("quantile").is_none())?;
    let value = 0.0;
    ledger::may_be_load(&LoadRow { name, kind, value }).then_some(What::Load(kind))
}

fn whose(labels: &Labels, what: What) -> Option<(Unit, Side)> {
    let label = |name: &str| Box::<str>::from(labels.get(name).unwrap_or(""));
    // Kubernetes before 1.16 wrote the second names.
    let either = |name, old| match labels.get(name).or(labels.get(old)) {
        Some("POD") => Box::default(),
        value => Box::<str>::from(value.unwrap_or("")),
    };
    let container = [
        label("cluster"),
        label("namespace"),
        either("pod", "pod_name"),
        either("container", "container_name"),
    ];
    let in_container = !container[2].is_empty() && !container[3].is_empty();
    let scraped = [label("job"), label("instance")];
    let instance = || {
        let [job, instance] = scraped.clone();
        let unit = Unit::Instance([label("cluster"), label("namespace"), job, instance]);
        scraped.iter().any(|part| !part.is_empty()).then_some(unit)
    };
    if what == What::Container {
        if in_container {
            return Some((Unit::Container(container), Side::Container));
        }
        // What tells of cgroups in general tells which one.
        let of_cgroups = [
            "id",
            "pod",
            "pod_name",
            "container",
            "container_name",
            "name",
        ];
        let of_cgroups = of_cgroups.iter().any(|name| labels.get(name).is_some());
        return (!of_cgroups)
            .then(instance)
            .flatten()
            .map(|unit| (unit, Side::Container));
    }
    let unit = match in_container {
        true => Unit::Container(container),
        false => instance()?,
    };
    Some((unit, Side::Process(scraped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, pairs: &[(&str, &str)]) -> Option<(String, Side, What)> {
        let labels = Labels::metric(name, pairs.iter().copied());
        let drop = ["replica".to_owned()];
        place(&labels, &drop).map(|place| (place.unit.to_string(), place.side, place.what))
    }

    #[test]
    fn series_find_their_owners() {
        let pod = [
            ("namespace", "shop"),
            ("pod", "web-1"),
            ("container", "app"),
        ];
        let scraped = [("job", "web"), ("instance", "10.0.0.1:80")];
        let both = [pod.as_slice(), &scraped].concat();
        let usage = "container_memory_usage_bytes";
        let rss = "process_resident_memory_bytes";
        let container = Some((
            "shop/web-1/app".to_owned(),
            Side::Container,
            What::Container,
        ));
        let process = || Side::Process(["web".into(), "10.0.0.1:80".into()]);
        assert_eq!(of(usage, &both), container, "whoever scraped it");
        assert_eq!(of(usage, &pod), container);
        assert_eq!(
            of(rss, &both),
            Some(("shop/web-1/app".to_owned(), process(), What::Figure)),
            "beside its container's figures"
        );
        let alone = Some(("web/10.0.0.1:80".to_owned(), process(), What::Figure));
        assert_eq!(of(rss, &scraped), alone);
        let kubelet = [
            ("job", "kubelet"),
            ("instance", "node"),
            ("id", "/kubepods"),
        ];
        assert_eq!(of(usage, &kubelet), None, "a cgroup above");
        assert_eq!(
            of(usage, &[&kubelet[..], &pod[..2]].concat()),
            None,
            "a whole pod"
        );
        let pause = [("pod", "web-1"), ("container", "POD"), ("job", "kubelet")];
        assert_eq!(of(usage, &pause), None, "the pause container");
        let single = of(usage, &scraped).map(|(unit, side, _)| (unit, side));
        assert_eq!(
            single,
            Some(("web/10.0.0.1:80".to_owned(), Side::Container))
        );
        assert_eq!(of(rss, &[]), None, "nobody's");
        assert_eq!(of(rss, &[("job", "")]), None, "nobody's");
    }

    #[test]
    fn only_what_may_be_judged_is_kept() {
        let scraped = [("job", "web"), ("instance", "a")];
        let what = |name: &str| of(name, &scraped).map(|(_, _, what)| what);
        assert_eq!(
            what("http_requests_total"),
            Some(What::Load(LoadKind::Counter))
        );
        assert_eq!(
            what("http_seconds_count"),
            Some(What::Load(LoadKind::Count))
        );
        assert_eq!(what("http_in_flight"), Some(What::Load(LoadKind::Gauge)));
        assert_eq!(what("http_seconds_bucket"), None);
        assert_eq!(what("cache_bytes"), None, "an amount of memory is no load");
        assert_eq!(what("go_memstats_lookups_total"), None);
        let limits = |resource| {
            of(
                KUBE_LIMITS,
                &[("pod", "p"), ("container", "c"), ("resource", resource)],
            )
        };
        assert!(limits("memory").is_some() && limits("cpu").is_none());
    }

    #[test]
    fn dropped_labels_tell_replicas_apart_and_nothing_else() {
        let rss = |pairs: &[(&str, &str)]| {
            let labels = Labels::metric("process_resident_memory_bytes", pairs.iter().copied());
            place(&labels, &["prometheus".into(), "rep".into()]).unwrap()
        };
        let a = rss(&[
            ("job", "web"),
            ("instance", "x"),
            ("rep", "a"),
            ("prometheus", "k8s"),
        ]);
        let b = rss(&[
            ("job", "web"),
            ("instance", "x"),
            ("rep", "b"),
            ("prometheus", "k8s"),
        ]);
        assert_eq!((&*a.replica, &*b.replica), ("k8s,a", "k8s,b"));
        assert_eq!((a.unit, a.side, a.labels), (b.unit, b.side, b.labels));
    }
}
