//! Exposition text 0.0.4 and OpenMetrics 1.0 text, read in one pass.
//!
//! The rules are those of Prometheus' own parsers. In text 0.0.4 blanks and tabs may stand between
//! any two tokens, commas between labels may be missing or trail, blank lines are skipped, the last
//! line feed may be missing, and a carriage return is an error (Prometheus refuses it, too).
//! Metric and label names may be quoted UTF-8: `{"a name", label="value"}`.
//!
//! Liberties taken: a negative timestamp is accepted, as client libraries accept it; OpenMetrics
//! text may use blanks as 0.0.4 may and have other comments; blanks after a type's word are
//! ignored. The `# EOF` rule is kept strictly, since it tells a whole body from a cut one.
//!
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::borrow::Cow;

use model::{Labels, METRIC_NAME, UnixMs};

use crate::cache::{SeriesCache, starts_with_series};
use crate::error::{WireError, excerpt};
use crate::expvar::parse_expvar;
use crate::float::parse_float;
use crate::heap_text::{is_heap_text, parse_heap_text};
use crate::scrape::{FamilyType, Limits, Scrape, ScrapedSample};

/// The `Accept` header for scrapes: the two texts, 0.0.4 first since it is the cheaper one for
/// most targets to write.
pub const ACCEPT: &str =
    "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1";

/// Parses a scrape's body. Without a content type, and with one that only says some other plain
/// text, it is text 0.0.4, but for two pages of Go's own: expvar's, and a heap profile in text.
///
/// # Errors
/// [`WireError`]; nothing of a bad body is handed out.
pub fn parse(
    content_type: Option<&str>,
    body: &[u8],
    limits: &Limits,
) -> Result<Scrape, WireError> {
    parse_with_cache(content_type, body, limits, &mut SeriesCache::new(0))
}

/// As [`parse`], with label sets shared with the last scrape of the same target.
///
/// # Errors
/// [`WireError`]; the cache is empty afterwards.
pub fn parse_with_cache(
    content_type: Option<&str>,
    body: &[u8],
    limits: &Limits,
    cache: &mut SeriesCache,
) -> Result<Scrape, WireError> {
    if let Some(scrape) = of_go(content_type, body, limits) {
        return scrape;
    }
    let openmetrics = is_openmetrics(content_type)?;
    within("body bytes", body.len(), limits.body_bytes_max)?;
    let text = as_text(body)?;
    let mut parser = Parser::new(text, openmetrics, limits, cache);
    let result = parser.run();
    let out = std::mem::take(&mut parser.out);
    cache.end_round(result.is_ok());
    result.map(|()| out)
}

/// Parses whole lines out of the middle of an OpenMetrics text, with the liberties of
/// [`crate::stream`].
pub(crate) fn parse_lines(lines: &[u8], limits: &Limits) -> Result<Scrape, WireError> {
    let mut none = SeriesCache::new(0);
    let mut parser = Parser::new(as_text(lines)?, true, limits, &mut none);
    parser.history = true;
    parser.run()?;
    Ok(parser.out)
}

fn as_text(body: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))
}

/// One of Go's own pages: expvar's JSON with `memstats` in it, or a heap profile in text.
fn of_go(
    content_type: Option<&str>,
    body: &[u8],
    limits: &Limits,
) -> Option<Result<Scrape, WireError>> {
    if is_heap_text(body) {
        return Some(parse_heap_text(body, limits));
    }
    if !media(content_type).eq_ignore_ascii_case("application/json") {
        return None;
    }
    // Other JSON is refused below, with a hint.
    let scrape = parse_expvar(body, limits).ok()?;
    let mut names = scrape.samples.iter().map(|sample| sample.labels.name());
    names
        .any(|name| name == "go_memstats_sys_bytes")
        .then_some(Ok(scrape))
}

/// `text/plain` of `text/plain; version=0.0.4`.
fn media(content_type: Option<&str>) -> &str {
    let given = content_type.unwrap_or("");
    given.split(';').next().unwrap_or("").trim()
}

