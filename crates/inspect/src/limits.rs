//! How much of a hostile executable is read or kept. Generous: real programs stay far below each of them.

/// Program headers in one file; real programs have about ten.
pub const SEGMENTS_MAX: u16 = 256;
/// Section headers in one file; linked programs have 20 to 60.
pub const SECTIONS_MAX: u64 = 4096;
/// Bytes of the section name table.
pub const SECTION_NAMES_BYTES_MAX: u64 = 256 << 10;
/// Bytes of one note segment or section.
pub const NOTE_BYTES_MAX: u64 = 4 << 10;
/// Bytes of writable segments searched for build information when the section headers don't give it.
pub const BUILDINFO_SCAN_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the version string.
pub const VERSION_BYTES_MAX: u64 = 1 << 10;
/// Bytes of the module text: the largest known programs have about 60 KiB.
pub const MODULE_TEXT_BYTES_MAX: u64 = 1 << 20;
/// Dependencies kept of one executable.
pub const DEPENDENCIES_MAX: usize = 4096;
/// Build settings kept of one executable.
pub const SETTINGS_MAX: usize = 256;
/// Bytes searched for the function table when no section is named after it.
pub const PCLNTAB_SCAN_BYTES_MAX: u64 = 128 << 20;
/// Bytes of function names searched.
pub const FUNCTION_NAMES_BYTES_MAX: u64 = 64 << 20;
