//! `cargo xtask bench inspect`: looking into a live process, against the figures that are asked for.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::measure::{self, Run, Spread};
use super::target::Target;
use super::{Figure, Results, goref, page};
use crate::layouts;
use crate::process::{adopt_orphans, clock, left_behind};
use crate::toolchain;
use crate::workspace::Workspace;

const GB: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;
/// Bytes of an object: between what small structs and what buffers with headers take in services.
const OBJECT_BYTES: u64 = 256;
/// What must be free beyond a target, for us and for what it writes while its clone lives.
const HEADROOM_BYTES: u64 = 5 * GB;

/// How big and how often.
struct Sizes {
    runs: usize,
    scannable_bytes: u64,
    pointer_free_bytes: u64,
    big_bytes: u64,
    big_runs: usize,
    /// Objects, pointers and runs of the graph alone.
    graph: [&'static str; 3],
}

const FULL: Sizes = Sizes {
    runs: 9,
    scannable_bytes: GB,
    pointer_free_bytes: GB,
    big_bytes: 6 * GB,
    big_runs: 3,
    graph: ["24000000", "64000000", "3"],
};

/// Seconds, not minutes: to see that it works. Its figures are of small heaps, and are written nowhere.
const QUICK: Sizes = Sizes {
    runs: 3,
    scannable_bytes: GB / 20,
    pointer_free_bytes: GB / 10,
    big_bytes: GB / 2,
    big_runs: 1,
    graph: ["200000", "500000", "1"],
};

/// What every part needs.
struct Bench {
    workspace: Workspace,
    sizes: Sizes,
    target: PathBuf,
    go: toolchain::Go,
}

type Part = (&'static str, fn(&Bench) -> anyhow::Result<Vec<Figure>>);

const PARTS: &[Part] = &[
    ("pointer-free", pointer_free),
    ("scannable", scannable),
    ("big", big),
    ("graph", graph),
    ("peer", peer),
];

pub(super) fn run(is_quick: bool) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    adopt_orphans();
    let go = toolchain::ensure_go(&workspace)?;
    let newest = toolchain::releases()
        .pop()
        .context("no release is pinned")?;
    toolchain::ensure_releases(&workspace, &[newest])?;
    let binary = ["build", "--release", "--locked", "-p", "unswept"];
    let example = [
        "build",
        "--release",
        "--locked",
        "-p",
        "inspect",
        "--example",
        "graph_bench",
    ];
    for arguments in [&binary[..], &example] {
        let status = workspace.cargo(arguments).status();
        if !status.context("failed to start cargo")?.success() {
            bail!("`cargo {}` failed", arguments.join(" "));
        }
    }
    let target = layouts::build(&workspace, newest, "exe")?;
    let mut results = Results::open(&workspace, "inspect")?;
    if is_quick {
        results.commit = None;
    }
    let bench = Bench {
        sizes: if is_quick { QUICK } else { FULL },
        workspace,
        target,
        go,
    };
    let mut all = Vec::new();
    for (name, part) in PARTS {
        let started = Instant::now();
        println!("\n{name}");
        let figures = match results.figures(name) {
            Some(figures) => {
                println!("    measured before, of this commit");
                figures
            }
            None => match part(&bench) {
                Ok(figures) => {
                    if !is_quick {
                        results.add(name, &figures)?;
                    }
                    figures
                }
                // The others are worth measuring all the same, and this one will be tried again.
                Err(error) => vec![Figure::failed(name, &error)],
            },
        };
        for figure in &figures {
            println!("    {}", figure.line());
        }
        println!("    {}", clock(started.elapsed()));
        all.extend(figures);
    }
    left_behind(Duration::from_secs(2));
    if is_quick {
        println!("\nquick: small sizes, so the limits mean little; nothing was written down");
        return Ok(ExitCode::SUCCESS);
    }
    let page = page::write(&bench.workspace, results.commit.as_deref(), newest, &all)?;
    println!("\nwritten to {}", page.display());
    Ok(match all.iter().any(|figure| figure.kept == Some(false)) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

impl Bench {
    /// A target whose heap has this many bytes of objects with pointers.
    fn scannable(&self, bytes: u64) -> anyhow::Result<Target> {
        let free = available_bytes().unwrap_or(u64::MAX);
        let need = bytes + bytes / 16 + HEADROOM_BYTES.min(bytes);
        if free < need {
            bail!(
                "a heap of {} MiB and room beside it need {} MiB of memory, and {} MiB are free",
                bytes / MIB,
                need / MIB,
                free / MIB
            );
        }
        self.start(&[
            ("--size", OBJECT_BYTES),
            ("--objects", bytes / OBJECT_BYTES),
        ])
    }

    fn start(&self, flags: &[(&str, u64)]) -> anyhow::Result<Target> {
        let words = flags
            .iter()
            .flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]);
        Target::start(&self.target, &words.collect::<Vec<_>>())
    }

    /// `unswept inspect refs PID --json` and `more`.
    fn refs(&self, pid: u32, more: &[&str]) -> anyhow::Result<(Run, Value)> {
        let mut command = Command::new(self.workspace.unswept());
        let pid = pid.to_string();
        command.args(["inspect", "refs", &pid, "--json"]).args(more);
        let run = measure::run(&mut command)?;
        let said = serde_json::from_slice(&run.output).context("`inspect refs` wrote no JSON")?;
        Ok((run, said))
    }
}

/// A process whose memory has no pointers costs next to nothing.
fn pointer_free(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let bytes = bench.sizes.pointer_free_bytes;
    let target = bench.start(&[("--objects", 1000), ("--blob", bytes)])?;
    let runs: Result<Vec<_>, _> = (0..bench.sizes.runs)
        .map(|_| bench.refs(target.pid(), &[]))
        .collect();
    let runs = runs?;
    let wall = Spread::of(runs.iter().map(|(run, _)| run.wall.as_secs_f64() * 1e3));
    let cpu = Spread::of(runs.iter().map(|(run, _)| run.cpu_seconds * 1e3));
    let by = "unswept inspect refs PID";
    Ok(vec![
        Figure::new(
            format!("{} of pointer-free data, wall time", size(bytes)),
            by,
        )
        .under(wall, 100.0, "ms", 0),
        Figure::new(format!("{} of pointer-free data, CPU", size(bytes)), by)
            .said(&cpu.words("ms", 0)),
    ])
}

/// Reading memory with pointers while the process stands still.
fn scannable(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let target = bench.scannable(bench.sizes.scannable_bytes)?;
    let mut rates = Vec::new();
    let (mut cpu, mut pauses, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak = 0;
    for _ in 0..bench.sizes.runs {
        let (run, said) = bench.refs(target.pid(), &["--pause", "--max-pause", "10s"])?;
        if said["pause"]["cut"] != false {
            bail!("a pause of 10 s was not enough: {}", said["pause"]);
        }
        let seconds = number(&said["pause"]["pause_us"])? / 1e6;
        let gigabytes = number(&said["heap"]["scannable_bytes"])? / 1e9;
        rates.push(gigabytes / seconds);
        cpu.push(number(&said["pause"]["cpu_us"])? / 1e6 / gigabytes);
        pauses.push(seconds * 1e3);
        alone.push(run.cpu_seconds);
        peak = peak.max(run.peak_bytes);
    }
    let of = size(bench.sizes.scannable_bytes);
    let by = "unswept inspect refs PID --pause --max-pause 10s";
    Ok(vec![
        Figure::new(
            "memory with pointers, read while the process is stopped",
            by,
        )
        .over(Spread::of(rates), 1.0, "GB/s", 2),
        Figure::new("CPU of the paused section for each GB with pointers", by).under(
            Spread::of(cpu),
            1.0,
            "s",
            2,
        ),
        Figure::new(
            format!("pause for {of} with pointers, as the tool sees it"),
            by,
        )
        .said(&Spread::of(pauses).words("ms", 0)),
        Figure::new(format!("CPU of the whole look at {of}"), by)
            .said(&Spread::of(alone).words("s", 1)),
        Figure::new(format!("peak memory of the look at {of}, copy and all"), by)
            .said(&format!("{} MiB", peak / MIB)),
    ])
}

/// A heap that is larger than what the tool may take.
fn big(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut target = bench.scannable(bench.sizes.big_bytes)?;
    let (mut pauses, mut gaps) = (Vec::new(), Vec::new());
    let (mut wall, mut cpu, mut read) = (Vec::new(), Vec::new(), Vec::new());
    let (mut peak, mut way) = (0, "fast");
    for _ in 0..bench.sizes.big_runs {
        target.gap_seconds()?;
        let (run, said) = bench.refs(target.pid(), &["--snapshot"])?;
        gaps.push(target.gap_seconds()?);
        pauses.push(number(&said["pause"]["pause_us"])? / 1e6);
        wall.push(run.wall.as_secs_f64());
        cpu.push(run.cpu_seconds);
        read.push(number(&said["cost"]["bytes"])? / 1e9);
        peak = peak.max(run.peak_bytes);
        if said["low_memory"] == true {
            way = "with little memory";
        }
    }
    let of = format!(
        "{} of objects of {OBJECT_BYTES} bytes",
        size(bench.sizes.big_bytes)
    );
    let by = "unswept inspect refs PID --snapshot";
    let gibibytes = peak as f64 / (1u64 << 30) as f64;
    Ok(vec![
        Figure::new(format!("snapshot pause, {of}"), by).under(Spread::of(pauses), 0.6, "s", 2),
        Figure::new("longest gap that a ticker in the process saw meanwhile", by)
            .said(&Spread::of(gaps).words("s", 2)),
        Figure::new("peak memory of all processes of the tool", by).under(
            Spread::of([gibibytes]),
            2.0,
            "GiB",
            2,
        ),
        Figure::new(format!("the whole look, {way}: wall time"), by)
            .said(&Spread::of(wall).words("s", 0)),
        Figure::new("the whole look: CPU", by).said(&Spread::of(cpu).words("s", 0)),
        Figure::new("read from the clone in all", by).said(&Spread::of(read).words("GB", 1)),
    ])
}

/// The graph's algorithms alone.
fn graph(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut command = Command::new(bench.workspace.target.join("release/examples/graph_bench"));
    let run = measure::run(command.args(bench.sizes.graph))?;
    let text = String::from_utf8_lossy(&run.output);
    let [objects, pointers, _] = bench.sizes.graph;
    let by = format!("graph_bench {objects} {pointers}");
    let mut figures = Vec::new();
    let steps = text.lines().find_map(|line| line.split_once(" steps, "));
    let steps = steps.and_then(|(_, rest)| rest.rsplit(' ').nth(1)?.parse().ok());
    if let Some(cpu) = steps {
        let what = format!(
            "what a random graph costs any depth-first walk: {objects} reads, each at a place that the one before \
             names: CPU"
        );
        figures.push(Figure::new(what, &by).said(&Spread::of([cpu]).words("s", 1)));
    }
    for line in text.lines().filter(|line| line.contains(" wall ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse::<f64>().ok()
        };
        let (Some(cpu), Some(peak)) = (after("cpu"), after("peak")) else {
            bail!("`graph_bench` says `{line}`");
        };
        let shape = words.first().copied().unwrap_or_default();
        let way = words.iter().skip(3).take_while(|word| **word != "cpu");
        let way = way.copied().collect::<Vec<_>>().join(" ");
        let of = format!("graph of {objects} objects and {pointers} pointers, {shape}, {way}");
        let (cpu, peak) = (Spread::of([cpu]), Spread::of([peak]));
        let is_low = way.contains("low memory");
        let time = Figure::new(format!("{of}: CPU"), &by);
        let bytes = Figure::new(format!("{of}: peak for each object"), &by);
        figures.push(match is_low {
            true => time.said(&cpu.words("s", 1)),
            false => time.under(cpu, 8.0, "s", 1),
        });
        figures.push(match is_low {
            true => bytes.under(peak, 24.0, "bytes", 1),
            false => bytes.said(&peak.words("bytes", 1)),
        });
    }
    match figures.len() < 2 {
        true => bail!("`graph_bench` told no figures"),
        false => Ok(figures),
    }
}

/// goref on a process with planted holders, beside us.
fn peer(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let planted = Target::start_mode(&bench.target, "planted", &[])?;
    let (ours, said) = bench.refs(planted.pid(), &["--pause", "--max-pause", "10s"])?;
    let names: Vec<&str> = said["holders"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|holder| holder["name"].as_str())
        .collect();
    let mut planted = planted;
    let truth = planted.ask("truth")?;
    let wanted: Vec<&str> = truth["holders"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|holder| holder["payload_bytes"] != 0)
        .filter_map(|holder| holder["name"].as_str())
        .collect();
    let named = |has: &dyn Fn(&str) -> bool| {
        let named = wanted.iter().filter(|name| has(name)).count();
        format!("{named} of {}", wanted.len())
    };
    let cost = |run: &Run| {
        format!(
            "{:.2} s, {:.2} s of CPU, peak {} MiB",
            run.wall.as_secs_f64(),
            run.cpu_seconds,
            run.peak_bytes / MIB
        )
    };
    let by = "unswept inspect refs PID --pause";
    let pause = format!("{:.1} ms", number(&said["pause"]["pause_us"])? / 1e3);
    let mut figures = vec![
        Figure::new("planted holders named by unswept", by)
            .said(&named(&|name| names.iter().any(|told| told.contains(name)))),
        Figure::new("unswept on them", by).said(&format!("{}, pause {pause}", cost(&ours))),
    ];
    let by = "grf attach PID";
    match goref::find(&bench.workspace, &bench.go) {
        Err(why) => figures.push(
            Figure::new("goref on them", &format!("go install {}", goref::INSTALL))
                .said(&format!("not measured, it can't be had here: {why}")),
        ),
        Ok(program) => {
            let profile = bench.workspace.target.join("bench/goref.pb.gz");
            planted.gap_seconds().ok();
            match goref::look(&program, planted.pid(), &profile) {
                Err(error) => figures
                    .push(Figure::new("goref on them", by).said(&format!("it failed: {error:#}"))),
                Ok(theirs) => {
                    let mut top = Command::new(bench.workspace.unswept());
                    top.args(["profile", "top", "--nodecount", "0"])
                        .arg(&profile);
                    let text = measure::run(&mut top)?.output;
                    let text = String::from_utf8_lossy(&text).into_owned();
                    figures.push(
                        Figure::new("planted holders named by goref", by)
                            .said(&named(&|name| text.contains(name))),
                    );
                    // It stops the process for as long as it reads.
                    figures.push(Figure::new("goref on them", by).said(&cost(&theirs)));
                }
            }
        }
    }
    Ok(figures)
}

fn number(value: &Value) -> anyhow::Result<f64> {
    value
        .as_f64()
        .context("a figure is missing in the JSON of `inspect refs`")
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes % GB == 0 => format!("{} GB", bytes / GB),
        bytes => format!("{} MB", bytes / (GB / 1000)),
    }
}

/// `MemAvailable` of `/proc/meminfo`.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

impl Figure {
    fn new(what: impl Into<String>, by: &str) -> Self {
        Self {
            what: what.into(),
            asked: String::new(),
            measured: String::new(),
            kept: None,
            by: by.to_owned(),
        }
    }

