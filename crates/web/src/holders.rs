//! Who holds the heap, from an incident's evidence: one look or two, laid over each other, cut to what
//! a page can show.
//!
//! The files were written by our own child that read a hostile heap: nothing in them is believed to be
//! small.

use std::collections::HashMap;
use std::sync::Arc;

use inspect::holders::{
    DescriptorChange, Diff, GoroutineGroup, Holder, HolderKind, Path, Place, Report, Site,
};
use model::{EvidenceKind, EvidenceRef, FleetRead, Incident, TargetId, UnixMs};
use profile::{Flame, FlameNode};
use serde::Deserialize;

use crate::error::ApiError;
use crate::kept::Kept;
use crate::words;

/// A look is under a MiB as it is made, and some times that with its indentation.
const FILE_BYTES_MAX: usize = 16 << 20;
/// Holders of a look that are read, and steps on each way beside and below each other.
const HOLDERS_MAX: usize = 500;
const BESIDE_MAX: usize = 64;
const DEPTH_MAX: usize = 24;
/// Letters of a name; a generic type's may be longer than a page.
const LETTERS_MAX: usize = 600;
/// Groups of goroutines and ways to each.
const GROUPS_MAX: usize = 100;
const WAYS_MAX: usize = 8;
/// Nodes of the flame graph: more than a screen has columns for.
const NODES_MAX: usize = 5_000;

/// One look as it was stored.
#[derive(Deserialize)]
struct Look {
    at: UnixMs,
    cost: Cost,
    report: Report,
}

/// What a look took.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Cost {
    pub(crate) time_ms: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) memory_bytes: u64,
}

/// What is known of who holds one target's heap.
pub(crate) struct Held {
    pub(crate) target: TargetId,
    /// When the first look was taken, if there are two, and what it took.
    pub(crate) since: Option<(UnixMs, Cost)>,
    /// When the only one, or the second, was taken.
    pub(crate) at: UnixMs,
    pub(crate) cost: Cost,
    pub(crate) growth_bytes: Option<i64>,
    /// The second look; its holders and groups have moved to the fields below.
    pub(crate) report: Report,
    /// The biggest first; those that are gone last.
    pub(crate) holders: Vec<Node>,
    /// Those that hold most first.
    pub(crate) groups: Vec<Group>,
    /// Who holds descriptors, those that grew most first.
    pub(crate) descriptors: Vec<DescriptorChange>,
    /// Something in the files was too much to be shown.
    pub(crate) is_cut: bool,
    /// The tree as the API sends it.
    pub(crate) flame_json: String,
}

/// A holder, or a step below one, at both looks.
pub(crate) struct Node {
    /// A holder's name, or a step as Go writes it.
    pub(crate) name: String,
    pub(crate) kind: Option<HolderKind>,
    pub(crate) ty: String,
    /// Roots of a holder's name.
    pub(crate) roots: u64,
    /// `None` where it is not known: no earlier look, or it was not among the biggest then.
    pub(crate) before: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
    pub(crate) is_approximate: bool,
    /// The step from one object of a list to the next.
    pub(crate) again: String,
    pub(crate) used_by: Vec<String>,
    pub(crate) allocated_at: Option<Site>,
    pub(crate) below: Vec<Node>,
}

/// Goroutines at one place.
pub(crate) struct Group {
    pub(crate) now: GoroutineGroup,
    /// How many there were at the first look, and what they held.
    pub(crate) before: Option<(u64, u64)>,
    /// How many every look says can never run again: proven, or, of a program that ran on, likely.
    pub(crate) leaked: u64,
}

impl Held {
    /// Seconds between the looks; `None` for one, or for two too near to tell a rate.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let (since, _) = self.since?;
        Some(self.at.since(since).as_secs_f64()).filter(|seconds| *seconds >= 1.0)
    }
}

/// Those that were read, by the checksums of their files.
#[derive(Default)]
pub(crate) struct AllHeld(Kept<Key, Held>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    incident: String,
    target: TargetId,
    checksums: Vec<u32>,
}

/// The target of `incident` whose looks are shown, if any was taken: `wanted`'s, else the first.
pub(crate) fn target_shown<'a>(
    incident: &'a Incident,
    wanted: &'a TargetId,
) -> Option<&'a TargetId> {
    let looks = |target: &TargetId| !looks_of(incident, target).is_empty();
    let mut all = std::iter::once(wanted).chain(incident.members());
    all.find(|target| looks(target))
}

