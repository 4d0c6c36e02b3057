//! `unswept ps`: the Go processes here, and what can be seen of each.

use std::process::ExitCode;

use model::UnixMs;
use reader::{Access, Discovery, GoFailure, GoFigures, GoProcess, ReadFailure, Reading};
use serde::Serialize;

use crate::args::{Format, Ps};
use crate::terminal::{self, Screen};
use crate::text::{Column, Line, Style, table};
use crate::{find, setup, words};

pub(crate) fn run(arguments: &Ps) -> anyhow::Result<ExitCode> {
    let reader = setup::reader(&arguments.host)?;
    setup::logs();
    let discovery = find::discover(&reader)?;
    let keys: Vec<_> = discovery.processes.iter().map(|p| p.key.clone()).collect();
    let readings = find::read_with_go(&reader, &keys)?;
    let rows: Vec<Row> = discovery.processes.iter().zip(&readings).map(row).collect();
    match arguments.format {
        Format::Json => terminal::json(&document(&discovery, rows))?,
        Format::Text => {
            terminal::lines(&lines(&rows, Screen::stdout().width))?;
            if rows.is_empty() {
                terminal::note("no Go process was found");
            }
        }
    }
    if discovery.left_out > 0 {
        terminal::note(format!(
            "{} more Go processes are not shown",
            discovery.left_out
        ));
    }
    if discovery.unreadable > 0 {
        terminal::note(format!(
            "{} cannot be looked into, and may be Go or not",
            words::processes(discovery.unreadable)
        ));
    }
    for what in &discovery.left_alone {
        terminal::note(what.as_str());
    }
    let denied = rows_denied(&discovery);
    if let Some(hint) = discovery.hint.as_deref().or(denied) {
        terminal::note(format!("hint: {hint}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows_denied(discovery: &Discovery) -> Option<&str> {
    discovery
        .processes
        .iter()
        .find_map(|process| match &process.access {
            Access::Denied { hint, .. } => Some(hint.as_str()),
            Access::Full => None,
        })
}

/// One process, as the JSON has it.
#[derive(Debug, Clone, Serialize)]
struct Row {
    pid: u32,
    name: String,
    exe: String,
    exe_deleted: bool,
    module: Option<String>,
    module_version: Option<String>,
    go_version: Option<String>,
    revision: Option<String>,
    #[serde(with = "model::time::rfc3339")]
    started: UnixMs,
    uid: u32,
    rss_bytes: Option<u64>,
    threads: Option<u64>,
    /// Read from the process: no endpoint is asked here.
    goroutines: Option<u64>,
    /// Marked by the last collection, and HeapAlloc: read from the process.
    live_heap_bytes: Option<u64>,
    heap_alloc_bytes: Option<u64>,
    gc_cycles: Option<u64>,
    /// Where Go's figures come from; null when they could not be read.
    go_figures: Option<&'static str>,
    /// Why they could not be read, and what would help.
    go_figures_missing: Option<String>,
    limit_bytes: Option<u64>,
    limit_source: Option<String>,
    /// Its name, else its id.
    container: Option<String>,
    container_id: Option<String>,
    runtime: Option<reader::ContainerRuntime>,
    image: Option<String>,
    /// Its name, else its uid.
    pod: Option<String>,
    namespace: Option<String>,
    qos: Option<reader::QosClass>,
    unit: Option<String>,
    listening: Vec<std::net::SocketAddr>,
    handlers: reader::Handlers,
    seen: String,
    hint: Option<String>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(with = "model::time::rfc3339")]
    at: UnixMs,
    processes: Vec<Row>,
    unreadable: usize,
    left_out: usize,
    hint: Option<String>,
}

fn document(discovery: &Discovery, processes: Vec<Row>) -> Document {
    Document {
        schema: "unswept/ps/1",
        at: discovery.at,
        processes,
        unreadable: discovery.unreadable,
        left_out: discovery.left_out,
        hint: discovery.hint.clone(),
    }
}

fn row((process, reading): (&GoProcess, &Result<Reading, ReadFailure>)) -> Row {
    let build = &process.build;
    let memory = reading.as_ref().ok();
    let container = memory.and_then(|reading| reading.container.as_ref());
    let (own, pod) = (process.container.as_ref(), process.pod.as_ref());
    let hint = match (&process.access, reading) {
        (Access::Denied { hint, .. }, _) | (_, Err(ReadFailure::Denied { hint, .. })) => {
            Some(hint.clone())
        }
        _ => None,
    };
    let go = memory.and_then(|reading| reading.go.as_ref());
    let figures = go.and_then(|go| go.as_ref().ok());
    let missing = go.and_then(|go| go.as_ref().err());
    let seen = match reading {
        Err(failure) => failure.to_string(),
        Ok(_) if hint.is_some() => find::seen(process),
        Ok(_) => format!("{}{}", find::seen(process), go_words(figures, missing)),
    };
    Row {
        pid: process.key.pid.0,
        name: find::name(process).to_owned(),
        exe: process.exe.clone(),
        exe_deleted: process.exe_deleted,
        module: build.module.clone().or_else(|| build.main_path.clone()),
        module_version: build.module_version.clone(),
        go_version: Some(build.go_version.clone()).filter(|version| !version.is_empty()),
        revision: build.vcs_revision.clone(),
        started: process.started,
        uid: process.uid,
        rss_bytes: memory.map(|reading| reading.memory.rss_bytes),
        threads: memory.map(|reading| reading.memory.threads),
        goroutines: figures.map(|go| go.goroutines),
        live_heap_bytes: figures.and_then(|go| go.live_bytes),
        heap_alloc_bytes: figures.map(|go| go.heap_alloc_bytes),
        gc_cycles: figures.map(|go| go.gc_cycles),
        go_figures: figures.map(|_| "process"),
        go_figures_missing: missing.map(find::go_failure),
        limit_bytes: container.and_then(|container| container.limit_bytes),
        limit_source: container.and_then(|container| container.limit_source.clone()),
        container: own.map(|own| own.name.as_ref().unwrap_or(&own.id).clone()),
        container_id: own.map(|own| own.id.clone()),
        runtime: own.and_then(|own| own.runtime),
        image: own.and_then(|own| own.image.clone()),
        pod: pod.and_then(|pod| pod.name.as_ref().or(pod.uid.as_ref()).cloned()),
        namespace: pod.and_then(|pod| pod.namespace.clone()),
        qos: pod.and_then(|pod| pod.qos),
        unit: process.systemd_unit.clone(),
        listening: process.listening.clone(),
        handlers: process.handlers,
        seen,
        hint,
    }
}

fn go_words(figures: Option<&GoFigures>, missing: Option<&GoFailure>) -> &'static str {
    match (figures, missing) {
        (Some(_), _) => "; Go figures from the process",
        (None, Some(_)) => "; no Go figures",
        (None, None) => "",
    }
}

const COLUMNS: [Column; 11] = [
    Column::figure("PID"),
    Column::text("NAME").least(8),
    Column::text("GO").spare(3),
    Column::figure("RSS"),
    Column::figure("LIVE HEAP").least(9),
    Column::figure("THREADS/GOROUTINES").least(7).spare(5),
    Column::figure("LIMIT").spare(1),
    Column::text("CONTAINER/UNIT").least(8).spare(4),
    Column::text("LISTENING").least(10).spare(2),
    Column::text("SEEN").least(30),
    Column::text("MODULE").least(10).spare(6),
];

fn lines(rows: &[Row], width: Option<usize>) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let rows: Vec<Vec<Line>> = rows.iter().map(cells).collect();
    table(&COLUMNS, &rows, width)
}

