//! What grew between two looks at the same process.

use std::fmt;

use crate::class::{Class, MemoryMap};
use crate::parse::Mapping;

/// Overlapping mappings looked at for one partner: real lists have one or two.
const CANDIDATES_MAX: usize = 64;

/// What grew between two looks, most first. Both lists add up to the same: the later resident sum less the
/// earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Growth {
    /// Every class whose resident size or number of mappings changed.
    pub classes: Vec<ClassGrowth>,
    /// Every mapping whose resident size changed, appeared or went.
    pub mappings: Vec<MappingGrowth>,
}

/// One class's change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassGrowth {
    /// The class.
    pub class: Class,
    /// Change of the resident size in bytes.
    pub rss: i64,
    /// Change of the anonymous part in bytes.
    pub anonymous: i64,
    /// Change of what is swapped out, in bytes.
    pub swap: i64,
    /// Change of the number of mappings.
    pub count: i64,
}

/// One mapping's change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MappingGrowth {
    /// Its class, at the later look if it is still there.
    pub class: Class,
    /// Its first address, at the later look if it is still there.
    pub start: u64,
    /// Its name, if any.
    pub name: String,
    /// Resident bytes before: of all the mappings that became this one. 0 if it is new.
    pub rss_before: u64,
    /// Resident bytes after; 0 if it is gone.
    pub rss_after: u64,
    /// True if nothing was there before.
    pub is_new: bool,
    /// True if nothing is there any more.
    pub is_gone: bool,
}

impl MappingGrowth {
    /// Change of the resident size in bytes.
    pub fn rss(&self) -> i64 {
        difference(self.rss_before, self.rss_after)
    }
}

/// `glibc arena at 0x7f6710000000: +36.5 MiB`
impl fmt::Display for MappingGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class.label())?;
        if !self.name.is_empty() && !self.name.starts_with('[') {
            write!(f, " {}", self.name.escape_debug())?;
        }
        write!(f, " at {:#x}: {}", self.start, Change(self.rss()))?;
        match (self.is_new, self.is_gone) {
            (true, _) => write!(f, " (new)"),
            (_, true) => write!(f, " (gone)"),
            _ => Ok(()),
        }
    }
}

/// `glibc arena: +110.2 MiB, 2 mappings more`
impl fmt::Display for ClassGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class.label(), Change(self.rss))?;
        let mappings = if self.count.abs() == 1 {
            "mapping"
        } else {
            "mappings"
        };
        match self.count {
            0 => Ok(()),
            more @ 1.. => write!(f, ", {more} {mappings} more"),
            fewer => write!(f, ", {} {mappings} fewer", fewer.unsigned_abs()),
        }
    }
}

/// A change in bytes with its sign and a unit that fits.
struct Change(i64);

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let bytes = self.0.unsigned_abs();
        let (unit, name) = match bytes {
            0x4000_0000.. => (1u64 << 30, "GiB"),
            0x10_0000.. => (1 << 20, "MiB"),
            _ => return write!(f, "{sign}{} KiB", bytes >> 10),
        };
        // Whole units above 10, one digit below: 48 MiB, 3.5 MiB.
        if bytes >= unit * 10 {
            write!(f, "{sign}{} {name}", (bytes + unit / 2) / unit)
        } else {
            let tenths = (bytes * 10 + unit / 2) / unit;
            write!(f, "{sign}{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

fn difference(before: u64, after: u64) -> i64 {
    let size = i64::try_from(before.abs_diff(after)).unwrap_or(i64::MAX);
    if after < before { -size } else { size }
}

/// Compares two looks at one process, `after` being the later.
///
/// A mapping is the same if it starts where it did; else if most of the old one lies inside the new one: Linux
/// places mappings downwards and merges neighbours, so that a growing region keeps its end, not its start.
pub fn growth(before: &MemoryMap, after: &MemoryMap) -> Growth {
    let mut classes: Vec<_> = before
        .totals()
        .iter()
        .zip(after.totals().iter())
        .map(|((class, before), (_, after))| ClassGrowth {
            class,
            rss: difference(before.rss, after.rss),
            anonymous: difference(before.anonymous, after.anonymous),
            swap: difference(before.swap, after.swap),
            count: difference(before.count, after.count),
        })
        .filter(|change| (change.rss, change.anonymous, change.swap, change.count) != (0, 0, 0, 0))
        .collect();
    classes.sort_by_key(|change| std::cmp::Reverse(change.rss));
    let mut mappings = mapping_changes(before, after);
    mappings.sort_by_key(|change| (std::cmp::Reverse(change.rss()), change.start));
    Growth { classes, mappings }
}

fn mapping_changes(before: &MemoryMap, after: &MemoryMap) -> Vec<MappingGrowth> {
    let new_list = after.mappings().list();
    // What each later mapping had before: bytes, and whether anything at all.
    let mut had: Vec<(u64, bool)> = vec![(0, false); new_list.len()];
    let mut changes = Vec::new();
    let entry = |mapping: &Mapping, class| MappingGrowth {
        class,
        start: mapping.start,
        name: mapping.name.clone(),
        rss_before: 0,
        rss_after: 0,
        is_new: false,
        is_gone: false,
    };
    for (old, kind) in before.iter() {
        match partner(old, new_list) {
            Some(at) => had[at] = (had[at].0.saturating_add(old.rss), true),
            None if old.rss > 0 => {
                let gone = entry(old, kind.class);
                changes.push(MappingGrowth {
                    rss_before: old.rss,
                    is_gone: true,
                    ..gone
                });
            }
            None => {}
        }
    }
    for ((new, kind), (rss_before, known)) in after.iter().zip(had) {
        if new.rss != rss_before {
            let same = entry(new, kind.class);
            let is_new = !known;
            changes.push(MappingGrowth {
                rss_before,
                rss_after: new.rss,
                is_new,
                ..same
            });
        }
    }
    changes
}

/// The later mapping that an earlier one became.
fn partner(old: &Mapping, new_list: &[Mapping]) -> Option<usize> {
    // By start, since only starts are sure to ascend in a torn list.
    let after_start = new_list.partition_point(|new| new.start < old.start);
    let alike =
        |new: &Mapping| new.inode == old.inode && new.permissions.shared == old.permissions.shared;
    if new_list
        .get(after_start)
        .is_some_and(|new| new.start == old.start && alike(new))
    {
        return Some(after_start);
    }
    let candidates = after_start.saturating_sub(CANDIDATES_MAX / 2)..new_list.len();
    candidates
        .take(CANDIDATES_MAX)
        .filter(|&at| alike(&new_list[at]))
        .map(|at| (new_list[at].overlap(&(old.start..old.end)), at))
        .filter(|&(overlap, _)| overlap > old.size() / 2)
        .max()
        .map(|(_, at)| at)
}
