//! From what a person wrote to a program that can be read, or to the reason why not.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use inspect::stop::{Refusal, may_ptrace};
use inspect::{InspectError, Program};
use model::{Clock, UnixMs};

use super::args::Target;
use crate::terminal;

/// Why a process cannot be looked into. The user can mend most of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    #[error("expected a pid or a core file, found `{found}`")]
    NoTarget { found: String },
    #[error("there is no file {path}")]
    NoFile { path: String },
    #[error("{path} is {what}, not a core file")]
    NotCore { path: String, what: &'static str },
    #[error("--exe is for core files: a live process has its own")]
    ExeOfProcess,
    #[error("failed to look into the core {path}")]
    Core { path: String, source: InspectError },
    #[error("there is no process {pid}")]
    NoProcess { pid: u32 },
    #[error("process {pid} ({comm}) has ended; its parent has not taken note of that yet")]
    Ended { pid: u32, comm: String },
    #[error("{name} ended while it was read")]
    EndedMeanwhile { name: String },
    #[error("process {pid} ({comm}) is a thread of the kernel: it has no program")]
    KernelThread { pid: u32, comm: String },
    #[error("process {pid} ({comm}) is not a Go program")]
    NotGo { pid: u32, comm: String },
    #[error("not allowed to look into process {pid} ({comm})")]
    Refused {
        pid: u32,
        comm: String,
        source: Refusal,
    },
    #[error("failed to look into process {pid} ({comm})")]
    Failed {
        pid: u32,
        comm: String,
        source: InspectError,
    },
}

impl OpenError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ExeOfProcess => return None,
            Self::NoTarget { .. } => "`unswept ps` lists the Go processes of this host with their pids".into(),
            Self::NoProcess { .. } => {
                "`unswept ps` lists the Go processes of this host; inside a container pids are the container's own"
                    .into()
            }
            Self::Ended { .. } => "look for the program's new pid with `unswept ps`".into(),
            Self::EndedMeanwhile { .. } => {
                "look for the program's new pid with `unswept ps`; a core (ulimit -c unlimited, \
                 GOTRACEBACK=crash) keeps what it held when it crashed"
                    .into()
            }
            Self::NoFile { .. } => {
                "name a pid (`unswept ps` lists them) or a core file".into()
            }
            Self::KernelThread { .. } | Self::NotGo { .. } => {
                "`unswept ps` lists the Go processes of this host; for a shell or a supervisor, \
                 name the program that it started"
                    .into()
            }
            Self::Refused { source, .. } => source.remedy(),
            Self::NotCore { .. } => {
                "name the pid of a process that runs (`unswept ps` lists them), or a core: what the kernel writes \
                 when a process dies of a signal (see core(5)), or what `gcore PID` writes of a live one"
                    .into()
            }
            Self::Core { source, .. } | Self::Failed { source, .. } => return source.hint().map(str::to_owned),
        })
    }
}

/// A program that was opened, and what to call it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) program: Program,
    /// The live process; of a core nothing.
    pub(crate) pid: Option<u32>,
    /// Its pid inside its own pid namespace, as in a container; nothing where that is the same.
    pub(crate) inner_pid: Option<u32>,
    /// The core file.
    pub(crate) core: Option<PathBuf>,
    /// Its name as the kernel has it.
    pub(crate) comm: String,
    /// Its executable's path, as it sees it.
    pub(crate) exe: String,
    /// When a core was written; nothing for a live process.
    written: Option<UnixMs>,
    start: Option<u64>,
}

impl Opened {
    /// Opens what a person named: a number is a pid, anything else a core file.
    pub(crate) fn open(target: &Target) -> Result<Self, OpenError> {
        let name = &target.target;
        match (name.parse::<u32>(), &target.exe) {
            (Ok(_), Some(_)) => Err(OpenError::ExeOfProcess),
            (Ok(pid), None) => Self::live(pid, target.layout_of),
            (Err(_), exe) if Path::new(name).exists() => {
                Self::core(Path::new(name), exe.as_deref())
            }
            (Err(_), _) if name.contains('/') => Err(OpenError::NoFile { path: name.clone() }),
            (Err(_), _) => Err(OpenError::NoTarget {
                found: name.clone(),
            }),
        }
    }

