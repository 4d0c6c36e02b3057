//! A database of series that was damaged: what of it cannot be read is set aside, the rest goes on.
//!
//! The checksums of fjall find a flipped byte and a file that was cut off, and where that is not in the
//! chunks themselves, it then opens nothing at all. So it is tried in this order: as it is; with what of
//! its journal comes before the damage; without one keyspace, such as the chunks of a day; with nothing.
//! What was set aside lies in `series.damaged-<unix ms>` beside it, one such folder at most.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use model::UnixMs;

use crate::dir;
use crate::engine::{Engine, Loaded};
use crate::error::StoreError;
use crate::evidence::Problem;
use crate::lists::{self, KEYSPACES};

/// What the names of set-aside folders begin with.
const ASIDE: &str = "series.damaged-";
/// The keyspace that knows the others.
const KEYSPACE_OF_KEYSPACES: &str = "0";
/// What its journals end in.
const JOURNAL: &str = "jnl";
/// Of a journal, so much before the damage may be given up: a few seconds of a watcher's samples.
const CUT_BYTES: u64 = 4 << 10;

type Opened = (Engine, Loaded);

/// The database at `path` with all that is read of it, and what had to be done for that.
pub(crate) fn open(
    path: &Path,
    now: UnixMs,
) -> Result<(Engine, Loaded, Option<Problem>), StoreError> {
    if is_new(path) {
        begin(path)?;
    }
    let damage = match attempt(path) {
        Ok((engine, loaded)) => return Ok((engine, loaded, None)),
        Err(error) if is_damage(&error) => error.in_words(),
        Err(error) => return Err(error),
    };
    let aside = make_aside(path, now)?;
    let (lost, (engine, loaded)) = match with_whole_journals(path, &aside)? {
        Some(opened) => ("the end of the latest samples was", opened),
        None => match without_a_keyspace(path, &aside)? {
            Some(opened) => ("a part of it was", opened),
            None => ("all of it was, and a new one begun:", anew(path, &aside)?),
        },
    };
    let reason = format!(
        "the series are damaged ({damage}); {lost} set aside in {}, the rest goes on",
        aside.display()
    );
    tracing::error!(reason, "the database of series is damaged");
    let path = path.to_owned();
    Ok((engine, loaded, Some(Problem { path, reason })))
}

/// Whether the folder is empty.
fn is_new(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Makes an empty database at `path`, whole or not at all: fjall, killed while it makes one, never opens it again.
fn begin(path: &Path) -> Result<(), StoreError> {
    let root = path.parent().unwrap_or(path);
    let unfinished = dir::temporary(root, "series");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(StoreError::io("remove", &unfinished))?;
    }
    dir::create(&unfinished)?;
    attempt(&unfinished)?;
    // Over the empty folder that may be there.
    let made = fs::rename(&unfinished, path).and_then(|()| File::open(root)?.sync_all());
    made.map_err(StoreError::io("make", path))
}

fn attempt(path: &Path) -> Result<Opened, StoreError> {
    // Some of what fjall takes for granted about its files it asserts.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        lists::check(path)?;
        let engine = Engine::open(path)?;
        let loaded = engine.load()?;
        Ok((engine, loaded))
    }));
    let broken = || StoreError::malformed(path.display().to_string(), "it broke its reader");
    opened.unwrap_or_else(|_| Err(broken()))
}

/// Whether the files are at fault; not the disk, our rights, or a release that is too old.
fn is_damage(error: &StoreError) -> bool {
    let of_io = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::NotFound
                // Made by a release that did not make it whole, and killed while it did.
                | io::ErrorKind::AlreadyExists
        )
    };
    match error {
        StoreError::Malformed { .. } => true,
        StoreError::Engine { source, .. } => match source {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                of_io(error)
            }
            fjall::Error::Locked | fjall::Error::Poisoned => false,
            _ => true,
        },
        _ => false,
    }
}

/// A folder for what is set aside; an older one makes room.
fn make_aside(path: &Path, now: UnixMs) -> Result<PathBuf, StoreError> {
    let root = path.parent().unwrap_or(path);
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            let gone = fs::remove_dir_all(entry.path());
            gone.map_err(StoreError::io("remove", entry.path()))?;
        }
    }
    let aside = root.join(format!("{ASIDE}{}", now.0));
    dir::create(&aside)?;
    Ok(aside)
}

