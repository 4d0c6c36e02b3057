//! What of a scrape says how much work a target does, whatever its metrics are called.
//!
//! Candidates are the rates of counters (and of histograms' and summaries' counts) and gauges that
//! rise and fall, each summed over all label sets of its family. Go's and the client library's own
//! families are none: they describe the memory that load is to explain. Whether a candidate does
//! explain it, the judge decides; here only what cannot be load is kept away: a gauge that only
//! rises, as a leaking cache's size does, would explain the leak away.

use std::collections::BTreeMap;

use model::UnixMs;

/// Families of counters, and of gauges, whose values are handed out.
const CHOSEN_MAX: usize = 8;
/// Families kept in mind to choose from.
const TRACKED_MAX: usize = 512;
/// Readings between two choices: an hour at the default period, so that series last.
const CHOICE_READINGS: u32 = 240;
/// Readings before the first choice: two changes, to see what moves.
const FIRST_CHOICE: u32 = 3;

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadKind {
    /// A counter.
    Counter,
    /// The `_count` of a histogram or summary.
    Count,
    /// A gauge.
    Gauge,
}

/// One sample of a scrape as load sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadRow<'a> {
    /// The metric's name.
    pub name: &'a str,
    /// What it is, by its `# TYPE`.
    pub kind: LoadKind,
    /// Its value.
    pub value: f64,
}

/// One candidate's value.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadValue {
    /// `rate:NAME` (per second), `gauge:NAME`, `named:NAME` for a gauge that the configuration calls
    /// load, or `sockets`.
    pub source: String,
    /// In the source's own unit.
    pub value: f64,
}

impl LoadKind {
    /// What a sample is whose `# TYPE` is not known, by the rules for names: counters end in `_total`, observations in
    /// `_count`. `None` for the other parts of histograms and summaries.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        match name {
            _ if ends(&["_bucket", "_sum", "_created"]) => None,
            _ if ends(&["_total"]) => Some(Self::Counter),
            _ if ends(&["_count"]) => Some(Self::Count),
            _ => Some(Self::Gauge),
        }
    }
}

/// Follows the families of one target. Bounded: 512 families of two numbers each, and those named by
/// the configuration.
#[derive(Debug, Clone, Default)]
pub struct LoadTracker {
    families: BTreeMap<(Box<str>, bool), Family>,
    last_at: Option<UnixMs>,
    readings: u32,
    next_choice: u32,
    named: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Family {
    last: f64,
    kind_rank: u8,
    moved: u32,
    rose: f64,
    fell: f64,
    seen: u32,
    chosen: bool,
}

impl LoadTracker {
    /// A tracker that takes the families of these names as load, whatever they look like.
    #[must_use]
    pub fn with_named(named: Vec<String>) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.named.iter().any(|named| named == name)
    }

