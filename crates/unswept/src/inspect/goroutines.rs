//! `unswept inspect goroutines`: the whole dump, as groups, as the text of a traceback, as JSON, as a profile.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use engine::SystemClock;
use inspect::goroutines::{
    Frame, Goroutine, Goroutines, Group, Labels, Options, Registers, goroutines, stopped_thread,
};
use inspect::{CoreThread, Line as SourceLine, Location};
use model::UnixMs;
use profile::{Label, Profile, ProfileBuilder};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::args::{self, GoroutineFormat};
use super::document::{Cost, Head};
use super::open::Opened;
use super::{output, pprof};
use crate::{terminal, words};

const SCHEMA: &str = "unswept/inspect-goroutines/1";

pub(crate) fn run(arguments: &args::Goroutines) -> anyhow::Result<()> {
    let opened = Opened::open(&arguments.target)?;
    opened.read(tell(arguments, &opened))
}

fn tell(arguments: &args::Goroutines, opened: &Opened) -> anyhow::Result<()> {
    let at = opened.at(&SystemClock::default());
    let (dump, cost) = look(opened, arguments.all)?;
    let file = arguments.print.output.as_deref();
    match arguments.print.format() {
        GoroutineFormat::Groups => {
            let groups = dump.groups();
            output::text(file, &dump.groups_text(&groups, arguments.all))?;
        }
        GoroutineFormat::Text => output::text(file, &dump.text(arguments.all))?,
        GoroutineFormat::Json => {
            output::text(file, &output::json(&document(opened, &dump, at, cost))?)?
        }
        GoroutineFormat::Pprof => output::bytes(file, &made(opened, &dump, at)?.to_gzip())?,
    }
    summary(opened, &dump, &cost, file);
    Ok(())
}

fn look(opened: &Opened, all: bool) -> anyhow::Result<(Goroutines, Cost)> {
    let program = &opened.program;
    let before = program.memory().cost();
    let threads = program.core().map(|core| &core.threads);
    let registers = |tid| match (threads, opened.pid) {
        (Some(threads), _) => of_core(threads, tid),
        (None, pid) => stopped_thread(pid?, tid),
    };
    let options = Options {
        system: all,
        // A core does not tell what its machine's clock showed.
        now_ns: opened.pid.map(|_| monotonic_ns()),
        registers: Some(&registers),
        ..Options::default()
    };
    let (dump, took) = Cost::timed(|| goroutines(program, &options))?;
    let mut read = program.memory().cost();
    read.calls -= before.calls;
    read.bytes -= before.bytes;
    Ok((dump, Cost::new(read, took)))
}

pub(super) fn of_core(threads: &[CoreThread], tid: u64) -> Option<Registers> {
    let thread = threads.iter().find(|thread| u64::from(thread.tid) == tid)?;
    Some(Registers::new(
        thread.pc,
        thread.sp,
        thread.lr,
        &thread.general,
    ))
}

/// The machine's monotonic clock, by which the runtime notes since when goroutines wait.
pub(super) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    );
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn summary(opened: &Opened, dump: &Goroutines, cost: &Cost, file: Option<&Path>) {
    let mut text = format!(
        "{}: {}",
        opened.name(),
        counted(dump.goroutines.len(), "goroutine")
    );
    if dump.system_left_out > 0 {
        let left_out = words::count(dump.system_left_out);
        text.push_str(&format!(
            ", {left_out} of the runtime's own left out (--all shows them)"
        ));
    }
    let moved = dump.goroutines.iter().filter(|one| one.approximate).count();
    if moved > 0 {
        text.push_str(&format!(
            ", {} moved meanwhile, their stacks may be of no one moment",
            words::count(moved as u64)
        ));
    }
    if dump.unreadable > 0 {
        text.push_str(&format!(
            ", {} could not be read",
            words::count(dump.unreadable)
        ));
    }
    text.push_str(&format!("; {}", cost.words()));
    if let Some(file) = file {
        text.push_str(&format!("; written to {}", file.display()));
    }
    terminal::note(text);
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", words::count(count as u64))
}

