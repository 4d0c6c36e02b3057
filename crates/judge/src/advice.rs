//! What a Go engineer would do about a finding: by its kind, and by how the collector is set against the limit.
//! Each code has a section in docs/advice.md.

use model::verdict::Advice;
use model::{Channel, Finding, Judgement, Kind};

use crate::trace::Window;
use crate::view::View;
use crate::words::advice;

/// GOMEMLIMIT above this part of the limit leaves no room for what is not Go's, and does not act in time.
const BELOW_LIMIT: f64 = 0.95;
/// What lives above this part of GOMEMLIMIT has the collector run most of the time.
const NEAR_GOMEMLIMIT: f64 = 0.85;
/// Above this part of the limit a service without GOMEMLIMIT is told of it though nothing leaks.
const NEAR_LIMIT: f64 = 0.6;

/// What goes with the kind.
pub(crate) fn of_kind(kind: Kind) -> Vec<Advice> {
    let codes: &[&str] = match kind {
        Kind::GoHeap => &["diff-heap-profiles"],
        Kind::Goroutine => &["look-at-goroutines"],
        Kind::NativeHeap | Kind::NativeMmap | Kind::Native => {
            &["needs-tracing", "look-at-mappings"]
        }
        Kind::Resident => &["give-access"],
        Kind::Thread => &["look-at-threads"],
        Kind::Fd => &["look-at-fds"],
        Kind::Shmem => &["look-at-shmem"],
        Kind::Load => &["size-for-the-peak"],
        Kind::NotReturned => &["kept-by-the-runtime"],
        Kind::Fragmentation => &["fragmented-heap"],
        Kind::GoRuntime => &["runtime-tables"],
        Kind::HugePages => &["huge-pages"],
        Kind::Swap => &["in-swap"],
        Kind::PageCache => &["page-cache"],
        _ => &[],
    };
    codes.iter().map(|code| advice(code, &[])).collect()
}

/// How GOGC, GOMEMLIMIT and the limit stand to each other, where something is wrong with it that matters to this
/// verdict: said once, of the finding that comes first.
pub(crate) fn of_settings(view: &View, first: &Finding) -> Vec<Advice> {
    let facts = view.facts;
    let limit = facts.limit_bytes.map(|bytes| bytes as f64);
    let gomemlimit = facts.gomemlimit_bytes;
    let unlimited = gomemlimit.is_some_and(f64::is_infinite);
    let is_off = facts.gogc_percent.is_some_and(|percent| percent < 0.0);
    let mut all = Vec::new();
    match (gomemlimit, limit) {
        (Some(set), Some(limit)) if set.is_finite() && set > BELOW_LIMIT * limit => {
            let values = [("gomemlimit_bytes", set), ("limit_bytes", limit)];
            all.push(advice("gomemlimit-above-limit", &values));
        }
        (Some(_), Some(limit)) if unlimited && (is_heaps(first) || is_near(view, limit)) => {
            let values = [
                ("limit_bytes", limit),
                ("suggested_bytes", suggested(view, limit)),
            ];
            all.push(advice("set-gomemlimit", &values));
        }
        _ => {}
    }
    let live = [Channel::GoLive, Channel::GoHeapAlloc].into_iter();
    let live = live.filter_map(|channel| view.get(channel)?.last()).next();
    if let (Some(set), Some((_, live))) = (gomemlimit.filter(|set| set.is_finite()), live)
        && live > NEAR_GOMEMLIMIT * set
    {
        let values = [("live_bytes", live), ("gomemlimit_bytes", set)];
        all.push(advice("near-gomemlimit", &values));
    }
    if is_off {
        let code = if unlimited {
            "gc-off-no-limit"
        } else {
            "gc-off"
        };
        all.push(advice(code, &[]));
    }
    let keeps = matches!(first.kind, Some(Kind::NotReturned | Kind::Resident));
    if facts.frees_lazily && (keeps || first.verdict == Judgement::Unsure) {
        all.push(advice("frees-lazily", &[]));
    }
    all
}

/// Whether it is about the heap: a leak of it, or a swing of it that the collector's goal sets.
fn is_heaps(finding: &Finding) -> bool {
    let leak = finding.verdict == Judgement::Leak;
    match finding.kind {
        Some(Kind::GoHeap | Kind::Goroutine) => leak,
        Some(Kind::GcIdle) => true,
        _ => false,
    }
}

fn is_near(view: &View, limit: f64) -> bool {
    let used = view.facts.limit_used_bytes.map(|used| used as f64);
    let resident = view.get(Channel::Rss).and_then(Window::last);
    let heap = view.get(Channel::GoHeapAlloc).is_some();
    heap && used.or(resident.map(|(_, bytes)| bytes)) > Some(NEAR_LIMIT * limit)
}

/// Nine tenths of the limit, less what is not Go's.
fn suggested(view: &View, limit: f64) -> f64 {
    let outside = [Channel::Native, Channel::File, Channel::Shmem].into_iter();
    let outside = outside.filter_map(|channel| view.get(channel)?.last());
    let outside: f64 = outside.map(|(_, bytes)| bytes.max(0.0)).sum();
    (0.9 * (limit - outside)).max(0.5 * limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_and_a_section_of_the_page() {
        let page = include_str!("../../../docs/advice.md");
        let settings = [
            "set-gomemlimit",
            "gomemlimit-above-limit",
            "near-gomemlimit",
            "gc-off",
            "gc-off-no-limit",
            "frees-lazily",
        ];
        let of_kinds = Kind::ALL.iter().flat_map(|kind| of_kind(*kind));
        let settings = settings.iter().map(|code| advice(code, &[]));
        for advice in of_kinds.chain(settings) {
            assert_ne!(advice.text, advice.code, "no words");
            let heading = format!("`{}`", advice.code);
            assert!(
                page.contains(&heading),
                "{heading} is not in docs/advice.md"
            );
        }
    }
}
