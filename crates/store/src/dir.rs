//! The data directory: its lock, its format version, and files that are whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;

/// The version of the whole directory, in its `FORMAT` file.
pub(crate) const FORMAT_VERSION: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORD: &str = "unswept-store";
const LOCK_FILE: &str = "LOCK";

/// What unfinished files begin with.
const TEMPORARY: &str = ".tmp-";

/// Holds the lock of a data directory until dropped; the kernel frees it when the process dies.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code, reason = "the lock lives as long as the file")] File);

/// Creates `dir` if needed, for our user only.
pub(crate) fn create(dir: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(StoreError::io("create the folder", dir))
}

/// Takes the lock of `dir`, and writes our process id into it for others to see.
pub(crate) fn lock(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join(LOCK_FILE);
    let mut open = OpenOptions::new();
    open.read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = open.open(&path).map_err(StoreError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Whoever holds it may be about to write: an unreadable id is still a held lock.
            let _ = file.take(32).read_to_string(&mut pid);
            let pid = pid.trim();
            return Err(StoreError::Locked {
                dir: dir.to_owned(),
                pid: if pid.is_empty() { "?" } else { pid }.to_owned(),
            });
        }
        Err(error) => return Err(StoreError::io("lock", &path)(error.into())),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(StoreError::io("write", &path))?;
    Ok(DirLock(file))
}

/// Refuses a directory of a later release; marks a new one.
pub(crate) fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FORMAT_FILE);
    let what = path.display().to_string();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let version = text.trim().strip_prefix(FORMAT_WORD);
            let version = version.and_then(|version| version.trim().parse::<u32>().ok());
            let found = version.ok_or_else(|| {
                StoreError::malformed(&what, format!("expected `{FORMAT_WORD} <version>`"))
            })?;
            check_version(&what, found, FORMAT_VERSION)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{FORMAT_WORD} {FORMAT_VERSION}\n");
            write_whole(dir, FORMAT_FILE, text.as_bytes())
        }
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

pub(crate) fn check_version(what: &str, found: u32, known: u32) -> Result<(), StoreError> {
    if found > known {
        return Err(StoreError::Newer {
            what: what.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

/// Writes a file that is there whole or not at all, also after a power failure: a temporary file,
/// forced to the disk, renamed, and the folder forced to the disk.
pub(crate) fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = temporary(dir, name);
    let written = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, dir.join(name)))
        .and_then(|()| File::open(dir)?.sync_all());
    if written.is_err() {
        // On a full disk the half file must not stay; if even that fails, the next open removes it.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(StoreError::io("write", dir.join(name)))
}

/// What `name` is called while it is being made; what a crash leaves of it the next open removes.
pub(crate) fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{TEMPORARY}{name}"))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut open = OpenOptions::new();
    let open = open.write(true).create(true).truncate(true).mode(0o600);
    let mut file = open.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether the file system takes `bytes` now. Writes that much and removes it again.
pub(crate) fn probe(dir: &Path, bytes: usize) -> io::Result<()> {
    let path = temporary(dir, "probe");
    let written = write_synced(&path, &vec![0x55; bytes]);
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Removes what a crash left unfinished.
pub(crate) fn remove_temporary(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
                _ => fs::remove_file(path),
            };
        }
    }
}

/// The bytes that all files under `dir` take on the disk; holes do not count. What vanishes
/// meanwhile counts nothing.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += disk_bytes(&entry.path()),
            Ok(meta) => bytes += meta.blocks() * 512,
            Err(_) => {}
        }
    }
    bytes
}

/// Whether `name` can only be a file right in its folder, and not one of ours.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@=,".contains(&byte);
    !name.is_empty() && name.len() <= 160 && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        assert!(error.hint().is_some());
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_newer_directory_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        check_format(dir.path()).unwrap();
        check_format(dir.path()).unwrap();
        fs::write(dir.path().join(FORMAT_FILE), "unswept-store 2\n").unwrap();
        let error = check_format(dir.path()).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        fs::write(dir.path().join(FORMAT_FILE), "garbage").unwrap();
        assert!(check_format(dir.path()).is_err());
    }

    #[test]
    fn names_stay_in_their_folder() {
        for good in ["before-heap.pb.gz", "a", "shop-1_x@y.json"] {
            assert!(is_plain_name(good), "{good}");
        }
        let long = "x".repeat(161);
        for bad in [
            "", ".", "..", "../x", "a/b", ".tmp-x", "a\0b", "a b", "ä", &long,
        ] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_whole_and_ours_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        write_whole(dir.path(), "a", b"one").unwrap();
        write_whole(dir.path(), "a", b"two").unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"two");
        let mode = fs::metadata(dir.path().join("a"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join(".tmp-b"), "torn").unwrap();
        remove_temporary(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
