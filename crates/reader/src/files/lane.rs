//! The reader's side: one helper at a time, asked one thing at a time, given up when it hangs.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use model::ProcessKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Ask, FILES_ARGUMENT, Told, serve_here};
use crate::executables::FileId;
use crate::frame::{self, Frame};
use crate::opener::How;
use crate::{child, privileges};

/// A helper that has not answered in so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(5);
/// What hung is left alone for so long at least.
const LEFT_ALONE: Duration = Duration::from_secs(120);
/// Helpers that hang at a time.
const STUCK_MAX: usize = 4;
/// What is left alone is remembered of so many; the oldest that does not hang any more goes first.
const HUNG_MAX: usize = 64;
/// A helper with nothing to do for so long is ended.
const IDLE: Duration = Duration::from_secs(30);
/// An answer is written at once when it is written at all.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// Whose fault a hang would be: what is left alone after one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The file system of an executable.
    Device(u64),
    /// One executable: whoever looked into it died.
    File(FileId),
    /// A path of ours that a process claims.
    Path(PathBuf),
    /// What names a container.
    Container(String),
    /// A log of one process.
    Log(ProcessKey, PathBuf),
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Said {
    Told(Told),
    /// Not told yet: ask the same again.
    Later,
    /// It is left alone, and why.
    Refused(String),
}

/// One helper, and those before it that hang.
#[derive(Debug)]
pub(crate) struct Lane {
    how: How,
    link: Option<Link>,
    asked: Option<Asked>,
    hung: Vec<Hung>,
    used: Instant,
    last: u64,
}

#[derive(Debug)]
struct Link {
    socket: UnixStream,
    /// `None` when it is a thread.
    child: Option<Child>,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    whose: Whose,
    at: Instant,
}

#[derive(Debug)]
struct Hung {
    whose: Whose,
    what: String,
    until: Instant,
    /// `None` once it has ended.
    stuck: Option<Link>,
}

impl Link {
    fn start(how: &How) -> std::io::Result<Self> {
        if let How::Child(program) = how {
            let start = || child::start(program, FILES_ARGUMENT, Stdio::null());
            let (socket, child) = privileges::passing_on(start)?;
            let child = Some(child);
            return Ok(Self { socket, child });
        }
        let (socket, theirs) = UnixStream::pair()?;
        let thread = std::thread::Builder::new().name("files".to_owned());
        thread.spawn(move || drop(serve_here(&theirs)))?;
        let child = None;
        Ok(Self { socket, child })
    }

    /// Whether something is to be read, or the other side is closed, within `patience`.
    fn is_ready(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).ok();
        matches!(poll(&mut fds, timeout.as_ref()), Ok(ready) if ready > 0)
    }

    /// Ends it, as far as it can be ended.
    fn end(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }

    /// Itself, if it is still there after that.
    fn if_stuck(mut self) -> Option<Self> {
        let stuck = match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => !self.is_ready(Duration::ZERO),
        };
        stuck.then_some(self)
    }
}

impl Lane {
    pub(crate) fn new(how: How) -> Self {
        Self {
            how,
            link: None,
            asked: None,
            hung: Vec::new(),
            used: Instant::now(),
            last: 0,
        }
    }

    /// Asks, and waits at most so long for the answer; asked the same again, it goes on waiting.
    pub(crate) fn ask(&mut self, ask: Ask, whose: Whose, patience: Duration) -> Said {
        self.tick();
        if let Some(hung) = self.hung.iter().find(|hung| hung.is_about(&ask, &whose)) {
            return Said::Refused(hung.what.clone());
        }
        if self.asked.as_ref().is_some_and(|asked| asked.ask == ask) {
            return self.hear(patience);
        }
        // What nobody waits for any more is heard first.
        if self.asked.is_some() && matches!(self.hear(Duration::ZERO), Said::Later) {
            return Said::Later;
        }
        let stuck = self.hung.iter().filter(|hung| hung.stuck.is_some()).count();
        if stuck >= STUCK_MAX {
            let what = format!("{stuck} readings of files hang already: nothing more is asked");
            return Said::Refused(what);
        }
        if let Err(error) = self.send(&ask) {
            self.link = None;
            return Said::Refused(format!(
                "no process to read files could be started: {error}"
            ));
        }
        let at = Instant::now();
        self.asked = Some(Asked { ask, whose, at });
        self.hear(patience)
    }

    /// What is left alone at the moment, and why.
    pub(crate) fn left_alone(&self) -> impl Iterator<Item = &str> {
        self.hung.iter().map(|hung| hung.what.as_str())
    }

