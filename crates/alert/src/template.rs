//! Texts with places to fill in: the small part of Go's template language that messages need.
//!
//! A place is `{{ .Labels.NAME }}`, `{{ .Annotations.NAME }}` (also by Alertmanager's names for what
//! all alerts of a message have in common: each of ours holds one), `{{ .Status }}`, `{{ .StartsAt }}`,
//! `{{ .EndsAt }}`, `{{ .GeneratorURL }}` or `{{ .Fingerprint }}`, each with `| toUpper` or
//! `| toLower`; `{{ range .Alerts }}` ... `{{ end }}` goes round once. `{{-` and `-}}` take the white
//! space beside them away. All else is refused, with its place.

use serde::Deserialize;

use crate::{Alert, AlertStatus};

/// A longer text is no message.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// A template that was read and found good.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Field, Case),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Status,
    Label(String),
    Annotation(String),
    StartsAt,
    EndsAt,
    GeneratorUrl,
    Fingerprint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    AsIs,
    Upper,
    Lower,
}

/// What a place holds.
enum Action {
    Place(Field, Case),
    Range,
    End,
}

/// What in a template is not understood, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template is not understood at {line}:{column}: {reason}")]
pub struct TemplateError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What was found, and what is possible.
    pub reason: String,
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] with the place of what is not understood.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let wrong = |at: usize, reason: String| error_at(text, at, reason);
        if text.len() > TEMPLATE_BYTES_MAX {
            let reason = format!("it is longer than {TEMPLATE_BYTES_MAX} bytes");
            return Err(wrong(0, reason));
        }
        let (mut parts, mut at, mut ranges) = (Vec::new(), 0, Vec::new());
        let mut trim_next = false;
        while at < text.len() {
            let open = text[at..].find("{{").map_or(text.len(), |found| at + found);
            let mut plain = &text[at..open];
            if std::mem::take(&mut trim_next) {
                plain = plain.trim_start();
            }
            let Some(inner) = text.get(open + 2..).filter(|_| open < text.len()) else {
                push_text(&mut parts, plain);
                break;
            };
            let end = inner
                .find("}}")
                .ok_or_else(|| wrong(open, "`{{` without `}}`".into()))?;
            let (action, before, after) = trimmed(&inner[..end]);
            push_text(&mut parts, if before { plain.trim_end() } else { plain });
            match read_action(action).map_err(|reason| wrong(open, reason))? {
                Action::Place(field, case) => parts.push(Part::Place(field, case)),
                Action::Range => ranges.push(open),
                Action::End => {
                    let pair = ranges.pop();
                    pair.ok_or_else(|| wrong(open, "`end` without `range`".into()))?;
                }
            }
            trim_next = after;
            at = open + 2 + end + 2;
        }
        match ranges.pop() {
            Some(open) => Err(wrong(open, "`range` without `end`".into())),
            None => Ok(Self(parts)),
        }
    }

    /// The text for `alert`; `escape` makes what is filled in harmless for where it goes.
    #[must_use]
    pub fn render(&self, alert: &Alert, escape: fn(&str) -> String) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Place(field, case) => {
                    let value = value_of(field, alert);
                    text.push_str(&escape(&match case {
                        Case::AsIs => value,
                        Case::Upper => value.to_uppercase(),
                        Case::Lower => value.to_lowercase(),
                    }));
                }
            }
        }
        text
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// The action between the braces, and whether the white space before and behind goes.
fn trimmed(inner: &str) -> (&str, bool, bool) {
    // As in Go, the minus is one only beside white space.
    let rest = inner
        .strip_prefix('-')
        .filter(|rest| rest.starts_with([' ', '\n', '\t']));
    let (before, inner) = (rest.is_some(), rest.unwrap_or(inner));
    let rest = inner
        .strip_suffix('-')
        .filter(|rest| rest.ends_with([' ', '\n', '\t']));
    (rest.unwrap_or(inner).trim(), before, rest.is_some())
}

fn read_action(action: &str) -> Result<Action, String> {
    let words: Vec<&str> = action.split_whitespace().collect();
    match words[..] {
        ["range", ".Alerts"] => return Ok(Action::Range),
        ["end"] => return Ok(Action::End),
        _ => {}
    }
    let mut steps = action.split('|').map(str::trim);
    let name = steps.next().unwrap_or_default();
    let field = field_of(name).ok_or_else(|| {
        let name: String = name.chars().take(60).collect();
        format!(
            "`{name}`; possible are .Status, .Labels.NAME, .Annotations.NAME, .StartsAt, .EndsAt, \
             .GeneratorURL, .Fingerprint, and range .Alerts ... end"
        )
    })?;
    let case = match (steps.next(), steps.next()) {
        (None, _) => Case::AsIs,
        (Some("toUpper"), None) => Case::Upper,
        (Some("toLower"), None) => Case::Lower,
        (Some(_), _) => return Err("after `|` only one toUpper or toLower is possible".into()),
    };
    Ok(Action::Place(field, case))
}

