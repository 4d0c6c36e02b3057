//! `/proc/PID/smaps` and `/proc/PID/maps`: one process's mappings as the kernel lists them.
//!
//! Format: Documentation/filesystems/proc.rst of the Linux source. The kernel writes `kB` and means 1024 bytes;
//! this module hands out bytes. The text is read line by line and never held whole.

use std::io::{self, BufRead, Read};
use std::ops::Range;

/// What is refused rather than kept.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Mappings in one process. The kernel's default limit is 65,530; databases raise it to 262,144.
    pub mappings_max: usize,
    /// Bytes of one line. A path is at most 4,096, four times that when every byte is escaped.
    pub line_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mappings_max: 262_144,
            line_bytes_max: 20 << 10,
        }
    }
}

/// Why a list of mappings could not be read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapsError {
    /// The source refused.
    #[error("failed to read the mappings at line {line}")]
    Read {
        /// The line that was next.
        line: u64,
        /// The refusal.
        source: io::Error,
    },
    /// A line that is none of the kernel's.
    #[error("line {line} of the mappings: expected {expected}, found `{found}`")]
    Malformed {
        /// The line.
        line: u64,
        /// What should stand there.
        expected: &'static str,
        /// The beginning of what does.
        found: String,
    },
    /// More than [`Limits`] allow.
    #[error("line {line} of the mappings: more than {max} {what}")]
    TooMany {
        /// The line.
        line: u64,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

impl MapsError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as the process's user, or with CAP_SYS_PTRACE")
            }
            Self::TooMany { .. } => Some("raise the limit if the process is known to be so large"),
            _ => None,
        }
    }
}

/// What the process may do with a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// `r`
    pub read: bool,
    /// `w`
    pub write: bool,
    /// `x`
    pub execute: bool,
    /// `s` rather than `p`: writes are seen by others.
    pub shared: bool,
}

/// One mapping. Addresses and sizes in bytes; the sizes are 0 when the text came from `maps`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What may be done with it.
    pub permissions: Permissions,
    /// Offset in the file.
    pub offset: u64,
    /// Device, major and minor; 0:0 without a file.
    pub device: (u32, u32),
    /// Inode; 0 without a file.
    pub inode: u64,
    /// Path, or the kernel's name in brackets, or empty.
    pub name: String,
    /// Resident.
    pub rss: u64,
    /// Resident, shared pages divided by the number of their users.
    pub pss: u64,
    /// Resident, used by this process only, unchanged since read from its file.
    pub private_clean: u64,
    /// Resident, used by this process only, changed.
    pub private_dirty: u64,
    /// Resident pages without a file behind them: also the changed ones of a private file mapping.
    pub anonymous: u64,
    /// Freed by `MADV_FREE` and not yet taken back: part of `rss`.
    pub lazy_free: u64,
    /// Part of `anonymous` in transparent huge pages.
    pub anon_huge: u64,
    /// Shared memory in transparent huge pages.
    pub shmem_huge: u64,
    /// Swapped out, of anonymous memory.
    pub swap: u64,
    /// What the kernel notes about it, if the text had it.
    pub flags: Option<Flags>,
}

/// The `VmFlags` that tell who made a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `nr`: made with `MAP_NORESERVE`, as glibc makes its arenas.
    pub no_reserve: bool,
    /// `nh`: no huge pages, as for stacks (`MAP_STACK`, Linux 6.7) and some of Go's tables.
    pub no_huge_pages: bool,
}

impl Mapping {
    /// Size in the address space.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Resident and used by this process only.
    pub fn private(&self) -> u64 {
        self.private_clean.saturating_add(self.private_dirty)
    }

    /// Private memory without file or name, the raw material of heaps and stacks.
    pub(crate) fn is_plain_anonymous(&self) -> bool {
        self.inode == 0 && self.name.is_empty() && !self.permissions.shared
    }

    /// Plain anonymous memory that can be written.
    pub(crate) fn is_writable_anonymous(&self) -> bool {
        self.is_plain_anonymous() && self.permissions.read && self.permissions.write
    }

    /// Plain anonymous address space that can't be touched: a reservation or a guard.
    pub(crate) fn is_reserved_anonymous(&self) -> bool {
        let Permissions {
            read,
            write,
            execute,
            ..
        } = self.permissions;
        self.is_plain_anonymous() && !read && !write && !execute
    }

