//! How `watch` shows itself: a screen that is repainted once a second on a terminal, plain lines
//! anywhere else.
//!
//! The screen is repainted in place, without the alternate screen: what stood last is still there
//! when the watcher has ended.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{SystemClock, Watcher};
use model::{Clock, FleetRead};
use tokio::task::JoinHandle;
use tracing_subscriber::fmt::MakeWriter;

use crate::board::{self, Frame};
use crate::news::News;
use crate::terminal::{self, Screen};

const REPAINT_EVERY: Duration = Duration::from_secs(1);
const LOG_LINES_MAX: usize = 8;
const LOG_BYTES_MAX: usize = 2_000;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// Whether the cursor is hidden now: whoever ends the process shows it again.
static CURSOR_IS_HIDDEN: AtomicBool = AtomicBool::new(false);

/// How the watcher shows itself.
#[derive(Debug, Clone)]
pub(crate) enum Face {
    /// A screen, with the log lines that would otherwise tear it.
    Live(LogTail),
    /// Lines on standard error.
    Plain,
}

impl Face {
    /// The screen where standard output is a terminal that can be repainted, unless `plain`.
    pub(crate) fn choose(plain: bool) -> Self {
        match !plain && Screen::stdout().can_repaint() {
            true => Self::Live(LogTail::default()),
            false => Self::Plain,
        }
    }

    /// Whether standard output is taken by the screen.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// Where logs go instead of standard error.
    pub(crate) fn log_tail(&self) -> Option<LogTail> {
        match self {
            Self::Live(tail) => Some(tail.clone()),
            Self::Plain => None,
        }
    }

    /// Shows `watcher`, whose page answers at `at`, until the task is aborted.
    pub(crate) fn show(self, watcher: Watcher, at: SocketAddr) -> JoinHandle<()> {
        match self {
            Self::Live(tail) => tokio::spawn(repaint(watcher, at, tail)),
            Self::Plain => tokio::spawn(tell(watcher)),
        }
    }
}

async fn tell(watcher: Watcher) {
    let mut changed = watcher.changed();
    let mut news = News::default();
    while changed.changed().await.is_ok() {
        for line in news.of(&watcher.view()) {
            terminal::note(line);
        }
    }
}

async fn repaint(watcher: Watcher, at: SocketAddr, tail: LogTail) {
    let url = format!("http://{at}/");
    let clock = SystemClock::default();
    let mut ticks = tokio::time::interval(REPAINT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let _cursor = HiddenCursor::hide();
    // Once: what stood on the screen before is not ours.
    write("\x1b[2J");
    loop {
        ticks.tick().await;
        let view = watcher.view();
        let logs = tail.lines();
        let frame = Frame {
            view: &view,
            url: &url,
            now: clock.now(),
            logs: &logs,
        };
        let screen = Screen::stdout();
        write(&repainted(&board::paint(&frame, &screen)));
    }
}

/// The codes that put `lines` on the screen from its top, and clear what is left of the last ones.
fn repainted(lines: &[String]) -> String {
    let mut text = String::from("\x1b[H");
    for line in lines {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

/// A terminal that is gone ends the process by its own signal; there is nobody to tell.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The cursor is hidden while this lives; a panic elsewhere shows it too, before its message.
struct HiddenCursor;

impl HiddenCursor {
    fn hide() -> Self {
        CURSOR_IS_HIDDEN.store(true, Ordering::SeqCst);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        write(HIDE_CURSOR);
        Self
    }
}

impl Drop for HiddenCursor {
    fn drop(&mut self) {
        restore();
    }
}

/// Shows the cursor again, if it was hidden. For whoever ends the process at once.
pub(crate) fn restore() {
    if CURSOR_IS_HIDDEN.swap(false, Ordering::SeqCst) {
        // The terminal may have put a `^C` where the next line is to stand.
        write(&format!("\r\x1b[K{SHOW_CURSOR}"));
    }
}

/// The latest log lines, for the screen's bottom. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    fn push(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(LOG_BYTES_MAX)];
        let text = String::from_utf8_lossy(bytes);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if lines.len() >= LOG_LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line.trim_end().to_owned());
        }
    }
}

impl MakeWriter<'_> for LogTail {
    type Writer = LogWriter;

    fn make_writer(&self) -> LogWriter {
        LogWriter(self.clone())
    }
}

/// Takes one event's text; the subscriber writes an event at once.
pub(crate) struct LogWriter(LogTail);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repaint_clears_what_it_does_not_cover() {
        let lines = ["one".to_owned(), String::new()];
        assert_eq!(repainted(&lines), "\x1b[Hone\x1b[K\n\x1b[K\n\x1b[J");
    }

    #[test]
    fn the_log_tail_is_bounded() {
        let tail = LogTail::default();
        for i in 0..100 {
            tail.push(format!("line {i}\n\n").as_bytes());
        }
        tail.push(&[b'x'; 10_000]);
        let lines = tail.lines();
        assert_eq!(lines.len(), LOG_LINES_MAX);
        assert_eq!(lines[LOG_LINES_MAX - 2], "line 99");
        assert_eq!(lines[LOG_LINES_MAX - 1].len(), LOG_BYTES_MAX);
    }
}
