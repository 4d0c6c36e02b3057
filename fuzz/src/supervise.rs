//! The supervisor: a worker for each parser, some at a time, and another one where one has died.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::options::{Options, Until};
use crate::state::{self, State};
use crate::{corpus, work};

/// A parser that has killed so many workers is given up.
const DEATHS_MAX: u64 = 5;
/// As much of what a dead worker said is told.
const LAST_WORDS_LINES_MAX: usize = 12;
/// How often the state of a long run is written down.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// How the C library of a worker keeps memory. Threads share few heaps: each more would take address space, of which
/// there is little. What one round has freed the next one takes again: to give it back to the kernel costs more than
/// many a round does.
const HEAPS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "4194304"),
    ("MALLOC_TRIM_THRESHOLD_", "67108864"),
];

/// Feeds all parsers asked for; returns how many failures there were.
pub(crate) fn run(options: &Options) -> anyhow::Result<u64> {
    fs::create_dir_all(&options.folder)
        .with_context(|| format!("failed to make {}", options.folder.display()))?;
    corpus::ensure(&options.folder.join("corpus"), &options.releases)?;
    let queue: Mutex<VecDeque<&str>> = Mutex::new(options.names.iter().copied().collect());
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    };
    let lane = || {
        let mut findings = 0;
        while let Some(name) = next() {
            findings += feed(options, name)?;
        }
        anyhow::Ok(findings)
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..options.beside).map(|_| scope.spawn(lane)).collect();
        let mut findings = 0;
        for lane in lanes {
            findings += lane
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("a panic of our own")))?;
        }
        Ok(findings)
    })
}

/// Feeds one parser.
fn feed(options: &Options, name: &str) -> anyhow::Result<u64> {
    let file = state::file(&options.folder, name);
    let mut state = begin(options, name)?;
    if let Until::Rounds(rounds) = options.until
        && state.rounds >= rounds
    {
        println!("{name}: has done {} rounds before", state.rounds);
        return Ok(state.findings);
    }
    println!("{name}: seed {}, from round {}", state.seed, state.rounds);
    let (began, before) = (Instant::now(), state.seconds);
    let (first, mut deaths) = (state.rounds, 0);
    loop {
        let start = Piece {
            options,
            name,
            before: state.clone(),
            left: match options.until {
                Until::Time(time) => Until::Time(time.saturating_sub(began.elapsed())),
                other => other,
            },
        };
        let seconds = || before + began.elapsed().as_secs_f64();
        let status = start.run(&mut state, &seconds)?;
        state.seconds = seconds();
        if matches!(status.code(), Some(0 | 1)) {
            break;
        }
        let round = died(options, name, &mut state, status)?;
        deaths += 1;
        let is_last = match options.until {
            Until::Only(_) => true,
            Until::Rounds(rounds) => state.rounds >= rounds,
            Until::Time(time) => began.elapsed() >= time,
        };
        if is_last || deaths >= DEATHS_MAX {
            println!("{name}: given up after round {round}");
            break;
        }
    }
    if !matches!(options.until, Until::Only(_)) {
        state.save(&file, name, options.commit.as_deref())?;
    }
    println!("{name}: {}", summary(&state, state.rounds - first));
    Ok(state.findings)
}

/// Where to begin: at the end of an earlier run, if it is one run of many rounds.
fn begin(options: &Options, name: &str) -> anyhow::Result<State> {
    let file = state::file(&options.folder, name);
    let earlier = State::load(&file, options.commit.as_deref());
    if let (Until::Rounds(_), Some(earlier)) = (options.until, earlier)
        && options.seed.is_none_or(|seed| seed == earlier.seed)
    {
        return Ok(earlier);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(State {
        seed: options
            .seed
            .unwrap_or(now.as_micros() as u64 % 1_000_000_000),
        ..State::default()
    })
}

fn summary(state: &State, rounds: u64) -> String {
    format!(
        "{rounds} rounds now, {} in all with {:.1} GB in {:.0} s; the longest took {} ms; at most {} MiB; {} failures",
        state.rounds,
        state.bytes as f64 / 1e9,
        state.seconds,
        state.worst_ms,
        state.peak_kib >> 10,
        state.findings
    )
}

/// What one worker is to do.
struct Piece<'a> {
    options: &'a Options,
    name: &'a str,
    before: State,
    left: Until,
}

