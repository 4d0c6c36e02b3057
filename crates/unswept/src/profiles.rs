//! `unswept profile`: what is in a profile, and what grew between two.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use fetch::{Fetcher, Request};
use profile::{
    Diff, FrameGrowth, Limits, Profile as Parsed, Sort, TopOptions, diff, percentage, scaled_label,
    top,
};

use crate::args::{Profile, ProfileDiff, ProfileTop};
use crate::terminal::{self, Screen};
use crate::text::{Column, Line, Style, table};
use crate::{setup, words};

/// A profile as it is on disk or on the wire; a 200,000-sample profile has a tenth of it.
const BYTES_MAX: u64 = 256 << 20;
/// A heap profile of a large service takes its time.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Frames shown of a stack.
const FRAMES_MAX: usize = 30;

pub(crate) fn run(command: &Profile) -> anyhow::Result<ExitCode> {
    match command {
        Profile::Top(arguments) => print_top(arguments)?,
        Profile::Diff(arguments) => print_diff(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_top(arguments: &ProfileTop) -> anyhow::Result<()> {
    let profile = load(&arguments.profile)?;
    let name = arguments.sample_type.as_deref().unwrap_or_default();
    let index = profile.sample_type_index(name)?;
    let options = TopOptions {
        node_count: arguments.nodecount,
        sort: if arguments.cum { Sort::Cum } else { Sort::Flat },
        ..TopOptions::default()
    };
    // Function names come from the file: nothing in them may steer the terminal.
    let text = top(&profile, index, &options).render();
    let harmless = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    terminal::data(&text.chars().map(harmless).collect::<String>())
}

fn print_diff(arguments: &ProfileDiff) -> anyhow::Result<()> {
    if arguments.before == "-" && arguments.after == "-" {
        bail!("only one of the two profiles can come from standard input");
    }
    let before = load(&arguments.before)?;
    let after = load(&arguments.after)?;
    let name = arguments.sample_type.as_deref().unwrap_or_default();
    let diff = diff(&before, &after, name)?;
    let frames = diff.by_frame(arguments.module.as_deref());
    let shown = Shown {
        nodecount: arguments.nodecount,
        stacks: arguments.stacks,
        seconds: after.time_nanos().saturating_sub(before.time_nanos()) as f64 / 1e9,
        width: Screen::stdout().width,
    };
    terminal::lines(&lines(&diff, &frames, &shown))
}

/// How the difference is shown.
struct Shown {
    nodecount: usize,
    stacks: bool,
    /// Between the two profiles; 0 where they do not say.
    seconds: f64,
    width: Option<usize>,
}

fn lines(diff: &Diff, frames: &[FrameGrowth<'_>], shown: &Shown) -> Vec<Line> {
    let label = |value: i64| scaled_label(value, diff.unit(), "auto");
    let (total, unit) = (diff.total(), diff.sample_type());
    let growth: i64 = frames
        .iter()
        .map(FrameGrowth::growth)
        .filter(|g| *g > 0)
        .sum();
    let mut lines = vec![Line::new(Style::Strong, unit).with(
        Style::Plain,
        format!(": {} -> {}", label(total.before), label(total.after)),
    )];
    if shown.seconds > 0.0 {
        let between = format!(", {} apart", words::seconds(shown.seconds));
        lines[0].push(Style::Plain, between);
    }
    let grown: Vec<&FrameGrowth<'_>> = frames.iter().filter(|f| f.growth() != 0).collect();
    let limit = if shown.nodecount == 0 {
        grown.len()
    } else {
        shown.nodecount
    };
    if grown.is_empty() {
        lines.push("nothing grew and nothing shrank: are both of one collection?".into());
        return lines;
    }
    const COLUMNS: [Column; 6] = [
        Column::figure("GROWTH"),
        Column::figure("OF ALL"),
        Column::figure("BEFORE"),
        Column::figure("AFTER"),
        Column::figure("COUNT"),
        Column::text("LINE TO LOOK AT"),
    ];
    let row = |frame: &&FrameGrowth<'_>| -> Vec<Line> {
        let of = if frame.growth() > 0 {
            percentage(frame.growth(), growth)
        } else {
            "-".into()
        };
        let count = frame
            .count
            .map_or_else(String::new, |count| format!("{:+}", count.growth()));
        vec![
            signed(frame.growth(), label).into(),
            of.trim().into(),
            label(frame.before).into(),
            label(frame.after).into(),
            count.into(),
            place(frame),
        ]
    };
    let few: Vec<&FrameGrowth<'_>> = grown.iter().copied().take(limit).collect();
    let rows: Vec<Vec<Line>> = few.iter().map(row).collect();
    // Lines of tables keep their order, so a stack finds its line.
    let mut tabled = table(&COLUMNS, &rows, shown.width).into_iter();
    lines.extend(tabled.next());
    for (line, frame) in tabled.zip(few) {
        lines.push(line);
        if shown.stacks {
            lines.extend(stack(frame));
        }
    }
    if grown.len() > limit {
        lines.push(Line::new(
            Style::Faint,
            format!("and {} more", grown.len() - limit),
        ));
    }
    lines
}

fn signed(value: i64, label: impl Fn(i64) -> String) -> String {
    match value {
        value if value > 0 => format!("+{}", label(value)),
        value => label(value),
    }
}

fn place(growth: &FrameGrowth<'_>) -> Line {
    match &growth.frame {
        Some(frame) => Line::new(Style::Strong, frame.name())
            .with(Style::Plain, format!("  {}:{}", frame.file, frame.line)),
        None => "(only the runtime and the standard library)".into(),
    }
}

fn stack(growth: &FrameGrowth<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    if growth.stacks > 1 {
        let text = format!("      of {} stacks the one that grew most:", growth.stacks);
        lines.push(Line::new(Style::Faint, text));
    }
    for frame in growth.stack.iter().take(FRAMES_MAX) {
        let text = format!("      {} {}:{}", frame.name(), frame.file, frame.line);
        lines.push(Line::new(Style::Faint, text));
    }
    if growth.stack.len() > FRAMES_MAX {
        let more = growth.stack.len() - FRAMES_MAX;
        lines.push(Line::new(Style::Faint, format!("      and {more} more")));
    }
    lines
}

/// Reads and parses a profile from a file, a URL, or standard input.
fn load(source: &str) -> anyhow::Result<Parsed> {
    let bytes = match source {
        "-" => bounded(std::io::stdin().lock(), "standard input")?,
        url if url.starts_with("http://") || url.starts_with("https://") => get(url)?,
        path => {
            let file = std::fs::File::open(path);
            bounded(
                file.with_context(|| format!("failed to open {path}"))?,
                path,
            )?
        }
    };
    let name = if source == "-" {
        "standard input"
    } else {
        source
    };
    Parsed::parse(&bytes, &Limits::default())
        .with_context(|| format!("failed to read the profile {name}"))
}

fn bounded(reader: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = reader.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("failed to read {name}"))?;
    if bytes.len() as u64 > BYTES_MAX {
        bail!(
            "{name} has more than {}, which no profile has",
            words::bytes(BYTES_MAX as f64)
        );
    }
    Ok(bytes)
}

fn get(url: &str) -> anyhow::Result<Vec<u8>> {
    let request = Request {
        url,
        timeout: TIMEOUT,
        body_bytes_max: usize::try_from(BYTES_MAX).unwrap_or(usize::MAX),
        accept: None,
    };
    let fetcher = Fetcher::new()?;
    let response = setup::runtime()?.block_on(fetcher.get(&request))?;
    Ok(response.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use profile::ProfileBuilder;

    #[test]
    fn too_much_is_refused_and_a_missing_file_is_named() {
        let error = bounded(std::io::repeat(0), "it").expect_err("endless");
        assert_eq!(
            error.to_string(),
            "it has more than 256 MiB, which no profile has"
        );
        let error = load("/nonexistent/heap.pb.gz").expect_err("missing");
        assert_eq!(error.to_string(), "failed to open /nonexistent/heap.pb.gz");
    }

    fn heap(seconds: i64, put: i64, render: i64) -> Parsed {
        let types = [("inuse_objects", "count"), ("inuse_space", "bytes")];
        let mut builder = ProfileBuilder::new(&types);
        builder
            .time(seconds * 1_000_000_000, 0)
            .default_sample_type("inuse_space");
        let main = builder.function("main.main", "main.go", 1);
        let put_at = builder.function("main.(*SessionCache).Put", "session_cache.go", 40);
        let render_at = builder.function("main.render", "pages.go", 10);
        let main = builder.location(1, &[(main, 5)]);
        let put_at = builder.location(2, &[(put_at, 41)]);
        let render_at = builder.location(3, &[(render_at, 12)]);
        builder.sample(&[put_at, main], &[put >> 10, put]);
        builder.sample(&[render_at, main], &[render >> 10, render]);
        builder.build().unwrap()
    }

    fn shown(before: &Parsed, after: &Parsed, stacks: bool) -> String {
        let diff = diff(before, after, "").unwrap();
        let seconds = after.time_nanos().saturating_sub(before.time_nanos()) as f64 / 1e9;
        let shown = Shown {
            nodecount: 1,
            stacks,
            seconds,
            width: None,
        };
        let lines = lines(&diff, &diff.by_frame(None), &shown);
        lines.iter().map(|line| line.paint(false) + "\n").collect()
    }

    #[test]
    fn what_grew_comes_first() {
        let (before, after) = (
            heap(1000, 12 << 20, 3 << 20),
            heap(1100, 111 << 20, 2 << 20),
        );
        insta::assert_snapshot!(shown(&before, &after, true));
    }

    #[test]
    fn one_collection_twice_is_said() {
        let heap = heap(1000, 12 << 20, 3 << 20);
        let text = shown(&heap, &heap, false);
        assert!(text.contains("are both of one collection?"), "{text}");
    }
}
