//! Executable mappings of a process, as a profile lists them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::elf::Elf;
use crate::memory::{LiveMemory, Memory};
use crate::{Program, ReadAt, limits};

/// One mapping of code.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// The file as the process sees it, or a name as `[vdso]`.
    pub file: String,
    /// The file's GNU build id in hexadecimal; empty where it has none.
    pub build_id: String,
}

impl Program {
    /// The mappings of code, by address, with the build ids of their files. Empty when they cannot be read.
    pub fn mappings(&self) -> Vec<Mapping> {
        match (self.pid(), self.core()) {
            (Some(pid), _) => of_process(pid),
            (None, Some(core)) => core.code.clone(),
            (None, None) => Vec::new(),
        }
    }
}

/// A line of `/proc/PID/maps` (proc_pid_maps(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MapLine {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) is_code: bool,
    /// As the process sees it, of its own mount namespace; a name as `[vdso]`, or empty.
    pub(crate) file: String,
    is_deleted: bool,
    has_inode: bool,
}

impl MapLine {
    /// Whether an address lies in it.
    pub(crate) fn has(&self, addr: u64) -> bool {
        (self.start..self.end).contains(&addr)
    }

    /// Whether it is of the file that a link as `/proc/PID/exe` leads to.
    pub(crate) fn is_of(&self, link: &Path) -> bool {
        without_deleted(&link.to_string_lossy()).0 == self.file
    }

    /// What was added to the addresses of the ELF file that is mapped here.
    pub(crate) fn bias_of(&self, elf: &Elf) -> Option<u64> {
        let segment = elf.segments.iter().find(|of| {
            let starts = of.offset & !(FIRST_PAGE as u64 - 1);
            let ends = of.offset.saturating_add(of.file_bytes);
            of.is_load() && (starts..ends).contains(&self.offset)
        })?;
        let base = self.start.wrapping_sub(self.offset);
        Some(base.wrapping_add(segment.offset).wrapping_sub(segment.addr))
    }

    /// Whether a file lies behind it that can be opened by its path.
    pub(crate) fn is_of_file(&self) -> bool {
        self.has_inode && self.file.starts_with('/')
    }
}