fn is_openmetrics(content_type: Option<&str>) -> Result<bool, WireError> {
    let given = content_type.unwrap_or("");
    let media = media(content_type);
    let refused = [
        "text/html",
        "application/vnd.google.protobuf",
        "application/json",
    ];
    if refused
        .iter()
        .any(|refused| media.eq_ignore_ascii_case(refused))
    {
        let found = given
            .chars()
            .take(80)
            .collect::<String>()
            .to_ascii_lowercase();
        return Err(WireError::ContentType { found });
    }
    Ok(media.eq_ignore_ascii_case("application/openmetrics-text"))
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), WireError> {
    if found > limit {
        return Err(WireError::Limit { what, found, limit });
    }
    Ok(())
}

fn not_utf8(body: &[u8], at: usize) -> WireError {
    let line_start = body[..at].iter().rposition(|&byte| byte == b'\n');
    WireError::NotUtf8 {
        byte: body.get(at).copied().unwrap_or(0),
        line: body[..at].iter().filter(|&&byte| byte == b'\n').count() + 1,
        column: at - line_start.map_or(0, |start| start + 1) + 1,
    }
}

struct Parser<'a, 'c> {
    text: &'a str,
    /// Always on a character's boundary: it moves past ASCII bytes and whole finds only.
    at: usize,
    openmetrics: bool,
    /// These are lines out of a longer text, in which one series mostly follows upon itself.
    history: bool,
    last: Option<(&'a str, Labels)>,
    limits: &'c Limits,
    cache: &'c mut SeriesCache,
    /// The labels of the series being read; kept for its capacity.
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    out: Scrape,
}

impl<'a, 'c> Parser<'a, 'c> {
    fn new(
        text: &'a str,
        openmetrics: bool,
        limits: &'c Limits,
        cache: &'c mut SeriesCache,
    ) -> Self {
        Self {
            text,
            at: 0,
            openmetrics,
            history: false,
            last: None,
            limits,
            cache,
            pairs: Vec::new(),
            out: Scrape::default(),
        }
    }

    fn run(&mut self) -> Result<(), WireError> {
        loop {
            self.skip_blanks();
            match self.peek() {
                None if self.openmetrics && !self.out.eof_seen && !self.history => {
                    return Err(WireError::NoEof);
                }
                None => return Ok(()),
                Some(_) if self.out.eof_seen && !self.history => {
                    return Err(self.expected("nothing after `# EOF`"));
                }
                Some(b'\n') => self.at += 1,
                Some(b'#') => self.comment()?,
                Some(_) => self.sample()?,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// The bytes up to the next one that `end` takes, or all that is left. `end` takes ASCII bytes,
    /// or all that are not: either way the first one taken begins a character.
    fn until(&mut self, end: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.bytes().position(end).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// The rest of the line; the line feed is consumed and not part of it.
    fn line(&mut self) -> &'a str {
        let rest = self.rest();
        let (line, len) = match rest.find('\n') {
            Some(end) => (&rest[..end], end + 1),
            None => (rest, rest.len()),
        };
        self.at += len;
        line
    }

    fn expected(&self, what: &'static str) -> WireError {
        self.expected_at(what, self.at)
    }

    fn expected_at(&self, expected: &'static str, at: usize) -> WireError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |feed| feed + 1);
        WireError::Syntax {
            expected,
            found: excerpt(&self.text[at..], 40),
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// A line that starts with `#`.
    fn comment(&mut self) -> Result<(), WireError> {
        self.at += 1;
        let after_mark = self.at;
        self.skip_blanks();
        let word = self.until(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
        let said = self.at > after_mark + word.len(); // `#HELP` is an ordinary comment
        if self.openmetrics && said && word == "EOF" {
            if !self.line().is_empty() {
                return Err(self.expected("the end of the line after `# EOF`"));
            }
            self.out.eof_seen = true;
            return Ok(());
        }
        let blank_follows = matches!(self.peek(), Some(b' ' | b'\t'));
        if !(said && blank_follows && matches!(word, "HELP" | "TYPE" | "UNIT")) {
            self.line();
            return Ok(());
        }
        self.skip_blanks();
        let name = self.family_name()?;
        let text_at = self.at;
        let text = self.line();
        if word == "TYPE" {
            let kind = FamilyType::from_word(text.trim_matches([' ', '\t']));
            let kind = kind.ok_or_else(|| self.expected_at("a metric type", text_at))?;
            self.with_family(name, |family| family.kind = kind);
        } else if word == "HELP" {
            let text = text.strip_prefix([' ', '\t']).unwrap_or(text);
            let help = cut(unescape(text, self.openmetrics), self.limits.help_bytes_max);
            self.with_family(name, |family| family.help = help);
        }
        Ok(())
    }

    fn family_name(&mut self) -> Result<Cow<'a, str>, WireError> {
        let at = self.at;
        let name = match self.peek() {
            Some(b'"') => self.quoted()?,
            _ => Cow::Borrowed(self.legacy_name(true)),
        };
        if name.is_empty() {
            return Err(self.expected_at("a metric name", at));
        }
        within("bytes of a name", name.len(), self.limits.name_bytes_max)?;
        Ok(name)
    }

    fn with_family(&mut self, name: Cow<'a, str>, set: impl FnOnce(&mut crate::Family)) {
        let families = &mut self.out.families;
        if let Some(family) = families.get_mut(&*name) {
            set(family);
        } else if families.len() < self.limits.families_max {
            set(families.entry(name.into()).or_default());
        }
    }

    /// A name of the old alphabet, possibly empty. Colons are for metric names only.
    fn legacy_name(&mut self, colons: bool) -> &'a str {
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return "";
        }
        self.until(|byte| {
            let inside = byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
            !inside
        })
    }

    /// A quoted string, unescaped. On its opening quote.
    fn quoted(&mut self) -> Result<Cow<'a, str>, WireError> {
        let open = self.at;
        let bytes = self.text.as_bytes();
        let mut at = open + 1;
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2; // past the end is found by the next look
                }
                Some(b'\n') if self.openmetrics => at = bytes.len(),
                Some(_) => at += 1,
                None => return Err(self.expected_at("a closing quote for the string here", open)),
            }
        }
        // An escaped character may be longer than a byte: the loop then walks its other bytes,
        // none of which is ASCII, so both ends here are quotes.
        let inside = &self.text[open + 1..at];
        self.at = at + 1;
        Ok(if escaped {
            unescape(inside, true)
        } else {
            Cow::Borrowed(inside)
        })
    }

