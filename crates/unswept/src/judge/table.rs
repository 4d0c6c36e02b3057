//! What a back-test came to, for people.

use engine::backtest::Record;
use model::{Judgement, Labels};

use crate::text::{Column, Line, Style, table};
use crate::words;

/// Rows that are shown.
const ROWS_MAX: usize = 200;

const COLUMNS: [Column; 7] = [
    Column::text("TARGET").least(16),
    Column::text("VERDICT"),
    Column::text("KIND"),
    Column::figure("SURE").spare(3),
    Column::figure("GROWTH"),
    Column::text("TOLD").spare(1),
    Column::text("OVER").spare(2),
];

/// What has been told so far, within bounds.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    incidents: Vec<Record>,
    calm: Vec<Record>,
    incidents_told: usize,
    pub(crate) targets: usize,
    pub(crate) leaking: usize,
    pub(crate) unsure: usize,
    last: Option<Labels>,
}

impl Summary {
    /// Takes the next line in; those of one target follow one another.
    pub(crate) fn add(&mut self, record: &Record) {
        let is_incident = record.detected_at.is_some();
        if self.last.as_ref() != Some(&record.labels) {
            self.last = Some(record.labels.clone());
            self.targets += 1;
            self.leaking += usize::from(is_incident);
            self.unsure += usize::from(!is_incident && record.verdict == Judgement::Unsure);
        }
        self.incidents_told += usize::from(is_incident);
        let rows = if is_incident {
            &mut self.incidents
        } else {
            &mut self.calm
        };
        if rows.len() < ROWS_MAX {
            rows.push(record.clone());
        }
    }

    /// The table and a line that sums it up. Incidents come first.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<Line> {
        let shown = self.incidents.iter().chain(&self.calm).take(ROWS_MAX);
        let rows: Vec<Vec<Line>> = shown.map(row).collect();
        let told = self.incidents_told + self.targets - self.leaking;
        let left_out = told.saturating_sub(rows.len());
        let mut lines = match rows.is_empty() {
            true => Vec::new(),
            false => table(&COLUMNS, &rows, width),
        };
        if left_out > 0 {
            lines.push(Line::new(Style::Faint, format!("and {left_out} more")));
        }
        lines.push(Line::default());
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let mut sum = format!(
            "{}: {} in {}",
            many(self.targets, "target"),
            many(self.incidents_told, "incident"),
            many(self.leaking, "target"),
        );
        if self.unsure > 0 {
            sum += &format!("; {} could not be decided", self.unsure);
        }
        lines.push(sum.into());
        lines
    }
}

fn row(record: &Record) -> Vec<Line> {
    let verdict = match record.detected_at {
        Some(_) => "leak",
        None => record.verdict.as_str(),
    };
    let kind = record.kind.map_or("", |kind| kind.as_str());
    let sure = record.confidence.map(words::percent).unwrap_or_default();
    let growth = record.growth.as_ref().map(words::rate).unwrap_or_default();
    let time = |at: Option<model::UnixMs>| at.map(model::UnixMs::rfc3339).unwrap_or_default();
    vec![
        name_of(&record.labels).into(),
        Line::new(words::verdict_style(record.verdict), verdict),
        kind.into(),
        sure.into(),
        growth.into(),
        time(record.detected_at).into(),
        time(record.ended_at).into(),
    ]
}

/// A target as people call it: pod and container, else job and instance, else all its labels.
pub(crate) fn name_of(labels: &Labels) -> String {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let joined = |names: &[&str]| {
        let parts = names.iter().map(|name| get(name));
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        parts.join("/")
    };
    if !get("pod").is_empty() {
        return joined(&["namespace", "pod", "container"]);
    }
    match joined(&["job", "instance"]) {
        name if name.is_empty() => labels.to_string(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use model::verdict::Window;
    use model::{Growth, Kind, UnixMs};

    use super::*;

    fn record(instance: &str, leak: bool) -> Record {
        let at = UnixMs(1_767_225_600_000);
        Record {
            schema: engine::backtest::SCHEMA,
            labels: Labels::new([("job", "shop"), ("instance", instance)]),
            verdict: if leak {
                Judgement::Leak
            } else {
                Judgement::Unsure
            },
            kind: leak.then_some(Kind::GoHeap),
            confidence: leak.then_some(0.97),
            onset: leak.then_some(at),
            detected_at: leak.then_some(UnixMs(at.0 + 900_000)),
            ended_at: None,
            started: Some(at),
            growth: leak.then(|| Growth {
                unit: "bytes".into(),
                per_minute: 5e6,
                low: 4e6,
                high: 6e6,
                level: 0.95,
            }),
            limit_bytes: None,
            limit_source: None,
            seconds_to_limit: None,
            why: Vec::new(),
            advice: Vec::new(),
            replayed: Window { from: at, to: at },
            readings: 1,
            lives: 1,
            judged: 1,
            unsure: 0,
        }
    }

    #[test]
    fn incidents_come_first_and_are_summed_up() {
        let mut summary = Summary::default();
        for (instance, leak) in [("calm", false), ("leaky", true), ("leaky", true)] {
            summary.add(&record(instance, leak));
        }
        let lines = summary.lines(None);
        let text: Vec<String> = lines.iter().map(|line| line.paint(false)).collect();
        assert!(text[0].starts_with("TARGET"), "{text:#?}");
        assert!(text[1].starts_with("shop/leaky  leak"), "{text:#?}");
        assert!(
            text[1].contains("4.8 MiB/min  2026-01-01T00:15:00Z"),
            "{text:#?}"
        );
        assert!(text[3].starts_with("shop/calm   unsure"), "{text:#?}");
        let want = "2 targets: 2 incidents in 1 target; 1 could not be decided";
        assert_eq!(text.last().map(String::as_str), Some(want));
        for n in 0..500 {
            summary.add(&record(&n.to_string(), false));
        }
        let text: Vec<String> = summary
            .lines(None)
            .iter()
            .map(|line| line.paint(false))
            .collect();
        assert!(text.contains(&"and 303 more".to_owned()), "{text:#?}");
    }
}