/// The mappings of a live process, by address; none when they cannot be read.
pub(crate) fn map_lines(pid: u32) -> Vec<MapLine> {
    let mut text = Vec::new();
    let read = File::open(format!("/proc/{pid}/maps"))
        .and_then(|file| file.take(limits::MAPS_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => parse(&String::from_utf8_lossy(&text)),
        Err(_) => Vec::new(),
    }
}

/// Opens the very file that is mapped at `line`, one of `lines`; `None` where that cannot be had.
///
/// `map_files` leads to it whatever became of its name, but takes `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`. Else
/// its path is followed inside the process's root, never in ours. Another file may lie there by now: it counts only
/// if its first page is the one that is mapped.
pub(crate) fn open_mapped(pid: u32, lines: &[MapLine], line: &MapLine) -> Option<File> {
    let exact = format!("/proc/{pid}/map_files/{:x}-{:x}", line.start, line.end);
    if let Ok(file) = File::open(exact) {
        return Some(file);
    }
    if line.is_deleted {
        return None;
    }
    let first = lines
        .iter()
        .find(|of| of.offset == 0 && of.file == line.file && !of.is_deleted)?;
    let file = open_in_root(pid, &line.file)?;
    let (mut mapped, mut found) = ([0; FIRST_PAGE], [0; FIRST_PAGE]);
    LiveMemory::new(pid).read(first.start, &mut mapped).ok()?;
    file.read_exact_at(0, &mut found).ok()?;
    (mapped == found).then_some(file)
}

/// An ELF file that is mapped somewhere.
pub(crate) struct MappedElf {
    pub(crate) file: File,
    pub(crate) elf: Elf,
    /// What was added to its addresses.
    pub(crate) bias: u64,
}

impl MappedElf {
    /// The file that is mapped at `line`, one of `lines`.
    pub(crate) fn open(pid: u32, lines: &[MapLine], line: &MapLine) -> Option<Self> {
        let file = open_mapped(pid, lines, line)?;
        let elf = Elf::read(&file).ok()?;
        let bias = line.bias_of(&elf)?;
        Some(Self { file, elf, bias })
    }
}

/// Bytes of a page: headers and, in all but the oddest files, the build ids.
const FIRST_PAGE: usize = 4096;

/// A plain file at a path of the process's own root. Links in it lead nowhere else, and nothing but a plain file is
/// waited for.
fn open_in_root(pid: u32, path: &str) -> Option<File> {
    let link = format!("/proc/{pid}/root");
    // Of a process with another root in our mounts (chroot), the kernel tells paths from the root of the mounts on.
    let root = std::fs::read_link(&link).ok()?;
    let path = Path::new(path);
    let path = path.strip_prefix(root).unwrap_or(path);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, link, flags, Mode::empty());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(root.ok()?, path, flags, Mode::empty(), within).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

fn of_process(pid: u32) -> Vec<Mapping> {
    let lines = map_lines(pid);
    // Whatever became of its name.
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let mut ids: Vec<(&str, String)> = Vec::new();
    let mut mappings = Vec::new();
    // Huge pages of code leave a part that has no file.
    let of_code = |line: &&MapLine| line.is_code && (line.has_inode || !line.file.is_empty());
    for line in lines.iter().filter(of_code) {
        let known = ids.iter().find(|(file, _)| *file == line.file);
        let build_id = match known {
            Some((_, id)) => id.clone(),
            None if ids.len() < limits::MAPPED_FILES_MAX && line.file.starts_with('/') => {
                let file = match line.is_of(&exe) {
                    true => File::open(format!("/proc/{pid}/exe")).ok(),
                    false => open_mapped(pid, &lines, line),
                };
                let id = file.and_then(|file| Elf::read(&file).ok()?.build_id(&file));
                ids.push((&line.file, id.clone().unwrap_or_default()));
                id.unwrap_or_default()
            }
            None => String::new(),
        };
        mappings.push(Mapping {
            start: line.start,
            end: line.end,
            offset: line.offset,
            file: line.file.clone(),
            build_id,
        });
    }
    mappings
}

fn parse(text: &str) -> Vec<MapLine> {
    let parse = |line: &str| {
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after.trim_start_matches(' ');
            word
        };
        let (start, end) = word().split_once('-')?;
        let permissions = word();
        let offset = word();
        let (_device, inode) = (word(), word());
        let (file, is_deleted) = without_deleted(rest);
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        Some(MapLine {
            start: number(start)?,
            end: number(end)?,
            offset: number(offset)?,
            is_code: permissions.as_bytes().get(2) == Some(&b'x'),
            file: file.to_owned(),
            is_deleted,
            has_inode: inode != "0",
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The path without the kernel's word for one whose name is gone.
fn without_deleted(path: &str) -> (&str, bool) {
    path.strip_suffix(" (deleted)")
        .map_or((path, false), |path| (path, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let text = "\
00400000-004e3000 r-xp 00001000 fc:01 787766                             /srv/my shop
004e3000-005e3000 r--p 000e3000 fc:01 787766                             /srv/my shop
7f0000000000-7f0000001000 r-xp 00000000 00:00 0
7f0000001000-7f0000002000 r-xp 00002000 fc:01 12                         /srv/lib.so (deleted)
7ffc34343000-7ffc34345000 r-xp 00000000 00:00 0                          [vdso]
zz-7f r-xp 0 0 0 /x
7f r-xp
";
        let found: Vec<_> = parse(text)
            .into_iter()
            .map(|of| {
                (
                    of.start,
                    of.offset,
                    of.is_code,
                    of.is_of_file(),
                    of.is_deleted,
                    of.file,
                )
            })
            .collect();
        let want = [
            (0x40_0000, 0x1000, true, true, false, "/srv/my shop"),
            (0x4e_3000, 0xe_3000, false, true, false, "/srv/my shop"),
            (0x7f00_0000_0000, 0, true, false, false, ""),
            (0x7f00_0000_1000, 0x2000, true, true, true, "/srv/lib.so"),
            (0x7ffc_3434_3000, 0, true, false, false, "[vdso]"),
        ];
        assert_eq!(
            found,
            want.map(|(a, b, c, d, e, file)| (a, b, c, d, e, file.to_owned()))
        );
    }
}
