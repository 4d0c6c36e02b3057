//! Label sets kept from one scrape of a target to the next.

use model::Labels;

/// How far a vanished series may make the reading run ahead of the cache.
const LOOK_AHEAD: usize = 8;

/// The text of each series and its labels, in the order of the last scrape: scrapes repeat, so the
/// next line's series is nearly always the next entry, one comparison away, and keeps sharing one
/// allocation with whoever held its labels before. One cache a target.
///
/// Bounded by bytes; holds no more than the last good scrape had. A scrape in another order than
/// the last is parsed in full, at no harm.
#[derive(Debug)]
pub struct SeriesCache {
    last: Vec<(Box<str>, Labels)>,
    cursor: usize,
    next: Vec<(Box<str>, Labels)>,
    next_bytes: usize,
    bytes_max: usize,
}

impl Default for SeriesCache {
    /// A cache of 8 MiB: 15,000 series of the usual size.
    fn default() -> Self {
        Self::new(8 << 20)
    }
}

impl SeriesCache {
    /// A cache that holds about `bytes_max` bytes at most; 0 keeps nothing. During a scrape the
    /// last round's entries and the new ones are alive together, each moved over as it is met.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            last: Vec::new(),
            cursor: 0,
            next: Vec::new(),
            next_bytes: 0,
            bytes_max,
        }
    }

    /// How many series it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The labels of the series at the start of `rest` and the length of its text, if the cache
    /// has it at or near its place.
    pub(crate) fn take(&mut self, rest: &str) -> Option<(usize, Labels)> {
        let ahead = self.last[self.cursor..]
            .iter()
            .take(LOOK_AHEAD)
            .position(|(raw, _)| starts_with_series(rest, raw))?;
        self.cursor += ahead;
        let (raw, labels) = std::mem::take(&mut self.last[self.cursor]);
        self.cursor += 1;
        let len = raw.len();
        self.keep(raw, &labels);
        Some((len, labels))
    }

    /// Adds a series that had to be parsed.
    pub(crate) fn add(&mut self, raw: &str, labels: &Labels) {
        if self.bytes_max > 0 {
            self.keep(raw.into(), labels);
        }
    }

    fn keep(&mut self, raw: Box<str>, labels: &Labels) {
        // The text, the same bytes again in the labels, and the pointers around them.
        let bytes = 2 * raw.len() + 64 * (labels.len() + 1);
        if self.next_bytes + bytes <= self.bytes_max {
            self.next_bytes += bytes;
            self.next.push((raw, labels.clone()));
        }
    }

    /// Ends a round: what it met is what the next round expects; after an error, nothing.
    pub(crate) fn end_round(&mut self, good: bool) {
        self.last.clear();
        self.cursor = 0;
        self.next_bytes = 0;
        if good {
            std::mem::swap(&mut self.last, &mut self.next);
        } else {
            self.next.clear();
        }
        self.last.shrink_to(2 * self.last.len());
        self.next.shrink_to(self.last.len());
    }
}

/// Whether `rest` begins with the series text `raw` and that series ends there. A text that ends
/// in `}` does by itself; a bare name must not go on, nor have labels after blanks.
pub(crate) fn starts_with_series(rest: &str, raw: &str) -> bool {
    let Some(after) = rest.strip_prefix(raw) else {
        return false;
    };
    raw.ends_with('}')
        || (after.starts_with([' ', '\t'])
            && !after.trim_start_matches([' ', '\t']).starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse_with_cache};

    fn round(cache: &mut SeriesCache, text: &str) -> Vec<String> {
        let scrape = parse_with_cache(None, text.as_bytes(), &Limits::default(), cache);
        let samples = scrape.expect("a good text").samples;
        samples
            .iter()
            .map(|s| format!("{} {}", s.labels, s.value))
            .collect()
    }

    #[test]
    fn rounds_read_the_same_with_and_without_a_cache() {
        let mut cache = SeriesCache::default();
        for (why, text) in [
            ("first", "a 1\na{x=\"1\"} 2\nab 3\n"),
            ("values change", "a 4\na{x=\"1\"} 5\nab 6\n"),
            ("one vanished", "a 4\nab 6\n"),
            ("one came in the middle", "a 4\na{x=\"2\"} 1\nab 6\n"),
            ("a bare name grows", "abc 4\nab{x=\"2\"} 1\na 6\n"),
            (
                "labels after blanks",
                "abc {k=\"v\"} 4\nab {x=\"2\"}1\na 6\n",
            ),
            ("value without a blank", "abc {k=\"v\"}4\n"),
        ] {
            let cached = round(&mut cache, text);
            assert_eq!(cached, round(&mut SeriesCache::new(0), text), "{why}");
        }
    }

    #[test]
    fn a_repeated_scrape_shares_its_labels_and_the_cache_stays_bounded() {
        let mut text = String::new();
        for n in 0..1000 {
            text += &format!("m{{n=\"{n}\"}} 1\n");
        }
        let mut cache = SeriesCache::new(20_000);
        round(&mut cache, &text);
        let held = cache.len();
        assert!(
            (50..200).contains(&held),
            "{held} of 1000 fit into 20,000 bytes"
        );
        round(&mut cache, "x 1\n");
        assert_eq!(cache.len(), 1, "only the last scrape's series stay");
        let bad = parse_with_cache(None, b"x 1\n{", &Limits::default(), &mut cache);
        assert!(bad.is_err() && cache.is_empty());
    }
}
