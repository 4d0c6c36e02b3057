//! What can go wrong when looking into an executable, a process or a core.

use std::io;

/// Why a look failed. Offsets and lengths are bytes of the file; addresses are the target's own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The file does not begin as an ELF file does.
    #[error("not an ELF executable: it begins with {magic:02x?}, not 7f 45 4c 46")]
    NotElf {
        /// The first four bytes, zeros where the file is shorter.
        magic: [u8; 4],
    },
    /// An ELF file of a kind that is not read here.
    #[error("unsupported ELF file: {what} is {value}")]
    UnsupportedElf {
        /// The header field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// An ELF executable without anything that the Go linker leaves.
    #[error("not a Go executable: neither build information nor a function table of Go is in it")]
    NotGo,
    /// Made by Go, but its build information is gone.
    #[error("a Go executable without build information (linked before Go 1.13, or removed)")]
    NoBuildInfo,
    /// The file ends inside a part that its headers promise.
    #[error("the file is cut: {what} needs {len} bytes at offset {offset:#x}")]
    Truncated {
        /// The part.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// How long it should be.
        len: u64,
    },
    /// A part is larger than this crate reads; see [`crate::limits`].
    #[error("{what} at offset {offset:#x} has size {len}, above the limit of {max}")]
    TooBig {
        /// The part.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// Its size or count as the file tells it.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The heap's memory with pointers is larger than the caller lets be copied.
    #[error(
        "the heap has {bytes} bytes of memory with pointers, above the {max} that may be copied"
    )]
    HeapTooLarge {
        /// What it has.
        bytes: u64,
        /// What may be copied.
        max: u64,
    },
    /// A part's contents contradict its format.
    #[error("malformed {what} at offset {offset:#x}: expected {expected}")]
    Malformed {
        /// The part.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// What the format asks for.
        expected: &'static str,
    },
    /// The source refused the read.
    #[error("failed to read {what} at offset {offset:#x}")]
    Read {
        /// The part.
        what: &'static str,
        /// Where it begins.
        offset: u64,
        /// The refusal.
        source: io::Error,
    },
    /// There is no such process, or it has ended.
    #[error("no process has pid {pid}")]
    NoProcess {
        /// The pid.
        pid: u32,
    },
    /// The kernel does not let us.
    #[error("not allowed to read {what} (pid {pid})")]
    Refused {
        /// The process.
        pid: u32,
        /// What was to be read.
        what: &'static str,
    },
    /// A part of the target's memory that is not there, or no longer.
    #[error("cannot read {len} bytes of the target's memory at {addr:#x}")]
    Unreadable {
        /// The first address.
        addr: u64,
        /// How many bytes.
        len: usize,
    },
    /// Neither DWARF nor a table tells where the runtime of this program keeps its structures.
    #[error("the layout of this program's runtime ({version}, {arch}) is unknown: {why}")]
    UnknownLayout {
        /// The Go version that built it.
        version: String,
        /// The machine that it is for.
        arch: &'static str,
        /// What is missing, or which check failed.
        why: String,
    },
    /// Something of the runtime that this program does not have.
    #[error("this program has no {what}")]
    Missing {
        /// A variable, field or table of the runtime.
        what: String,
    },
    /// The executable that a core is of could not be opened.
    #[error("failed to open {path}, the executable that the core is of")]
    NoExecutable {
        /// Where it was looked for.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The executable is not the one that the core is of.
    #[error("the core is of another executable: their build ids differ")]
    OtherExecutable,
    /// The core ends before its headers say, and what is missing is needed.
    #[error("the core is cut: its end is missing")]
    CutCore {
        /// What could not be done.
        source: Box<InspectError>,
    },
    /// The runtime of this program keeps no memory profile.
    #[error("this program keeps no heap profile: {why}")]
    NoHeapProfile {
        /// Why not.
        why: NoHeapProfile,
    },
    /// A figure of the target's memory that contradicts what it must be.
    #[error("the target's memory contradicts itself: {what} at {addr:#x}")]
    Contradiction {
        /// What was found.
        what: &'static str,
        /// Where.
        addr: u64,
    },
}

/// Why a program keeps no memory profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoHeapProfile {
    /// The linker left it out.
    LeftOut,
    /// The program, or its environment, turned it off before anything was sampled.
    TurnedOff,
}

impl std::fmt::Display for NoHeapProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LeftOut => {
                "the linker left profiling out, because nothing in the program refers to runtime.MemProfile"
            }
            Self::TurnedOff => "runtime.MemProfileRate is 0",
        })
    }
}

impl InspectError {
    /// True when the file is simply not a Go program, which discovery skips without a word.
    pub fn is_not_go(&self) -> bool {
        matches!(
            self,
            Self::NotElf { .. } | Self::UnsupportedElf { .. } | Self::NotGo
        )
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoBuildInfo => {
                Some("build with Go 1.18 or newer, without tools that remove build information")
            }
            Self::Truncated { .. } => Some("the file may still be written or copied: try again"),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as the process's user, or with CAP_SYS_PTRACE")
            }
            Self::Refused { .. } => Some(
                "run as the process's user (its uid, a process that may be dumped), or with CAP_SYS_PTRACE; an executable that others may not read takes CAP_DAC_READ_SEARCH too",
            ),
            Self::UnknownLayout { .. } => Some(
                "a build with DWARF (without -ldflags=-s or -w) can be read with any Go version",
            ),
            Self::CutCore { .. } => Some(
                "take it again without a limit of size (ulimit -c unlimited) and with room on the disk",
            ),
            Self::NoExecutable { .. } | Self::OtherExecutable => Some(
                "name the very executable that the process ran with --exe FILE; one built again is another",
            ),
            Self::NoHeapProfile {
                why: NoHeapProfile::LeftOut,
            } => Some(
                "import net/http/pprof anywhere in the program, or call pprof.WriteHeapProfile of runtime/pprof, and build it again; the profile then costs it nothing noticeable",
            ),
            Self::NoHeapProfile {
                why: NoHeapProfile::TurnedOff,
            } => Some(
                "the program sets runtime.MemProfileRate = 0, or GODEBUG=memprofilerate=0 does: leave it at its default",
            ),
            _ => None,
        }
    }
}
