//! `unswept judge`: a back-test on what others have recorded.

pub(crate) mod args;
mod progress;
mod table;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use engine::SystemClock;
use engine::backtest::files::{FilesError, Remarks, judge_files};
use engine::backtest::prometheus::{Order, PrometheusError, judge_prometheus};
use engine::backtest::{Gather, Progress, Record};
use fetch::Fetcher;
use model::{Clock, Sample};

use self::args::Judge;
use self::progress::Shown;
use self::table::Summary;
use crate::args::{FailOn, Format};
use crate::terminal::{self, Screen};
use crate::{setup, words};

/// A token is a line; what is longer is another file.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

pub(crate) fn run(arguments: &Judge) -> anyhow::Result<ExitCode> {
    setup::logs();
    let mut teller = Teller {
        format: arguments.format,
        shown: Shown::new(),
        summary: Summary::default(),
    };
    let judged = judge(arguments, &mut teller);
    teller.shown.clear();
    let remarks = match judged {
        Ok(remarks) => remarks,
        // Whoever reads our output has seen enough, as `head` has.
        Err(error) if is_closed(&error) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error),
    };
    let summary = &teller.summary;
    match arguments.format {
        Format::Text => terminal::lines(&summary.lines(Screen::stdout().width))?,
        Format::Json if io::stderr().is_terminal() => {
            let screen = Screen::stderr();
            for line in summary.lines(screen.width) {
                eprintln!("{}", line.paint(screen.colour));
            }
        }
        Format::Json => {}
    }
    tell_remarks(&remarks);
    if summary.targets == 0 && remarks.too_large.is_empty() {
        return Err(JudgeError::Nothing.into());
    }
    Ok(exit_code(summary, &remarks, &arguments.fail_on))
}

fn judge(arguments: &Judge, teller: &mut Teller) -> anyhow::Result<Remarks> {
    let samples_max = usize::try_from(arguments.max_memory)? / size_of::<Sample>();
    let tell = &mut |progress: &Progress<'_>| teller.tell(progress);
    let Some(url) = &arguments.prometheus else {
        let gather = Gather::new(arguments.drop_label.clone(), samples_max);
        return Ok(judge_files(&arguments.files, gather, tell)?);
    };
    let to = arguments
        .until
        .unwrap_or_else(|| SystemClock::default().now());
    let token = arguments.bearer_token_file.as_deref().map(token);
    let order = Order {
        url: url.clone(),
        selectors: arguments.selector.clone(),
        from: to.before(arguments.last),
        to,
        drop_labels: arguments.drop_label.clone(),
        samples_max,
        authorization: token.transpose()?.map(|token| format!("Bearer {token}")),
    };
    let fetcher = Fetcher::new()?;
    let judged = judge_prometheus(&order, &fetcher, tell);
    Ok(setup::runtime()?.block_on(judged)?)
}

fn token(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let failed = || format!("failed to read the token in {}", path.display());
    let file = std::fs::File::open(path).with_context(failed)?;
    let mut text = String::new();
    let read = file.take(TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.with_context(failed)?;
    Ok(text.trim().to_owned())
}

fn is_closed(error: &anyhow::Error) -> bool {
    let told = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(FilesError::Tell(error)), _) | (_, Some(PrometheusError::Tell(error))) => error,
        _ => return false,
    };
    told.kind() == ErrorKind::BrokenPipe
}

fn exit_code(summary: &Summary, remarks: &Remarks, fail_on: &[FailOn]) -> ExitCode {
    let code = match () {
        () if summary.leaking > 0 && fail_on.contains(&FailOn::Leak) => 3,
        () if summary.unsure > 0 && fail_on.contains(&FailOn::Unsure) => 4,
        () if !remarks.too_large.is_empty() => 1,
        () => 0,
    };
    ExitCode::from(code)
}

fn tell_remarks(remarks: &Remarks) {
    for path in &remarks.cut {
        terminal::note(format!(
            "{} does not end with `# EOF`: it may have been cut off",
            path.display()
        ));
    }
    for name in &remarks.too_large {
        terminal::note(format!(
            "{name} was not judged: it has more samples than --max-memory allows"
        ));
    }
    let counts = remarks.counts;
    for (count, why) in [
        (counts.timeless, "have no time"),
        (
            counts.out_of_order,
            "are not newer than the one before them in their series",
        ),
    ] {
        if count > 0 {
            terminal::note(format!(
                "{} samples were left out: they {why}",
                words::count(count)
            ));
        }
    }
    if counts.series_too_many > 0 {
        terminal::note(format!(
            "{} series were left out: one process may have 2,000 that tell its load",
            words::count(counts.series_too_many)
        ));
    }
}

/// Why a back-test has nothing to say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JudgeError {
    /// There is no target.
    #[error("no series with times tells anything about memory")]
    Nothing,
}

impl JudgeError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Nothing => {
                "needed is one of process_resident_memory_bytes, go_memstats_*, container_memory_*, with labels \
                 that name the target (job and instance, or namespace, pod and container)"
            }
        }
    }
}

/// Tells people how it goes, and programs what was found.
struct Teller {
    format: Format,
    shown: Shown,
    summary: Summary,
}

impl Teller {
    fn tell(&mut self, progress: &Progress<'_>) -> io::Result<()> {
        let Progress::Told(record) = progress else {
            self.shown.tell(progress);
            return Ok(());
        };
        self.summary.add(record);
        if self.format == Format::Text {
            return Ok(());
        }
        // On a terminal both are the same screen.
        self.shown.clear();
        write_line(record)
    }
}

fn write_line(record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