    pub(crate) fn has_flag(&self, flag: fn(&Flags) -> bool) -> bool {
        self.flags.as_ref().is_some_and(flag)
    }

    pub(crate) fn overlap(&self, range: &Range<u64>) -> u64 {
        self.end
            .min(range.end)
            .saturating_sub(self.start.max(range.start))
    }
}

/// The mappings of one process, ascending by start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mappings {
    list: Vec<Mapping>,
    has_sizes: bool,
    torn: usize,
}

impl Mappings {
    /// All of them, ascending by start.
    pub fn list(&self) -> &[Mapping] {
        &self.list
    }

    /// False when the text came from `maps`: then every size in memory is 0 and means nothing.
    pub fn has_sizes(&self) -> bool {
        self.has_sizes
    }

    /// Mappings that overlap the one before. The kernel lets go of its lock between chunks of the text, so a
    /// mapping that grows meanwhile can be listed twice; sums are then a little too high.
    pub fn torn(&self) -> usize {
        self.torn
    }

    /// Sum of the resident sizes: `Rss` of smaps_rollup.
    pub fn rss(&self) -> u64 {
        self.list
            .iter()
            .fold(0, |sum: u64, mapping| sum.saturating_add(mapping.rss))
    }
}

/// Reads the text of `/proc/PID/smaps`. Fields of newer kernels are passed over.
///
/// Cost: 1.2 ms and 0.2 MB per 1,000 mappings (a mapping is about 25 lines), beside what the kernel takes to write them.
///
/// # Errors
/// [`MapsError::Read`] if the process is gone or not ours to read; [`MapsError::Malformed`] if a line is not of
/// the format or a field we know is not `<number> kB`; [`MapsError::TooMany`] past `limits`.
pub fn parse_smaps<R: BufRead>(mut text: R, limits: &Limits) -> Result<Mappings, MapsError> {
    let mut mappings = Mappings::default();
    let mut buffer = Vec::with_capacity(256);
    let mut line = 0;
    loop {
        line += 1;
        buffer.clear();
        let max = limits.line_bytes_max;
        let read = text
            .by_ref()
            .take(max as u64 + 1)
            .read_until(b'\n', &mut buffer);
        read.map_err(|source| MapsError::Read { line, source })?;
        if buffer.is_empty() {
            return Ok(mappings);
        }
        if buffer.len() > max {
            return Err(MapsError::TooMany {
                line,
                what: "bytes in one line",
                max,
            });
        }
        let bytes = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
        // Fields begin with a capital letter, mappings with a digit or a small one.
        if bytes.first().is_some_and(u8::is_ascii_uppercase) {
            let malformed = |expected| malformed(line, expected, bytes);
            let last = mappings
                .list
                .last_mut()
                .ok_or_else(|| malformed("a mapping before its fields"))?;
            mappings.has_sizes |= parse_field(bytes, last).map_err(malformed)?;
            continue;
        }
        let malformed = |expected| malformed(line, expected, bytes);
        let mapping = parse_head(bytes).map_err(malformed)?;
        if let Some(last) = mappings.list.last() {
            if mapping.start < last.start {
                return Err(malformed("mappings in ascending order"));
            }
            mappings.torn += usize::from(mapping.start < last.end);
        }
        if mappings.list.len() >= limits.mappings_max {
            let max = limits.mappings_max;
            return Err(MapsError::TooMany {
                line,
                what: "mappings",
                max,
            });
        }
        mappings.list.push(mapping);
    }
}

/// Reads the text of `/proc/PID/maps`: the same without sizes in memory, at next to no cost for the target.
///
/// # Errors
/// As [`parse_smaps`].
pub fn parse_maps<R: BufRead>(text: R, limits: &Limits) -> Result<Mappings, MapsError> {
    parse_smaps(text, limits)
}

fn malformed(line: u64, expected: &'static str, found: &[u8]) -> MapsError {
    let found = String::from_utf8_lossy(&found[..found.len().min(80)]).into_owned();
    MapsError::Malformed {
        line,
        expected,
        found,
    }
}

