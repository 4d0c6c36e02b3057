//! Who holds the open file descriptors: a file or connection that somebody reaches stays open until he closes it, so
//! who holds most of them, or ever more, is who does not.
//!
//! The heap tells who holds which number, `/proc/PID/fd` what lies behind it; names of files are looked at for their
//! kind and never told.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::groups::Groups;
use super::label::Labels;
use super::names::Named;
use super::sites::Buckets;
use super::{HolderKind, Site, Taken};
use crate::roots::Closer;
use crate::{Program, open_descriptors};

/// Groups told.
const GROUPS_TOLD: usize = 100;
/// The last step to the inner structure, after `*os.File`, `*net.TCPConn` and their like: nobody knows it.
const INNER_STEPS: [&str; 3] = [".file", ".conn.fd", ".fd"];

/// What lies behind a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorKind {
    /// A file, directory or device.
    File,
    /// A socket.
    Socket,
    /// A pipe.
    Pipe,
    /// Something of the kernel's: epoll, eventfd, timerfd, a process.
    Other,
}

impl DescriptorKind {
    /// As people say it, of one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Other => "other",
        }
    }
}

/// The open descriptors of a program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Descriptors {
    /// Open ones; `None` where nobody can tell, as of a core.
    pub open: Option<u64>,
    /// Those that something of Go's holds, in groups, the most first.
    pub held: Vec<DescriptorGroup>,
    /// Those in groups that are left out.
    pub left_out: u64,
    /// Those of files and connections that nothing reaches any more: the next collection closes them.
    pub unreached: u64,
    /// Open ones that no file or connection of Go's has: opened by system calls, by C, by the runtime, or handed over.
    pub others: Vec<KindCount>,
}

/// Descriptors of one kind that are held along the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DescriptorGroup {
    /// As [`Holder::name`](super::Holder::name).
    pub holder: String,
    /// As [`Holder::kind`](super::Holder::kind).
    pub holder_kind: HolderKind,
    /// The way from the holder to the file or connection.
    pub path: String,
    /// The type there: `os.File`; empty where unknown.
    #[serde(rename = "type")]
    pub ty: String,
    /// What they are.
    pub kind: DescriptorKind,
    /// How many.
    pub count: u64,
    /// As [`Holder::used_by`](super::Holder::used_by).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Where they were opened, by those of them that the memory profile happened to sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocated_at: Vec<Site>,
}

/// How many of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// The kind.
    pub kind: DescriptorKind,
    /// How many.
    pub count: u64,
}

/// What is known of a look when descriptors are told.
pub(super) struct Known<'a> {
    pub(super) program: &'a Program,
    pub(super) taken: &'a Taken,
    pub(super) named: &'a Named,
    pub(super) groups: &'a Groups,
}

/// What was counted of one group so far.
#[derive(Default)]
struct Counted {
    count: u64,
    /// Samples by bucket.
    samples: HashMap<u64, u64>,
}

/// The open descriptors, by who holds them.
pub(super) fn of(known: &Known<'_>, labels: &Labels<'_>, buckets: &mut Buckets<'_>) -> Descriptors {
    let mut open = known.program.pid().and_then(open_descriptors::kinds);
    let mut told = Descriptors {
        open: open.as_ref().map(|open| open.len() as u64),
        ..Descriptors::default()
    };
    let samples: HashMap<u32, u64> = known.taken.roots.samples.iter().copied().collect();
    let mut by_group: HashMap<(u32, DescriptorKind), Counted> = HashMap::new();
    for descriptor in &known.taken.roots.descriptors {
        let kind = match (&mut open, descriptor.closer) {
            // Closed since, or two looks at an object that moved on: the kernel knows better.
            (Some(open), _) => match open.remove(&descriptor.number) {
                Some(kind) => kind,
                None => continue,
            },
            (None, Closer::File) => DescriptorKind::File,
            (None, Closer::Socket) => DescriptorKind::Socket,
        };
        let Some(group) = known.groups.group_of(descriptor.object) else {
            told.unreached += 1;
            continue;
        };
        let counted = by_group.entry((group, kind)).or_default();
        counted.count += 1;
        if let Some(bucket) = samples.get(&descriptor.object) {
            *counted.samples.entry(*bucket).or_default() += 1;
        }
    }
    told.held = groups(known, labels, by_group, buckets);
    let left_out = told.held.split_off(GROUPS_TOLD.min(told.held.len()));
    told.left_out = left_out.iter().map(|group| group.count).sum();
    told.others = count(open.into_iter().flat_map(HashMap::into_values));
    told
}

