//! The worker: rounds of one parser, until it is enough.
//!
//! It tells on standard output, a line each: `rounds DONE BYTES WORST_MS PEAK_KIB` now and then, and
//! `finding ROUND TEXT`. The number of the round that runs stands in a file, for whoever finds us dead.

use std::backtrace::Backtrace;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::options::{Options, Until};
use crate::parsers::{self, Input};
use crate::random::Random;

/// Address space a worker may take beyond what it has when all seeds are loaded.
pub(crate) const ROOM_BYTES: u64 = 1 << 30;
/// A round that takes so much of our processor time hangs. Ordinary ones take milliseconds. By this clock a machine
/// that is busy with other work does not make a round long.
const ROUND_CPU_MAX: Duration = Duration::from_secs(30);
/// And one that takes so long by the clock on the wall: what waits for itself takes no processor time.
const ROUND_MAX: Duration = Duration::from_secs(600);
/// How a worker ends whose round hangs.
pub(crate) const HANGS: i32 = 76;
/// As many places of a backtrace are told.
const FRAMES_TOLD_MAX: usize = 8;
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Where a worker keeps the number of its round.
pub(crate) fn round_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.round"))
}

/// Runs the rounds; returns how many failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<u64> {
    let name = options.names[0];
    let seed = options.seed.context("a worker needs a seed")?;
    let parser = parsers::parser(
        name,
        &options.root.join("crates"),
        &options.folder.join("corpus"),
    )?;
    let mut worker = Worker::new(&options.folder, name, seed)?;
    if let Until::Only(round) = options.until {
        let input = parser.make(&mut Random::of(seed, round));
        if options.save_only {
            save(&options.folder, name, seed, round, &*input)?;
            return Ok(0);
        }
        print!("{}", input.recipe());
        limit_memory();
        worker.round(round, &*input)?;
        return Ok(worker.findings);
    }
    limit_memory();
    let began = Instant::now();
    let mut round = options.from;
    loop {
        let is_enough = match options.until {
            Until::Time(time) => began.elapsed() >= time,
            Until::Rounds(rounds) => round >= rounds,
            Until::Only(_) => true,
        };
        if is_enough {
            break;
        }
        let input = parser.make(&mut Random::of(seed, round));
        worker.round(round, &*input)?;
        round += 1;
        worker.tell(false);
    }
    worker.tell(true);
    Ok(worker.findings)
}

struct Worker<'a> {
    folder: &'a Path,
    name: &'static str,
    seed: u64,
    /// Holds the number of the round that runs.
    current: File,
    watch: Arc<Watch>,
    panic: Arc<Mutex<String>>,
    /// Where it has panicked: each place is told once.
    places: Vec<String>,
    findings: u64,
    rounds: u64,
    bytes: u64,
    worst: Duration,
    told: Instant,
}

impl<'a> Worker<'a> {
    fn new(folder: &'a Path, name: &'static str, seed: u64) -> anyhow::Result<Self> {
        let file = round_file(folder, name);
        let current = File::create(&file);
        Ok(Self {
            folder,
            name,
            seed,
            current: current.with_context(|| format!("failed to write {}", file.display()))?,
            watch: Watch::start()?,
            panic: hear_panics(),
            places: Vec::new(),
            findings: 0,
            rounds: 0,
            bytes: 0,
            worst: Duration::ZERO,
            told: Instant::now(),
        })
    }

    fn round(&mut self, round: u64, input: &dyn Input) -> anyhow::Result<()> {
        self.current.write_all_at(&round.to_le_bytes(), 0)?;
        self.watch.edge();
        let began = Instant::now();
        // What a panic leaves half done is made anew for each round, or is only read.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| input.run()));
        self.worst = self.worst.max(began.elapsed());
        self.watch.edge();
        self.rounds += 1;
        match outcome {
            Ok(bytes) => self.bytes += bytes,
            Err(_) => self.panicked(round, input)?,
        }
        Ok(())
    }