/// `start-end perms offset major:minor inode   name`
fn parse_head(line: &[u8]) -> Result<Mapping, &'static str> {
    let mut rest = line;
    let mut word = || {
        let end = rest
            .iter()
            .position(|&byte| byte == b' ')
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after.strip_prefix(b" ").unwrap_or(after);
        word
    };
    let addresses = pair(word(), b'-').ok_or("`start-end` in hexadecimal digits")?;
    let permissions = parse_permissions(word()).ok_or("permissions such as `rw-p`")?;
    let offset = number(word(), 16).ok_or("an offset in hexadecimal digits")?;
    let device = pair(word(), b':').ok_or("a device `major:minor`")?;
    let inode = number(word(), 10).ok_or("an inode number")?;
    if addresses.0 >= addresses.1 {
        return Err("an end after the start");
    }
    let device = (u32::try_from(device.0), u32::try_from(device.1));
    let (Ok(major), Ok(minor)) = device else {
        return Err("a device `major:minor`");
    };
    Ok(Mapping {
        start: addresses.0,
        end: addresses.1,
        permissions,
        offset,
        device: (major, minor),
        inode,
        name: String::from_utf8_lossy(rest.trim_ascii_start()).into_owned(),
        ..Mapping::default()
    })
}

fn parse_permissions(word: &[u8]) -> Option<Permissions> {
    let &[read, write, execute, shared] = word else {
        return None;
    };
    let is = |byte, yes, no| match byte {
        _ if byte == yes => Some(true),
        _ if byte == no => Some(false),
        _ => None,
    };
    Some(Permissions {
        read: is(read, b'r', b'-')?,
        write: is(write, b'w', b'-')?,
        execute: is(execute, b'x', b'-')?,
        shared: is(shared, b's', b'p')?,
    })
}

/// Takes in `Name:   12 kB` or `VmFlags: rd wr`. Returns whether it was a size that we know.
fn parse_field(line: &[u8], mapping: &mut Mapping) -> Result<bool, &'static str> {
    let colon = line
        .iter()
        .position(|&byte| byte == b':')
        .ok_or("`Name: value`")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let field = match name {
        b"Rss" => &mut mapping.rss,
        b"Pss" => &mut mapping.pss,
        b"Private_Clean" => &mut mapping.private_clean,
        b"Private_Dirty" => &mut mapping.private_dirty,
        b"Anonymous" => &mut mapping.anonymous,
        b"LazyFree" => &mut mapping.lazy_free,
        b"AnonHugePages" => &mut mapping.anon_huge,
        b"ShmemPmdMapped" => &mut mapping.shmem_huge,
        b"Swap" => &mut mapping.swap,
        b"VmFlags" => {
            let has = |flag: &[u8]| value.split(|&byte| byte == b' ').any(|word| word == flag);
            mapping.flags = Some(Flags {
                no_reserve: has(b"nr"),
                no_huge_pages: has(b"nh"),
            });
            return Ok(false);
        }
        _ => return Ok(false),
    };
    let expected = "`<number> kB` below 2^64 bytes";
    let digits = value.strip_suffix(b" kB").ok_or(expected)?.trim_ascii();
    *field = number(digits, 10)
        .and_then(|kib| kib.checked_mul(1024))
        .ok_or(expected)?;
    Ok(true)
}

/// Two hexadecimal numbers with `between` between them.
fn pair(word: &[u8], between: u8) -> Option<(u64, u64)> {
    let at = word.iter().position(|&byte| byte == between)?;
    Some((number(&word[..at], 16)?, number(&word[at + 1..], 16)?))
}

