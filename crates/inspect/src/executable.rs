//! One executable: what its headers, notes and build information say.

use serde::{Deserialize, Serialize};

use crate::buildinfo::{self, BuildInfo};
use crate::elf::{Arch, Elf};
use crate::{InspectError, ReadAt};

const NT_GO_BUILD_ID: u32 = 4;

/// A Go executable, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Executable {
    /// The machine it is for.
    pub arch: Arch,
    /// Loaded at an address of the kernel's choice.
    pub is_pie: bool,
    /// Carries DWARF (`-w` removes it).
    pub has_dwarf: bool,
    /// Carries a symbol table (`-s` removes it). The table of functions, which the runtime needs, always stays.
    pub has_symtab: bool,
    /// The GNU build id as lower-case hexadecimal digits; from Go 1.24 on also without an external linker.
    pub gnu_build_id: Option<String>,
    /// The Go build id as `go tool buildid` prints it.
    pub go_build_id: Option<String>,
    /// Version, module, dependencies, settings.
    pub build: BuildInfo,
}

impl Executable {
    /// Reads headers, notes and build information.
    ///
    /// Cost: a dozen small reads for a Go program (10 to 100 KiB, most of it the list of modules); for any other
    /// ELF program four or five reads and about 3 KiB, unless its section headers are gone: then its writable
    /// data is searched, up to [`crate::limits::BUILDINFO_SCAN_BYTES_MAX`].
    ///
    /// # Errors
    /// [`InspectError::is_not_go`] tells the answers that mean "some other program"; the rest say what of a Go
    /// program could not be read, and where.
    pub fn read<R: ReadAt + ?Sized>(reader: &R) -> Result<Self, InspectError> {
        let elf = Elf::read(reader)?;
        let build = buildinfo::read(reader, &elf)?;
        let go_build_id = elf.note(reader, b"Go", NT_GO_BUILD_ID);
        Ok(Self {
            arch: elf.arch,
            is_pie: elf.is_pie(reader),
            has_dwarf: elf.has_dwarf(),
            has_symtab: elf.has_symtab(),
            gnu_build_id: elf.build_id(reader),
            go_build_id: go_build_id.and_then(|id| String::from_utf8(id).ok()),
            build,
        })
    }
}
