//! A dump as text: what `/debug/pprof/goroutine?debug=2` prints, and the groups.
//!
//! Arguments are printed as `(...)`: they are contents of the target, and `debug=2` shows them as bare words.

use std::fmt::{self, Display, Formatter, Write};

use super::groups::Group;
use super::{Frame, Goroutine, Goroutines, Status};
use crate::functions::printed_name;

/// Frames that a traceback prints from either end of a stack.
const FRAMES_SHOWN: usize = 50;
const NS_PER_MINUTE: u64 = 60_000_000_000;

/// [`Goroutines::text`].
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    dump: &'a Goroutines,
    hidden: bool,
}

/// [`Goroutines::groups_text`].
#[derive(Debug, Clone, Copy)]
pub struct GroupsText<'a> {
    dump: &'a Goroutines,
    groups: &'a [Group],
    hidden: bool,
}

impl Goroutines {
    /// The text of Go's own tracebacks, with the frames of the runtime's inside if `hidden`.
    pub fn text(&self, hidden: bool) -> Text<'_> {
        Text { dump: self, hidden }
    }

    /// The text of [`Goroutines::groups`], one stack for each.
    pub fn groups_text<'a>(&'a self, groups: &'a [Group], hidden: bool) -> GroupsText<'a> {
        GroupsText {
            dump: self,
            groups,
            hidden,
        }
    }

    fn stack_text(
        &self,
        stack: Option<usize>,
        is_running: bool,
        all: bool,
        out: &mut Formatter<'_>,
    ) -> fmt::Result {
        let Some(stack) = stack.and_then(|stack| self.stacks.get(stack)) else {
            return out.write_str(if is_running {
                "\tgoroutine running on other thread; stack unavailable\n"
            } else {
                "\tstack unavailable\n"
            });
        };
        let visible = |frame: &&Frame| !frame.hidden || all;
        let mut frames: Vec<&Frame> = stack.frames.iter().filter(visible).collect();
        if frames.is_empty() {
            // Nothing but the runtime's inside: better than nothing.
            frames = stack.frames.iter().collect();
        }
        let elided = frames.len().saturating_sub(2 * FRAMES_SHOWN);
        for (at, frame) in frames.iter().enumerate() {
            if elided > 0 && at == FRAMES_SHOWN {
                writeln!(out, "...{elided} frames elided...")?;
            }
            if elided == 0 || !(FRAMES_SHOWN..FRAMES_SHOWN + elided).contains(&at) {
                write_frame(out, frame)?;
            }
        }
        Ok(())
    }

    fn creator_text(
        &self,
        creator: Option<usize>,
        parent: u64,
        out: &mut Formatter<'_>,
    ) -> fmt::Result {
        let creator = creator.and_then(|creator| self.creators.get(creator));
        let Some(frame) = creator.filter(|frame| !frame.hidden) else {
            return Ok(());
        };
        write!(out, "created by {}", function_text(&frame.function))?;
        if parent != 0 {
            write!(out, " in goroutine {parent}")?;
        }
        out.write_char('\n')?;
        write_place(out, frame)
    }
}

impl Goroutine {
    /// What a traceback has in brackets: `chan receive, 3 minutes, locked to thread`.
    pub fn state(&self) -> String {
        let mut state = self.state_word();
        let minutes = self.waited_ns.unwrap_or(0) / NS_PER_MINUTE;
        if minutes >= 1 && matches!(self.status, Status::Waiting | Status::Syscall) {
            let _ = write!(state, ", {minutes} minutes");
        }
        if self.locked_to_thread {
            state.push_str(", locked to thread");
        }
        if let Some(bubble) = self.bubble {
            let word = if bubble.is_group { "group" } else { "bubble" };
            let _ = write!(state, ", synctest {word} {}", bubble.id);
        }
        state
    }