fn field_of(name: &str) -> Option<Field> {
    Some(match name {
        ".Status" => Field::Status,
        ".StartsAt" => Field::StartsAt,
        ".EndsAt" => Field::EndsAt,
        ".GeneratorURL" => Field::GeneratorUrl,
        ".Fingerprint" => Field::Fingerprint,
        name => {
            let (of, key) = name.strip_prefix('.')?.split_once('.')?;
            let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if key.is_empty() || !key.chars().all(good) {
                return None;
            }
            match of {
                "Labels" | "CommonLabels" | "GroupLabels" => Field::Label(key.to_owned()),
                "Annotations" | "CommonAnnotations" => Field::Annotation(key.to_owned()),
                _ => return None,
            }
        }
    })
}

/// What is not there is empty, as in Go.
fn value_of(field: &Field, alert: &Alert) -> String {
    let time = |at: model::UnixMs| at.to_string();
    match field {
        Field::Status => match alert.status {
            AlertStatus::Firing => "firing".into(),
            AlertStatus::Resolved => "resolved".into(),
        },
        Field::Label(name) => alert.labels.get(name).unwrap_or_default().to_owned(),
        Field::Annotation(name) => alert.annotations.get(name).cloned().unwrap_or_default(),
        Field::StartsAt => time(alert.starts_at),
        Field::EndsAt => alert.ends_at.map_or_else(String::new, time),
        Field::GeneratorUrl => alert.generator_url.clone(),
        Field::Fingerprint => alert.fingerprint.clone(),
    }
}

fn error_at(text: &str, at: usize, reason: String) -> TemplateError {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    TemplateError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    fn alert() -> Alert {
        Alert::of_incident(&crate::message::tests::incident(), &Origin::default())
    }

    fn render(text: &str) -> Result<String, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        Ok(template.render(&alert(), str::to_owned))
    }

    #[test]
    fn places_are_filled_in() {
        let rows = [
            ("plain", "no place } at { all", "no place } at { all"),
            ("label", "{{ .Labels.workload }} leaks", "shop leaks"),
            ("no spaces", "{{.Labels.kind}}", "go-heap"),
            ("status", "[{{ .Status | toUpper }}]", "[FIRING]"),
            ("lower", "{{ .Labels.alertname | toLower }}", "memoryleak"),
            (
                "common",
                "{{ .CommonAnnotations.summary }}",
                "shop leaks: go-heap, 60.0 MiB/min",
            ),
            ("not there", "<{{ .Labels.nobody }}>", "<>"),
            (
                "time",
                "{{ .StartsAt }}{{ .EndsAt }}",
                "2026-11-21T22:30:00Z",
            ),
            (
                "range",
                "a{{ range .Alerts }} {{ .Labels.kind }}{{ end }}b",
                "a go-heapb",
            ),
            ("trimmed", "a \n {{- .Labels.kind -}} \n b", "ago-heapb"),
            ("trimmed before", "a {{- .Labels.kind }} b", "ago-heap b"),
        ];
        for (name, text, expected) in rows {
            assert_eq!(render(text).as_deref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn all_else_is_refused_with_its_place() {
        let rows = [
            ("a function", "x\n  {{ printf \"%s\" .Status }}", "2:3"),
            ("a condition", "{{ if .Status }}x{{ end }}", "1:1"),
            ("a template", "é{{ template \"x\" . }}", "1:2"),
            ("open", "a {{ .Status", "1:3: `{{` without `}}`"),
            ("end alone", "{{ end }}", "without `range`"),
            ("range alone", "{{ range .Alerts }}", "without `end`"),
            ("a pipe", "{{ .Status | title }}", "toUpper or toLower"),
            ("two pipes", "{{ .Status | toUpper | toLower }}", "only one"),
            ("no name", "{{ .Labels. }}", "possible are"),
            ("empty", "{{ }}", "possible are"),
        ];
        for (name, text, expected) in rows {
            let error = render(text).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
        }
        assert!(render(&"x".repeat(20_000)).is_err());
    }

    #[test]
    fn what_is_filled_in_is_escaped() {
        let mut alert = alert();
        alert.annotations.insert("x".into(), "<!all>".into());
        let template = Template::parse("<b>{{ .Annotations.x }}").unwrap();
        let shown = template.render(&alert, |text| text.replace('<', "&lt;"));
        assert_eq!(shown, "<b>&lt;!all>");
    }
}
