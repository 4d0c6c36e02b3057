//! The main process's side: starts the reader, asks it, and starts another when it is lost.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::ProcessKey;
use rustix::thread::CapabilitySet;

use crate::answers::{Ability, Discovery, Ended, Greeting, Host, Mappings, ReadFailure, Reading};
use crate::child;
use crate::clock::SystemClock;
use crate::error::ReaderError;
use crate::frame::{self, Answer, Frame, KEYS_MAX, PROTOCOL, Request};
use crate::keeper::{DialFailure, Keeper, Kept};
use crate::log::{LogPiece, LogPlace};
use crate::opener::How;
use crate::privileges;
use crate::serve::{READER_ARGUMENT, serve_socket};

/// After a loss the next reader waits so long, doubling with each loss in a row.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A reader that lived so long was well: the pause starts again from the least.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// How the reader is started and asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReaderOptions {
    /// The time for one call; 5 s unless told otherwise.
    pub deadline: Duration,
    /// The executable that is started with [`READER_ARGUMENT`], and by a reader that is a thread with
    /// [`crate::HOLDERS_ARGUMENT`]; our own unless told otherwise.
    pub program: PathBuf,
    /// Whether network namespaces are entered where there is `CAP_SYS_ADMIN`; they are unless told
    /// otherwise.
    pub dials: bool,
    /// Where the node's file system is mounted for us, as `/host` in many a DaemonSet. It is found
    /// without that where its processes may be looked into.
    pub host_root: Option<PathBuf>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            program: PathBuf::from("/proc/self/exe"),
            dials: true,
            host_root: None,
        }
    }
}

impl ReaderOptions {
    /// The defaults with another time for one call.
    #[must_use]
    pub fn with_deadline(deadline: Duration) -> Self {
        Self {
            deadline,
            ..Self::default()
        }
    }

    /// The same with the node's file system at `host_root`, if anywhere.
    #[must_use]
    pub fn with_host_root(self, host_root: Option<PathBuf>) -> Self {
        Self { host_root, ..self }
    }

    /// The same without dialing: no network namespace but ours is entered.
    #[must_use]
    pub fn without_dialing(self) -> Self {
        Self {
            dials: false,
            ..self
        }
    }
}

/// How the reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderStatus {
    /// What the running reader said of itself; `None` while there is none.
    pub greeting: Option<Greeting>,
    /// Readers started after the first.
    pub restarts: u64,
    /// The first reader had privileges that this one has not, since what kept them is gone.
    pub privileges_lost: bool,
    /// Why the last one was lost.
    pub last_loss: Option<String>,
    /// The process that keeps the privileges, where there are some.
    pub keeper: Option<u32>,
}

impl ReaderStatus {
    /// One line for people; `None` when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let loss = self.last_loss.as_deref().unwrap_or("it ended");
        if self.privileges_lost {
            return Some(format!("privileged reader lost: restart unswept ({loss})"));
        }
        match &self.greeting {
            None => Some(format!("reader lost, a new one starts soon ({loss})")),
            Some(_) => None,
        }
    }
}

/// The client. Clones share one reader, which answers one call at a time.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ReaderOptions,
    in_thread: bool,
    state: Mutex<State>,
    // After the reader, which ends in its own time before what would end it.
    keeper: Keeper,
    // Beside the state, so that asking for it does not wait for a call.
    status: Mutex<ReaderStatus>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    last_id: u64,
    pause: Duration,
    not_before: Option<Instant>,
    /// Killed, and not yet seen to end: one that hangs in the kernel ends when the kernel lets go.
    ending: Vec<Started>,
    /// What the first one could.
    had: Vec<String>,
}

#[derive(Debug)]
struct Link {
    socket: UnixStream,
    started: Started,
    since: Instant,
}

/// Whose the reader is.
#[derive(Debug)]
enum Started {
    /// A thread of this process.
    Thread,
    /// Our own child, with no more rights than we have.
    Child(Child),
    /// The keeper's child.
    Kept(Kept),
}

impl Started {
    fn kill(&mut self) {
        match self {
            Self::Thread => {}
            Self::Child(child) => drop(child.kill()),
            Self::Kept(process) => process.kill(),
        }
    }

    fn has_ended(&mut self) -> bool {
        match self {
            Self::Thread => true,
            Self::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Self::Kept(process) => process.has_ended(),
        }
    }
}

