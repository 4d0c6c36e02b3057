//! Two looks at one program: what grew between them, and along which way. This is a leak's name.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{DescriptorGroup, DescriptorKind, Holder, HolderKind, Path, Report, Site};

/// A way is followed while one step of it has so much of the growth, in percent.
const MOST_PERCENT: i64 = 60;

/// What changed from one look to the next, by how much each holder grew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diff {
    /// Time between the looks, in seconds.
    pub seconds: f64,
    /// Growth of everything that is reached, in bytes.
    pub growth_bytes: i64,
    /// Holders that grew or shrank, the most grown first.
    pub changes: Vec<Change>,
    /// Open descriptors at the first look and the second, where both can tell.
    #[serde(default)]
    pub descriptors_open: Option<(u64, u64)>,
    /// Who holds more or less descriptors, the most grown first.
    #[serde(default)]
    pub descriptors: Vec<DescriptorChange>,
}

/// One holder's change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// As [`Holder::name`].
    pub name: String,
    /// As [`Holder::kind`].
    pub kind: HolderKind,
    /// As [`Holder::ty`].
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes at the first look.
    pub before_bytes: u64,
    /// Bytes at the second.
    pub after_bytes: u64,
    /// The difference.
    pub growth_bytes: i64,
    /// The difference in objects.
    pub growth_objects: i64,
    /// The difference in roots of that name: goroutines, timers.
    pub growth_count: i64,
    /// The way along which most of the growth lies, from the holder on; empty when it is spread.
    pub path: String,
    /// The type of what grew at the end of that way.
    pub path_type: String,
    /// Two looks of the same moment disagreed.
    pub approximate: bool,
    /// As [`Holder::allocated_at`], of the second look.
    pub allocated_at: Vec<Site>,
    /// As [`Holder::used_by`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

/// Descriptors of one kind along one way, at two looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DescriptorChange {
    /// As they are at the second look, or were at the first if there are none any more.
    #[serde(flatten)]
    pub group: DescriptorGroup,
    /// How many at the first look.
    pub before: u64,
    /// The difference.
    pub growth: i64,
}

impl Diff {
    /// What changed from `before` to `after`, `seconds` later. Holders that one report leaves out count as nothing
    /// there: take reports with enough holders.
    pub fn new(before: &Report, after: &Report, seconds: f64) -> Self {
        let key = |holder: &Holder| (holder.kind, holder.name.clone());
        let mut earlier: HashMap<_, &Holder> = before
            .holders
            .iter()
            .map(|holder| (key(holder), holder))
            .collect();
        let mut changes: Vec<Change> = after
            .holders
            .iter()
            .map(|holder| change(earlier.remove(&key(holder)), holder))
            .collect();
        let gone = earlier.into_values().map(|holder| {
            let empty = Holder {
                retained_bytes: 0,
                retained_objects: 0,
                count: 0,
                paths: Vec::new(),
                allocated_at: Vec::new(),
                ..holder.clone()
            };
            change(Some(holder), &empty)
        });
        changes.extend(gone);
        changes.retain(|change| change.growth_bytes != 0 || change.growth_count != 0);
        changes.sort_by(|left, right| {
            (right.growth_bytes, &left.name).cmp(&(left.growth_bytes, &right.name))
        });
        Self {
            seconds,
            growth_bytes: difference(after.reached_bytes, before.reached_bytes),
            changes,
            descriptors_open: before.descriptors.open.zip(after.descriptors.open),
            descriptors: {
                let (before, after) = (&before.descriptors.held, &after.descriptors.held);
                let mut all = Self::of_descriptors(before, after);
                all.retain(|change| change.growth != 0);
                all
            },
        }
    }

    /// Who holds descriptors at either of two looks, the most grown first; those that did not change among them.
    #[must_use]
    pub fn of_descriptors(
        before: &[DescriptorGroup],
        after: &[DescriptorGroup],
    ) -> Vec<DescriptorChange> {
        let mut earlier: HashMap<Key<'_>, &DescriptorGroup> =
            before.iter().map(|group| (key(group), group)).collect();
        let same: Vec<Option<&DescriptorGroup>> = after
            .iter()
            .map(|group| earlier.remove(&key(group)))
            .collect();
        let mut changes: Vec<DescriptorChange> = Vec::new();
        for (group, same) in after.iter().zip(same) {
            // The way to the same things may read differently: a list that has grown knows its type, a goroutine has
            // gone on. Then it is the way of the same holder that is there no more.
            let moved = || {
                let is_it = |left: &Key<'_>| (left.0, left.1, left.3) == sort(group);
                let left = earlier.keys().filter(|left| is_it(left)).min().copied()?;
                earlier.remove(&left)
            };
            let before = same.or_else(moved).map_or(0, |before| before.count);
            changes.push(DescriptorChange {
                group: group.clone(),
                before,
                growth: difference(group.count, before),
            });
        }
        changes.extend(earlier.into_values().map(|group| DescriptorChange {
            group: DescriptorGroup {
                count: 0,
                allocated_at: Vec::new(),
                ..group.clone()
            },
            before: group.count,
            growth: difference(0, group.count),
        }));
        changes.sort_by(|left, right| {
            let most = right.growth.cmp(&left.growth);
            most.then_with(|| right.group.count.cmp(&left.group.count))
                .then_with(|| key(&left.group).cmp(&key(&right.group)))
        });
        changes
    }
}