fn count(kinds: impl Iterator<Item = DescriptorKind>) -> Vec<KindCount> {
    let mut counts: HashMap<DescriptorKind, u64> = HashMap::new();
    for kind in kinds {
        *counts.entry(kind).or_default() += 1;
    }
    let counts = counts.into_iter();
    let mut counts: Vec<KindCount> = counts
        .map(|(kind, count)| KindCount { kind, count })
        .collect();
    counts.sort_unstable_by_key(|one| (std::cmp::Reverse(one.count), one.kind));
    counts
}

/// Groups by what people read, the most first: different groups of the heap may read alike.
fn groups(
    known: &Known<'_>,
    labels: &Labels<'_>,
    by_group: HashMap<(u32, DescriptorKind), Counted>,
    buckets: &mut Buckets<'_>,
) -> Vec<DescriptorGroup> {
    let mut merged: HashMap<(u32, String, DescriptorKind), (String, Counted)> = HashMap::new();
    for ((group, kind), counted) in by_group {
        let way = known.groups.way(labels, group);
        let (path, ty) = outer(way.path, way.ty, way.ty_above);
        let (_, into) = merged
            .entry((way.top, path, kind))
            .or_insert_with(|| (ty, Counted::default()));
        into.count += counted.count;
        for (bucket, samples) in counted.samples {
            *into.samples.entry(bucket).or_default() += samples;
        }
    }
    let mut groups: Vec<DescriptorGroup> = Vec::new();
    for ((top, path, kind), (ty, counted)) in merged {
        let (holder_kind, holder) = known.groups.top(top);
        groups.push(DescriptorGroup {
            holder: holder.to_owned(),
            holder_kind,
            path,
            ty,
            kind,
            count: counted.count,
            used_by: known.named.users.of(known.program, known.named, top),
            allocated_at: buckets.sites(counted.samples),
        });
    }
    groups.sort_by(|left, right| {
        let key = |group: &DescriptorGroup| (group.kind, group.holder.clone(), group.path.clone());
        let most = right.count.cmp(&left.count);
        most.then_with(|| key(left).cmp(&key(right)))
    });
    groups
}

/// The way to the `os.File` or `net.TCPConn`, and its type, where the structure inside hangs on one.
fn outer(path: String, ty: String, ty_above: String) -> (String, String) {
    let cut = INNER_STEPS.iter().find_map(|step| path.strip_suffix(step));
    match cut {
        Some(cut) if !ty_above.is_empty() => (cut.to_owned(), ty_above),
        _ => (path, ty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_ends_at_what_a_program_has_in_its_hand() {
        let rows = [
            ("[*].file", "os.file", "os.File", "[*]", "os.File"),
            (
                "[key].conn.fd",
                "net.netFD",
                "net.TCPConn",
                "[key]",
                "net.TCPConn",
            ),
            (
                ".listener.fd",
                "net.netFD",
                "net.TCPListener",
                ".listener",
                "net.TCPListener",
            ),
            // Held without what is around it.
            (" in main.wait", "os.file", "", " in main.wait", "os.file"),
            ("", "", "", "", ""),
        ];
        for (path, ty, above, want_path, want_ty) in rows {
            let told = outer(path.into(), ty.into(), above.into());
            assert_eq!(told, (want_path.to_owned(), want_ty.to_owned()), "{path}");
        }
    }

    #[test]
    fn kinds_are_counted_the_most_first() {
        use DescriptorKind::{File, Other, Pipe};
        let counts = count([Pipe, Other, Pipe, File].into_iter());
        let counts: Vec<_> = counts.iter().map(|one| (one.kind, one.count)).collect();
        assert_eq!(counts, [(Pipe, 2), (File, 1), (Other, 1)]);
    }
}
