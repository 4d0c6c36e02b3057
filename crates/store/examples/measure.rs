//! Measures a store on data of the kinds that targets have: ingest, bytes a sample, memory, time to
//! open after a kill, and a read of 50 series over 6 hours.
//!
//!     cargo run --release -p store --example measure [-- SERIES SCRAPE]
//!
//! Data: per 50 instances 20 kinds of metric; 1,440 samples a series, 15 s apart; a quarter each of
//! rarely changing integers, small integers and counters, the rest heap sizes and floats. Seeded,
//! so that every run has the same.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Append, Batch, Budget, Cancel, Labels, Matcher, Sample, SeriesRead, SimClock, UnixMs};
use store::{Options, Store};

const START: UnixMs = UnixMs(1_795_300_200_000);
const ROUNDS: usize = 1_440;
const STEP: Duration = Duration::from_secs(15);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, dir, rest @ ..] = &arguments[..]
        && mode == "child"
    {
        let (series, scrape) = sizes(rest)?;
        return ingest_and_die(Path::new(dir), series, scrape);
    }
    let (series, scrape) = sizes(&arguments)?;
    let dir = tempfile::tempdir()?;
    println!("{series} series in scrapes of {scrape}, {ROUNDS} samples each");
    let status = Command::new(std::env::current_exe()?)
        .arg("child")
        .arg(dir.path())
        .args([series.to_string(), scrape.to_string()])
        .status()?;
    println!("child ended: {status}");
    let started = Instant::now();
    let store = open(dir.path())?;
    println!(
        "open after kill -9: {:.1?}, RSS {} MB",
        started.elapsed(),
        rss_mb()
    );
    let stats = store.stats();
    let lost = (series * ROUNDS) as u64 - stats.samples;
    println!("{} samples there, {lost} lost", stats.samples);
    read(&store)?;
    let started = Instant::now();
    store.close()?;
    drop(store);
    println!("close: {:.1?}", started.elapsed());
    let started = Instant::now();
    let store = open(dir.path())?;
    println!("open after close: {:.1?}", started.elapsed());
    print_size(&store);
    drop(store);
    let mut folders: Vec<_> = std::fs::read_dir(dir.path().join("series"))?
        .flatten()
        .collect();
    folders.sort_by_key(|folder| folder.file_name());
    for folder in folders {
        println!(
            "  {} KB in {:?}",
            disk_kb(&folder.path()),
            folder.file_name()
        );
    }
    Ok(())
}

fn disk_kb(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten();
    let inside: u64 = inside.map(|entry| disk_kb(&entry.path())).sum();
    inside + std::fs::metadata(path).map_or(0, |meta| meta.blocks() / 2)
}

fn sizes(arguments: &[String]) -> Result<(usize, usize), std::num::ParseIntError> {
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    Ok((number(0, 2_000)?, number(1, 400)?))
}

fn open(dir: &Path) -> Result<Store, store::StoreError> {
    let clock = SimClock::new(START.after(STEP * ROUNDS as u32));
    Store::open(dir, &Options::default(), Arc::new(clock))
}

fn ingest_and_die(dir: &Path, series: usize, scrape: usize) -> Outcome {
    let store = open(dir)?;
    let mut values: Vec<Value> = (0..series).map(Value::new).collect();
    let mut spent = Duration::ZERO;
    let cpu = cpu_s();
    let mut made = Duration::ZERO;
    for round in 0..ROUNDS {
        let t = START.after(STEP * round as u32);
        for part in values.chunks_mut(scrape) {
            let making = Instant::now();
            let samples = part.iter_mut().map(|value| {
                let v = value.next();
                (value.labels.clone(), Sample { t, v })
            });
            let batch = Batch {
                samples: samples.collect(),
            };
            made += making.elapsed();
            let started = Instant::now();
            store.append(&batch)?;
            spent += started.elapsed();
        }
    }
    let samples = (series * ROUNDS) as f64;
    println!(
        "ingest: {:.2} M samples/s ({spent:.2?} in append; CPU {:.2} s, {made:.2?} of it making data)",
        samples / spent.as_secs_f64() / 1e6,
        cpu_s() - cpu,
    );
    println!("RSS after ingest: {} MB", rss_mb());
    print_size(&store);
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(())
}

fn read(store: &Store) -> Outcome {
    let matchers = [Matcher::metric("metric_7")];
    let mut best = Duration::MAX;
    let mut samples = 0;
    for _ in 0..10 {
        let started = Instant::now();
        let (from, to) = (START, START.after(Duration::from_secs(6 * 3_600)));
        let budget = Budget::samples(10_000_000);
        let mut series = store.select(&matchers, from, to, &budget, &Cancel::default())?;
        best = best.min(started.elapsed());
        series.truncate(50);
        samples = series.iter().map(|series| series.samples.len()).sum();
    }
    println!("select of 50 series x 6 h, {samples} samples: {best:.2?}");
    Ok(())
}

fn print_size(store: &Store) {
    let bytes = store.disk_bytes();
    let each = bytes as f64 / store.stats().samples as f64;
    println!("disk: {} KB, {each:.2} bytes a sample", bytes / 1_000);
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kb.unwrap_or(0) / 1_000
}

fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// One series and how its value goes on.
struct Value {
    labels: Labels,
    kind: usize,
    seed: u64,
    value: f64,
}

impl Value {
    fn new(number: usize) -> Self {
        // 50 instances share a metric's name.
        let (metric, instance) = (number / 50, number % 50);
        let name = format!("metric_{metric}");
        let instance = format!("10.0.0.{instance}:6060");
        let labels = [
            ("instance", instance.as_str()),
            ("job", "shop"),
            ("namespace", "default"),
        ];
        Self {
            labels: Labels::metric(&name, labels),
            kind: metric % 20,
            seed: number as u64 * 2 + 1,
            value: 1_000.0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.seed >> 33) % below
    }

    fn next(&mut self) -> f64 {
        match self.kind {
            // Rarely changing.
            0..5 => {
                if self.random(200) == 0 {
                    self.value += 1.0;
                }
            }
            // As a number of goroutines.
            5..10 => self.value = (self.value + self.random(7) as f64 - 3.0).max(1.0),
            // Counters, which start again now and then.
            10..15 => {
                let step = self.random(1 << 20);
                self.value = if self.random(500) == 0 {
                    0.0
                } else {
                    self.value + step as f64
                };
            }
            // Heap sizes in pages.
            15..18 => {
                let pages = self.random(61) as f64 - 30.0;
                self.value = (self.value + pages * 8_192.0).max(8_192.0);
            }
            _ => self.value = self.random(1 << 31) as f64 / self.random(1 << 31).max(1) as f64,
        }
        self.value
    }
}