/// What tells groups of descriptors apart.
type Key<'a> = (HolderKind, &'a str, &'a str, DescriptorKind);

fn key(group: &DescriptorGroup) -> Key<'_> {
    (group.holder_kind, &group.holder, &group.path, group.kind)
}

/// Whose they are, and what.
fn sort(group: &DescriptorGroup) -> (HolderKind, &str, DescriptorKind) {
    (group.holder_kind, &group.holder, group.kind)
}

fn difference(after: u64, before: u64) -> i64 {
    after.wrapping_sub(before) as i64
}

fn change(before: Option<&Holder>, after: &Holder) -> Change {
    let of = |figure: fn(&Holder) -> u64| (before.map_or(0, figure), figure(after));
    let (before_bytes, after_bytes) = of(|holder| holder.retained_bytes);
    let (before_objects, after_objects) = of(|holder| holder.retained_objects);
    let (before_count, after_count) = of(|holder| holder.count);
    let growth_bytes = difference(after_bytes, before_bytes);
    let earlier = before.map_or(&[][..], |before| &before.paths);
    let (path, path_type) = way(earlier, &after.paths, growth_bytes);
    Change {
        name: after.name.clone(),
        kind: after.kind,
        ty: after.ty.clone(),
        before_bytes,
        after_bytes,
        growth_bytes,
        growth_objects: difference(after_objects, before_objects),
        growth_count: difference(after_count, before_count),
        path,
        path_type,
        approximate: after.approximate || before.is_some_and(|before| before.approximate),
        allocated_at: after.allocated_at.clone(),
        used_by: after.used_by.clone(),
    }
}

/// Follows the step that has most of the growth, as long as one has.
fn way(mut before: &[Path], mut after: &[Path], growth: i64) -> (String, String) {
    let (mut way, mut ty) = (String::new(), String::new());
    if growth <= 0 {
        return (way, ty);
    }
    loop {
        let grown = |path: &Path| {
            let same = |other: &&Path| other.path == path.path && other.ty == path.ty;
            let earlier = before.iter().find(same);
            difference(path.bytes, earlier.map_or(0, |earlier| earlier.bytes))
        };
        let Some(step) = after.iter().max_by_key(|path| grown(path)) else {
            return (way, ty);
        };
        if grown(step) < growth / 100 * MOST_PERCENT {
            return (way, ty);
        }
        way.push_str(&step.path);
        step.ty.clone_into(&mut ty);
        let same = |other: &&Path| other.path == step.path && other.ty == step.ty;
        before = before
            .iter()
            .find(same)
            .map_or(&[], |earlier| &earlier.children);
        after = &step.children;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(holder: &str, path: &str, count: u64) -> DescriptorGroup {
        serde_json::from_value(serde_json::json!({
            "holder": holder, "holder_kind": "global", "path": path, "type": "", "kind": "file", "count": count,
        }))
        .unwrap()
    }

    #[test]
    fn descriptors_are_compared_by_holder_and_way_and_a_way_that_reads_differently_is_the_same() {
        let before = [
            group("main.open", "", 40),
            group("main.log", ".file", 1),
            group("main.pair", ".from", 5),
            group("main.pair", ".to", 5),
            group("main.gone", "[*]", 7),
        ];
        let after = [
            group("main.open", "[*]", 65),
            group("main.log", ".file", 1),
            group("main.pair", ".from", 6),
            group("main.pair", ".to", 5),
            group("main.new", "[*]", 2),
        ];
        let changes = Diff::of_descriptors(&before, &after);
        let told: Vec<(&str, u64, i64)> = changes
            .iter()
            .map(|change| (change.group.holder.as_str(), change.before, change.growth))
            .collect();
        let want = [
            ("main.open", 40, 25),
            ("main.new", 0, 2),
            ("main.pair", 5, 1),
            ("main.pair", 5, 0),
            ("main.log", 1, 0),
            ("main.gone", 7, -7),
        ];
        assert_eq!(told, want);
    }
}
