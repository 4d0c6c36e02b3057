//! An incident as one HTML file that loads nothing: styles, the graph's script and its trees are in it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{FleetRead, FleetView, Incident, IncidentId, Kind, UnixMs};

use crate::assets;
use crate::compare::{Compared, Comparisons};
use crate::holders::{AllHeld, target_shown};
use crate::pages::{Mode, flame_source, holders_source, incident_page};

/// Reads an evidence file by its name; `None` if it is gone.
pub type ReadEvidence<'a> = dyn Fn(&str) -> std::io::Result<Option<Vec<u8>>> + Sync + 'a;

/// The page of `incident` as a file, seen `at`. What cannot be read is said in its place. Reads and
/// compares profiles for up to some seconds.
#[must_use]
pub fn report(incident: &Incident, at: UnixMs, read: &ReadEvidence<'_>) -> String {
    let incident = Arc::new(incident.clone());
    let view = FleetView {
        at,
        incidents: vec![Arc::clone(&incident)],
        ..FleetView::default()
    };
    let alone = Alone {
        view: Arc::new(view),
        read,
    };
    let comparisons = Comparisons::default();
    let heap = comparisons.get(&alone, &incident, Compared::Heap);
    let goroutines = match incident.kind {
        Kind::Goroutine => comparisons.get(&alone, &incident, Compared::Goroutines),
        _ => Ok(None),
    };
    let shown = target_shown(&incident, &incident.verdict.target.id);
    let held = shown.map_or(Ok(None), |target| {
        AllHeld::default().get(&alone, &incident, target)
    });
    let mut trees = Vec::new();
    for (compared, outcome) in [(Compared::Heap, &heap), (Compared::Goroutines, &goroutines)] {
        if let Ok(Some(comparison)) = outcome {
            let source = flame_source(&incident, compared.sample_type());
            trees.push((source, comparison.flame_json.as_str()));
        }
    }
    if let Ok(Some(held)) = &held {
        let source = holders_source(&incident, held);
        trees.push((source, held.flame_json.as_str()));
    }
    let page = incident_page(
        &alone.view,
        &incident,
        &heap,
        &goroutines,
        &held,
        Mode::Report,
    );
    trees
        .iter()
        .fold(page.into_string(), |page, (source, json)| {
            let asked = format!("data-flame=\"{}\"", source.replace('&', "&amp;"));
            let tree = STANDARD.encode(json);
            page.replace(
                &asked,
                &format!("data-flame=\"data:application/json;base64,{tree}\""),
            )
        })
}

/// The graph's script without its imports.
pub(crate) fn script() -> String {
    let figures = assets::text("figures.js").replace("export function", "function");
    let flame = assets::text("flame.js");
    let flame = flame.lines().filter(|line| !line.starts_with("import "));
    figures + &flame.collect::<Vec<_>>().join("\n")
}

/// A fleet of one incident and its evidence.
struct Alone<'a> {
    view: Arc<FleetView>,
    read: &'a ReadEvidence<'a>,
}

impl FleetRead for Alone<'_> {
    fn view(&self) -> Arc<FleetView> {
        Arc::clone(&self.view)
    }

    fn evidence(&self, _: &IncidentId, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        (self.read)(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::made_up::{self, MadeUp};

    #[test]
    fn a_report_loads_nothing_and_has_its_graph() {
        let view = made_up::view(0);
        let incident = &view.incidents[0];
        let read = |name: &str| MadeUp::default().evidence(&incident.id, name);
        let html = report(incident, view.at, &read);
        assert!(html.contains("data-flame=\"data:application/json;base64,"));
        for loads in [
            "src=\"",
            "href=\"/",
            "/api/v1",
            "import ",
            "export function",
        ] {
            assert!(!html.contains(loads), "{loads}");
        }
        assert!(html.contains("default-src 'none'"));
        assert!(html.contains("Timeline") && !html.contains("<form"));
    }

    #[test]
    fn evidence_that_is_gone_is_said_in_its_place() {
        let view = made_up::view(0);
        let gone = |_: &str| Ok(None);
        let html = report(&view.incidents[0], view.at, &gone);
        assert!(html.contains("There are no two profiles to compare yet."));
    }
}
