//! Lines of `GODEBUG=gctrace=1,scavtrace=1` that a service writes to the systemd journal, through `journalctl`,
//! which knows where journals lie and who may read them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use wire::{Limits, Scrape, Traces};

/// Bytes taken at once: more waits in the pipe, and then in `journalctl`.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// A longer line is none of the runtime's.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Of what `journalctl` says when it fails.
const WORDS_BYTES_MAX: u64 = 512;
/// One that ended is started again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Lines from before, so that the first reading has figures.
const LINES_BEFORE: &str = "200";

/// Whose lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalOf {
    /// A systemd unit's.
    Unit(String),
    /// A process's.
    Pid(u32),
}

/// Follows the journal of one service: starts `journalctl`, and ends it when dropped. If we are killed, it ends
/// with its next line, which nobody takes.
#[derive(Debug)]
pub(crate) struct TraceJournal {
    program: PathBuf,
    of: JournalOf,
    running: Option<Running>,
    /// Why it does not run, and when it is tried again.
    failed: Option<(String, Instant)>,
    /// A line that is not whole yet.
    rest: Vec<u8>,
    traces: Traces,
}

#[derive(Debug)]
struct Running {
    /// Taken when it is ended.
    child: Option<Child>,
    lines: ChildStdout,
    words: ChildStderr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // It has ended already where this fails.
        let _ = child.kill();
        if matches!(child.try_wait(), Ok(None)) {
            // It may hang in the kernel, with its journal's disk: that is no reason to wait for it. Without a
            // thread it stays a zombie until we end.
            let reap = move || child.wait();
            let _ = std::thread::Builder::new().spawn(reap);
        }
    }
}

impl TraceJournal {
    /// Nothing is started yet. `program` is `journalctl`, or where it is.
    #[must_use]
    pub(crate) fn new(program: PathBuf, of: JournalOf) -> Self {
        Self {
            program,
            of,
            running: None,
            failed: None,
            rest: Vec::new(),
            traces: Traces::default(),
        }
    }

    /// Takes what was written since the last call, and gives what the latest lines say, as samples; none before
    /// there was a line. Never waits for more.
    ///
    /// # Errors
    /// If `journalctl` cannot be started, or has ended: it is started again a minute later.
    pub(crate) fn read(&mut self) -> io::Result<Scrape> {
        if let Some((why, again)) = &self.failed {
            if Instant::now() < *again {
                return Err(io::Error::other(why.clone()));
            }
            self.failed = None;
        }
        let taken = self.take();
        if let Err(error) = &taken {
            self.running = None;
            self.failed = Some((error.to_string(), Instant::now() + AGAIN_AFTER));
        }
        taken.map(|()| self.traces.scrape())
    }