/// The looks at a target in an incident, the first one first.
fn looks_of<'a>(incident: &'a Incident, target: &TargetId) -> Vec<&'a EvidenceRef> {
    let files = incident.evidence.iter();
    let of = |file: &&EvidenceRef| file.kind == EvidenceKind::Holders && file.target == *target;
    let mut files: Vec<&EvidenceRef> = files.filter(of).collect();
    files.sort_by_key(|file| file.at);
    files
}

impl AllHeld {
    /// Forgets all of them.
    pub(crate) fn empty(&self) {
        self.0.empty();
    }

    /// Reads and compares, on a blocking thread. `Ok(None)` when no look was taken.
    pub(crate) fn get(
        &self,
        fleet: &dyn FleetRead,
        incident: &Incident,
        target: &TargetId,
    ) -> Result<Option<Arc<Held>>, ApiError> {
        let files = looks_of(incident, target);
        let (Some(first), Some(last)) = (files.first(), files.last()) else {
            return Ok(None);
        };
        let key = Key {
            incident: incident.id.0.clone(),
            target: target.clone(),
            checksums: files.iter().map(|file| file.crc32).collect(),
        };
        if let Some(kept) = self.0.get(&key) {
            return Ok(Some(kept));
        }
        let mut is_cut = false;
        let read = |file: &EvidenceRef, is_cut: &mut bool| {
            let bytes = fleet.evidence(&incident.id, &file.name);
            let bytes = bytes
                .map_err(|error| ApiError::internal("failed to read the evidence", &error))?
                .ok_or_else(|| ApiError::execution(format!("{} is gone", file.name)))?;
            parse(&bytes, is_cut)
                .map_err(|reason| ApiError::execution(format!("{}: {reason}", file.name)))
        };
        let last_look = read(last, &mut is_cut)?;
        let first_look = match files.len() {
            1 => None,
            _ => Some(read(first, &mut is_cut)?),
        };
        let made = Arc::new(compare(target.clone(), first_look, last_look, is_cut)?);
        self.0.put(key, made.clone());
        Ok(Some(made))
    }
}

fn parse(bytes: &[u8], is_cut: &mut bool) -> Result<Look, String> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!(
            "{} are too much for a look",
            words::bytes(bytes.len() as f64)
        ));
    }
    let mut look: Look =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no look: {error}"))?;
    let report = &mut look.report;
    shorten(&mut report.holders, HOLDERS_MAX, is_cut);
    for holder in &mut report.holders {
        for text in [&mut holder.name, &mut holder.ty] {
            cut(text, is_cut);
        }
        shorten(&mut holder.used_by, WAYS_MAX, is_cut);
        holder.used_by.iter_mut().for_each(|name| cut(name, is_cut));
        // What else allocated there is in the file.
        holder.allocated_at.truncate(1);
        for site in &mut holder.allocated_at {
            cut(&mut site.function, is_cut);
            cut(&mut site.file, is_cut);
        }
        cut_paths(&mut holder.paths, DEPTH_MAX, is_cut);
    }
    shorten(&mut report.goroutines, GROUPS_MAX, is_cut);
    for group in &mut report.goroutines {
        cut(&mut group.entry, is_cut);
        cut(&mut group.state, is_cut);
        for place in group.at.iter_mut().chain(&mut group.created_by) {
            cut(&mut place.function, is_cut);
            cut(&mut place.file, is_cut);
        }
        shorten(&mut group.kept_by, WAYS_MAX, is_cut);
        group
            .kept_by
            .iter_mut()
            .for_each(|way| cut(&mut way.path, is_cut));
    }
    shorten(&mut report.descriptors.held, GROUPS_MAX, is_cut);
    for group in &mut report.descriptors.held {
        for text in [&mut group.holder, &mut group.path, &mut group.ty] {
            cut(text, is_cut);
        }
        shorten(&mut group.used_by, WAYS_MAX, is_cut);
        group.used_by.iter_mut().for_each(|name| cut(name, is_cut));
        group.allocated_at.truncate(1);
        for site in &mut group.allocated_at {
            cut(&mut site.function, is_cut);
        }
    }
    Ok(look)
}

fn cut_paths(paths: &mut Vec<Path>, depth: usize, is_cut: &mut bool) {
    shorten(paths, if depth == 0 { 0 } else { BESIDE_MAX }, is_cut);
    for path in paths {
        for text in [&mut path.path, &mut path.ty, &mut path.again] {
            cut(text, is_cut);
        }
        cut_paths(&mut path.children, depth.saturating_sub(1), is_cut);
    }
}

