//! `unswept inspect heap`: the heap profile that the runtime keeps, as a table, JSON, or the file that
//! `/debug/pprof/heap` would send.

use anyhow::Context;
use engine::SystemClock;
use inspect::{HeapProfile, Line, Locations};
use model::UnixMs;
use profile::{Label, Profile, ProfileBuilder, Sort, TopOptions, top};
use serde::Serialize;

use super::args::{Heap, HeapFormat};
use super::document::{Cost, Head};
use super::open::Opened;
use super::{output, pprof};
use crate::{terminal, words};

const SCHEMA: &str = "unswept/inspect-heap/1";
const SAMPLE_TYPES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

pub(crate) fn run(arguments: &Heap) -> anyhow::Result<()> {
    let opened = Opened::open(&arguments.target)?;
    opened.read(tell(arguments, &opened))
}

fn tell(arguments: &Heap, opened: &Opened) -> anyhow::Result<()> {
    let at = opened.at(&SystemClock::default());
    let (heap, took) = Cost::timed(|| HeapProfile::read(&opened.program))?;
    let cost = Cost::new(heap.cost, took);
    if !heap.steady {
        terminal::note(
            "the program collected between all readings: some stacks may be of another collection than others",
        );
    }
    let file = arguments.print.output.as_deref();
    let format = match arguments.print.format() {
        HeapFormat::Text if file.is_some() => HeapFormat::Pprof,
        format => format,
    };
    match format {
        HeapFormat::Json => output::text(file, &output::json(&document(opened, &heap, at, cost))?)?,
        HeapFormat::Pprof => output::bytes(file, &made(opened, &heap, at)?.to_gzip())?,
        HeapFormat::Text => return print(arguments, opened, &heap, at, &cost),
    }
    if let Some(file) = file {
        terminal::note(format!(
            "wrote {} allocation stacks to {}",
            words::count(heap.buckets.len() as u64),
            file.display()
        ));
    }
    Ok(())
}

fn print(
    arguments: &Heap,
    opened: &Opened,
    heap: &HeapProfile,
    at: UnixMs,
    cost: &Cost,
) -> anyhow::Result<()> {
    let profile = made(opened, heap, at)?;
    let index = profile.sample_type_index(&arguments.sample_type)?;
    let options = TopOptions {
        node_count: arguments.nodecount,
        sort: if arguments.cum { Sort::Cum } else { Sort::Flat },
        ..TopOptions::default()
    };
    let table = top(&profile, index, &options).render();
    // Function names come from the process: nothing in them may steer the terminal.
    let harmless = |c: char| match c {
        '\n' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    terminal::data(&table.chars().map(harmless).collect::<String>())?;
    terminal::note(format!(
        "{}: {} allocation stacks, {}; {}",
        opened.name(),
        words::count(heap.buckets.len() as u64),
        rate(heap.rate),
        cost.words()
    ));
    Ok(())
}

fn rate(rate: u64) -> String {
    match rate {
        0 => "sampling is now off".into(),
        1 => "every allocation sampled".into(),
        rate => format!("one sample in {}", words::bytes(rate as f64)),
    }
}

/// The profile as Go writes it.
fn made(opened: &Opened, heap: &HeapProfile, at: UnixMs) -> anyhow::Result<Profile> {
    let mut locations = Locations::new(&opened.program);
    let samples: Vec<_> = heap
        .buckets
        .iter()
        .map(|bucket| heap.sample(bucket, &mut locations))
        .collect();
    let mut builder = ProfileBuilder::new(&SAMPLE_TYPES);
    builder.time(at.0.saturating_mul(1_000_000), 0).period(
        "space",
        "bytes",
        i64::try_from(heap.rate).unwrap_or(0),
    );
    let places = pprof::add_locations(&mut builder, &opened.program, locations.list());
    for sample in samples {
        let stack: Vec<_> = sample
            .locations
            .iter()
            .filter_map(|&at| places.get(at).copied())
            .collect();
        let label = sample.bytes.map(|bytes| Label {
            key: "bytes",
            str: "",
            num: i64::try_from(bytes).unwrap_or(i64::MAX),
            num_unit: "",
        });
        builder.labelled_sample(&stack, &sample.values, label.as_slice());
    }
    builder.build().context("failed to make the profile")
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    head: Head,
    /// Bytes between two samples.
    rate: u64,
    /// False when some buckets may be of another collection than others.
    steady: bool,
    /// The sums over all buckets, estimated as each of them is.
    total: Values,
    buckets: Vec<Bucket>,
    cost: Cost,
}

/// Estimates for all objects, from those that were sampled.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Values {
    alloc_objects: i64,
    alloc_space: i64,
    inuse_objects: i64,
    inuse_space: i64,
}

/// Objects of one size that one stack allocated.
#[derive(Serialize)]
struct Bucket {
    object_bytes: u64,
    #[serde(flatten)]
    values: Values,
    sampled_allocs: u64,
    sampled_frees: u64,
    /// The allocating function first.
    stack: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    function: String,
    file: String,
    line: u32,
}

impl From<&Line> for Frame {
    fn from(line: &Line) -> Self {
        Self {
            function: line.function.clone(),
            file: line.file.clone(),
            line: line.line,
        }
    }
}

fn document(opened: &Opened, heap: &HeapProfile, at: UnixMs, cost: Cost) -> Document {
    let mut locations = Locations::new(&opened.program);
    let mut total = Values::default();
    let mut buckets = Vec::with_capacity(heap.buckets.len());
    for bucket in &heap.buckets {
        let sample = heap.sample(bucket, &mut locations);
        let values = Values::from(sample.values);
        total.add(values);
        let stack = sample
            .locations
            .iter()
            .filter_map(|&at| locations.list().get(at));
        buckets.push(Bucket {
            object_bytes: bucket.size,
            values,
            sampled_allocs: bucket.allocs,
            sampled_frees: bucket.frees,
            stack: stack
                .flat_map(|place| place.lines.iter().map(Frame::from))
                .collect(),
        });
    }
    Document {
        head: Head::new(SCHEMA, opened, at),
        rate: heap.rate,
        steady: heap.steady,
        total,
        buckets,
        cost,
    }
}

impl From<[i64; 4]> for Values {
    fn from([alloc_objects, alloc_space, inuse_objects, inuse_space]: [i64; 4]) -> Self {
        Self {
            alloc_objects,
            alloc_space,
            inuse_objects,
            inuse_space,
        }
    }
}

impl Values {
    fn add(&mut self, other: Self) {
        let sum = |to: &mut i64, of: i64| *to = to.saturating_add(of);
        sum(&mut self.alloc_objects, other.alloc_objects);
        sum(&mut self.alloc_space, other.alloc_space);
        sum(&mut self.inuse_objects, other.inuse_objects);
        sum(&mut self.inuse_space, other.inuse_space);
    }
}
