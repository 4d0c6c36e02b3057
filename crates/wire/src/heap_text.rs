//! What stands below a heap profile in text, `/debug/pprof/heap?debug=1`: `runtime.MemStats`, a
//! figure a line.
//!
//! Source: `writeHeapInternal` in runtime/pprof/pprof.go. The page stops the target's world for a
//! moment and writes every stack of the profile, so it is a source for targets that offer nothing
//! better, and only where it is configured.

use crate::error::{WireError, excerpt};
use crate::memstats::MemStats;
use crate::scrape::{Limits, Scrape};

/// How such a page begins, whatever it was sampled from.
const BEGIN: &[u8] = b"heap profile: ";
/// What the figures stand below.
const TRAILER: &str = "# runtime.MemStats";
/// Bytes of the trailer; `PauseNs` and `PauseEnd` have 256 numbers each.
const TRAILER_BYTES_MAX: usize = 64 << 10;

/// Whether a body is such a page.
pub(crate) fn is_heap_text(body: &[u8]) -> bool {
    body.starts_with(BEGIN)
}

/// Parses the figures below a heap profile in text, as samples under client_golang's names.
///
/// # Errors
/// [`WireError::Syntax`] for a page without them, which was cut off or is of another program;
/// [`WireError::Limit`] above `limits`.
pub fn parse_heap_text(body: &[u8], limits: &Limits) -> Result<Scrape, WireError> {
    let (found, limit) = (body.len(), limits.body_bytes_max);
    if found > limit {
        return Err(WireError::Limit {
            what: "body bytes",
            found,
            limit,
        });
    }
    // It is the end that counts: of the stacks nothing is read.
    let end = &body[body.len().saturating_sub(TRAILER_BYTES_MAX)..];
    let text = String::from_utf8_lossy(end);
    let Some((_, trailer)) = text.rsplit_once(TRAILER) else {
        let last = text.lines().next_back().unwrap_or("");
        return Err(WireError::Syntax {
            line: body.split(|&byte| byte == b'\n').count(),
            column: 1,
            expected: "the line `# runtime.MemStats` below the stacks",
            found: excerpt(last, 40),
        });
    };
    let mut figures = MemStats::default();
    for line in trailer.lines() {
        let Some((name, value)) = line.strip_prefix("# ").and_then(|l| l.split_once(" = ")) else {
            continue;
        };
        let Some(fields) = figures.fields(name) else {
            continue;
        };
        let values = value
            .splitn(2, " / ")
            .map(|value| value.parse::<u64>().ok());
        for (field, value) in fields.into_iter().flatten().zip(values) {
            *field = value.map(|value| value as f64);
        }
    }
    let mut out = Scrape::default();
    figures.put(&mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(scrape: &Scrape, name: &str) -> Option<f64> {
        let mut all = scrape.samples.iter();
        all.find(|sample| sample.labels.name() == name)
            .map(|sample| sample.value)
    }

    #[test]
    fn a_recorded_page_is_read() {
        let page = include_bytes!("../tests/data/heap_debug1.txt");
        assert!(is_heap_text(page));
        let scrape = parse_heap_text(page, &Limits::default()).expect("a page of go1.26.8");
        assert_eq!(scrape.samples.len(), 23, "every figure that has a name");
        let text = String::from_utf8_lossy(page);
        for (name, field) in [
            ("go_memstats_heap_alloc_bytes", "HeapAlloc"),
            ("go_memstats_gc_sys_bytes", "GCSys"),
            ("go_memstats_next_gc_bytes", "NextGC"),
            ("go_gc_duration_seconds_count", "NumGC"),
        ] {
            let line = format!("\n# {field} = ");
            let (_, rest) = text.split_once(&line).expect("a field");
            let want = rest.lines().next().and_then(|rest| rest.parse().ok());
            assert_eq!(value(&scrape, name), want, "{field}");
        }
        let stacks = ["inuse", "sys"].map(|which| format!("go_memstats_stack_{which}_bytes"));
        let stacks = stacks.map(|name| value(&scrape, &name).expect("a figure"));
        assert!(stacks[0] > 0.0 && stacks[0] <= stacks[1], "{stacks:?}");
    }

    #[test]
    fn figures_that_are_none_are_absent_and_pages_without_are_errors() {
        let page = |lines: &str| {
            format!("heap profile: 0: 0 [0: 0] @ heap/2\n# runtime.MemStats\n{lines}")
        };
        let read = |text: &str| parse_heap_text(text.as_bytes(), &Limits::default());
        let lines = "# HeapAlloc = -5\n# Sys = 1e3\n# Stack = 7 / x\n# NumGC =\n# BySize = 3\n# NextGC = 9\n";
        let scrape = read(&page(lines)).expect("a page");
        assert_eq!(scrape.samples.len(), 2);
        assert_eq!(value(&scrape, "go_memstats_stack_inuse_bytes"), Some(7.0));
        assert_eq!(value(&scrape, "go_memstats_next_gc_bytes"), Some(9.0));
        for (why, text) in [
            ("stacks alone", "heap profile: 0: 0 [0: 0] @ heap/2\n"),
            ("nothing", ""),
        ] {
            assert!(matches!(read(text), Err(WireError::Syntax { .. })), "{why}");
        }
        let small = Limits {
            body_bytes_max: 9,
            ..Limits::default()
        };
        let error = parse_heap_text(page("").as_bytes(), &small);
        assert!(matches!(error, Err(WireError::Limit { .. })), "{error:?}");
    }
}