/// Digits only: the kernel writes neither signs nor prefixes.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        value.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "c000000000-c000400000 rw-p 00000000 00:00 0 \n";

    fn parse(text: &str) -> Result<Mappings, MapsError> {
        let limits = Limits {
            mappings_max: 3,
            line_bytes_max: 200,
        };
        parse_smaps(text.as_bytes(), &limits)
    }

    #[test]
    fn a_whole_mapping() {
        let text = "7f25112b9000-7f251140f000 r-xs 00026000 fe:1f 326269     /usr/lib/a b (deleted)\n\
                    Size:               1368 kB\nRss:                 984 kB\nPss:                  10 kB\n\
                    Private_Clean:         4 kB\nPrivate_Dirty:         8 kB\nAnonymous:            12 kB\n\
                    AnonHugePages:      2048 kB\nSwap:                 16 kB\nTHPeligible:           0\n\
                    New_Field:        x\nVmFlags: rd ex mr nr nh \n";
        let mappings = parse(text).unwrap();
        let want = Mapping {
            start: 0x7f25_112b_9000,
            end: 0x7f25_1140_f000,
            permissions: Permissions {
                read: true,
                write: false,
                execute: true,
                shared: true,
            },
            offset: 0x26000,
            device: (0xfe, 0x1f),
            inode: 326_269,
            name: "/usr/lib/a b (deleted)".to_owned(),
            rss: 984 << 10,
            pss: 10 << 10,
            private_clean: 4 << 10,
            private_dirty: 8 << 10,
            anonymous: 12 << 10,
            anon_huge: 2 << 20,
            swap: 16 << 10,
            flags: Some(Flags {
                no_reserve: true,
                no_huge_pages: true,
            }),
            ..Mapping::default()
        };
        assert_eq!(mappings.list(), [want]);
        assert!(mappings.has_sizes() && mappings.torn() == 0);
        let maps = parse_maps(HEAD.as_bytes(), &Limits::default()).unwrap();
        assert!(!maps.has_sizes() && maps.list()[0].flags.is_none());
    }

    #[test]
    fn odd_texts() {
        let twice = HEAD.repeat(2);
        let many = HEAD.repeat(4);
        let long = format!("{}{}\n", HEAD.trim_end(), "x".repeat(200));
        let with = |field: &str| format!("{HEAD}{field}\n");
        let unended = with("Rss: 4 kB");
        let rows: &[(&str, &str, Result<u64, &str>)] = &[
            ("empty: a kernel thread", "", Ok(0)),
            ("no newline at the end", unended.trim_end(), Ok(4096)),
            ("torn: the same mapping twice", &twice, Ok(0)),
            ("unknown field", &with("Rss_New: x"), Ok(0)),
            (
                "other unit",
                &with("Rss:   4 MB"),
                Err(
                    "line 2 of the mappings: expected `<number> kB` below 2^64 bytes, found `Rss:   4 MB`",
                ),
            ),
            (
                "past u64 bytes",
                &with("Rss: 18446744073709551615 kB"),
                Err("line 2 of the mappings: expected `<number> kB`"),
            ),
            (
                "signed",
                &with("Rss: -4 kB"),
                Err("line 2 of the mappings: expected `<number> kB`"),
            ),
            (
                "field without colon",
                &with("Rss"),
                Err("line 2 of the mappings: expected `Name: value`"),
            ),
            (
                "field first",
                "Rss: 4 kB\n",
                Err("line 1 of the mappings: expected a mapping before its fields"),
            ),
            (
                "an error page",
                "<html>\n",
                Err("line 1 of the mappings: expected `start-end` in hexadecimal digits"),
            ),
            (
                "an empty line",
                "\n",
                Err("line 1 of the mappings: expected `start-end`"),
            ),
            (
                "end before start",
                "2000-1000 rw-p 0 0:0 0\n",
                Err("line 1 of the mappings: expected an end after"),
            ),
            (
                "address past u64",
                "10000000000000000-1 rw-p 0 0:0 0\n",
                Err("line 1 of the mappings: expected `start-end`"),
            ),
            (
                "five permissions",
                "1000-2000 rw-px 0 0:0 0\n",
                Err("line 1 of the mappings: expected permissions"),
            ),
            (
                "cut",
                "1000-2000 rw-p 0",
                Err("line 1 of the mappings: expected a device"),
            ),
            (
                "descending",
                "2000-3000 rw-p 0 0:0 0\n1000-2000 rw-p 0 0:0 0\n",
                Err("line 2 of the mappings: expected mappings in ascending order"),
            ),
            (
                "too many",
                &many,
                Err("line 4 of the mappings: more than 3 mappings"),
            ),
            (
                "a line too long",
                &long,
                Err("line 1 of the mappings: more than 200 bytes in one line"),
            ),
        ];
        for (name, text, want) in rows {
            match (parse(text), want) {
                (Ok(mappings), Ok(rss)) => assert_eq!(mappings.rss(), *rss, "{name}"),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().starts_with(want), "{name}: {error}");
                }
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
        assert_eq!(parse(&twice).unwrap().torn(), 1);
    }
}
