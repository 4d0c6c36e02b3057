//! The snapshots from before: a few per target, so that an incident has something to compare with.
//!
//! `ring/<target>/<unix ms>.<kind>.<crc32>.<name>`: all that is known of a file is in its name, so
//! there is no index to be out of date.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{EvidenceKind, EvidenceRef, TargetId, UnixMs};

use crate::dir;
use crate::error::StoreError;

/// Snapshots of one kind that a target keeps.
pub(crate) const SNAPSHOTS_MAX: usize = 6;

/// The most one snapshot may have.
pub const SNAPSHOT_BYTES_MAX: u64 = 2 << 20;

/// A snapshot older than this goes before any younger one.
const AGE_MAX: Duration = Duration::from_secs(86_400);

pub(crate) struct Ring {
    path: PathBuf,
    /// Newest last.
    targets: BTreeMap<TargetId, Vec<EvidenceRef>>,
}

impl Ring {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        dir::create(path)?;
        let mut targets = BTreeMap::new();
        let folders = fs::read_dir(path).map_err(StoreError::io("list", path))?;
        for folder in folders.flatten() {
            let target = TargetId(folder.file_name().to_string_lossy().into_owned());
            dir::remove_temporary(&folder.path());
            let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
            let mut snapshots: Vec<EvidenceRef> =
                files.filter_map(|file| parse(&target, &file)).collect();
            snapshots.sort_by_key(|stored| stored.at);
            if !snapshots.is_empty() {
                targets.insert(target, snapshots);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            targets,
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.targets
            .values()
            .flatten()
            .map(|stored| stored.bytes)
            .sum()
    }

    pub(crate) fn put(
        &mut self,
        target: &TargetId,
        stored: &EvidenceRef,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if stored.bytes > SNAPSHOT_BYTES_MAX {
            return Err(StoreError::OverBudget {
                bytes: stored.bytes,
                budget_bytes: SNAPSHOT_BYTES_MAX,
            });
        }
        let folder = self.path.join(&target.0);
        dir::create(&folder)?;
        dir::write_whole(&folder, &file_name(stored), bytes)?;
        // The folder decides whose it is, whatever the file says.
        let mut stored = stored.clone();
        stored.target = target.clone();
        let kind = stored.kind;
        let snapshots = self.targets.entry(target.clone()).or_default();
        snapshots.retain(|have| file_name(have) != file_name(&stored));
        snapshots.push(stored);
        snapshots.sort_by_key(|stored| stored.at);
        while let Some(gone) = one_too_many(snapshots, kind) {
            let gone = snapshots.remove(gone);
            let _ = fs::remove_file(folder.join(file_name(&gone)));
        }
        Ok(())
    }

    /// Newest first.
    pub(crate) fn list(&self, target: &TargetId) -> Vec<EvidenceRef> {
        let snapshots = self.targets.get(target);
        snapshots.into_iter().flatten().rev().cloned().collect()
    }

    /// Where a snapshot is, if it is there.
    pub(crate) fn path(&self, stored: &EvidenceRef) -> Option<PathBuf> {
        let have = self.targets.get(&stored.target)?;
        have.contains(stored)
            .then(|| self.path.join(&stored.target.0).join(file_name(stored)))
    }

    /// Removes the oldest snapshot of all; false if there is none.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let oldest = self
            .targets
            .iter()
            .filter_map(|(target, snapshots)| Some((snapshots.first()?.at, target.clone())));
        let Some((_, target)) = oldest.min() else {
            return false;
        };
        if let Some(snapshots) = self.targets.get_mut(&target) {
            let gone = snapshots.remove(0);
            let _ = fs::remove_file(self.path.join(&target.0).join(file_name(&gone)));
            if snapshots.is_empty() {
                self.targets.remove(&target);
                let _ = fs::remove_dir_all(self.path.join(&target.0));
            }
        }
        true
    }

    /// Removes the rings whose newest snapshot is older than `before`.
    pub(crate) fn drop_gone(&mut self, before: UnixMs) {
        let path = &self.path;
        self.targets.retain(|target, snapshots| {
            let live = snapshots.last().is_some_and(|newest| newest.at >= before);
            if !live {
                let _ = fs::remove_dir_all(path.join(&target.0));
            }
            live
        });
    }
}

