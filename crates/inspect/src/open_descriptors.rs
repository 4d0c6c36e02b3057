//! What lies behind the open descriptors of a process, by the links in `/proc/PID/fd`. Format: `proc(5)`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::holders::DescriptorKind;
use crate::limits;

/// The open descriptors of `pid` with their kinds, at most [`limits::DESCRIPTORS_MAX`]; `None` when they cannot be
/// seen. One call of the kernel for each: some microseconds.
pub(crate) fn kinds(pid: u32) -> Option<HashMap<u32, DescriptorKind>> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = folder.take(limits::DESCRIPTORS_MAX).flatten();
    let kinds = links.filter_map(|link| {
        let number = link.file_name().to_str()?.parse().ok()?;
        // The link is read and not followed: what it leads to may hang.
        let target = fs::read_link(link.path()).ok()?;
        Some((number, kind(&target)))
    });
    Some(kinds.collect())
}

fn kind(target: &Path) -> DescriptorKind {
    let target = target.as_os_str().as_encoded_bytes();
    match target {
        _ if target.starts_with(b"/") => DescriptorKind::File,
        _ if target.starts_with(b"socket:") => DescriptorKind::Socket,
        _ if target.starts_with(b"pipe:") => DescriptorKind::Pipe,
        _ => DescriptorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_tell_kinds() {
        for (target, want) in [
            ("/tmp/claim.txt", DescriptorKind::File),
            ("/tmp/claim.txt (deleted)", DescriptorKind::File),
            ("/memfd:x (deleted)", DescriptorKind::File),
            ("socket:[12345]", DescriptorKind::Socket),
            ("pipe:[678]", DescriptorKind::Pipe),
            ("anon_inode:[eventpoll]", DescriptorKind::Other),
            ("", DescriptorKind::Other),
        ] {
            assert_eq!(kind(Path::new(target)), want, "{target}");
        }
    }

    #[test]
    fn our_own_are_seen() {
        use std::os::fd::AsRawFd;
        let file = fs::File::open("/proc/self/stat").unwrap();
        let (read, _write) = std::io::pipe().unwrap();
        let kinds = kinds(std::process::id()).unwrap();
        let of = |number: i32| kinds.get(&u32::try_from(number).unwrap()).copied();
        assert_eq!(of(file.as_raw_fd()), Some(DescriptorKind::File));
        assert_eq!(of(read.as_raw_fd()), Some(DescriptorKind::Pipe));
    }
}
