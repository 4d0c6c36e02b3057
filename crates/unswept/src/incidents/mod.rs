//! `unswept incidents`: reads the incidents' folders directly, so it works beside a running
//! watcher, which holds the store's lock. What changes something goes to that watcher.

mod answer;
pub(crate) mod args;
mod export;
mod report;
mod window;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use model::incident::SCHEMA;
use model::{Clock, EvidenceKind, Incident, IncidentState, UnixMs};

use crate::args::Format;
use crate::terminal::{self, Screen};
use crate::text::{Column, Line, Style, hang, table};
use crate::{setup, words};
use args::{Incidents, List, Show};

/// No manifest of ours comes near this.
const MANIFEST_BYTES_MAX: u64 = 8 << 20;
/// Folders looked at.
const FOLDERS_MAX: usize = 10_000;

/// Why an incident cannot be shown. The user can mend all of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IncidentError {
    #[error("failed to list the incidents in {}", path.display())]
    List {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("there is no incident `{id}` in {}", path.display())]
    Unknown { id: String, path: PathBuf },
    #[error("{count} incidents begin with `{id}`")]
    Ambiguous { id: String, count: usize },
    #[error("the incident {id} cannot be read: {reason}")]
    Unreadable { id: String, reason: String },
}

impl IncidentError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::List { .. } => "name the watcher's data folder with --data, and be its user",
            Self::Unknown { .. } | Self::Ambiguous { .. } => {
                "`unswept incidents list` shows their ids"
            }
            Self::Unreadable { .. } => {
                "the evidence files beside the manifest may still be readable"
            }
        }
    }
}