/// With as much of its journals as is whole: what of a journal comes after damage is as if it had never
/// been written, which is what fjall makes of the end of a journal that was cut off.
fn with_whole_journals(path: &Path, aside: &Path) -> Result<Option<Opened>, StoreError> {
    let all = journals(path)?;
    for journal in &all {
        set_aside(journal, aside)?;
        let is_at_fault = attempt(path).is_ok();
        remove_others(path, &all)?;
        if is_at_fault {
            return cut(path, journal, aside, &all).map(Some);
        }
        put_back(journal, aside)?;
    }
    Ok(None)
}

/// Finds the longest beginning of `journal` that is whole, and opens the database with that.
fn cut(path: &Path, journal: &Path, aside: &Path, all: &[PathBuf]) -> Result<Opened, StoreError> {
    let damaged = aside.join(journal.file_name().unwrap_or_default());
    let len = fs::metadata(&damaged).map_err(StoreError::io("read", &damaged))?;
    let (mut whole, mut broken) = (0, len.len());
    while broken - whole > CUT_BYTES {
        let middle = whole + (broken - whole) / 2;
        copy_beginning(&damaged, journal, middle)?;
        match attempt(path) {
            Ok(_) => whole = middle,
            Err(_) => broken = middle,
        }
        remove_others(path, all)?;
    }
    copy_beginning(&damaged, journal, whole)?;
    attempt(path)
}

/// Makes `to` the first `len` bytes of `from`.
fn copy_beginning(from: &Path, to: &Path, len: u64) -> Result<(), StoreError> {
    let copied = File::open(from).and_then(|from| {
        let mut to = File::create(to)?;
        io::copy(&mut from.take(len), &mut to)
    });
    copied.map(drop).map_err(StoreError::io("write", to))
}

fn journals(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut all = entries(path)?;
    all.retain(|entry| entry.extension().is_some_and(|end| end == JOURNAL));
    Ok(all)
}

/// Removes the journals that an attempt has begun: nothing of ours is in them.
fn remove_others(path: &Path, known: &[PathBuf]) -> Result<(), StoreError> {
    for journal in journals(path)? {
        if !known.contains(&journal) {
            fs::remove_file(&journal).map_err(StoreError::io("remove", &journal))?;
        }
    }
    Ok(())
}

/// Without the one keyspace that is at fault, if it is one.
fn without_a_keyspace(path: &Path, aside: &Path) -> Result<Option<Opened>, StoreError> {
    for keyspace in entries(&path.join(KEYSPACES)).unwrap_or_default() {
        if keyspace.ends_with(KEYSPACE_OF_KEYSPACES) {
            continue;
        }
        set_aside(&keyspace, aside)?;
        if let Ok(opened) = attempt(path) {
            return Ok(Some(opened));
        }
        put_back(&keyspace, aside)?;
    }
    Ok(None)
}

fn anew(path: &Path, aside: &Path) -> Result<Opened, StoreError> {
    set_aside(path, aside)?;
    begin(path)?;
    attempt(path)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn set_aside(path: &Path, aside: &Path) -> Result<(), StoreError> {
    let to = aside.join(path.file_name().unwrap_or_default());
    fs::rename(path, to).map_err(StoreError::io("set aside", path))
}

fn put_back(path: &Path, aside: &Path) -> Result<(), StoreError> {
    // An attempt may have made an empty one in its place.
    if path.is_dir() {
        fs::remove_dir_all(path).map_err(StoreError::io("remove", path))?;
    }
    let from = aside.join(path.file_name().unwrap_or_default());
    fs::rename(&from, path).map_err(StoreError::io("put back", &from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_300_200_000);

    #[test]
    fn what_was_being_made_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("series");
        dir::create(&path).unwrap();
        let unfinished = dir::temporary(root.path(), "series");
        fs::create_dir_all(unfinished.join(KEYSPACES)).unwrap();
        fs::write(unfinished.join("0.jnl"), "").unwrap();
        let (_, _, problem) = open(&path, NOW).unwrap();
        assert!(problem.is_none(), "{problem:?}");
        assert!(!unfinished.exists());
        assert!(path.join("version").is_file());
    }

    /// fjall says that the journal is there already, whatever is in it.
    #[test]
    fn a_journal_alone_is_set_aside() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("series");
        dir::create(&path).unwrap();
        fs::write(path.join("0.jnl"), [0; 1000]).unwrap();
        let (_, _, problem) = open(&path, NOW).unwrap();
        let problem = problem.unwrap().reason;
        assert!(problem.contains("set aside"), "{problem}");
        let aside = root.path().join(format!("{ASIDE}{}", NOW.0));
        assert!(aside.join("0.jnl").is_file());
    }
}
