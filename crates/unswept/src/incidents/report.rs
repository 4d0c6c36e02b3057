//! `unswept report`: an incident as one HTML file, made from its folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use engine::SystemClock;
use model::{Clock, Incident};

use super::args::Report;
use super::{Found, data_of, export};
use crate::terminal;

pub(crate) fn run(arguments: &Report) -> anyhow::Result<std::process::ExitCode> {
    let folder = data_of(arguments.data.as_deref())?.join("incidents");
    let found = Found::read(&folder)?;
    let incident = found.one(&arguments.id, &folder)?;
    let default = || PathBuf::from(format!("{}.html", incident.id));
    let output = arguments.output.clone().unwrap_or_else(default);
    let failed = || format!("failed to write {}", output.display());
    let mut file = export::create(&output).with_context(failed)?;
    let written = file.write_all(html(incident, &folder).as_bytes());
    written.with_context(failed)?;
    terminal::data(&format!(
        "{}: written to {}\n",
        incident.id,
        output.display()
    ))?;
    Ok(std::process::ExitCode::SUCCESS)
}

/// The page of an incident, with everything in it.
pub(super) fn html(incident: &Incident, folder: &Path) -> String {
    let own = folder.join(&incident.id.0);
    let read = |name: &str| match incident.evidence.iter().find(|file| file.name == name) {
        Some(file) => store::read_evidence_file(&own, file),
        None => Ok(None),
    };
    web::report(incident, SystemClock::default().now(), &read)
}