/// The goroutine profile as Go writes it: the largest count first.
fn made(opened: &Opened, dump: &Goroutines, at: UnixMs) -> anyhow::Result<Profile> {
    let depth = depth_max(opened.program.go_version());
    let mut locations = Locations::default();
    let stacks: Vec<Vec<usize>> = dump
        .stacks
        .iter()
        .map(|stack| locations.of(&stack.frames, depth))
        .collect();
    let mut builder = ProfileBuilder::new(&[("goroutine", "count")]);
    builder
        .time(at.0.saturating_mul(1_000_000), 0)
        .period("goroutine", "count", 1);
    let places = pprof::add_locations(&mut builder, &opened.program, &locations.list);
    for (stack, sample_labels, count) in merged(dump, &stacks) {
        let stack: Vec<_> = stack
            .iter()
            .filter_map(|&at| places.get(at).copied())
            .collect();
        let labels: Vec<Label<'_>> = sample_labels
            .iter()
            .map(|(key, value)| Label {
                key,
                str: value,
                num: 0,
                num_unit: "",
            })
            .collect();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        builder.labelled_sample(&stack, &[count], &labels);
    }
    builder.build().context("failed to make the profile")
}

/// Stack, labels and count of each sample, the largest count first. Stacks that differ in what a profile does not
/// show are one sample.
fn merged<'a>(dump: &Goroutines, stacks: &'a [Vec<usize>]) -> Vec<(&'a [usize], Labels, u64)> {
    let mut known = HashMap::new();
    let mut merged: Vec<(&[usize], Labels, u64)> = Vec::new();
    for sample in dump.samples() {
        let Some(stack) = stacks.get(sample.stack) else {
            continue;
        };
        let next = merged.len();
        let at = *known.entry((stack, sample.labels.clone())).or_insert(next);
        if at == next {
            merged.push((stack, sample.labels, 0));
        }
        merged[at].2 += sample.count;
    }
    merged.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    merged
}

/// The depth at which Go cuts the stacks of its own profiles. GODEBUG can change it since Go 1.23.
fn depth_max(go_version: &str) -> usize {
    match go_version.strip_prefix("go1.") {
        Some(rest) if rest.starts_with("21") || rest.starts_with("22") => 32,
        _ => 128,
    }
}

/// The distinct places of all stacks.
#[derive(Default)]
struct Locations {
    list: Vec<Location>,
    known: HashMap<Vec<SourcePlace>, usize>,
}

/// Address, function and line of each call of one location.
type SourcePlace = (u64, std::sync::Arc<str>, u32);

impl Locations {
    /// A location is a call with all that was inlined there. Profiles have neither the compiler's wrappers nor the
    /// outermost function of every goroutine, and stacks of at most `depth` calls, the last one's whole.
    fn of(&mut self, frames: &[Frame], depth: usize) -> Vec<usize> {
        let is_shown = |frame: &&Frame| !frame.wrapper && &*frame.function != "runtime.goexit";
        let shown: Vec<&Frame> = frames.iter().filter(is_shown).collect();
        let rest = shown.get(depth.saturating_sub(1)..).unwrap_or_default();
        let whole = rest.iter().position(|frame| !frame.inlined);
        let end = whole.map_or(shown.len(), |more| depth + more);
        let same_call = |a: &&Frame, b: &&Frame| a.inlined && a.pc == b.pc;
        let calls = shown[..end.min(shown.len())].chunk_by(same_call);
        calls.map(|call| self.place(call)).collect()
    }

    fn place(&mut self, call: &[&Frame]) -> usize {
        let address = call.first().map_or(0, |frame| frame.pc.saturating_sub(1));
        let key = call
            .iter()
            .map(|frame| (address, frame.function.clone(), frame.line));
        let next = self.list.len();
        let index = *self.known.entry(key.collect()).or_insert(next);
        if index == next {
            let line = |frame: &&Frame| SourceLine {
                function: frame.function.to_string(),
                file: frame.file.to_string(),
                line: frame.line,
                start_line: frame.start_line,
            };
            self.list.push(Location {
                address,
                lines: call.iter().map(line).collect(),
            });
        }
        index
    }
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    head: Head,
    /// Goroutines in the document.
    total: usize,
    system_left_out: u64,
    unreadable: u64,
    groups: Vec<GroupRow>,
    goroutines: Vec<Row>,
    /// What rows and groups refer to, by its place here; the innermost call first.
    stacks: Vec<Vec<Call>>,
    /// Where goroutines were begun.
    creators: Vec<Call>,
    cost: Cost,
}

/// One call of the source.
#[derive(Serialize)]
struct Call {
    function: String,
    file: String,
    line: u32,
    inlined: bool,
    /// Of the runtime's inside: tracebacks leave it out.
    hidden: bool,
}