impl Reader {
    /// Starts the reader and gives up every capability of this process.
    ///
    /// To be called before any thread is started, from the thread that lives as long as the
    /// process: capabilities belong to threads, and the kernel ends the reader with the thread
    /// that started it.
    ///
    /// # Errors
    /// [`ReaderError::Threads`], [`ReaderError::Start`], [`ReaderError::Handshake`],
    /// [`ReaderError::Privileges`], [`ReaderError::PrivilegesLeft`].
    pub fn start(options: ReaderOptions) -> Result<Self, ReaderError> {
        let threads = privileges::threads();
        if threads > 1 {
            return Err(ReaderError::Threads { threads });
        }
        let keeper = Keeper::start(&options.program, options.dials);
        let started = Self::connected(options, false, keeper);
        // Also when the start failed: whoever goes on without a reader has no privileges either.
        privileges::keep_only(CapabilitySet::empty())?;
        started
    }

    /// A reader that is a thread of this process, with whatever this process may do: for tests,
    /// and for short commands that hold no privileges.
    ///
    /// # Errors
    /// [`ReaderError::Start`], [`ReaderError::Handshake`].
    pub fn in_thread(options: ReaderOptions) -> Result<Self, ReaderError> {
        Self::connected(options, true, Keeper::here())
    }

    /// One request, one answer.
    pub(crate) fn call(&self, request: Request) -> Result<Answer, ReaderError> {
        self.shared.call(request)
    }