fn shorten<T>(list: &mut Vec<T>, most: usize, is_cut: &mut bool) {
    *is_cut |= list.len() > most;
    list.truncate(most);
}

fn cut(text: &mut String, is_cut: &mut bool) {
    if let Some((at, _)) = text.char_indices().nth(LETTERS_MAX) {
        text.truncate(at);
        text.push('…');
        *is_cut = true;
    }
}

fn compare(
    target: TargetId,
    first: Option<Look>,
    last: Look,
    is_cut: bool,
) -> Result<Held, ApiError> {
    let Look {
        at,
        cost,
        mut report,
    } = last;
    let since = first.as_ref().map(|first| (first.at, first.cost));
    let first = first.map(|first| first.report);
    let growth_bytes = first
        .as_ref()
        .map(|first| change(first.reached_bytes, report.reached_bytes));
    let descriptors = descriptors(first.as_ref(), &report);
    let groups = groups(first.as_ref(), std::mem::take(&mut report.goroutines));
    let holders = holders(first.as_ref(), std::mem::take(&mut report.holders));
    let flame = flame(&holders, first.as_ref(), &report);
    let flame_json = serde_json::to_string(&flame)
        .map_err(|error| ApiError::internal("failed to write the flame graph", &error))?;
    Ok(Held {
        target,
        since,
        at,
        cost,
        growth_bytes,
        report,
        holders,
        groups,
        descriptors,
        is_cut,
        flame_json,
    })
}

/// The difference of two sizes, whatever they are.
pub(crate) fn change(before: u64, after: u64) -> i64 {
    let size = i64::try_from(after.abs_diff(before)).unwrap_or(i64::MAX);
    if after < before { -size } else { size }
}

/// Who holds descriptors now, beside the first look; those that let all go are left out.
fn descriptors(first: Option<&Report>, last: &Report) -> Vec<DescriptorChange> {
    let held = |report: &Report| report.descriptors.held.clone();
    let mut all = Diff::of_descriptors(&first.map(held).unwrap_or_default(), &held(last));
    all.retain(|change| change.group.count > 0);
    all
}

/// The holders of the second look beside the first's.
fn holders(first: Option<&Report>, last: Vec<Holder>) -> Vec<Node> {
    let key = |holder: &Holder| (holder.kind, holder.name.clone());
    let mut earlier: HashMap<_, &Holder> = first
        .iter()
        .flat_map(|report| &report.holders)
        .map(|holder| (key(holder), holder))
        .collect();
    let left_out = first.is_none_or(|report| report.left_out.holders > 0);
    let mut nodes: Vec<Node> = last
        .into_iter()
        .map(|holder| {
            let before = earlier.remove(&key(&holder));
            // Who shares an object may be called otherwise a moment later, as pools come and go.
            let is_unknown = left_out || holder.kind == HolderKind::Several;
            holder_node(before, holder, is_unknown)
        })
        .collect();
    let gone = earlier.into_values().map(|holder| {
        let mut empty = holder.clone();
        (empty.retained_bytes, empty.retained_objects) = (0, 0);
        empty.count = 0;
        empty.paths.clear();
        holder_node(Some(holder), empty, false)
    });
    nodes.extend(gone);
    nodes.sort_by(|a, b| (b.bytes, b.before, &a.name).cmp(&(a.bytes, a.before, &b.name)));
    nodes
}

fn holder_node(before: Option<&Holder>, holder: Holder, is_unknown: bool) -> Node {
    let known = before.map(|before| before.retained_bytes);
    let known = known.or((!is_unknown).then_some(0));
    Node {
        name: holder.name,
        kind: Some(holder.kind),
        ty: holder.ty,
        roots: holder.count,
        before: known,
        bytes: holder.retained_bytes,
        objects: holder.retained_objects,
        is_approximate: holder.approximate || before.is_some_and(|before| before.approximate),
        again: String::new(),
        used_by: holder.used_by,
        allocated_at: holder.allocated_at.into_iter().next(),
        below: steps(
            known.map(|_| before.map_or(&[][..], |before| &before.paths)),
            &holder.paths,
        ),
    }
}