    fn take(&mut self) -> io::Result<()> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(start(&self.program, &self.of)?),
        };
        let mut piece = [0; 8 << 10];
        let mut taken = 0;
        while taken < PIECE_BYTES_MAX {
            match running.lines.read(&mut piece) {
                Ok(0) => return Err(running.last_words()),
                Ok(bytes) => {
                    taken += bytes;
                    self.rest.extend_from_slice(&piece[..bytes]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map_or(0, |end| end + 1);
        wire::parse_traces(&self.rest[..whole], &Limits::default(), &mut self.traces);
        self.rest.drain(..whole);
        if self.rest.len() > LINE_BYTES_MAX {
            self.rest.clear();
        }
        Ok(())
    }
}

impl Running {
    /// Why it has ended, by its own words.
    fn last_words(&mut self) -> io::Error {
        let mut words = Vec::new();
        // What it had no time to say is not waited for.
        let _ = (&mut self.words)
            .take(WORDS_BYTES_MAX)
            .read_to_end(&mut words);
        let words = String::from_utf8_lossy(&words);
        let first = words.lines().next().unwrap_or("it said nothing").trim();
        io::Error::other(format!("journalctl ended: {first}"))
    }
}

fn start(program: &Path, of: &JournalOf) -> io::Result<Running> {
    let mut command = Command::new(program);
    command
        .args(["--no-pager", "--quiet", "--output=cat", "--follow"])
        .arg(format!("--lines={LINES_BEFORE}"))
        .arg(match of {
            JournalOf::Unit(unit) => format!("--unit={unit}"),
            JournalOf::Pid(pid) => format!("_PID={pid}"),
        })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        let program = program.display();
        io::Error::new(error.kind(), format!("failed to start {program}: {error}"))
    })?;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (lines, words) = pipes.ok_or_else(|| io::Error::other("no pipes to journalctl"))?;
    let running = Running {
        child: Some(child),
        lines,
        words,
    };
    // A round never waits for a journal.
    let flags = fcntl_getfl(&running.lines)?;
    fcntl_setfl(&running.lines, flags | OFlags::NONBLOCK)?;
    let flags = fcntl_getfl(&running.words)?;
    fcntl_setfl(&running.words, flags | OFlags::NONBLOCK)?;
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a service wrote, as `journalctl --output=cat` gives it.
    const RECORDED: &str = include_str!("../tests/data/journal-cat.txt");

    /// A `journalctl` that does as the script in the folder says, and the journal of that folder.
    fn fake_journalctl(folder: &Path, script: &str) -> TraceJournal {
        std::fs::write(folder.join("script"), script).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fake-journalctl");
        TraceJournal::new(program, JournalOf::Unit(folder.display().to_string()))
    }

    fn live_mib(scrape: &Scrape) -> Option<f64> {
        let mut all = scrape.samples.iter();
        let live = all.find(|sample| sample.labels.name() == "go_gc_heap_live_bytes");
        live.map(|sample| sample.value / f64::from(1 << 20))
    }

    fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "never");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_fake_journalctl_is_followed_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("recorded"), RECORDED).unwrap();
        let script = "cat \"$folder/recorded\"\n\
             while ! [ -e \"$folder/more\" ]; do sleep 0.05; done\n\
             cat \"$folder/more\"\nexec sleep 1000\n";
        let mut journal = fake_journalctl(folder.path(), script);
        let live = |journal: &mut TraceJournal| live_mib(&journal.read().unwrap());
        until(|| live(&mut journal).filter(|live| *live == 9.0));
        let asked = std::fs::read_to_string(path("arguments")).unwrap();
        let unit = folder.path().display();
        let wanted =
            format!("--no-pager --quiet --output=cat --follow --lines=200 --unit={unit}\n");
        assert_eq!(asked, wanted);
        // The end of the last line comes only now.
        let next =
            "; done\ngc 9 @9.1s 0%: 0+0+0 ms clock, 0 ms cpu, 30->30->21 MB, 42 MB goal, 2 P\n";
        std::fs::write(path("part"), next).unwrap();
        std::fs::rename(path("part"), path("more")).unwrap();
        until(|| live(&mut journal).filter(|live| *live == 21.0));
        let running = journal.running.as_ref().unwrap();
        let process = format!("/proc/{}", running.child.as_ref().unwrap().id());
        assert!(Path::new(&process).exists());
        drop(journal);
        until(|| (!Path::new(&process).exists()).then_some(()));
    }

    #[test]
    fn what_a_fake_journalctl_says_at_its_end_is_told_and_it_is_not_started_again_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo x >> \"$folder/started\"\n\
             echo 'No journal files were opened due to insufficient permissions.' >&2\nexit 1\n";
        let mut journal = fake_journalctl(folder.path(), script);
        let error = until(|| journal.read().err());
        let said =
            "journalctl ended: No journal files were opened due to insufficient permissions.";
        assert_eq!(error.to_string(), said);
        assert_eq!(journal.read().unwrap_err().to_string(), said);
        let started = std::fs::read_to_string(folder.path().join("started"));
        assert_eq!(started.unwrap(), "x\n");
        let mut none = TraceJournal::new("/nonexistent/journalctl".into(), JournalOf::Pid(1));
        let error = none.read().unwrap_err().to_string();
        let said = "failed to start /nonexistent/journalctl: No such";
        assert!(error.starts_with(said), "{error}");
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = fake_journalctl(folder.path(), "exec cat /dev/zero\n");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(300) {
            journal.read().unwrap();
            assert!(journal.rest.len() <= LINE_BYTES_MAX);
            assert!(journal.rest.capacity() <= 2 * (PIECE_BYTES_MAX + LINE_BYTES_MAX));
        }
    }
}