fn file_name(stored: &EvidenceRef) -> String {
    let (at, kind) = (stored.at.0, stored.kind.as_str());
    format!("{at}.{kind}.{:08x}.{}", stored.crc32, stored.name)
}

fn parse(target: &TargetId, file: &fs::DirEntry) -> Option<EvidenceRef> {
    let name = file.file_name();
    let mut parts = name.to_str()?.splitn(4, '.');
    let at = UnixMs(parts.next()?.parse().ok()?);
    let kind = serde_json::Value::from(parts.next()?);
    let kind: EvidenceKind = serde_json::from_value(kind).ok()?;
    Some(EvidenceRef {
        kind,
        target: target.clone(),
        at,
        crc32: u32::from_str_radix(parts.next()?, 16).ok()?,
        name: parts.next()?.to_owned(),
        bytes: file.metadata().ok()?.len(),
    })
}

/// Which snapshot of `kind` goes, if there are too many: the oldest when it is past its age, else
/// the one whose absence leaves the smallest gap for its age. So the newest are dense and the
/// older ones ever further apart.
fn one_too_many(snapshots: &[EvidenceRef], kind: EvidenceKind) -> Option<usize> {
    let of_kind: Vec<usize> = (0..snapshots.len())
        .filter(|&at| snapshots[at].kind == kind)
        .collect();
    if of_kind.len() <= SNAPSHOTS_MAX {
        return None;
    }
    let time = |index: usize| snapshots[of_kind[index]].at;
    let newest = time(of_kind.len() - 1);
    if newest.since(time(0)) > AGE_MAX {
        return Some(of_kind[0]);
    }
    let gap_for_age = |&index: &usize| {
        let gap = time(index + 1).since(time(index - 1)).as_secs_f64();
        gap / newest.since(time(index)).as_secs_f64().max(1.0)
    };
    let inner = 1..of_kind.len() - 1;
    let gone = inner.min_by(|a, b| gap_for_age(a).total_cmp(&gap_for_age(b)))?;
    Some(of_kind[gone])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(minute: i64) -> EvidenceRef {
        EvidenceRef {
            kind: EvidenceKind::HeapProfile,
            target: TargetId("t".into()),
            at: UnixMs(minute * 60_000),
            name: "heap.pb.gz".into(),
            bytes: 1,
            crc32: crc32fast::hash(b"x"),
        }
    }

    fn minutes(ring: &Ring, target: &TargetId) -> Vec<i64> {
        ring.list(target)
            .iter()
            .map(|stored| stored.at.0 / 60_000)
            .collect()
    }

    #[test]
    fn the_newest_stay_dense_and_older_ones_spread() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        let target = TargetId("t".into());
        for minute in (0..=600).step_by(10) {
            ring.put(&target, &snapshot(minute), b"x").unwrap();
            assert!(ring.list(&target).len() <= SNAPSHOTS_MAX);
        }
        let kept = minutes(&ring, &target);
        assert_eq!(kept[0], 600, "the newest is there: {kept:?}");
        assert!(
            kept[1] >= 580 && kept.iter().any(|&at| (300..560).contains(&at)),
            "{kept:?}"
        );
        assert_eq!(kept.len(), SNAPSHOTS_MAX);
        let reopened = Ring::open(dir.path()).unwrap();
        assert_eq!(minutes(&reopened, &target), kept, "names say everything");
        for minute in (610..3_000).step_by(10) {
            ring.put(&target, &snapshot(minute), b"x").unwrap();
        }
        let oldest = *minutes(&ring, &target).last().unwrap();
        assert!(
            oldest >= 2_990 - 24 * 60 - 60,
            "nothing is kept for good: {oldest}"
        );
    }

    #[test]
    fn the_ring_of_a_target_that_is_gone_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        let target = TargetId("t".into());
        ring.put(&target, &snapshot(1), b"x").unwrap();
        ring.drop_gone(UnixMs(60_000));
        assert_eq!(ring.list(&target).len(), 1);
        ring.drop_gone(UnixMs(60_001));
        assert_eq!(ring.list(&target).len(), 0);
        assert!(!dir.path().join("t").exists());
    }

    #[test]
    fn a_big_snapshot_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(dir.path()).unwrap();
        let mut big = snapshot(1);
        big.bytes = SNAPSHOT_BYTES_MAX + 1;
        assert!(ring.put(&TargetId("t".into()), &big, b"").is_err());
    }
}