#[derive(Serialize)]
struct Row {
    id: u64,
    /// As a traceback has it in brackets.
    state: String,
    wait_reason: Option<String>,
    waited_ns_min: Option<u64>,
    stack: Option<usize>,
    created_by: Option<usize>,
    parent: Option<u64>,
    labels: serde_json::Map<String, serde_json::Value>,
    stack_bytes: u64,
    system: bool,
    locked_to_thread: bool,
    approximate: bool,
}

#[derive(Serialize)]
struct GroupRow {
    state: String,
    count: u64,
    stack: Option<usize>,
    created_by: Option<usize>,
    waited_ns_min: Option<Waited>,
    stack_bytes: u64,
    approximate: u64,
    /// Some of the goroutines' ids.
    ids: Vec<u64>,
}

#[derive(Serialize)]
struct Waited {
    shortest: u64,
    median: u64,
    longest: u64,
}

impl From<&Frame> for Call {
    fn from(frame: &Frame) -> Self {
        Self {
            function: frame.function.to_string(),
            file: frame.file.to_string(),
            line: frame.line,
            inlined: frame.inlined,
            hidden: frame.hidden || frame.wrapper,
        }
    }
}

impl From<&Goroutine> for Row {
    fn from(one: &Goroutine) -> Self {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let label = |(key, value): &(_, std::sync::Arc<str>)| {
            let key: &std::sync::Arc<str> = key;
            (key.to_string(), value.to_string().into())
        };
        Self {
            id: one.id,
            state: one.state(),
            wait_reason: text(&one.wait_reason),
            waited_ns_min: one.waited_ns,
            stack: one.stack,
            created_by: one.creator,
            parent: Some(one.parent).filter(|&parent| parent != 0),
            labels: one.labels.iter().map(label).collect(),
            stack_bytes: one.stack_bytes.allocated,
            system: one.system,
            locked_to_thread: one.locked_to_thread,
            approximate: one.approximate,
        }
    }
}

impl GroupRow {
    fn new(group: Group, dump: &Goroutines) -> Self {
        let id = |&at: &usize| dump.goroutines.get(at).map(|one| one.id);
        Self {
            ids: group.sample.iter().filter_map(id).collect(),
            state: group.state,
            count: group.count,
            stack: group.stack,
            created_by: group.creator,
            waited_ns_min: group.waited.map(|waited| Waited {
                shortest: waited.shortest_ns,
                median: waited.median_ns,
                longest: waited.longest_ns,
            }),
            stack_bytes: group.stack_bytes,
            approximate: group.approximate,
        }
    }
}

fn document(opened: &Opened, dump: &Goroutines, at: UnixMs, cost: Cost) -> Document {
    let calls = |frames: &Vec<Frame>| frames.iter().map(Call::from).collect();
    let groups = dump.groups().into_iter();
    Document {
        head: Head::new(SCHEMA, opened, at),
        total: dump.goroutines.len(),
        system_left_out: dump.system_left_out,
        unreadable: dump.unreadable,
        groups: groups.map(|group| GroupRow::new(group, dump)).collect(),
        goroutines: dump.goroutines.iter().map(Row::from).collect(),
        stacks: dump
            .stacks
            .iter()
            .map(|stack| calls(&stack.frames))
            .collect(),
        creators: dump.creators.iter().map(Call::from).collect(),
        cost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, pc: u64, inlined: bool) -> Frame {
        Frame {
            function: function.into(),
            file: "main.go".into(),
            line: 1,
            start_line: 1,
            pc,
            offset: 1,
            inlined,
            hidden: false,
            wrapper: false,
        }
    }

    #[test]
    fn a_location_is_a_call_with_what_is_inlined_there() {
        let mut wrapper = frame("main.(*T).f", 30, false);
        wrapper.wrapper = true;
        let stack = [
            frame("main.inner", 10, true),
            frame("main.outer", 10, false),
            frame("main.recursive", 20, false),
            frame("main.recursive", 20, false),
            wrapper,
            frame("runtime.goexit", 40, false),
        ];
        let mut locations = Locations::default();
        assert_eq!(locations.of(&stack, 128), [0, 1, 1]);
        assert_eq!(locations.of(&stack[2..3], 128), [1], "known");
        assert_eq!(locations.of(&stack, 3), [0, 1], "cut");
        assert_eq!(locations.of(&stack, 1), [0], "not amid one call");
        let shown: Vec<_> = locations
            .list
            .iter()
            .map(|of| (of.address, of.lines.len()))
            .collect();
        assert_eq!(shown, [(9, 2), (19, 1)]);
    }
}