    fn sample(&mut self) -> Result<(), WireError> {
        let labels = if self.history {
            self.out.eof_seen = false; // another text follows
            self.series_again()?
        } else if let Some((len, labels)) = self.cache.take(self.rest()) {
            self.at += len;
            labels
        } else {
            let start = self.at;
            let labels = self.series()?;
            self.cache.add(&self.text[start..self.at], &labels);
            labels
        };
        self.skip_blanks();
        let value_at = self.at;
        let text = self.until(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'{'));
        let value = parse_float(text).ok_or_else(|| self.expected_at("a number", value_at))?;
        let timestamp = self.timestamp()?;
        if self.openmetrics && self.peek() == Some(b'#') {
            self.exemplar()?;
        }
        match self.peek() {
            None => {}
            Some(b'\n') => self.at += 1,
            Some(_) => return Err(self.expected("the end of the line")),
        }
        within(
            "samples",
            self.out.samples.len() + 1,
            self.limits.samples_max,
        )?;
        self.out.samples.push(ScrapedSample {
            labels,
            value,
            timestamp,
        });
        Ok(())
    }

    /// Milliseconds in text 0.0.4, seconds with a fraction in OpenMetrics.
    fn timestamp(&mut self) -> Result<Option<UnixMs>, WireError> {
        self.skip_blanks();
        if matches!(self.peek(), None | Some(b'\n' | b'#')) {
            return Ok(None);
        }
        let at = self.at;
        let text = self.until(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
        self.skip_blanks();
        let millis = if self.openmetrics {
            // 2^63 milliseconds are far beyond what any time can mean.
            let millis = parse_float(text).map(|seconds| (seconds * 1000.0).round());
            millis
                .filter(|millis| millis.abs() < 9e18)
                .map(|millis| millis as i64)
        } else {
            text.parse().ok().filter(|_| !text.starts_with('+'))
        };
        let millis =
            millis.ok_or_else(|| self.expected_at("a timestamp or the end of the line", at))?;
        Ok(Some(UnixMs(millis)))
    }

    /// `# {labels} value [timestamp]`, checked and dropped: we keep no exemplars.
    fn exemplar(&mut self) -> Result<(), WireError> {
        self.at += 1;
        self.skip_blanks();
        if self.peek() != Some(b'{') {
            return Err(self.expected("an exemplar's `{`"));
        }
        self.at += 1;
        self.pairs.clear();
        if self.labels()?.is_some() {
            return Err(self.expected("only labels in an exemplar"));
        }
        self.skip_blanks();
        let at = self.at;
        let text = self.until(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
        parse_float(text).ok_or_else(|| self.expected_at("an exemplar's number", at))?;
        self.timestamp()?;
        Ok(())
    }

    /// As [`Parser::series`], at little cost where it is the series of the last sample.
    fn series_again(&mut self) -> Result<Labels, WireError> {
        if let Some((raw, labels)) = &self.last
            && starts_with_series(self.rest(), raw)
        {
            self.at += raw.len();
            return Ok(labels.clone());
        }
        let start = self.at;
        let labels = self.series()?;
        self.last = Some((&self.text[start..self.at], labels.clone()));
        Ok(labels)
    }

    /// A metric's name and labels.
    fn series(&mut self) -> Result<Labels, WireError> {
        let start = self.at;
        self.pairs.clear();
        let mut name = Cow::Borrowed(self.legacy_name(true));
        let name_end = self.at;
        self.skip_blanks();
        if self.peek() == Some(b'{') {
            self.at += 1;
            match self.labels()? {
                Some(_) if !name.is_empty() => {
                    return Err(self.expected_at("one metric name, not two, in this series", start));
                }
                Some(quoted) => name = quoted,
                None => {}
            }
        } else {
            self.at = name_end; // blanks belong to what follows
        }
        // `promtool tsdb dump` writes the name among the labels.
        let named = self.pairs.iter().position(|(name, _)| name == METRIC_NAME);
        if let Some(place) = named.filter(|_| self.history && name.is_empty()) {
            name = self.pairs.swap_remove(place).1;
        }
        if name.is_empty() {
            return Err(self.expected_at("a metric name", start));
        }
        within("bytes of a name", name.len(), self.limits.name_bytes_max)?;
        self.pairs.push((Cow::Borrowed(METRIC_NAME), name));
        let present = self
            .pairs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .count();
        let labels = Labels::new(self.pairs.drain(..));
        if labels.len() != present {
            return Err(self.expected_at("each label once in this series", start));
        }
        Ok(labels)
    }

    /// What is between braces, into `pairs`; after the opening one. A quoted string without a
    /// value is the metric's name and comes back.
    fn labels(&mut self) -> Result<Option<Cow<'a, str>>, WireError> {
        let mut metric = None;
        loop {
            self.skip_blanks();
            let at = self.at;
            let quoted = self.peek() == Some(b'"');
            let name = match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(metric);
                }
                Some(b'"') => self.quoted()?,
                _ => Cow::Borrowed(self.legacy_name(false)),
            };
            if name.is_empty() {
                return Err(self.expected_at("a label name or `}`", at));
            }
            within("bytes of a name", name.len(), self.limits.name_bytes_max)?;
            self.skip_blanks();
            match self.peek() {
                Some(b'=') => {
                    self.at += 1;
                    let value = self.label_value()?;
                    self.pairs.push((name, value));
                    within(
                        "labels of a sample",
                        self.pairs.len(),
                        self.limits.labels_max,
                    )?;
                }
                Some(b',' | b'}') if quoted && metric.is_none() => metric = Some(name),
                _ => return Err(self.expected("`=` after a label name")),
            }
            self.skip_blanks();
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
    }

    fn label_value(&mut self) -> Result<Cow<'a, str>, WireError> {
        self.skip_blanks();
        if self.peek() != Some(b'"') {
            return Err(self.expected("a quoted label value"));
        }
        let value = self.quoted()?;
        within(
            "bytes of a label value",
            value.len(),
            self.limits.value_bytes_max,
        )?;
        Ok(value)
    }
}

/// Replaces `\\`, `\n` and, where `quotes`, `\"`; any other backslash stays, as in Prometheus.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.clone().next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            _ => {
                out.push('\\');
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(out)
}

fn cut(text: Cow<'_, str>, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