    fn panicked(&mut self, round: u64, input: &dyn Input) -> anyhow::Result<()> {
        self.findings += 1;
        let mut said = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        let said = std::mem::take(&mut *said);
        let place = said.split_once(": ").map_or(&*said, |(place, _)| place);
        if !self.places.iter().any(|known| known == place) {
            self.places.push(place.to_owned());
            save(self.folder, self.name, self.seed, round, input)?;
            println!("finding {round} {said}");
        }
        Ok(())
    }

    fn tell(&mut self, at_once: bool) {
        if at_once || self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let (worst, peak) = (self.worst.as_millis(), own("VmHWM:"));
            println!("rounds {} {} {worst} {peak}", self.rounds, self.bytes);
        }
    }
}

/// Keeps the message of the first panic of a round.
fn hear_panics() -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&said);
    panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        let line = message.lines().next().unwrap_or_default();
        // Read where there was no round to blame.
        eprintln!("{}: {line}", place.as_deref().unwrap_or_default());
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        // The first one: a thread that waits for one which panicked panics, too.
        if heard.is_empty() {
            let way = Backtrace::force_capture().to_string();
            let way: Vec<&str> = own_frames(&way).take(FRAMES_TOLD_MAX).collect();
            let place = place.unwrap_or_default();
            *heard = format!("{place}: {line} | {}", way.join(" | "));
        }
    }));
    said
}

/// The places in our sources that a backtrace names, the innermost first.
pub(crate) fn own_frames(backtrace: &str) -> impl Iterator<Item = &str> {
    let places = backtrace.lines().filter_map(|line| {
        let place = line.trim().strip_prefix("at ")?;
        let ours = place.strip_prefix("./").unwrap_or(place);
        (ours.contains("crates/") && !ours.contains("/rustc/")).then_some(ours)
    });
    places.filter(|place| !place.contains("/registry/"))
}

/// Ends the process when a round takes too long.
#[derive(Default)]
struct Watch {
    /// Beginnings and ends of rounds so far: odd while one runs.
    edges: AtomicU64,
}

impl Watch {
    fn start() -> anyhow::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let seen = Arc::clone(&watch);
        let thread = std::thread::Builder::new().name("watch".into());
        let spawned = thread.spawn(move || {
            let (mut edge, mut since, mut cpu) = (0, Instant::now(), own_cpu());
            loop {
                std::thread::sleep(Duration::from_millis(500));
                let now = seen.edges.load(Ordering::Relaxed);
                if now != edge || now.is_multiple_of(2) {
                    (edge, since, cpu) = (now, Instant::now(), own_cpu());
                } else if own_cpu().saturating_sub(cpu) > ROUND_CPU_MAX
                    || since.elapsed() > ROUND_MAX
                {
                    std::process::exit(HANGS);
                }
            }
        });
        spawned.context("no thread to watch with")?;
        Ok(watch)
    }

    /// A round begins or ends.
    fn edge(&self) {
        self.edges.fetch_add(1, Ordering::Relaxed);
    }
}

/// Processor time of this process, all threads together.
fn own_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Saves how an input was made, and its bytes.
fn save(folder: &Path, name: &str, seed: u64, round: u64, input: &dyn Input) -> anyhow::Result<()> {
    let failures = folder.join("failures");
    fs::create_dir_all(&failures)?;
    let stem = format!("{name}-{seed}-{round}");
    let mut recipe = File::create(failures.join(format!("{stem}.txt")))?;
    writeln!(
        recipe,
        "cargo xtask fuzz {name} --seed {seed} --round {round}"
    )?;
    recipe.write_all(input.recipe().as_bytes())?;
    for (ending, bytes) in input.files() {
        fs::write(failures.join(format!("{stem}.{ending}")), bytes)?;
    }
    Ok(())
}

/// A core of ours would be big, and what is refused is a finding.
fn limit_memory() {
    let limit = (own("VmSize:") << 10) + ROOM_BYTES;
    for (resource, limit) in [(Resource::As, limit), (Resource::Core, 0)] {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        let _ = rustix::process::setrlimit(resource, limit);
    }
}

/// A figure of our own `/proc/self/status`, in KiB.
fn own(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}