/// The steps of the second look beside the first's; without a first one nothing is known of before.
fn steps(before: Option<&[Path]>, after: &[Path]) -> Vec<Node> {
    let mut earlier: HashMap<(&str, &str), &Path> = before
        .into_iter()
        .flatten()
        .map(|path| ((path.path.as_str(), path.ty.as_str()), path))
        .collect();
    let mut nodes: Vec<Node> = after
        .iter()
        .map(|path| {
            let was = earlier.remove(&(path.path.as_str(), path.ty.as_str()));
            let below = before.map(|_| was.map_or(&[][..], |was| &was.children));
            Node {
                before: before.map(|_| was.map_or(0, |was| was.bytes)),
                ..step(path, path.bytes, path.count, steps(below, &path.children))
            }
        })
        .collect();
    let gone = earlier.into_values().map(|was| Node {
        before: Some(was.bytes),
        ..step(was, 0, 0, Vec::new())
    });
    nodes.extend(gone);
    nodes.sort_by(|a, b| (b.bytes, b.before, &a.name).cmp(&(a.bytes, a.before, &b.name)));
    nodes
}

fn step(path: &Path, bytes: u64, objects: u64, below: Vec<Node>) -> Node {
    Node {
        name: path.path.clone(),
        kind: None,
        ty: path.ty.clone(),
        roots: 0,
        before: None,
        bytes,
        objects,
        is_approximate: false,
        again: path.again.clone(),
        used_by: Vec::new(),
        allocated_at: None,
        below,
    }
}

/// What goroutines of one group have in common.
type GroupKey<'a> = (&'a str, &'a str, Option<&'a Place>, Option<&'a Place>);

fn group_key(group: &GoroutineGroup) -> GroupKey<'_> {
    let places = (group.at.as_ref(), group.created_by.as_ref());
    (&group.entry, &group.state, places.0, places.1)
}

fn groups(first: Option<&Report>, last: Vec<GoroutineGroup>) -> Vec<Group> {
    let earlier: HashMap<GroupKey<'_>, &GoroutineGroup> = first
        .iter()
        .flat_map(|report| &report.goroutines)
        .map(|group| (group_key(group), group))
        .collect();
    let groups = last.into_iter().map(|now| {
        let before = earlier.get(&group_key(&now)).copied();
        // Of a running program a look proves nothing; that an earlier one says the same makes it likelier.
        let leaked = |group: &GoroutineGroup| group.proven_leaked.max(group.seem_leaked);
        let agreed = match first {
            Some(_) => before.map_or(0, leaked),
            None => u64::MAX,
        };
        Group {
            leaked: leaked(&now).min(agreed).min(now.count),
            before: before.map(|before| (before.count, held(before))),
            now,
        }
    });
    groups.collect()
}

/// Bytes that a group keeps: its stacks and what hangs on them.
pub(crate) fn held(group: &GoroutineGroup) -> u64 {
    group.stack_bytes.saturating_add(group.retained_bytes)
}

/// The tree of holders for the graph, the biggest first as long as there is room.
fn flame(holders: &[Node], first: Option<&Report>, last: &Report) -> Flame {
    let mut room = NODES_MAX;
    let mut stacks_cut = 0;
    let children = flame_nodes(holders, &mut room, &mut stacks_cut);
    let root = FlameNode {
        name: "root".into(),
        before: signed(first.map_or(0, |report| report.reached_bytes)),
        after: signed(last.reached_bytes),
        children,
    };
    Flame {
        unit: "bytes".into(),
        root,
        nodes: NODES_MAX - room + 1,
        stacks_cut,
    }
}

/// Level by level would be fairer; the biggest first is near enough, and needs no queue.
fn flame_nodes(nodes: &[Node], room: &mut usize, stacks_cut: &mut usize) -> Vec<FlameNode> {
    let told = nodes.len().min(*room);
    *room -= told;
    *stacks_cut += nodes.len() - told;
    let nodes = nodes[..told].iter().map(|node| FlameNode {
        name: full_name(node),
        // What is not known of before is shown as it is now: unchanged.
        before: signed(node.before.unwrap_or(node.bytes)),
        after: signed(node.bytes),
        children: flame_nodes(&node.below, room, stacks_cut),
    });
    nodes.collect()
}