    /// Takes a reading's rows in and gives the chosen families' values: at most 8 rates and 8
    /// gauges. A counter's rate is over the time since the last reading; a reading in which its sum
    /// fell (a restart, a label set that went away) gives none for it. Nothing for the first
    /// readings, while it is not known what moves. Those named by the configuration come beside.
    pub fn update<'a>(
        &mut self,
        at: UnixMs,
        rows: impl IntoIterator<Item = LoadRow<'a>>,
    ) -> Vec<LoadValue> {
        let seconds = self
            .last_at
            .map_or(0.0, |last| at.since(last).as_secs_f64());
        if self.last_at.is_some() && seconds <= 0.0 {
            return Vec::new(); // not newer than the last reading
        }
        self.last_at = Some(at);
        self.readings = self.readings.saturating_add(1);
        let sums = self.sums(rows);
        let readings = self.readings;
        self.families
            .retain(|_, family| readings - family.seen < CHOICE_READINGS);
        let mut changes = BTreeMap::new();
        for (key, (sum, kind)) in sums {
            if let Some(change) = self.take(&key, sum, kind) {
                changes.insert(key, (sum, change));
            }
        }
        if self.readings >= self.next_choice.max(FIRST_CHOICE) {
            self.choose();
            self.next_choice = self.readings.saturating_add(CHOICE_READINGS);
        }
        let chosen = changes
            .into_iter()
            .filter(|(key, _)| self.families[key].chosen || self.is_named(&key.0));
        let values = chosen.filter_map(|((name, gauge), (sum, change))| {
            let rate = (change >= 0.0).then(|| change / seconds);
            let value = if gauge { Some(sum) } else { rate };
            let prefix = match (gauge, self.is_named(&name)) {
                (false, _) => "rate",
                (true, false) => "gauge",
                (true, true) => "named",
            };
            value.map(|value| LoadValue {
                source: format!("{prefix}:{name}"),
                value,
            })
        });
        values.collect()
    }

    /// Sums over label sets. New families enter while there is room.
    fn sums<'a>(
        &self,
        rows: impl IntoIterator<Item = LoadRow<'a>>,
    ) -> BTreeMap<(Box<str>, bool), (f64, LoadKind)> {
        let mut sums: BTreeMap<(Box<str>, bool), (f64, LoadKind)> = BTreeMap::new();
        for row in rows {
            let named = self.is_named(row.name) && row.value.is_finite();
            if !named && !may_be_load(&row) {
                continue;
            }
            let gauge = row.kind == LoadKind::Gauge;
            let key = (Box::from(row.name), gauge);
            if let Some((sum, _)) = sums.get_mut(&key) {
                *sum += row.value;
            } else if sums.len() < TRACKED_MAX || named {
                sums.insert(key, (row.value, row.kind));
            }
        }
        sums
    }

    /// Notes a family's sum; the change since the last reading, if it was in that one.
    fn take(&mut self, key: &(Box<str>, bool), sum: f64, kind: LoadKind) -> Option<f64> {
        let readings = self.readings;
        if !self.families.contains_key(key) {
            if self.families.len() < TRACKED_MAX || self.is_named(&key.0) {
                let kind_rank = u8::from(kind == LoadKind::Count);
                let family = Family {
                    last: sum,
                    kind_rank,
                    seen: readings,
                    ..Family::default()
                };
                self.families.insert(key.clone(), family);
            }
            return None;
        }
        let family = self.families.get_mut(key)?;
        let change = sum - family.last;
        let next_to_last = family.seen + 1 == readings;
        family.last = sum;
        family.seen = readings;
        if !next_to_last {
            return None;
        }
        family.moved = family.moved.saturating_add(u32::from(change != 0.0));
        family.rose += change.max(0.0);
        family.fell -= change.min(0.0);
        Some(change)
    }

    /// Chooses anew: those that moved most often; of equals, observations before plain counters,
    /// then the one that moved further.
    fn choose(&mut self) {
        for gauges in [false, true] {
            let mut ranked: Vec<_> = self
                .families
                .iter_mut()
                .filter(|((_, gauge), _)| *gauge == gauges)
                .map(|(_, family)| family)
                .collect();
            let rank = |f: &Family| (f.moved, f.kind_rank, f.rose + f.fell);
            ranked.sort_by(|a, b| {
                let ((am, ak, ad), (bm, bk, bd)) = (rank(a), rank(b));
                (bm, bk).cmp(&(am, ak)).then(bd.total_cmp(&ad))
            });
            for (place, family) in ranked.into_iter().enumerate() {
                family.chosen = place < CHOSEN_MAX && family.moved > 0;
                // Old activity counts half in the next choice.
                family.moved /= 2;
                family.rose /= 2.0;
                family.fell /= 2.0;
            }
        }
    }
}

/// Whether a row can be work at all: not the runtime's, the process's or the client library's own
/// (those follow memory, or our own scrapes), no time and no amount of memory.
#[must_use]
pub fn may_be_load(row: &LoadRow<'_>) -> bool {
    let own = ["go_", "process_", "promhttp_", "unswept_", "scrape_"];
    let gauge = row.kind == LoadKind::Gauge;
    let no_level = [
        "_bytes",
        "_time_seconds",
        "_timestamp_seconds",
        "_timestamp",
        "_info",
    ];
    row.value.is_finite()
        && row.value.abs() < 1e18
        && !row.name.is_empty()
        && !own.iter().any(|prefix| row.name.starts_with(prefix))
        && !(gauge && no_level.iter().any(|suffix| row.name.ends_with(suffix)))
}