    fn live(pid: u32, layout_of: Option<u32>) -> Result<Self, OpenError> {
        let stat = Stat::of(pid).ok_or(OpenError::NoProcess { pid })?;
        let comm = stat.comm;
        if stat.is_kernel_thread {
            return Err(OpenError::KernelThread { pid, comm });
        }
        if stat.has_ended {
            return Err(OpenError::Ended { pid, comm });
        }
        let attached = match layout_of {
            Some(minor) => Program::attach_as(pid, minor),
            None => Program::attach(pid),
        };
        match attached {
            Ok(program) => Ok(Self {
                program,
                pid: Some(pid),
                inner_pid: inner_pid(pid),
                core: None,
                exe: exe(pid),
                comm,
                written: None,
                start: Some(stat.start),
            }),
            Err(error) => Err(explain(pid, comm, error)),
        }
    }

    fn core(path: &Path, exe: Option<&Path>) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Core {
            path: path.display().to_string(),
            source,
        };
        if let Some(what) = other_than_core(path) {
            return Err(OpenError::NotCore {
                path: path.display().to_string(),
                what,
            });
        }
        let program = Program::from_core(path, exe).map_err(failed)?;
        let facts = program.core().cloned().unwrap_or_default();
        if facts.is_cut {
            terminal::note(
                "the core is cut (ulimit -c, or a full disk): what is missing cannot be read, and figures may be too low",
            );
        }
        let own = program.mappings().into_iter().next();
        let exe = exe.map(|exe| exe.display().to_string());
        Ok(Self {
            exe: exe.or(own.map(|of| of.file)).unwrap_or_default(),
            program,
            pid: None,
            inner_pid: None,
            core: Some(path.to_path_buf()),
            comm: facts.name,
            written: written(path),
            start: None,
        })
    }

    /// The time of what is read: now, or when the core was written.
    pub(crate) fn at(&self, clock: &impl Clock) -> UnixMs {
        self.written.unwrap_or_else(|| clock.now())
    }

    /// Whether the process is still the one that was opened: a pid may be used again. A core stays.
    pub(crate) fn is_there(&self) -> bool {
        let Some(pid) = self.pid else {
            return true;
        };
        let now = Stat::of(pid).filter(|stat| !stat.has_ended);
        now.map(|stat| stat.start) == self.start
    }

    /// [`OpenError::EndedMeanwhile`] unless [`Self::is_there`].
    pub(crate) fn must_be_there(&self) -> Result<(), OpenError> {
        match self.is_there() {
            true => Ok(()),
            false => Err(OpenError::EndedMeanwhile { name: self.name() }),
        }
    }

    /// What came of reading it: a process that has ended is the reason for whatever failed.
    pub(crate) fn read<T>(&self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        outcome.map_err(|error| {
            let has_ended = error.chain().any(|cause| {
                let cause = cause.downcast_ref::<InspectError>();
                matches!(cause, Some(InspectError::NoProcess { .. }))
            });
            match self.must_be_there() {
                Ok(()) if has_ended => OpenError::EndedMeanwhile { name: self.name() }.into(),
                Ok(()) => error,
                Err(ended) => ended.into(),
            }
        })
    }

    /// `shop (pid 4242), go1.27.3`; `shop (pid 4242, 1 in its container), go1.27.3`.
    pub(crate) fn name(&self) -> String {
        let pid = self.pid.unwrap_or_default();
        let of = match (&self.core, self.inner_pid) {
            (Some(core), _) => format!("core {}", core.display()),
            (None, Some(inner)) => format!("pid {pid}, {inner} in its container"),
            (None, None) => format!("pid {pid}"),
        };
        format!("{} ({of}), {}", self.comm, self.program.go_version())
    }
}

/// What a file is by its first bytes, if that is surely no core; of one that cannot be read, opening it says why.
fn other_than_core(path: &Path) -> Option<&'static str> {
    if path.is_dir() {
        return Some("a directory");
    }
    let mut head = [0; 18];
    let mut file = fs::File::open(path).ok()?;
    if file.read_exact(&mut head).is_err() || !head.starts_with(b"\x7fELF") {
        return Some("no ELF file");
    }
    // `e_type` of elf(5).
    match u16::from_le_bytes([head[16], head[17]]) {
        1 => Some("an object file"),
        2 | 3 => Some("an executable or a library"),
        _ => None,
    }
}