fn full_name(node: &Node) -> String {
    let name = match node.kind {
        Some(kind) => format!("{}{}", words::holder_kind(kind, node.roots), node.name),
        None if node.name.trim().is_empty() => "→".to_owned(),
        None => node.name.trim().to_owned(),
    };
    match node.ty.is_empty() {
        true => name,
        false => format!("{name} {}", node.ty),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(holders: Value) -> Value {
        json!({
            "at": 0,
            "cost": {"time_ms": 1, "cpu_ms": 1, "copied_bytes": 1, "memory_bytes": 1},
            "report": {
                "go_version": "go1.27.3", "layout": "table",
                "heap": {"spans": 0, "span_bytes": 0, "scannable_bytes": 0, "objects": 0, "object_bytes": 0},
                "reached_bytes": u64::MAX, "reached_objects": 1, "approximate": true, "blurred": 0,
                "holders": holders, "left_out": {"holders": 0, "bytes": 0},
                "cost": {"calls": 0, "bytes": 0},
            },
        })
    }

    fn holder(name: &str, bytes: u64, paths: Value) -> Value {
        json!({
            "name": name, "kind": "global", "type": "", "count": 1, "retained_bytes": bytes,
            "retained_objects": 1, "paths": paths, "allocated_at": [],
        })
    }

    fn step(children: Value) -> Value {
        json!({"path": ".x", "type": "", "bytes": 1, "count": 1, "children": children})
    }

    fn looked(report: &Value) -> (Look, bool) {
        let mut is_cut = false;
        let look = parse(report.to_string().as_bytes(), &mut is_cut).unwrap();
        (look, is_cut)
    }

    fn held(first: Option<&Value>, last: &Value) -> Held {
        let (last, is_cut) = looked(last);
        let first = first.map(|first| looked(first).0);
        compare(TargetId("t".into()), first, last, is_cut).unwrap()
    }

    #[test]
    fn what_is_too_much_is_cut_and_said_to_be() {
        let many: Vec<Value> = (0..HOLDERS_MAX + 5)
            .map(|at| holder(&format!("main.v{at}"), u64::MAX, json!([])))
            .collect();
        let mut deep = json!([]);
        for _ in 0..40 {
            deep = json!([step(deep)]);
        }
        let wide: Vec<Value> = (0..BESIDE_MAX + 5).map(|_| step(json!([]))).collect();
        let long = "λ".repeat(LETTERS_MAX + 1);
        for (name, holders) in [
            ("holders", json!(many)),
            ("levels", json!([holder("main.deep", 1, deep)])),
            (
                "steps beside each other",
                json!([holder("main.wide", 1, json!(wide))]),
            ),
            ("letters", json!([holder(&long, 1, json!([]))])),
        ] {
            let held = held(None, &report(holders));
            assert!(held.is_cut, "{name}");
            assert!(held.holders.len() <= HOLDERS_MAX, "{name}");
            assert!(held.flame_json.len() < 1 << 20, "{name}");
        }
        let tidy = report(json!([holder("main.v", 1, json!([step(json!([]))]))]));
        assert!(!held(None, &tidy).is_cut);
    }

    #[test]
    fn what_is_no_look_is_refused_in_words() {
        let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let big = vec![b' '; FILE_BYTES_MAX + 1];
        let rows: [(&str, &[u8], &str); 4] = [
            ("empty", b"", "it is no look"),
            ("of something else", b"{\"at\": 0}", "missing field `cost`"),
            ("nested without end", nested.as_bytes(), "it is no look"),
            ("without end", &big, "too much for a look"),
        ];
        for (name, bytes, wanted) in rows {
            let reason = parse(bytes, &mut false).err().unwrap_or_default();
            assert!(reason.contains(wanted), "{name}: {reason}");
        }
    }

    #[test]
    fn growth_is_told_where_it_is_known() {
        let first = report(json!([
            holder("main.a", 10, json!([])),
            holder("main.gone", 7, json!([]))
        ]));
        let last = report(json!([
            holder("main.a", 30, json!([step(json!([]))])),
            holder("main.new", 5, json!([])),
        ]));
        let both = held(Some(&first), &last);
        let told: Vec<_> = both
            .holders
            .iter()
            .map(|node| (node.name.as_str(), node.before, node.bytes))
            .collect();
        assert_eq!(
            told,
            [
                ("main.a", Some(10), 30),
                ("main.new", Some(0), 5),
                ("main.gone", Some(7), 0)
            ]
        );
        assert_eq!(
            both.holders[0].below[0].before,
            Some(0),
            "a step that is new"
        );
        assert_eq!(both.growth_bytes, Some(0));
        assert_eq!(both.seconds(), None, "too near each other for a rate");
        let one = held(None, &last);
        assert!(one.holders.iter().all(|node| node.before.is_none()));

        let mut cut = first.clone();
        cut["report"]["left_out"]["holders"] = 3.into();
        let after = held(Some(&cut), &last);
        assert_eq!(after.holders[1].before, None, "it may have been left out");
        assert_eq!(change(u64::MAX, 0), -i64::MAX);
    }
}
