//! What can go wrong when looking into an executable.

use std::io;

/// Why an executable could not be read. Offsets and lengths are bytes of the file.
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
            _ => None,
        }
    }
}
