//! How far a back-test has come, on standard error: a bar on a terminal, now and then a line elsewhere.

use std::io::Write;
use std::time::Duration;

use engine::SystemClock;
use engine::backtest::Progress;
use model::Clock;

use super::table::name_of;
use crate::terminal::{self, Screen};
use crate::text::{Line, Style};
use crate::words;

const REPAINT_EVERY: Duration = Duration::from_millis(100);
/// Between two lines where they are not repainted.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const BAR: usize = 24;

/// Shows it.
pub(crate) struct Shown {
    clock: SystemClock,
    screen: Screen,
    last: Option<Duration>,
    is_painted: bool,
}

impl Shown {
    pub(crate) fn new() -> Self {
        let clock = SystemClock::default();
        // A short back-test needs no line; a bar is there at once.
        let last = Some(clock.monotonic());
        Self {
            clock,
            screen: Screen::stderr(),
            last,
            is_painted: false,
        }
    }

    /// Shows `progress`, if it is time.
    pub(crate) fn tell(&mut self, progress: &Progress<'_>) {
        let now = self.clock.monotonic();
        let repaint = self.screen.can_repaint();
        let every = if repaint { REPAINT_EVERY } else { PLAIN_EVERY };
        if self
            .last
            .is_some_and(|last| now.saturating_sub(last) < every)
        {
            return;
        }
        let Some(line) = line(progress, repaint.then_some(self.screen.unicode)) else {
            return;
        };
        self.last = Some(now);
        if repaint {
            // A full line would wrap on some terminals, and could not be repainted then.
            let width = self.screen.width.unwrap_or(80).saturating_sub(1);
            let text = line.cut(width).paint(self.screen.colour);
            write_error(&format!("\r\x1b[2K{text}"));
            self.is_painted = true;
        } else {
            terminal::note(line);
        }
    }

    /// Takes the bar away, so that something else can be said.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_painted) {
            write_error("\r\x1b[2K");
        }
    }
}

fn write_error(text: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody listening there is no error.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The line, with a bar where one is wanted: of Unicode's characters or not.
fn line(progress: &Progress<'_>, bar: Option<bool>) -> Option<Line> {
    let (part, said) = match progress {
        Progress::Read {
            name,
            pass,
            bytes,
            of,
        } => {
            let part = of.map(|of| *bytes as f64 / (of.max(1)) as f64);
            let again = match pass {
                1 => String::new(),
                pass => format!(", pass {pass}"),
            };
            (
                part,
                format!("reading {name} ({}{again})", words::bytes(*bytes as f64)),
            )
        }
        Progress::Asked { target, of, part } => {
            let all = (*target as f64 - 1.0 + part) / (*of).max(1) as f64;
            (Some(all), format!("reading target {target} of {of}"))
        }
        Progress::Judged { labels, part } => (Some(*part), format!("judging {}", name_of(labels))),
        _ => return None,
    };
    let mut line = Line::default();
    if let Some((part, unicode)) = part.zip(bar) {
        let (full, empty) = if unicode { ("━", "─") } else { ("=", "-") };
        let done = ((part.clamp(0.0, 1.0) * BAR as f64) as usize).min(BAR);
        line.push(Style::Good, full.repeat(done));
        line.push(Style::Faint, empty.repeat(BAR - done));
        line.push(Style::Plain, " ");
    }
    if let Some(part) = part {
        line.push(
            Style::Plain,
            format!("{:3.0} %  ", part.clamp(0.0, 1.0) * 100.0),
        );
    }
    Some(line.with(Style::Plain, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_it_is() {
        let read = Progress::Read {
            name: "shop.om",
            pass: 2,
            bytes: 1 << 20,
            of: Some(4 << 20),
        };
        let shown = |bar| {
            line(&read, bar)
                .map(|line| line.paint(false))
                .unwrap_or_default()
        };
        assert_eq!(
            shown(None),
            "25 %  reading shop.om (1.0 MiB, pass 2)"
                .to_owned()
                .replacen("25", " 25", 1)
        );
        assert_eq!(
            shown(Some(false)),
            "======------------------  25 %  reading shop.om (1.0 MiB, pass 2)"
        );
        let asked = Progress::Asked {
            target: 2,
            of: 4,
            part: 0.5,
        };
        let asked = line(&asked, None).map(|line| line.paint(false));
        assert_eq!(asked.as_deref(), Some(" 38 %  reading target 2 of 4"));
    }
}