    /// The state without its time and what else belongs to this goroutine alone: `chan receive`.
    pub(crate) fn state_word(&self) -> String {
        let mut state = match &*self.wait_reason {
            "" => self.status.word().to_owned(),
            reason => printable(reason),
        };
        if self.status == Status::Leaked {
            state.push_str(" (leaked)");
        }
        if self.scan {
            state.push_str(" (scan)");
        }
        let in_bubble = self.bubble.is_some_and(|bubble| !bubble.is_group);
        if in_bubble && self.status == Status::Waiting && is_idle_in_bubble(&self.wait_reason) {
            state.push_str(" (durable)");
        }
        state
    }
}

/// The reasons to wait that only something in the same bubble can end, of those whose words don't say so.
fn is_idle_in_bubble(reason: &str) -> bool {
    const REASONS: [&str; 8] = [
        "chan receive (nil chan)",
        "chan send (nil chan)",
        "select (no cases)",
        "sleep",
        "sync.Cond.Wait",
        "coroutine",
        "synctest.Run",
        "synctest.Wait",
    ];
    REASONS.contains(&reason)
}

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (at, goroutine) in self.dump.goroutines.iter().enumerate() {
            if at > 0 {
                out.write_char('\n')?;
            }
            write!(out, "goroutine {} [{}]", goroutine.id, goroutine.state())?;
            write_labels(out, &goroutine.labels)?;
            out.write_str(":\n")?;
            let all = self.hidden || goroutine.system;
            let is_running = goroutine.status == Status::Running;
            self.dump
                .stack_text(goroutine.stack, is_running, all, out)?;
            self.dump
                .creator_text(goroutine.creator, goroutine.parent, out)?;
        }
        Ok(())
    }
}

impl Display for GroupsText<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (at, group) in self.groups.iter().enumerate() {
            if at > 0 {
                out.write_char('\n')?;
            }
            let noun = if group.count == 1 {
                "goroutine"
            } else {
                "goroutines"
            };
            write!(out, "{} {noun} [{}]", group.count, printable(&group.state))?;
            if let Some(times) = group.waited {
                let [shortest, median, longest] =
                    [times.shortest_ns, times.median_ns, times.longest_ns].map(duration);
                write!(out, " waiting at least {shortest}, {median}, {longest}")?;
                out.write_str(" (shortest, median, longest)")?;
            }
            if group.approximate > 0 {
                write!(out, ", {} approximate", group.approximate)?;
            }
            out.write_str(":\n")?;
            let is_running = group.state == Status::Running.word();
            self.dump
                .stack_text(group.stack, is_running, self.hidden, out)?;
            self.dump.creator_text(group.creator, 0, out)?;
        }
        Ok(())
    }
}

fn write_frame(out: &mut Formatter<'_>, frame: &Frame) -> fmt::Result {
    writeln!(out, "{}(...)", function_text(&frame.function))?;
    write_place(out, frame)
}

fn write_place(out: &mut Formatter<'_>, frame: &Frame) -> fmt::Result {
    write!(out, "\t{}:{}", printable(&frame.file), frame.line)?;
    if !frame.inlined && frame.offset > 0 {
        write!(out, " +{:#x}", frame.offset)?;
    }
    out.write_char('\n')
}

/// Tracebacks say `panic` for the function that panics.
fn function_text(function: &str) -> String {
    match function {
        "runtime.gopanic" => "panic".to_owned(),
        function => printable(&printed_name(function)),
    }
}

/// ` {key: value, ...}`, as Go 1.27 prints labels; nothing without any.
fn write_labels(out: &mut Formatter<'_>, labels: &super::Labels) -> fmt::Result {
    for (at, (key, value)) in labels.iter().enumerate() {
        let before = if at == 0 { " {" } else { ", " };
        write!(out, "{before}{}: {}", label_text(key), label_text(value))?;
    }
    if labels.is_empty() {
        Ok(())
    } else {
        out.write_char('}')
    }
}

fn label_text(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./_".contains(&byte);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("{text:?}")
}

/// Without characters that move a terminal's cursor: names and files are the target's own.
fn printable(text: &str) -> String {
    let replace = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(replace).collect()
}

/// A time in its largest fitting unit: `42s`, `3m`, `2h5m`, `4d7h`.
fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}