fn cells(row: &Row) -> Vec<Line> {
    let plain = |text: Option<String>| text.map_or_else(Line::default, Line::from);
    let listening = row
        .listening
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let listening = match listening.as_slice() {
        [] => None,
        [one, two, rest @ ..] if !rest.is_empty() => Some(format!("{one}, {two}, +{}", rest.len())),
        few => Some(few.join(", ")),
    };
    let container = container_words(row);
    let seen = if row.hint.is_some() {
        Style::Doubt
    } else {
        Style::Plain
    };
    vec![
        plain(Some(row.pid.to_string())),
        Line::new(Style::Strong, &row.name),
        plain(row.go_version.clone()),
        plain(row.rss_bytes.map(|bytes| words::bytes(bytes as f64))),
        plain(row.live_heap_bytes.map(|bytes| words::bytes(bytes as f64))),
        plain(row.threads.map(|threads| {
            let goroutines = row.goroutines.map_or_else(|| "-".into(), words::count);
            format!("{threads}/{goroutines}")
        })),
        plain(row.limit_bytes.map(|bytes| words::bytes(bytes as f64))),
        plain(container.or_else(|| row.unit.clone())),
        plain(listening),
        Line::new(seen, &row.seen),
        plain(row.module.clone()),
    ]
}

/// `NAMESPACE/POD/CONTAINER`, or the container alone, as runtimes show them: by name, else by the
/// first digits of the id.
fn container_words(row: &Row) -> Option<String> {
    let (name, id) = (row.container.as_ref()?, row.container_id.as_ref()?);
    let container = if name == id {
        id.chars().take(12).collect()
    } else {
        name.clone()
    };
    Some(match (&row.namespace, &row.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}/{container}"),
        _ => container,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ContainerMemory, ProcessMemory};
    use reader::ContainerIdentity;

    fn rows() -> Vec<Row> {
        let reading = |rss_bytes, limit_bytes, go: Result<GoFigures, GoFailure>| {
            Ok(Reading {
                memory: ProcessMemory {
                    rss_bytes,
                    threads: 9,
                    ..ProcessMemory::default()
                },
                container: Some(ContainerMemory {
                    limit_bytes,
                    ..ContainerMemory::default()
                }),
                machine_available_bytes: None,
                go: Some(go.clone()),
            })
        };
        let mut shop = find::tests::process(4242, "/srv/shop", &["127.0.0.1:6060"]);
        shop.container = Some(ContainerIdentity {
            id: "0123456789abcdef".into(),
            ..ContainerIdentity::default()
        });
        let mut hidden = find::tests::process(91, "/usr/lib/warehouse-of-things", &[]);
        hidden.access = Access::Denied {
            what: "/proc/91/exe".into(),
            hint: "be root".into(),
        };
        hidden.build.module = None;
        let gone = find::tests::process(17, "/bin/gone", &["[::]:1", "[::]:2", "[::]:3"]);
        [
            (
                shop,
                reading(47_395_635, Some(512 << 20), Ok(find::tests::figures())),
            ),
            (hidden, reading(1 << 30, None, Err(GoFailure::NotGo))),
            (gone, Err(ReadFailure::Gone)),
        ]
        .iter()
        .map(|(process, reading)| row((process, reading)))
        .collect()
    }

    fn shown(width: Option<usize>) -> String {
        let lines = lines(&rows(), width);
        lines.iter().map(|line| line.paint(false) + "\n").collect()
    }

    #[test]
    fn the_table() {
        insta::assert_snapshot!(shown(None));
    }

    #[test]
    fn the_table_on_a_narrow_terminal() {
        insta::assert_snapshot!(shown(Some(80)));
    }
}
