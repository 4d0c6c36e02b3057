//! What standard output and standard error are, and writing to them: data goes to the first, all
//! else to the second.

use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::Context;
use rustix::termios::tcgetwinsize;

use crate::text::Line;

/// Width of text that nobody told us a width for.
const WIDTH_DEFAULT: usize = 100;

/// A place where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Columns; `None` where it is no terminal, and nothing needs to be cut.
    pub(crate) width: Option<usize>,
    /// Rows, where it is a terminal.
    pub(crate) height: Option<usize>,
    /// Whether colours are shown.
    pub(crate) colour: bool,
    /// Whether characters beyond ASCII are shown.
    pub(crate) unicode: bool,
}

impl Screen {
    /// Standard output as it is now.
    pub(crate) fn stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// Standard error as it is now.
    pub(crate) fn stderr() -> Self {
        Self::of(&std::io::stderr())
    }

    fn of(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Self {
        let terminal = stream.is_terminal();
        // Some terminals do not know their size, and say 0.
        let size = tcgetwinsize(stream).ok().filter(|_| terminal);
        let side = |value: u16, usual: usize| match value {
            0 => usual,
            value => usize::from(value),
        };
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            width: terminal.then(|| size.map_or(80, |size| side(size.ws_col, 80))),
            height: terminal.then(|| size.map_or(24, |size| side(size.ws_row, 24))),
            colour: terminal && !set("NO_COLOR") && !is_dumb(),
            unicode: !terminal || locale_is_utf8(),
        }
    }

    /// Whether it is a terminal that lines can be repainted on.
    pub(crate) fn can_repaint(&self) -> bool {
        self.width.is_some() && !is_dumb()
    }

    /// The width for running text: the terminal's, but never so wide that it is hard to read.
    pub(crate) fn text_width(&self) -> usize {
        self.width.unwrap_or(WIDTH_DEFAULT).min(WIDTH_DEFAULT)
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Whether the locale's characters are UTF-8; also where no locale is set at all, as in containers
/// whose terminal is somebody's modern one.
fn locale_is_utf8() -> bool {
    let variable = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(variable);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Writes data to standard output. A reader that has seen enough, as `head` has, is no error.
pub(crate) fn data(text: &dyn Display) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("failed to write to standard output"),
    }
}

/// Writes lines to standard output, painted as it can show them.
pub(crate) fn lines(lines: &[Line]) -> anyhow::Result<()> {
    let colour = Screen::stdout().colour;
    let text: String = lines.iter().map(|line| line.paint(colour) + "\n").collect();
    data(&text)
}

/// Writes one JSON document to standard output.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("failed to write JSON")?;
    text.push('\n');
    data(&text)
}

/// Says something on standard error. Nobody listening there is no error.
pub(crate) fn note(line: impl Into<Line>) {
    let text = line.into().paint(false) + "\n";
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