fn written(path: &Path) -> Option<UnixMs> {
    let at = fs::metadata(path).ok()?.modified().ok()?;
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(UnixMs)
}

fn exe(pid: u32) -> String {
    let link = fs::read_link(format!("/proc/{pid}/exe"));
    link.map_or_else(
        |_| String::new(),
        |path| path.to_string_lossy().into_owned(),
    )
}

/// The last of `NSpid` of `/proc/PID/status`, where there is more than one.
fn inner_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let inner = pids.split_whitespace().skip(1).last();
    inner?.parse().ok()
}

fn explain(pid: u32, comm: String, error: InspectError) -> OpenError {
    match error {
        error if error.is_not_go() => OpenError::NotGo { pid, comm },
        InspectError::NoProcess { .. } => OpenError::NoProcess { pid },
        source @ InspectError::Refused { .. } => match refusal(pid) {
            Some(source) => OpenError::Refused { pid, comm, source },
            None => OpenError::Failed { pid, comm, source },
        },
        source => OpenError::Failed { pid, comm, source },
    }
}

/// Who refused, as far as it can be told now. That it is traced keeps nobody from reading.
fn refusal(pid: u32) -> Option<Refusal> {
    may_ptrace(pid)
        .err()
        .filter(|refusal| !matches!(refusal, Refusal::Traced { .. } | Refusal::NoProcess))
}

/// What of `/proc/PID/stat` is needed here.
struct Stat {
    comm: String,
    has_ended: bool,
    is_kernel_thread: bool,
    start: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The name, in parentheses, may hold anything (proc_pid_stat(5)).
    fn parse(text: &str) -> Option<Self> {
        const PF_KTHREAD: u64 = 0x0020_0000;
        let (head, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            comm: head.split_once('(')?.1.to_owned(),
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            is_kernel_thread: number(6)? & PF_KTHREAD != 0,
            start: number(19)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_stat() {
        let line = |comm: &str, state: &str, flags: u64| {
            format!("7 ({comm}) {state} 1 7 7 0 -1 {flags} 0 0 0 0 1 2 0 0 20 0 9 0 4321 0 0")
        };
        let stat = Stat::parse(&line("shop) S (x", "S", 0x40_4000)).unwrap();
        assert_eq!((stat.comm.as_str(), stat.start), ("shop) S (x", 4321));
        assert!(!stat.has_ended && !stat.is_kernel_thread);
        assert!(
            Stat::parse(&line("shop", "Z", 0x40_4000))
                .unwrap()
                .has_ended
        );
        assert!(
            Stat::parse(&line("kthreadd", "S", 0x20_8040))
                .unwrap()
                .is_kernel_thread
        );
        for bad in ["", "7 (shop", "7 (shop) S 1", "7 shop) S 1 7 7 0 -1 4 0"] {
            assert!(Stat::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_go_process_is_said_to_be_that() {
        let told = |target: &str| {
            let target = target.to_owned();
            Opened::open(&Target {
                target,
                exe: None,
                layout_of: None,
            })
            .unwrap_err()
        };
        assert!(matches!(told("shop"), OpenError::NoTarget { .. }));
        assert!(matches!(told("/no/such/core"), OpenError::NoFile { .. }));
        let files = [
            (
                "/proc/self/exe",
                "an executable or a library, not a core file",
            ),
            ("/tmp", "a directory, not a core file"),
            ("/proc/self/stat", "no ELF file, not a core file"),
            ("/dev/null", "no ELF file, not a core file"),
        ];
        for (path, want) in files {
            let error = told(path);
            assert_eq!(error.to_string(), format!("{path} is {want}"));
            assert!(error.hint().is_some_and(|hint| hint.contains("gcore")));
        }
        assert!(matches!(told("4294967295"), OpenError::NoProcess { .. }));
        let us = std::process::id().to_string();
        assert!(matches!(told(&us), OpenError::NotGo { .. }));
        for error in [told("shop"), told("4294967295"), told(&us)] {
            assert!(
                error.hint().is_some_and(|hint| hint.contains("unswept ps")),
                "{error}"
            );
        }
    }
}