    /// Gives up who hangs, and takes note of those that have ended. Called at every request.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        self.hung.retain_mut(|hung| {
            hung.stuck = hung.stuck.take().and_then(Link::if_stuck);
            hung.stuck.is_some() || now < hung.until
        });
        let ready = |lane: &Self| {
            lane.link
                .as_ref()
                .is_some_and(|l| l.is_ready(Duration::ZERO))
        };
        let late = |asked: &Asked| now.duration_since(asked.at) >= HANGS_AFTER;
        if self.asked.as_ref().is_some_and(late) && !ready(self) {
            self.give_up();
        }
        if self.asked.is_none() && now.duration_since(self.used) >= IDLE {
            self.end_idle();
        }
    }

    fn send(&mut self, ask: &Ask) -> std::io::Result<()> {
        self.used = Instant::now();
        // Nothing is asked, so whatever can be read says that it has ended.
        if self
            .link
            .as_ref()
            .is_some_and(|link| link.is_ready(Duration::ZERO))
        {
            self.end_idle();
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => Link::start(&self.how)?,
        };
        self.last += 1;
        let (id, body) = (self.last, ask);
        let written = frame::write(
            &link.socket,
            &Frame { id, body },
            Some(Instant::now() + WRITTEN_WITHIN),
        );
        self.link = Some(link);
        written
    }

    fn hear(&mut self, patience: Duration) -> Said {
        let Some(link) = &self.link else {
            self.asked = None;
            return Said::Later;
        };
        if !link.is_ready(patience) {
            return Said::Later;
        }
        let deadline = Some(Instant::now() + WRITTEN_WITHIN);
        let told = frame::read::<Told>(&link.socket, deadline);
        let asked = self.asked.take();
        self.used = Instant::now();
        match told {
            Ok(Some(frame)) if frame.id == self.last => Said::Told(frame.body),
            _ => self.died(asked),
        }
    }

    /// It ended without an answer: what it was asked killed it, most likely.
    fn died(&mut self, asked: Option<Asked>) -> Said {
        let link = self.link.take();
        let Some(asked) = asked else {
            return Said::Later;
        };
        let what = format!("{}: whoever looks into it dies", about(&asked.ask));
        let whose = match asked.ask {
            Ask::Look { file, .. } => Whose::File(file),
            _ => asked.whose,
        };
        self.leave_alone(whose, what.clone(), link);
        Said::Refused(what)
    }

    fn give_up(&mut self) {
        let link = self.link.take();
        if let Some(Asked { ask, whose, .. }) = self.asked.take() {
            let what = format!(
                "{}: its disk has not answered in {} s, and is left alone until it does",
                about(&ask),
                HANGS_AFTER.as_secs()
            );
            tracing::warn!(%what, "a file hangs");
            self.leave_alone(whose, what, link);
        }
    }

    fn leave_alone(&mut self, whose: Whose, what: String, link: Option<Link>) {
        let stuck = link.and_then(|mut link| {
            link.end();
            link.if_stuck()
        });
        if self.hung.len() >= HUNG_MAX
            && let Some(over) = self.hung.iter().position(|hung| hung.stuck.is_none())
        {
            self.hung.remove(over);
        }
        let until = Instant::now() + LEFT_ALONE;
        self.hung.push(Hung {
            whose,
            what,
            until,
            stuck,
        });
    }

    fn end_idle(&mut self) {
        if let Some(mut link) = self.link.take() {
            link.end();
            // It waits for nothing but us, so it ends at once.
            let _ = link.child.map(|mut child| child.wait());
        }
    }
}

impl Hung {
    fn is_about(&self, ask: &Ask, whose: &Whose) -> bool {
        match (&self.whose, ask) {
            (Whose::File(dead), Ask::Look { file, .. }) => dead == file,
            _ => self.whose == *whose,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let stuck = self.hung.iter_mut().filter_map(|hung| hung.stuck.as_mut());
        for link in stuck.chain(&mut self.link) {
            link.end();
        }
    }
}

/// What was asked about, for people.
fn about(ask: &Ask) -> String {
    match ask {
        Ask::Which { path } | Ask::Look { path, .. } => {
            // Only links of the kernel's own: any other may hang as well.
            let in_proc = path.starts_with("/proc");
            let program = in_proc.then(|| std::fs::read_link(path).ok()).flatten();
            match program {
                Some(program) => {
                    format!("the executable {} ({})", program.display(), path.display())
                }
                None => format!("the executable {}", path.display()),
            }
        }
        Ask::Names { container, .. } => format!("the files of container {}", container.id),
        Ask::Log { key, path, .. } => format!("the log {} of process {}", path.display(), key.pid),
    }
}