/// Whether a gauge's values over a window look like load: they fall as well as rise, and come back
/// down near their least in the window's second half. A gauge that only rises, or whose saw-tooth
/// climbs, as that of whatever leaks does, is refused; so is one that does not move.
///
/// * `values`: in the order of time; those not finite are passed over. Fewer than 8 are refused.
#[must_use]
pub fn is_load_like(values: &[f64]) -> bool {
    let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if values.len() < 8 {
        return false;
    }
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = most - least(&values);
    if range <= 0.0 {
        return false;
    }
    let steps = || values.windows(2).map(|pair| pair[1] - pair[0]);
    let rises: f64 = steps().map(|step| step.max(0.0)).sum();
    let falls: f64 = steps().map(|step| (-step).max(0.0)).sum();
    let back = least(&values[values.len() / 2..]) - least(&values) <= 0.25 * range;
    back && falls >= 0.3 * rises
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, kind: LoadKind, value: f64) -> LoadRow<'_> {
        LoadRow { name, kind, value }
    }

    fn at(reading: u32) -> UnixMs {
        UnixMs(i64::from(reading) * 15_000)
    }

    #[test]
    fn rates_and_gauges_come_out_summed_over_label_sets() {
        use LoadKind::{Count, Counter, Gauge};
        let mut tracker = LoadTracker::default();
        let mut feed = |n: u32, requests: f64, inflight: f64| {
            let rows = [
                row("req_seconds_count", Count, requests),
                row("req_seconds_count", Count, requests),
                row("in_flight", Gauge, inflight),
                row("idle_total", Counter, 5.0),
                row("go_memstats_alloc_bytes_total", Counter, requests * 1e6),
                row(
                    "promhttp_metric_handler_requests_total",
                    Counter,
                    f64::from(n),
                ),
                row("cache_bytes", Gauge, requests),
                row("broken", Gauge, f64::NAN),
            ];
            let values = tracker.update(at(n), rows);
            values
                .into_iter()
                .map(|v| format!("{} {}", v.source, v.value))
                .collect::<Vec<_>>()
        };
        assert!(feed(1, 0.0, 1.0).is_empty());
        assert!(feed(2, 150.0, 2.0).is_empty(), "nothing is chosen yet");
        assert_eq!(
            feed(3, 300.0, 3.0),
            ["gauge:in_flight 3", "rate:req_seconds_count 20"]
        );
        assert_eq!(
            feed(5, 450.0, 1.0),
            ["gauge:in_flight 1", "rate:req_seconds_count 10"]
        );
        assert_eq!(
            feed(6, 10.0, 1.0),
            ["gauge:in_flight 1"],
            "a reset gives no rate"
        );
        assert_eq!(feed(7, 85.0, 1.0)[1], "rate:req_seconds_count 10");
        assert!(feed(7, 99.0, 1.0).is_empty(), "not newer");
    }

    #[test]
    fn what_is_named_is_load_whatever_it_looks_like() {
        let named = ["queue_bytes", "rare_total"].map(str::to_owned);
        let mut tracker = LoadTracker::with_named(named.to_vec());
        let many: Vec<_> = (0..TRACKED_MAX).map(|i| format!("a{i:04}_total")).collect();
        let mut last = Vec::new();
        for n in 1..=5 {
            let many = many
                .iter()
                .map(|name| row(name, LoadKind::Counter, f64::from(n * n)));
            let rows = many.chain([
                row("queue_bytes", LoadKind::Gauge, 7.0),
                row("queue_bytes", LoadKind::Gauge, f64::NAN),
                row("rare_total", LoadKind::Counter, 1.0),
                row("other_bytes", LoadKind::Gauge, f64::from(n)),
            ]);
            last = tracker.update(at(n), rows.collect::<Vec<_>>());
        }
        let value = |source: &str| last.iter().find(|v| v.source == source).map(|v| v.value);
        assert_eq!(
            value("named:queue_bytes"),
            Some(7.0),
            "although nothing moved"
        );
        assert_eq!(value("rate:rare_total"), Some(0.0));
        assert_eq!(value("gauge:other_bytes"), None);
        assert_eq!(last.len(), CHOSEN_MAX + 2, "beside those that are chosen");
    }

    #[test]
    fn few_are_chosen_and_few_are_kept() {
        let mut tracker = LoadTracker::default();
        let mut last = Vec::new();
        for n in 1..=5 {
            let names: Vec<_> = (0..2000).map(|i| format!("c{i:04}_total")).collect();
            let value = |i: usize| {
                if i < 20 {
                    f64::from(n) * (1 + i) as f64
                } else {
                    1.0
                }
            };
            let rows = names.iter().enumerate();
            let rows = rows.map(|(i, name)| row(name, LoadKind::Counter, value(i)));
            last = tracker.update(at(n), rows);
        }
        assert_eq!(last.len(), CHOSEN_MAX);
        assert!(
            last.iter().any(|v| v.source == "rate:c0019_total"),
            "the most active: {last:?}"
        );
        assert!(tracker.families.len() <= TRACKED_MAX);
        for n in 6..=6 + CHOICE_READINGS {
            tracker.update(at(n), [row("only_total", LoadKind::Counter, f64::from(n))]);
        }
        assert!(
            tracker.families.len() <= 1,
            "families that are gone are forgotten"
        );
    }

    #[test]
    fn only_gauges_that_come_back_look_like_load() {
        let series = |f: fn(f64) -> f64| (0..60).map(|i| f(f64::from(i))).collect::<Vec<_>>();
        for (why, values, want) in [
            ("a wave", series(|t| 50.0 + 40.0 * (t / 8.0).sin()), true),
            (
                "a peak",
                series(|t| {
                    if (20.0..30.0).contains(&t) {
                        90.0
                    } else {
                        10.0
                    }
                }),
                true,
            ),
            ("only falls", series(|t| 100.0 - t), true),
            (
                "jitter about a level",
                series(|t| 10.0 + (t * 7.0) % 3.0),
                true,
            ),
            ("a cache that grows", series(|t| t), false),
            (
                "grows with small dips",
                series(|t| t * 3.0 + (t * 7.0) % 5.0),
                false,
            ),
            (
                "a climbing saw-tooth",
                series(|t| t * 4.0 + (t * 10.0) % 60.0),
                false,
            ),
            (
                "a step",
                series(|t| if t < 30.0 { 1.0 } else { 9.0 }),
                false,
            ),
            ("flat", series(|_| 5.0), false),
            ("nothing", vec![], false),
            ("not numbers", vec![f64::NAN; 60], false),
        ] {
            assert_eq!(is_load_like(&values), want, "{why}");
        }
    }
}
