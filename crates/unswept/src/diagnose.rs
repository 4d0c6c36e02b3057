//! `unswept diagnose`: one target in one session.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use collect::{Endpoint, identity};
use engine::Machine;
use engine::config::Limits;
use engine::diagnose::{DiagnoseError, Order, Progress, diagnose};
use model::{Judgement, Target, Verdict};
use reader::{Access, GoProcess, HoldersBudget, Host};

use crate::args::{Diagnose, FailOn, Format};
use crate::find::{self, Found};
use crate::look::Look;
use crate::terminal::{self, Screen};
use crate::text::Line;
use crate::{answer, look, setup};

/// Between two lines of progress where they are not repainted.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const METRICS_PATH: &str = "/metrics";

pub(crate) fn run(arguments: &Diagnose) -> anyhow::Result<ExitCode> {
    let reader = setup::reader(&arguments.host)?;
    setup::logs();
    let host = reader.host()?;
    let is_seen = |pid| find::is_seen(&reader, &host, pid);
    let found = find::find(&arguments.target, &find::discover(&reader)?, is_seen)?;
    let subject = subject(found, arguments.url.as_deref(), &host)?;
    if let Some(Access::Denied { what, hint }) = subject.process.as_ref().map(|p| &p.access) {
        terminal::note(format!(
            "no permission to read {what}: less can be seen of this process"
        ));
        terminal::note(format!("hint: {hint}"));
    }
    let order = Order {
        target: subject.target,
        endpoint: subject.endpoint,
        process: subject.process,
        interval: arguments.interval,
        duration: arguments.duration,
        machine: Machine::of(&host, &Limits::default()),
        inspect: Some(HoldersBudget::default()),
        confirm: arguments.confirm,
        source: setup::source(reader)?,
    };
    let mut teller = Teller::new(arguments.format, &order);
    let verdict = setup::run(async {
        let stop = setup::stop_signal()?;
        let verdict = diagnose(order, stop, |progress| teller.tell(&progress)).await;
        Ok::<_, anyhow::Error>(verdict?)
    })?;
    teller.end();
    let verdict = verdict?;
    match arguments.format {
        Format::Json => terminal::json(&verdict)?,
        Format::Text => terminal::lines(&teller.answer(&verdict))?,
    }
    Ok(exit_code(&verdict, &arguments.fail_on))
}

fn exit_code(verdict: &Verdict, fail_on: &[FailOn]) -> ExitCode {
    let code = match verdict.verdict {
        Judgement::Leak if fail_on.contains(&FailOn::Leak) => 3,
        Judgement::Unsure if fail_on.contains(&FailOn::Unsure) => 4,
        _ => 0,
    };
    ExitCode::from(code)
}

/// What a person can do about a diagnosis that could not begin.
pub(crate) fn hint(error: &DiagnoseError) -> Option<&'static str> {
    match error {
        DiagnoseError::Nothing { .. } => Some(
            "is it running, and is this the address where it serves /metrics? `unswept ps` lists \
             what runs here",
        ),
        _ => None,
    }
}

struct Subject {
    target: Target,
    endpoint: Option<Endpoint>,
    process: Option<GoProcess>,
}

fn subject(found: Found, url: Option<&str>, host: &Host) -> Result<Subject, find::FindError> {
    let named = |url: &str| Endpoint::of_url(url, METRICS_PATH);
    if let Some(url) = url {
        find::check_url(url)?;
    }
    Ok(match found {
        Found::Process(process) => {
            let inside = url.is_some_and(|url| find::is_inside(url, &process));
            let endpoint = url.map(|url| Endpoint {
                inside: inside.then(|| process.key.clone()),
                ..named(url)
            });
            Subject {
                target: identity::of_process(&process, host),
                endpoint,
                process: Some(*process),
            }
        }
        Found::Service {
            url: own,
            process: Some(process),
            ..
        } => Subject {
            target: identity::of_process(&process, host),
            endpoint: Some(named(url.unwrap_or(&own))),
            process: Some(*process),
        },
        Found::Service {
            url: own,
            instance,
            process: None,
        } => {
            let url = url.unwrap_or(&own);
            let target = identity::of_instance(&instance, &instance, url, &BTreeMap::new());
            Subject {
                target,
                endpoint: Some(named(url)),
                process: None,
            }
        }
    })
}

/// Tells people how it goes: data to standard output, progress to standard error.
struct Teller {
    format: Format,
    clock: std::sync::Arc<dyn model::Clock>,
    told: Option<Duration>,
    progress_is_shown: bool,
}

impl Teller {
    fn new(format: Format, order: &Order) -> Self {
        Self {
            format,
            clock: std::sync::Arc::clone(&order.source.clock),
            told: None,
            progress_is_shown: false,
        }
    }

    fn tell(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::FirstLook { view, endpoint } if self.format == Format::Text => {
                let look = Look {
                    view,
                    endpoint,
                    now: self.clock.now(),
                    width: Screen::stdout().text_width(),
                };
                let mut lines = look::lines(&look);
                lines.push(Line::default());
                // A closed standard output is found out again, and told, at the end.
                let _ = terminal::lines(&lines);
            }
            Progress::FirstLook { .. } => {}
            Progress::Judged {
                view,
                verdict,
                elapsed,
            } => {
                self.progress(look::progress(view, verdict, *elapsed), *elapsed);
            }
        }
    }

    fn progress(&mut self, line: Line, elapsed: Duration) {
        let screen = Screen::stderr();
        let repaint = screen.can_repaint();
        let due = self
            .told
            .is_none_or(|last| elapsed.saturating_sub(last) >= PLAIN_EVERY);
        if repaint {
            // A full line would wrap on some terminals, and could not be repainted then.
            let width = screen.width.unwrap_or(80).saturating_sub(1);
            let text = format!("\r\x1b[2K{}", line.cut(width).paint(screen.colour));
            write_error(&text);
            self.progress_is_shown = true;
        } else if due {
            self.told = Some(elapsed);
            terminal::note(line);
        }
    }

    /// Takes the line of progress away.
    fn end(&mut self) {
        if std::mem::take(&mut self.progress_is_shown) {
            write_error("\r\x1b[2K");
        }
    }

    fn answer(&self, verdict: &Verdict) -> Vec<Line> {
        answer::lines(verdict, self.clock.now(), Screen::stdout().text_width())
    }
}

fn write_error(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_fails() {
        let mut verdict = crate::board::tests::target("shop", 1).verdict.unwrap();
        let code =
            |verdict: &Verdict, fail_on: &[FailOn]| format!("{:?}", exit_code(verdict, fail_on));
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        let all = [FailOn::Leak, FailOn::Unsure];
        assert_eq!(code(&verdict, &[]), is(0));
        assert_eq!(code(&verdict, &all), is(3));
        assert_eq!(code(&verdict, &[FailOn::Unsure]), is(0));
        verdict.verdict = Judgement::Unsure;
        assert_eq!(code(&verdict, &all), is(4));
        assert_eq!(code(&verdict, &[FailOn::Leak]), is(0));
        verdict.verdict = Judgement::NoLeak;
        assert_eq!(code(&verdict, &all), is(0));
    }
}
