//! One run of a program: wall and processor time, peak memory of all its processes.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Between two looks at a program's memory. Its own high-water mark is read, so only what grows after the last look
/// is missed.
const PERIOD: Duration = Duration::from_millis(10);
/// Ticks of the clock that processor time is counted in (`USER_HZ`), on every machine of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// What one run took, and what it said.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) wall: Duration,
    /// User and system, of all its processes that it has waited for.
    pub(super) cpu_seconds: f64,
    /// The sum of the peaks of all its processes: an upper bound.
    pub(super) peak_bytes: u64,
    pub(super) output: Vec<u8>,
}

/// Runs `command` to its end.
///
/// # Errors
/// When it can't be started, or fails: with what it wrote to standard error.
pub(super) fn run(command: &mut Command) -> anyhow::Result<Run> {
    // Where it lies on this machine is nobody's business: this may end on a page.
    let name = Path::new(command.get_program()).file_name();
    let name = name.unwrap_or_default().display().to_string();
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run `{name}`"))?;
    let id = child.id();
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.context("a process without a pid")?;
    let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let mut peaks = HashMap::new();
    let (wall, cpu_seconds) = loop {
        for process in family(id) {
            let peak = peaks.entry(process).or_insert(0);
            *peak = high_water(process).unwrap_or(0).max(*peak);
        }
        // Not buried yet, so that its times can still be read.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            break (started.elapsed(), cpu_seconds(&stat).unwrap_or(f64::NAN));
        }
        std::thread::sleep(PERIOD);
    };
    let status = child.wait().context("failed to wait for a program")?;
    let read = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    let (output, errors) = (read(output), read(errors));
    if !status.success() {
        let errors = String::from_utf8_lossy(&errors);
        bail!("`{name}` ended with {status}: {}", errors.trim());
    }
    Ok(Run {
        wall,
        cpu_seconds,
        peak_bytes: peaks.values().sum(),
        output,
    })
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before an error is better than nothing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// A process and those it has started; no deeper, since what we measure starts nothing deeper.
fn family(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(path).into_iter().flatten().flatten();
    let children =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut family = vec![pid];
    for text in children {
        family.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    family
}

/// `VmHWM`: the most memory that was ever resident.
fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 to 17 of `/proc/PID/stat`: user and system time, its own and of children that were waited for.
pub(super) fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields = fields.split(' ').skip(11).take(4);
    let ticks: Option<Vec<f64>> = fields.map(|field| field.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() == 4)?;
    Some(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// The median, of an even number the higher one; and the lowest and highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Spread {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
        Self {
            low: at(0),
            median: at(values.len() / 2),
            high: at(values.len().wrapping_sub(1)),
        }
    }

    /// `2.1 GB/s (1.8 to 2.4)`.
    pub(super) fn words(&self, unit: &str, digits: usize) -> String {
        let Self { low, median, high } = self;
        format!("{median:.digits$} {unit} ({low:.digits$} to {high:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_measured_and_a_failure_says_why() {
        let mut busy = Command::new("sh");
        busy.args([
            "-c",
            "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done",
        ]);
        let run_of = run(&mut busy).unwrap();
        assert_eq!(run_of.output, b"done\n");
        assert!(
            run_of.cpu_seconds > 0.0 && run_of.peak_bytes > 100 << 10,
            "{run_of:?}"
        );
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo no such thing >&2; exit 3"]);
        let error = run(&mut failing).unwrap_err().to_string();
        assert!(error.contains("no such thing"), "{error}");
    }

    #[test]
    fn times_and_spreads() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 0 0 0 0 150 50 25 75 20 0 1 0 9";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 2.0, 3.0));
        assert_eq!(spread.words("s", 1), "2.0 s (1.0 to 3.0)");
        assert!(Spread::of([]).median.is_nan());
    }
}
