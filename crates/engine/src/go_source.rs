//! Where a target's Go figures come from. The order is written here and nowhere else:
//!
//! 1. its metrics endpoint, when the answer has HeapAlloc in it;
//! 2. the memory of its process, read from outside without stopping it, where there is no such
//!    endpoint, where it fails, or where it says nothing of the heap;
//! 3. nothing, and why not is told on the target's page.
//!
//! An endpoint that tells the heap, and not what is live of it or what the collector goes by, as the
//! collectors of client_golang's releases do, is completed: these come from the process's memory, and
//! the settings at last from its environment.
//!
//! Both have the same meaning and go into the same series; `GoMemory::source` and the label `source`
//! of the live heap tell them apart.

use collect::{AskProcess, Endpoint};
use model::{GcSettings, GoMemory};
use reader::{Access, GoFailure, GoFigures, GoProcess};

/// What was chosen.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) go: Option<GoMemory>,
    /// What the last mark left, read in the process, where the endpoint does not tell it.
    pub(crate) marked: Option<f64>,
    /// What the collector goes by.
    pub(crate) settings: GcSettings,
    /// Why the process's memory gave nothing, where it was needed.
    pub(crate) why_not: Option<String>,
}

/// Whether the process is asked in every round: `scrape_tells` is whether the last good answer of the
/// endpoint told all; `true` before the first.
pub(crate) fn ask_process(endpoint: &Endpoint, scrape_tells: bool) -> AskProcess {
    match endpoint.metrics_url.is_some() && scrape_tells {
        true => AskProcess::WhenScrapeFails,
        false => AskProcess::Always,
    }
}

/// Whether these figures, of an endpoint, say what the heap does.
pub(crate) fn tells_heap(scraped: Option<&GoMemory>) -> bool {
    scraped.is_some_and(|go| go.heap_alloc_bytes.is_some())
}

/// Whether these figures, of an endpoint, leave nothing to be asked of the process.
pub(crate) fn tells_all(scraped: Option<&GoMemory>) -> bool {
    tells_heap(scraped)
        && scraped.is_some_and(|go| {
            let settings = go.gogc_percent.is_some() && go.gomemlimit_bytes.is_some();
            settings && go.live_bytes.is_some()
        })
}

/// Takes the best of one round. `process` is what discovery knows, for its environment.
pub(crate) fn choose(
    scraped: Option<GoMemory>,
    read: Option<Result<GoFigures, GoFailure>>,
    process: Option<&GoProcess>,
) -> Chosen {
    let (read, failure) = match read {
        Some(Ok(figures)) => (Some(figures.memory()), None),
        Some(Err(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    let settings = ledger::in_force(scraped.as_ref(), read.as_ref(), environment(process));
    if tells_heap(scraped.as_ref()) {
        return Chosen {
            go: scraped,
            marked: read.and_then(|go| go.live_bytes),
            settings,
            why_not: None,
        };
    }
    Chosen {
        go: read.or(scraped),
        marked: None,
        settings,
        why_not: failure.as_ref().map(words),
    }
}

/// The variables that the collector reads when it starts; `None` where they may not be read.
fn environment(process: Option<&GoProcess>) -> Option<ledger::Environment<'_>> {
    let process = process.filter(|process| process.access == Access::Full)?;
    Some(ledger::Environment {
        gogc: process.env.gogc.as_deref(),
        gomemlimit: process.env.gomemlimit.as_deref(),
    })
}

fn words(failure: &GoFailure) -> String {
    let mut text = format!("Go's figures cannot be read in the process: {failure}");
    if let Some(hint) = failure.hint() {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use model::{GoSource, UnixMs};

    use super::*;

    fn figures() -> GoFigures {
        GoFigures {
            at: UnixMs(7),
            live_bytes: Some(30),
            heap_alloc_bytes: 40,
            heap_inuse_bytes: 45,
            heap_idle_bytes: 9,
            heap_released_bytes: 4,
            heap_objects: 3,
            stack_inuse_bytes: 2,
            runtime_bytes: 1,
            sys_bytes: 60,
            next_gc_bytes: 80,
            gc_cycles: 5,
            last_gc_ns: 1_795_363_411_000_000_000,
            alloc_bytes_total: 400,
            gogc_percent: -1,
            gomemlimit_bytes: None,
            goroutines: 13,
            threads: 6,
        }
    }

    #[test]
    fn the_endpoint_comes_first_and_the_process_second() {
        let heap = GoMemory {
            heap_alloc_bytes: Some(41.0),
            ..GoMemory::default()
        };
        let count = GoMemory {
            goroutines: Some(12.0),
            ..GoMemory::default()
        };
        let failure = || {
            Err(GoFailure::Refused {
                what: "no".into(),
                hint: "be root".into(),
            })
        };
        // What was scraped and read; then HeapAlloc, goroutines, source, and whether a reason is given.
        let rows = [
            (
                "both",
                Some(heap),
                Some(Ok(figures())),
                Some((Some(41.0), None, GoSource::Metrics)),
                false,
            ),
            (
                "no endpoint",
                None,
                Some(Ok(figures())),
                Some((Some(40.0), Some(13.0), GoSource::Process)),
                false,
            ),
            (
                "no heap",
                Some(count),
                Some(Ok(figures())),
                Some((Some(40.0), Some(13.0), GoSource::Process)),
                false,
            ),
            (
                "no heap, refused",
                Some(count),
                Some(failure()),
                Some((None, Some(12.0), GoSource::Metrics)),
                true,
            ),
            ("refused", None, Some(failure()), None, true),
            ("neither", None, None, None, false),
            (
                "endpoint, refused",
                Some(heap),
                Some(failure()),
                Some((Some(41.0), None, GoSource::Metrics)),
                false,
            ),
        ];
        for (why, scraped, read, want, told) in rows {
            let chosen = choose(scraped, read, None);
            let got = chosen
                .go
                .map(|go| (go.heap_alloc_bytes, go.goroutines, go.source));
            assert_eq!(got, want, "{why}");
            assert_eq!(chosen.why_not.is_some(), told, "{why}");
            assert!(
                chosen.why_not.is_none_or(|text| text.contains("be root")),
                "{why}"
            );
        }
    }

    #[test]
    fn figures_of_the_process_mean_what_those_of_the_endpoint_do() {
        let go = choose(None, Some(Ok(figures())), None).go.unwrap();
        assert_eq!(go.gogc_percent, Some(-1.0), "off");
        assert_eq!(go.gomemlimit_bytes, Some(f64::INFINITY), "off");
        assert_eq!(go.last_gc_unix_s, Some(1_795_363_411.0));
        assert_eq!((go.live_bytes, go.gc_cycles), (Some(30.0), Some(5.0)));
    }

    #[test]
    fn a_good_endpoint_spares_the_process() {
        let with = Endpoint::of_url("http://127.0.0.1:1", "/metrics");
        assert_eq!(ask_process(&with, true), AskProcess::WhenScrapeFails);
        assert_eq!(ask_process(&with, false), AskProcess::Always);
        assert_eq!(ask_process(&Endpoint::default(), true), AskProcess::Always);
    }
}