    /// A part that could not be measured: that is told, and counts as not kept.
    fn failed(part: &str, error: &anyhow::Error) -> Self {
        Self {
            kept: Some(false),
            ..Self::new(format!("`{part}`"), "cargo xtask bench inspect")
                .said(&format!("could not be measured: {error:#}"))
        }
    }

    /// A figure without a limit.
    fn said(mut self, measured: &str) -> Self {
        measured.clone_into(&mut self.measured);
        self
    }

    /// The median has to be below `limit`.
    fn under(mut self, spread: Spread, limit: f64, unit: &str, digits: usize) -> Self {
        self.asked = format!("under {limit} {unit}");
        self.kept = Some(spread.median < limit);
        self.measured = spread.words(unit, digits);
        self
    }

    /// The median has to be `limit` at least.
    fn over(mut self, spread: Spread, limit: f64, unit: &str, digits: usize) -> Self {
        self.asked = format!("{limit} {unit} or more");
        self.kept = Some(spread.median >= limit);
        self.measured = spread.words(unit, digits);
        self
    }

    /// As it is printed while the benchmark runs.
    pub(super) fn line(&self) -> String {
        let verdict = match self.kept {
            Some(true) => ", kept",
            Some(false) => ", NOT KEPT",
            None => "",
        };
        let asked = match self.asked.is_empty() {
            true => String::new(),
            false => format!(" (asked: {}{verdict})", self.asked),
        };
        format!("{}: {}{asked}", self.what, self.measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_for_the_median() {
        let spread = Spread::of([0.5, 0.7, 0.9]);
        let figure = |what: &str| Figure::new(what, "program");
        let rows = [
            ("below", figure("a").under(spread, 0.8, "s", 1), Some(true)),
            (
                "not below",
                figure("a").under(spread, 0.7, "s", 1),
                Some(false),
            ),
            (
                "as much as asked",
                figure("a").over(spread, 0.7, "s", 1),
                Some(true),
            ),
            (
                "too little",
                figure("a").over(spread, 0.8, "s", 1),
                Some(false),
            ),
            ("nothing asked", figure("a").said("9 s"), None),
            (
                "nothing measured",
                figure("a").under(Spread::of([]), 1.0, "s", 1),
                Some(false),
            ),
        ];
        for (name, figure, kept) in rows {
            assert_eq!(figure.kept, kept, "{name}");
        }
        assert_eq!(
            figure("pause").under(spread, 0.6, "s", 1).line(),
            "pause: 0.7 s (0.5 to 0.9) (asked: under 0.6 s, NOT KEPT)"
        );
        assert_eq!(figure("pause").said("9 s").line(), "pause: 9 s");
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(size(6 * GB), "6 GB");
        assert_eq!(size(GB / 20), "50 MB");
        assert!(available_bytes().is_some_and(|bytes| bytes > MIB));
    }
}
