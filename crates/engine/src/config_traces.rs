//! `trace_files:` of the configuration: where targets write lines of `GODEBUG=gctrace=1,scavtrace=1`.

use std::path::PathBuf;

use collect::{JournalOf, TraceSource};
use model::ProcessKey;
use serde::Deserialize;

/// A unit's name is no longer, says systemd.
const UNIT_BYTES_MAX: usize = 255;
/// What stands for the target's own process.
const OF_PROCESS: &str = "pid";

/// A log that a target writes such lines to: a file, or its journal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceLog {
    /// The target's name, as the pages show it.
    pub name: String,
    /// The file.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The file, as the target sees it: in its container, if it is in one.
    #[serde(default)]
    pub target_file: Option<PathBuf>,
    /// Whose lines of the systemd journal: a unit's, or `pid` for those of the target's process.
    #[serde(default)]
    pub journal: Option<String>,
}

impl TraceLog {
    /// Where to read, for a target that is this process; nowhere if that is asked for and there is none.
    pub(crate) fn source(&self, process: Option<&ProcessKey>) -> Option<TraceSource> {
        let journal = self.journal.as_deref().and_then(|unit| match unit {
            OF_PROCESS => Some(JournalOf::Pid(process?.pid.0)),
            unit => Some(JournalOf::Unit(unit.to_owned())),
        });
        let file = self.file.clone().map(TraceSource::File);
        let inside = self.target_file.clone().zip(process.cloned());
        let inside = inside.map(|(path, process)| TraceSource::OfTarget(process, path));
        file.or(inside).or(journal.map(TraceSource::Journal))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let name = &self.name;
        match (&self.file, &self.target_file, &self.journal) {
            (Some(file), None, None) | (None, Some(file), None) if !file.is_absolute() => {
                let file = file.display();
                Err(format!("`{file}` in trace_files must begin with /"))
            }
            (None, None, Some(unit)) if !is_unit(unit) => Err(format!(
                "`{unit}` in trace_files is no unit: write one such as shop.service, or pid"
            )),
            (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => Ok(()),
            _ => Err(format!(
                "`{name}` in trace_files needs a file, a target_file or a journal: one of them"
            )),
        }
    }
}

/// Whether systemd could call a unit so.
fn is_unit(unit: &str) -> bool {
    let may_be = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    !unit.is_empty() && unit.len() <= UNIT_BYTES_MAX && unit.chars().all(may_be)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{BootId, Pid, StartTicks};

    use super::*;
    use crate::Config;

    fn process() -> ProcessKey {
        ProcessKey {
            boot_id: BootId("b".into()),
            pid: Pid(42),
            start_ticks: StartTicks(7),
        }
    }

    #[test]
    fn a_log_is_a_file_or_a_journal() {
        let parse = |log: &str| {
            let text = format!("trace_files: [{{name: shop, {log}}}]");
            let config = Config::parse(Path::new("unswept.yml"), &text);
            let source = |config: Config| config.trace_files[0].source(Some(&process()));
            config.map(source).map_err(|error| error.to_string())
        };
        let journal = |of| Ok(Some(TraceSource::Journal(of)));
        assert_eq!(parse("file: /x"), Ok(Some(TraceSource::File("/x".into()))));
        assert_eq!(
            parse("target_file: /x"),
            Ok(Some(TraceSource::OfTarget(process(), "/x".into())))
        );
        assert_eq!(
            parse("journal: shop@1.service"),
            journal(JournalOf::Unit("shop@1.service".into()))
        );
        assert_eq!(parse("journal: pid"), journal(JournalOf::Pid(42)));
        for (log, said) in [
            ("file: x", "must begin with /"),
            ("target_file: x", "must begin with /"),
            ("journal: 'a b'", "no unit"),
            ("journal: ''", "no unit"),
            ("file: /x, journal: pid", "one of them"),
            ("file: /x, target_file: /x", "one of them"),
        ] {
            let error = parse(log).expect_err(log);
            assert!(error.contains(said), "{log}: {error}");
        }
        let log = TraceLog {
            name: "shop".into(),
            file: None,
            target_file: None,
            journal: Some("pid".into()),
        };
        assert_eq!(log.source(None), None, "a target elsewhere");
    }
}