    fn connected(
        options: ReaderOptions,
        in_thread: bool,
        keeper: Keeper,
    ) -> Result<Self, ReaderError> {
        let keeper_pid = keeper.pid();
        let shared = Shared {
            options,
            in_thread,
            keeper,
            state: Mutex::default(),
            status: Mutex::new(ReaderStatus {
                greeting: None,
                restarts: 0,
                privileges_lost: false,
                last_loss: None,
                keeper: keeper_pid,
            }),
        };
        shared.connect(&mut lock(&shared.state), true)?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How the reader is. Never waits for a call.
    #[must_use]
    pub fn status(&self) -> ReaderStatus {
        lock(&self.shared.status).clone()
    }

    /// Describes the machine.
    ///
    /// # Errors
    /// [`ReaderError::Lost`], [`ReaderError::Deadline`], [`ReaderError::Waiting`],
    /// [`ReaderError::Start`] when a reader had to be started and could not; as for all calls.
    pub fn host(&self) -> Result<Host, ReaderError> {
        match self.shared.call(Request::Host)? {
            Answer::Host(host) => Ok(host),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds the Go processes. Made for every few seconds; see `discover.rs` for what it costs.
    ///
    /// # Errors
    /// As for [`Reader::host`].
    pub fn discover(&self) -> Result<Discovery, ReaderError> {
        match self.shared.call(Request::Discover)? {
            Answer::Discovery(discovery) => Ok(discovery),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads the memory of every process of `keys`, in their order: one round trip for each 1,024.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails one process is in its place of the answer.
    pub fn read(
        &self,
        keys: &[ProcessKey],
    ) -> Result<Vec<Result<Reading, ReadFailure>>, ReaderError> {
        self.read_all(keys, false)
    }

    /// As [`Reader::read`], with the figures of each process's Go runtime in [`Reading::go`]: a
    /// quarter of a millisecond and a dozen calls of the kernel each. A process that is asked for
    /// the first time answers [`GoFailure::Opening`](crate::GoFailure::Opening) until its
    /// executable was looked into, tens of milliseconds later; nobody waits for that here.
    ///
    /// # Errors
    /// As for [`Reader::read`].
    pub fn read_with_go(
        &self,
        keys: &[ProcessKey],
    ) -> Result<Vec<Result<Reading, ReadFailure>>, ReaderError> {
        self.read_all(keys, true)
    }

    fn read_all(
        &self,
        keys: &[ProcessKey],
        go: bool,
    ) -> Result<Vec<Result<Reading, ReadFailure>>, ReaderError> {
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_MAX) {
            let request = Request::Read {
                keys: keys.to_vec(),
                go,
            };
            match self.shared.call(request)? {
                Answer::Readings(readings) if readings.len() == keys.len() => all.extend(readings),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(all)
    }

    /// Reads the classes of mappings of one process: about 20 ms per GiB, for which the target's
    /// mmap lock is held. The caller keeps a duty cycle, by [`Mappings::elapsed_us`]. A process
    /// above 32 GiB is refused unless `any_size`.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the process is in the answer.
    pub fn mappings(
        &self,
        key: &ProcessKey,
        any_size: bool,
    ) -> Result<Result<Mappings, ReadFailure>, ReaderError> {
        let key = key.clone();
        match self.shared.call(Request::Mappings { key, any_size })? {
            Answer::Mappings(mappings) => Ok(mappings),
            other => Err(unexpected(&other)),
        }
    }

    /// What came to a log since it was read up to `read`, at a path as the process itself sees it, in its own root.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the process or the file is in the answer.
    pub fn log(
        &self,
        key: &ProcessKey,
        path: &Path,
        read: Option<LogPlace>,
    ) -> Result<Result<LogPiece, ReadFailure>, ReaderError> {
        let (key, path) = (key.clone(), path.to_owned());
        match self.shared.call(Request::Log { key, path, read })? {
            Answer::Log(piece) => Ok(piece),
            other => Err(unexpected(&other)),
        }
    }

    /// A TCP socket that connects to `address`, a loopback address, in the network namespace of this
    /// process. It is non-blocking and may still be connecting.
    ///
    /// # Errors
    /// [`DialFailure`]; one of them says what would help.
    pub fn dial(&self, key: &ProcessKey, address: SocketAddr) -> Result<TcpStream, DialFailure> {
        self.shared.keeper.dial(key, address)
    }

    /// Whether network namespaces of others can be entered at all.
    ///
    /// # Errors
    /// [`DialFailure::Unavailable`].
    pub fn can_dial(&self) -> Result<(), DialFailure> {
        self.shared.keeper.can_dial()
    }

    /// How a process ended that was read while it lived: its cgroup's counts are compared with those
    /// of then. To be asked once, and at once: a container's cgroup and what a process ended with are
    /// gone in a moment. `None` while it lives.
    ///
    /// # Errors
    /// As for [`Reader::host`].
    pub fn ended(&self, key: &ProcessKey) -> Result<Option<Ended>, ReaderError> {
        let key = key.clone();
        match self.shared.call(Request::Ended { key })? {
            Answer::Ended(ended) => Ok(ended),
            other => Err(unexpected(&other)),
        }
    }

    /// What this host and the reader's privileges allow.
    ///
    /// # Errors
    /// As for [`Reader::host`].
    pub fn doctor(&self) -> Result<Vec<Ability>, ReaderError> {
        match self.shared.call(Request::Doctor)? {
            Answer::Doctor(abilities) => Ok(abilities),
            other => Err(unexpected(&other)),
        }
    }
}

impl Shared {
    fn call(&self, request: Request) -> Result<Answer, ReaderError> {
        let mut state = lock(&self.state);
        reap(&mut state.ending);
        if state.link.is_none() {
            self.connect(&mut state, false)?;
        }
        let name = request.name();
        match self.exchange(&mut state, request) {
            Ok(Answer::Refused { reason }) => Err(ReaderError::Refused { reason }),
            Ok(answer) => Ok(answer),
            Err(source) => {
                let error = self.error_of(name, source);
                self.lose(&mut state, &error);
                Err(error)
            }
        }
    }

    fn exchange(&self, state: &mut State, body: Request) -> io::Result<Answer> {
        let Some(link) = &state.link else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        state.last_id += 1;
        let id = state.last_id;
        let deadline = Some(Instant::now() + self.options.deadline);
        frame::write(&link.socket, &Frame { id, body }, deadline)?;
        let answer = frame::read::<Answer>(&link.socket, deadline)?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        if answer.id != id {
            let what = format!("an answer to request {} instead of {id}", answer.id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(answer.body)
    }

    fn error_of(&self, request: &'static str, source: io::Error) -> ReaderError {
        match source.kind() {
            io::ErrorKind::TimedOut => ReaderError::Deadline {
                request,
                deadline: self.options.deadline,
            },
            io::ErrorKind::InvalidData => ReaderError::Malformed {
                what: source.to_string(),
            },
            _ => ReaderError::Lost { request, source },
        }
    }

    /// Starts a reader and hears what it says of itself.
    fn connect(&self, state: &mut State, first: bool) -> Result<(), ReaderError> {
        if let Some(wait) = state
            .not_before
            .and_then(|at| at.checked_duration_since(Instant::now()))
        {
            return Err(ReaderError::Waiting { wait });
        }
        let link = self.start().map_err(|source| ReaderError::Start {
            program: self.options.program.clone(),
            source,
        });
        let is_kept = |link: &Link| matches!(link.started, Started::Kept(_));
        let is_kept = link.as_ref().is_ok_and(is_kept);
        match link {
            Ok(link) => state.link = Some(link),
            Err(error) => {
                self.lose(state, &error);
                return Err(error);
            }
        }
        let hello = Request::Hello {
            // The keeper lives as long as we do, and of our own only the first is started by a thread that
            // does; the others end when their socket closes.
            die_with_parent: first || is_kept,
            host_root: self.options.host_root.clone(),
        };
        let found = match self.exchange(state, hello) {
            Ok(Answer::Hello(greeting)) if greeting.protocol == PROTOCOL => {
                self.greeted(state, greeting, first);
                return Ok(());
            }
            Ok(other) => format!("{other:?}").chars().take(200).collect(),
            Err(error) => error.to_string(),
        };
        let error = ReaderError::Handshake { found };
        self.lose(state, &error);
        Err(error)
    }

    /// By the keeper where there is one, and else without its rights.
    fn start(&self) -> io::Result<Link> {
        let (socket, started) = if self.in_thread {
            start_thread(self.options.program.clone())?
        } else if let Some(kept) = self.keeper.start_reader() {
            let (socket, process) = kept?;
            (socket, Started::Kept(process))
        } else {
            let program = &self.options.program;
            let (socket, child) = child::start(program, READER_ARGUMENT, Stdio::inherit())?;
            (socket, Started::Child(child))
        };
        Ok(Link {
            socket,
            started,
            since: Instant::now(),
        })
    }

    fn greeted(&self, state: &mut State, greeting: Greeting, first: bool) {
        if first {
            state.had.clone_from(&greeting.capabilities);
        }
        let has = |name: &String| greeting.capabilities.contains(name);
        let mut status = lock(&self.status);
        status.restarts += u64::from(!first);
        status.privileges_lost = !state.had.iter().all(has);
        if status.privileges_lost {
            tracing::warn!("the new reader has not the privileges of the first one");
        }
        status.greeting = Some(greeting);
    }

    /// Ends the connection and the child behind it, and sets when the next may start.
    fn lose(&self, state: &mut State, error: &ReaderError) {
        let was_well = state
            .link
            .as_ref()
            .is_some_and(|link| link.since.elapsed() >= WELL_AFTER);
        state.pause = match was_well {
            true => PAUSE_MIN,
            false => (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX),
        };
        state.not_before = Some(Instant::now() + state.pause);
        if let Some(mut link) = state.link.take() {
            link.started.kill();
            state.ending.push(link.started);
            reap(&mut state.ending);
        }
        let mut status = lock(&self.status);
        status.greeting = None;
        status.last_loss = Some(error.to_string());
        tracing::warn!(%error, "the reader was lost");
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        // The closed socket ends it; the kill is for one that hangs.
        let _ = link.socket.shutdown(std::net::Shutdown::Both);
        for _ in 0..50 {
            if link.started.has_ended() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        link.started.kill();
    }
}

fn start_thread(program: PathBuf) -> io::Result<(UnixStream, Started)> {
    let (ours, theirs) = UnixStream::pair()?;
    std::thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || {
            if let Err(error) = serve_socket(&theirs, None, program, &SystemClock, How::Here) {
                tracing::debug!(%error, "the reader's thread ends");
            }
        })?;
    Ok((ours, Started::Thread))
}

/// Takes note of the children that have ended.
fn reap(ending: &mut Vec<Started>) {
    ending.retain_mut(|started| !started.has_ended());
}

pub(crate) fn unexpected(answer: &Answer) -> ReaderError {
    let text: String = format!("{answer:?}").chars().take(200).collect();
    ReaderError::Malformed {
        what: format!("an answer of another kind: {text}"),
    }
}

/// A panic elsewhere leaves no half-done change in what these locks guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