impl Piece<'_> {
    fn command(&self) -> anyhow::Result<Command> {
        let ourselves = std::env::current_exe().context("failed to find our own executable")?;
        let mut command = Command::new(ourselves);
        let options = self.options;
        command
            .args(["--worker", self.name, "--seed"])
            .arg(self.before.seed.to_string())
            .arg("--from")
            .arg(self.before.rounds.to_string())
            .arg("--root")
            .arg(&options.root)
            .arg("--folder")
            .arg(&options.folder)
            .stdin(Stdio::null())
            .envs(HEAPS);
        match self.left {
            Until::Time(time) => command.args(["--for", &format!("{}s", time.as_secs().max(1))]),
            Until::Rounds(rounds) => command.args(["--rounds", &rounds.to_string()]),
            Until::Only(round) => command.args(["--round", &round.to_string()]),
        };
        Ok(command)
    }

    /// Runs a worker to its end, and adds what it did to `state`.
    fn run(&self, state: &mut State, seconds: &dyn Fn() -> f64) -> anyhow::Result<ExitStatus> {
        let errors = File::create(self.options.folder.join(format!("{}.stderr", self.name)))?;
        let mut command = self.command()?;
        let mut worker = command.stdout(Stdio::piped()).stderr(errors).spawn()?;
        let output = worker.stdout.take().context("a worker without output")?;
        let mut saved = Instant::now();
        for line in BufReader::new(output).lines() {
            self.heard(&line?, state);
            if saved.elapsed() >= SAVE_EVERY && !matches!(self.left, Until::Only(_)) {
                saved = Instant::now();
                state.seconds = seconds();
                let file = state::file(&self.options.folder, self.name);
                state.save(&file, self.name, self.options.commit.as_deref())?;
            }
        }
        Ok(worker.wait()?)
    }

    fn heard(&self, line: &str, state: &mut State) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words.as_slice() {
            ["rounds", ..] => {
                let numbers = line.split(' ').skip(1).map(str::parse::<u64>);
                let numbers: Vec<u64> = numbers.filter_map(Result::ok).collect();
                if let &[rounds, bytes, worst_ms, peak_kib] = numbers.as_slice() {
                    state.rounds = self.before.rounds + rounds;
                    state.bytes = self.before.bytes + bytes;
                    state.worst_ms = state.worst_ms.max(worst_ms);
                    state.peak_kib = state.peak_kib.max(peak_kib);
                }
            }
            ["finding", round, what] => {
                state.findings += 1;
                tell_failure(self.options, self.name, state.seed, round, what);
            }
            _ => println!("{line}"),
        }
    }
}

fn tell_failure(options: &Options, name: &str, seed: u64, round: &str, what: &str) {
    let folder = options.folder.join("failures");
    println!("{name}: FAILED in round {round}: {what}");
    println!("{name}:   again: cargo xtask fuzz {name} --seed {seed} --round {round}");
    println!(
        "{name}:   input: {}/{name}-{seed}-{round}.*",
        folder.display()
    );
}

/// What a worker that died of itself said before its backtrace, and the frames of ours in that.
fn last_words(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim);
    let reason = lines
        .take_while(|line| *line != "stack backtrace:")
        .filter(|line| !line.is_empty());
    let words = reason.chain(work::own_frames(stderr));
    let words: Vec<&str> = words.take(LAST_WORDS_LINES_MAX).collect();
    match words.is_empty() {
        true => "it said nothing".to_owned(),
        false => words.join(" | "),
    }
}

/// A worker has died: its round's input is saved, and the next round is the one behind it.
fn died(
    options: &Options,
    name: &str,
    state: &mut State,
    status: ExitStatus,
) -> anyhow::Result<u64> {
    let round = fs::read(work::round_file(&options.folder, name))?;
    let round = round
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let stderr = options.folder.join(format!("{name}.stderr"));
    let said = last_words(&fs::read_to_string(&stderr).unwrap_or_default());
    let what = match (status.code(), status.signal()) {
        (Some(work::HANGS), _) => "it hangs".to_owned(),
        (_, Some(signal)) => format!("ended by signal {signal}: {said}"),
        _ => format!("ended by itself, {status}: {said}"),
    };
    state.findings += 1;
    let save = Piece {
        options,
        name,
        before: state.clone(),
        left: Until::Only(round),
    };
    save.command()?.arg("--save-only").status()?;
    tell_failure(options, name, state.seed, &round.to_string(), &what);
    state.rounds = round + 1;
    Ok(round)
}