pub(crate) fn run(command: &Incidents) -> anyhow::Result<ExitCode> {
    match command {
        Incidents::List(arguments) => list(arguments)?,
        Incidents::Show(arguments) => show(arguments)?,
        Incidents::Ack(arguments) => answer::ack(arguments)?,
        Incidents::Mute(arguments) => answer::mute(arguments)?,
        Incidents::Mark(arguments) => answer::mark(arguments)?,
        Incidents::Undo(arguments) => answer::undo(arguments)?,
        Incidents::Export(arguments) => export::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) use report::run as report;

fn list(arguments: &List) -> anyhow::Result<()> {
    let found = Found::read(&folder_of(arguments.data.as_deref())?)?;
    match arguments.format {
        Format::Json => terminal::json(&found.incidents)?,
        Format::Text if found.incidents.is_empty() => terminal::note("no incident is kept here"),
        Format::Text => terminal::lines(&list_lines(&found.incidents, Screen::stdout().width))?,
    }
    for (id, reason) in &found.unreadable {
        terminal::note(format!("{id} cannot be read: {reason}"));
    }
    if found.left_out {
        terminal::note(format!("only {FOLDERS_MAX} folders were looked at"));
    }
    Ok(())
}

fn show(arguments: &Show) -> anyhow::Result<()> {
    let folder = folder_of(arguments.data.as_deref())?;
    let found = Found::read(&folder)?;
    let incident = found.one(&arguments.id, &folder)?;
    match arguments.format {
        Format::Json => terminal::json(incident),
        Format::Text => {
            let clock = engine::SystemClock::default();
            let width = Screen::stdout().text_width();
            terminal::lines(&show_lines(incident, &folder, clock.now(), width))
        }
    }
}

fn folder_of(data: Option<&Path>) -> anyhow::Result<PathBuf> {
    Ok(data_of(data)?.join("incidents"))
}

fn data_of(data: Option<&Path>) -> anyhow::Result<PathBuf> {
    match data {
        Some(data) => Ok(data.to_owned()),
        None => setup::default_data_dir(),
    }
}

/// The incidents of a data folder, the latest first.
#[derive(Debug, Default)]
struct Found {
    incidents: Vec<Incident>,
    /// Folders whose manifest is no good, with the reason.
    unreadable: Vec<(String, String)>,
    left_out: bool,
}

impl Found {
    fn read(folder: &Path) -> Result<Self, IncidentError> {
        let list = |source| IncidentError::List {
            path: folder.into(),
            source,
        };
        let mut found = Self::default();
        for (i, entry) in std::fs::read_dir(folder).map_err(list)?.enumerate() {
            if i >= FOLDERS_MAX {
                found.left_out = true;
                break;
            }
            let entry = entry.map_err(list)?;
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let id = entry.file_name().to_string_lossy().into_owned();
            match read_manifest(&entry.path(), &id) {
                Ok(incident) => found.incidents.push(incident),
                Err(reason) => found.unreadable.push((id, reason)),
            }
        }
        found
            .incidents
            .sort_by(|a, b| (b.opened, &b.id).cmp(&(a.opened, &a.id)));
        found.unreadable.sort();
        Ok(found)
    }

    /// The incident with this id, or the only one whose id begins so.
    fn one(&self, id: &str, folder: &Path) -> Result<&Incident, IncidentError> {
        if let Some(incident) = self.incidents.iter().find(|incident| incident.id.0 == id) {
            return Ok(incident);
        }
        if let Some((_, reason)) = self.unreadable.iter().find(|(of, _)| of == id) {
            return Err(IncidentError::Unreadable {
                id: id.into(),
                reason: reason.clone(),
            });
        }
        let begins: Vec<_> = self
            .incidents
            .iter()
            .filter(|i| i.id.0.starts_with(id))
            .collect();
        match begins.as_slice() {
            [incident] => Ok(incident),
            [] => Err(IncidentError::Unknown {
                id: id.into(),
                path: folder.into(),
            }),
            several => Err(IncidentError::Ambiguous {
                id: id.into(),
                count: several.len(),
            }),
        }
    }
}

fn read_manifest(folder: &Path, id: &str) -> Result<Incident, String> {
    let file = std::fs::File::open(folder.join("manifest.json"));
    let file = file.map_err(|error| format!("manifest.json: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| format!("manifest.json: {error}"))?;
    // The schema first: the rest of a newer one may have changed.
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: String,
    }
    let malformed = |error: serde_json::Error| format!("manifest.json: {error}");
    let Schema { schema } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if schema != SCHEMA {
        return Err(format!(
            "its format is {schema}, this version reads {SCHEMA}"
        ));
    }
    let incident: Incident = serde_json::from_slice(&bytes).map_err(malformed)?;
    match incident.id.0 == id {
        true => Ok(incident),
        false => Err(format!("its manifest is of {}", incident.id)),
    }
}

fn state(incident: &Incident) -> Line {
    match incident.state {
        IncidentState::Open if incident.silence.is_some() => {
            let because = incident
                .silence
                .map_or("", |silence| silence.because.as_str());
            Line::new(Style::Plain, because)
        }
        IncidentState::Open if incident.is_acknowledged() => Line::new(Style::Bad, "acknowledged"),
        IncidentState::Open => Line::new(Style::Bad, "open"),
        IncidentState::Resolved => Line::new(Style::Good, "resolved"),
    }
}

fn list_lines(incidents: &[Incident], width: Option<usize>) -> Vec<Line> {
    const COLUMNS: [Column; 7] = [
        Column::text("ID"),
        Column::text("STATE"),
        Column::text("KIND"),
        Column::text("OPENED").spare(2),
        Column::figure("GROWTH").spare(1),
        Column::text("CULPRIT").least(16),
        Column::text("WORKLOAD").least(8).spare(3),
    ];
    let row = |incident: &Incident| -> Vec<Line> {
        let finding = incident
            .verdict
            .findings
            .iter()
            .find(|f| f.kind == Some(incident.kind));
        let growth = finding.and_then(|finding| finding.growth.as_ref());
        vec![
            incident.id.0.as_str().into(),
            state(incident),
            incident.kind.as_str().into(),
            incident.opened.rfc3339().into(),
            growth.map_or_else(Line::default, |growth| words::rate(growth).into()),
            incident.culprit.as_str().into(),
            incident.workload.0.as_str().into(),
        ]
    };
    let rows: Vec<Vec<Line>> = incidents.iter().map(row).collect();
    table(&COLUMNS, &rows, width)
}

fn show_lines(incident: &Incident, folder: &Path, now: UnixMs, width: usize) -> Vec<Line> {
    let finding = incident
        .verdict
        .findings
        .iter()
        .find(|f| f.kind == Some(incident.kind));
    let mut lines = vec![
        Line::new(Style::Strong, &incident.workload.0)
            .with(Style::Plain, ": ")
            .with(
                Style::Bad,
                match incident.kind.is_leak() {
                    true => format!("leak {}", incident.kind.as_str()),
                    false => incident.kind.as_str().to_owned(),
                },
            )
            .with(
                Style::Plain,
                format!(", {}, ", crate::answer::kind_in_words(incident.kind)),
            ),
    ];
    lines[0].append(state(incident));
    for (name, text) in facts(incident, now) {
        lines.extend(hang(
            Line::new(Style::Faint, format!("  {name:<10}")),
            &text,
            width,
        ));
    }
    if let Some(finding) = finding {
        lines.extend(crate::answer::suspects(&finding.suspects, width));
    }
    lines.push(Line::new(Style::Strong, "timeline"));
    for event in &incident.timeline {
        lines.extend(hang(
            Line::new(Style::Faint, format!("  {}  ", event.at)),
            &event.text,
            width,
        ));
    }
    let folder = folder.join(&incident.id.0);
    lines.push(
        Line::new(Style::Strong, "evidence").with(Style::Plain, format!("  {}", folder.display())),
    );
    let mut files: Vec<_> = incident.evidence.iter().collect();
    files.sort_by_key(|file| (file.at, &file.name));
    for file in files {
        lines.push(
            Line::from(format!("  {}  ", file.at))
                .with(Style::Plain, &file.name)
                .with(
                    Style::Faint,
                    format!(
                        "  {}, {}",
                        file.kind.as_str(),
                        words::bytes(file.bytes as f64)
                    ),
                ),
        );
    }
    let commands = next_commands(incident, &folder);
    if !commands.is_empty() {
        lines.push(Line::new(Style::Strong, "next"));
        lines.extend(
            commands
                .into_iter()
                .map(|command| Line::from(format!("  {command}"))),
        );
    }
    lines
}

fn facts(incident: &Incident, now: UnixMs) -> Vec<(&'static str, String)> {
    let verdict = &incident.verdict;
    let finding = verdict
        .findings
        .iter()
        .find(|f| f.kind == Some(incident.kind));
    let when = |at: UnixMs| format!("{at} ({})", words::ago(at, now));
    let mut facts = vec![("id", incident.id.0.clone())];
    if let Some(growth) = finding.and_then(|finding| finding.growth.as_ref()) {
        facts.push(("growth", words::rate_with_interval(growth)));
    }
    if let Some(limit) = verdict.limit_bytes {
        let source = verdict.limit_source.as_deref().unwrap_or("source unknown");
        let reached = words::time_to_limit(verdict).map_or_else(String::new, |time| {
            format!(", reached {time} after {}", verdict.at)
        });
        facts.push((
            "limit",
            format!("{} ({source}){reached}", words::bytes(limit as f64)),
        ));
    }
    if let Some(confidence) = finding.and_then(|finding| finding.confidence) {
        facts.push(("sure to", words::percent(confidence)));
    }
    facts.extend(incident.onset.map(|onset| ("began", when(onset))));
    facts.push(("opened", when(incident.opened)));
    facts.push(("last seen", when(incident.last_seen)));
    facts.extend(
        incident
            .resolved
            .map(|resolved| ("resolved", when(resolved))),
    );
    if !incident.revision.0.is_empty() {
        facts.push(("revision", incident.revision.0.clone()));
    }
    if let Some(pid) = verdict.target.pid {
        facts.push(("process", format!("pid {pid} on {}", verdict.target.host)));
    }
    for said in &incident.answers {
        let text = engine::answering::in_words(said);
        facts.push(("answered", format!("{}: {text}", said.at)));
    }
    if let Some(siblings) = incident.siblings {
        let text = format!(
            "{} of {} running targets of this revision leak",
            siblings.leaking, siblings.of_revision
        );
        facts.push(("siblings", text));
    }
    let members = incident.members().count();
    if members > 1 {
        facts.push(("targets", members.to_string()));
    }
    facts
}

/// What a person would run next on the evidence there is.
fn next_commands(incident: &Incident, folder: &Path) -> Vec<String> {
    let mut commands = Vec::new();
    for kind in [EvidenceKind::HeapProfile, EvidenceKind::GoroutineProfile] {
        let of_kind = incident.evidence.iter().filter(|file| file.kind == kind);
        let mut files: Vec<_> = of_kind.collect();
        // Two processes have nothing to be compared by.
        let target = files.first().map(|file| file.target.clone());
        files.retain(|file| target.as_ref() == Some(&file.target));
        files.sort_by_key(|file| file.at);
        let path = |name: &str| quoted(&folder.join(name).display().to_string());
        match files.as_slice() {
            [] => {}
            [one] => commands.push(format!("unswept profile top {}", path(&one.name))),
            [first, .., last] => commands.push(format!(
                "unswept profile diff --stacks {} {}",
                path(&first.name),
                path(&last.name)
            )),
        }
    }
    commands
}

/// As a shell takes it: quoted only where it must be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::EvidenceRef;

    fn incident() -> Incident {
        let fleet = crate::board::tests::fleet();
        let mut incident = Incident::clone(&fleet.incidents[0]);
        let target = incident.targets[0].clone();
        let file = |seconds: i64, name: &str| EvidenceRef {
            kind: EvidenceKind::HeapProfile,
            target: target.clone(),
            at: UnixMs(incident.opened.0 + seconds * 1000),
            name: name.into(),
            bytes: 23_456,
            crc32: 0,
        };
        let files = vec![file(1, "after-heap.pb.gz"), file(-600, "before-heap.pb.gz")];
        let opened = incident.opened;
        incident.evidence = files;
        incident.note(
            opened,
            "opened",
            "opened: go-heap leak of shop, found three times in a row",
        );
        incident
    }

    fn store(folder: &Path, incident: &Incident) {
        let folder = folder.join(&incident.id.0);
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = serde_json::to_vec(incident).unwrap();
        std::fs::write(folder.join("manifest.json"), manifest).unwrap();
    }

    #[test]
    fn good_manifests_are_read_and_others_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut later = incident();
        later.id.0 = "20261121-224500-depot-ffff".into();
        later.opened = UnixMs(later.opened.0 + 900_000);
        store(folder.path(), &incident());
        store(folder.path(), &later);
        let rows = [
            ("a-torn", "{\"schema\": \"unswept/incident/1\", "),
            ("b-newer", "{\"schema\": \"unswept/incident/2\"}"),
            ("c-empty", ""),
        ];
        for (id, manifest) in rows {
            std::fs::create_dir(folder.path().join(id)).unwrap();
            std::fs::write(folder.path().join(id).join("manifest.json"), manifest).unwrap();
        }
        std::fs::write(folder.path().join("a-file"), "").unwrap();
        let found = Found::read(folder.path()).unwrap();
        let ids: Vec<&str> = found.incidents.iter().map(|i| i.id.0.as_str()).collect();
        assert_eq!(
            ids,
            ["20261121-224500-depot-ffff", incident().id.0.as_str()]
        );
        let bad: Vec<&str> = found.unreadable.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(bad, ["a-torn", "b-newer", "c-empty"]);
        assert!(
            found.unreadable[1].1.contains("incident/2"),
            "{:?}",
            found.unreadable
        );

        let one = |id: &str| found.one(id, folder.path()).map(|i| i.id.0.clone());
        assert_eq!(one("20261121-2245").unwrap(), later.id.0);
        assert!(matches!(
            one("2026"),
            Err(IncidentError::Ambiguous { count: 2, .. })
        ));
        assert!(matches!(one("nothing"), Err(IncidentError::Unknown { .. })));
        assert!(matches!(
            one("a-torn"),
            Err(IncidentError::Unreadable { .. })
        ));
    }

    #[test]
    fn no_data_folder_is_an_error_with_its_path() {
        let error = Found::read(Path::new("/nonexistent/incidents")).expect_err("missing");
        assert!(
            error.to_string().contains("/nonexistent/incidents"),
            "{error}"
        );
    }

    #[test]
    fn one_incident() {
        let now = UnixMs(1_795_300_200_000);
        let lines = show_lines(&incident(), Path::new("/data dir/incidents"), now, 100);
        let text: String = lines.iter().map(|line| line.paint(false) + "\n").collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_list() {
        let lines = list_lines(&[incident()], None);
        let text: String = lines.iter().map(|line| line.paint(false) + "\n").collect();
        insta::assert_snapshot!(text);
    }
}
