//! The words of a message to people: a title and a text, by templates or as they are by themselves.

use std::fmt::Write as _;

use crate::{Alert, AlertStatus, Template};

/// Annotations in the order in which they help, with how each is called.
const LINES: [(&str, &str); 9] = [
    ("description", ""),
    ("growth", "Growth: "),
    ("time_to_limit", "Time to the limit: "),
    ("suspects", "Suspects: "),
    ("held_by", "Held by: "),
    ("targets", "Where: "),
    ("evidence", "Evidence: "),
    ("link", "See: "),
    ("command", "Run: "),
];

/// How a receiver wants its messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wording {
    pub(crate) title: Option<Template>,
    pub(crate) text: Option<Template>,
}

impl Wording {
    /// One line. `escape` makes what is filled in harmless for where it goes.
    pub(crate) fn title(&self, alert: &Alert, escape: fn(&str) -> String) -> String {
        let title = match &self.title {
            Some(template) => template.render(alert, escape),
            None => {
                let status = match alert.status {
                    AlertStatus::Firing => "FIRING",
                    AlertStatus::Resolved => "RESOLVED",
                };
                let summary = alert.annotations.get("summary");
                escape(&format!(
                    "[{status}] {}",
                    summary.map_or("", String::as_str)
                ))
            }
        };
        title.replace(['\n', '\r'], " ")
    }

    /// The rest.
    pub(crate) fn text(&self, alert: &Alert, escape: fn(&str) -> String) -> String {
        if let Some(template) = &self.text {
            return template.render(alert, escape);
        }
        let mut text = String::new();
        for (name, called) in LINES {
            if let Some(value) = alert.annotations.get(name).filter(|v| !v.is_empty()) {
                // Writing to a text does not fail.
                let _ = writeln!(text, "{called}{}", escape(value));
            }
        }
        if let Some(at) = alert.ends_at {
            let _ = writeln!(text, "Over since {at}");
        }
        text
    }

    /// Title and text together, for messages that have one field only.
    pub(crate) fn whole(&self, alert: &Alert, bytes_max: usize) -> String {
        let title = self.title(alert, str::to_owned);
        let text = self.text(alert, str::to_owned);
        cut(&format!("{title}\n{}", text.trim_end()), bytes_max)
    }
}

/// `text`, or as much of its beginning as `bytes_max` bytes of UTF-8 hold with a mark at the end.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Origin;

    pub(crate) fn alert(status: AlertStatus) -> Alert {
        let mut incident = crate::message::tests::incident();
        if status == AlertStatus::Resolved {
            incident.state = model::IncidentState::Resolved;
            incident.resolved = Some(incident.opened.after(std::time::Duration::from_secs(60)));
        }
        let origin = Origin {
            data_dir: "/data".into(),
            ..Origin::default()
        };
        Alert::of_incident(&incident, &origin)
    }

    #[test]
    fn by_itself_it_says_what_leaks_and_where_to_look() {
        let wording = Wording::default();
        let firing = wording.whole(&alert(AlertStatus::Firing), 10_000);
        let expected = [
            "[FIRING] shop leaks: go-heap, 60.0 MiB/min\n",
            "\nGrowth: 60.0 MiB/min",
            "\nSuspects: 1. main.f f.go:7",
            "\nWhere: shop (pid 1 on h)",
            "\nRun: unswept incidents show",
        ];
        for line in expected {
            assert!(firing.contains(line), "{line:?} in {firing}");
        }
        let resolved = wording.whole(&alert(AlertStatus::Resolved), 10_000);
        assert!(resolved.starts_with("[RESOLVED]"), "{resolved}");
        assert!(
            resolved.ends_with("Over since 2026-11-21T22:31:00Z"),
            "{resolved}"
        );
    }

    #[test]
    fn templates_take_the_place_of_both() {
        let template = |text: &str| Some(Template::parse(text).unwrap());
        let wording = Wording {
            title: template("{{ .Labels.kind }}\nx"),
            text: template("see {{ .Annotations.command }}"),
        };
        let whole = wording.whole(&alert(AlertStatus::Firing), 28);
        assert_eq!(whole, "go-heap x\nsee unswept inc…");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let rows = [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "ab…"),
            ("éééé", 6, "é…"),
            ("abc", 1, "…"),
        ];
        for (text, max, expected) in rows {
            assert_eq!(cut(text, max), expected, "{text} {max}");
        }
    }
}
