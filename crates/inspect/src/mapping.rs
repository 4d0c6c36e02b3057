//! Executable mappings of a process, as a profile lists them.

use std::io::Read;

use crate::elf::Elf;
use crate::{Program, limits};

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

fn of_process(pid: u32) -> Vec<Mapping> {
    let Ok(file) = std::fs::File::open(format!("/proc/{pid}/maps")) else {
        return Vec::new();
    };
    let mut text = Vec::new();
    if file
        .take(limits::MAPS_BYTES_MAX)
        .read_to_end(&mut text)
        .is_err()
    {
        return Vec::new();
    }
    let mut mappings = parse(&String::from_utf8_lossy(&text));
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
    let exe = exe.map(|path| path.to_string_lossy().into_owned());
    let exe = exe.map_or_else(|_| String::new(), |path| without_deleted(&path).to_owned());
    let mut ids: Vec<(String, String)> = Vec::new();
    for mapping in &mut mappings {
        if let Some((_, id)) = ids.iter().find(|(file, _)| *file == mapping.file) {
            mapping.build_id.clone_from(id);
        } else if ids.len() < limits::MAPPED_FILES_MAX && mapping.file.starts_with('/') {
            // A path of the process's own mount namespace; the executable may have been replaced since.
            let path = if mapping.file == exe {
                format!("/proc/{pid}/exe")
            } else {
                format!("/proc/{pid}/root{}", mapping.file)
            };
            mapping.build_id = build_id(&path).unwrap_or_default();
            ids.push((mapping.file.clone(), mapping.build_id.clone()));
        }
    }
    mappings
}

fn build_id(path: &str) -> Option<String> {
    // Anything may lie at a path that a process has mapped once; only plain files are opened.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let file = std::fs::File::open(path).ok()?;
    Elf::read(&file).ok()?.build_id(&file)
}

/// The executable lines of `/proc/PID/maps` (proc_pid_maps(5)).
fn parse(text: &str) -> Vec<Mapping> {
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
        let file = without_deleted(rest);
        // Huge pages of code leave a part that has no file.
        if permissions.as_bytes().get(2) != Some(&b'x') || (inode == "0" && file.is_empty()) {
            return None;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        Some(Mapping {
            start: number(start)?,
            end: number(end)?,
            offset: number(offset)?,
            file: file.to_owned(),
            build_id: String::new(),
        })
    };
    text.lines().filter_map(parse).collect()
}

fn without_deleted(path: &str) -> &str {
    path.strip_suffix(" (deleted)").unwrap_or(path)
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
            .map(|of| (of.start, of.end, of.offset, of.file))
            .collect();
        let want = [
            (0x40_0000, 0x4e_3000, 0x1000, "/srv/my shop"),
            (0x7f00_0000_1000, 0x7f00_0000_2000, 0x2000, "/srv/lib.so"),
            (0x7ffc_3434_3000, 0x7ffc_3434_5000, 0, "[vdso]"),
        ];
        assert_eq!(
            found,
            want.map(|(a, b, c, file)| (a, b, c, file.to_owned()))
        );
    }
}
