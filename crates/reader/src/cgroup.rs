//! Memory cgroups, versions 1 and 2 and both at once: which one a process is in, and where that is
//! mounted. What it says is read by `container.rs`.
//!
//! Formats: proc(5) for `cgroup` and `mountinfo`.

use std::path::{Path, PathBuf};

use crate::answers::CgroupVersion;

/// Folders from a cgroup up to its mount.
pub(crate) const DEPTH_MAX: usize = 64;

/// A hierarchy that accounts for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Where a hierarchy is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) version: Version,
    pub(crate) mount_point: PathBuf,
    /// The cgroup that is mounted there; `/` unless only a part of the tree is, and `/..` and the
    /// like when it lies above our cgroup namespace.
    pub(crate) root: String,
    /// For a mount above our namespace: our own cgroup's path below it, where it was found.
    pub(crate) own: Option<String>,
}

/// The cgroups of one process: `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Membership {
    pub(crate) v1_memory: Option<String>,
    pub(crate) v1_systemd: Option<String>,
    pub(crate) v2: Option<String>,
}

impl Membership {
    /// The path that names the process best: the memory controller's, unless that is the root and
    /// another hierarchy is finer.
    pub(crate) fn path(&self) -> &str {
        let all = [&self.v1_memory, &self.v2, &self.v1_systemd];
        let mut paths = all.into_iter().flatten();
        let fine = paths.clone().find(|path| *path != "/");
        fine.or_else(|| paths.next()).map_or("/", String::as_str)
    }
}

/// Reads `/proc/PID/cgroup`: lines of `id:controllers:path`; the path may contain colons.
pub(crate) fn parse_membership(bytes: &[u8]) -> Membership {
    let mut found = Membership::default();
    for line in String::from_utf8_lossy(bytes).lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        // The kernel marks a removed cgroup so.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let slot = if controllers.is_empty() && id == "0" {
            &mut found.v2
        } else if controllers.split(',').any(|name| name == "memory") {
            &mut found.v1_memory
        } else if controllers == "name=systemd" {
            &mut found.v1_systemd
        } else {
            continue;
        };
        *slot = Some(path.to_owned());
    }
    found
}

/// Reads the hierarchies with memory out of `/proc/self/mountinfo`.
pub(crate) fn parse_mounts(bytes: &[u8]) -> Vec<Mount> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter_map(parse_mount).collect()
}

/// `36 35 0:32 ROOT MOUNT_POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER_OPTIONS`
fn parse_mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, mount_point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1).unwrap_or(""));
    let version = match kind {
        "cgroup2" => Version::V2,
        "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
        _ => return None,
    };
    Some(Mount {
        version,
        mount_point: PathBuf::from(unescape(mount_point)),
        root: unescape(root),
        own: None,
    })
}

/// mountinfo writes blanks, tabs, newlines and backslashes as `\040` and the like.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let octal = rest.get(at + 1..at + 4);
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// Which versions the mounts make.
pub(crate) fn version_of(mounts: &[Mount]) -> CgroupVersion {
    let has = |version| mounts.iter().any(|mount| mount.version == version);
    match (has(Version::V1), has(Version::V2)) {
        (true, true) => CgroupVersion::Hybrid,
        (true, false) => CgroupVersion::V1,
        (false, true) => CgroupVersion::V2,
        (false, false) => CgroupVersion::None,
    }
}

/// The mount and the path below it that hold the process's memory cgroup; `None` where it cannot
/// be seen from here.
pub(crate) fn locate<'a>(
    mounts: &'a [Mount],
    membership: &Membership,
) -> Option<(&'a Mount, String)> {
    locate_in(Version::V1, mounts, membership)
        .or_else(|| locate_in(Version::V2, mounts, membership))
}

/// The same in one version's tree, whether that one accounts for memory or not.
pub(crate) fn locate_in<'a>(
    version: Version,
    mounts: &'a [Mount],
    membership: &Membership,
) -> Option<(&'a Mount, String)> {
    let path = match version {
        Version::V1 => membership.v1_memory.as_deref()?,
        Version::V2 => membership.v2.as_deref()?,
    };
    let mut mounts = mounts.iter().filter(|mount| mount.version == version);
    mounts.find_map(|mount| Some((mount, below(path, mount)?)))
}

/// `path` as seen from the mount, without a leading slash.
///
/// In a cgroup namespace of our own the kernel writes `/../../x` for what lies beside us, and leaves
/// out the names above: those are taken from our own path, where the mount shows it.
fn below(path: &str, mount: &Mount) -> Option<String> {
    let path = match &mount.own {
        Some(own) => &resolve(path, own)?,
        None => path.strip_prefix(mount.root.trim_end_matches('/'))?,
    };
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    let rest = path.trim_start_matches('/');
    let plain = rest.split('/').all(|part| part != ".." && part != ".");
    plain.then(|| rest.to_owned())
}

/// `/../x` from `a/b` is `/a/x`.
fn resolve(path: &str, own: &str) -> Option<String> {
    let mut parts: Vec<&str> = own.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// Folders looked at to find our own cgroup.
const SEARCH_MAX: usize = 50_000;

/// Finds our own cgroup in those mounts that lie above our cgroup namespace, as the node's tree
/// does in a pod that has it mounted: it is the folder with the inode that our namespace's own
/// mount has at its root. A walk over part of the tree, once.
pub(crate) fn find_ourselves(mounts: &mut [Mount]) {
    let inode_at = |path: &Path| rustix::fs::stat(path).ok().map(|stat| stat.st_ino);
    for at in 0..mounts.len() {
        let (version, root) = (mounts[at].version, mounts[at].root.as_str());
        let mut ups = root.split('/').filter(|part| !part.is_empty());
        if root == "/" || !ups.clone().all(|part| part == "..") {
            continue;
        }
        let depth = ups.by_ref().count();
        let ours = mounts
            .iter()
            .find(|m| m.version == version && m.root == "/");
        let found = ours
            .and_then(|ours| inode_at(&ours.mount_point))
            .and_then(|inode| find_folder(&mounts[at].mount_point, inode, depth));
        mounts[at].own = found;
    }
}

/// The folder with this inode, exactly `depth` below `root`.
fn find_folder(root: &Path, inode: u64, depth: usize) -> Option<String> {
    use std::os::unix::fs::DirEntryExt;
    let mut left = SEARCH_MAX;
    let mut level = vec![String::new()];
    for step in 1..=depth.min(DEPTH_MAX) {
        let mut next = Vec::new();
        for folder in level {
            let Ok(entries) = std::fs::read_dir(root.join(&folder)) else {
                continue;
            };
            for entry in entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            {
                left = left.checked_sub(1)?;
                let name = entry.file_name().into_string().ok()?;
                let path = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                if step == depth && entry.ino() == inode {
                    return Some(path);
                }
                next.push(path);
            }
        }
        level = next;
    }
    None
}

pub(crate) fn fuzz_one(bytes: &[u8]) {
    let mounts = parse_mounts(bytes);
    let _ = locate(&mounts, &parse_membership(bytes));
    let _ = crate::names::names_of(&String::from_utf8_lossy(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mount(version: Version, at: &str, root: &str) -> Mount {
        Mount {
            version,
            mount_point: at.into(),
            root: root.into(),
            own: None,
        }
    }

    #[test]
    fn mountinfo_rows() {
        let rows: [(&str, &str, Option<Mount>); 7] = [
            (
                "v1 memory",
                "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
                Some(mount(Version::V1, "/sys/fs/cgroup/memory", "/")),
            ),
            (
                "v1 other controller",
                "35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct",
                None,
            ),
            (
                "v2 with tags",
                "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
                Some(mount(Version::V2, "/sys/fs/cgroup", "/")),
            ),
            (
                "a part of the tree, a blank in the path",
                "30 23 0:26 /docker/a\\134b /mnt/my\\040cg rw - cgroup2 none rw",
                Some(mount(Version::V2, "/mnt/my cg", "/docker/a\\b")),
            ),
            ("a file system", "22 1 8:1 / / rw - ext4 /dev/sda1 rw", None),
            ("cut", "35 31 0:32 /", None),
            (
                "bad escape",
                "1 2 0:1 / /a\\9 rw - cgroup2 x rw",
                Some(mount(Version::V2, "/a\\9", "/")),
            ),
        ];
        for (name, line, expected) in rows {
            assert_eq!(
                parse_mounts(line.as_bytes()).into_iter().next(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn membership_rows() {
        let v2 = parse_membership(b"0::/a:b/c (deleted)\n");
        assert_eq!(v2.path(), "/a:b/c");
        let hybrid = parse_membership(
            b"9:name=systemd:/system.slice/x.service\n4:cpu,memory:/\n0::/\nrubbish\n1:memory\n",
        );
        assert_eq!(hybrid.v1_memory.as_deref(), Some("/"));
        assert_eq!(hybrid.path(), "/system.slice/x.service", "the finer path");
        assert_eq!(parse_membership(b"").path(), "/");
    }

    #[test]
    fn paths_below_a_mount() {
        for (path, root, expected) in [
            ("/a/b", "/", Some("a/b")),
            ("/", "/", Some("")),
            ("/docker/x", "/docker/x", Some("")),
            ("/docker/x/y", "/docker/x", Some("y")),
            ("/docker/xy", "/docker/x", None),
            ("/kubepods/z", "/docker/x", None),
            ("/../other", "/", None),
        ] {
            let mount = mount(Version::V2, "/x", root);
            assert_eq!(below(path, &mount).as_deref(), expected, "{path} in {root}");
        }
    }

    #[test]
    fn a_node_s_tree_seen_from_a_pod_with_a_namespace_of_its_own() {
        let node = tempfile::tempdir().unwrap();
        let own = node.path().join("kubepods/podu/me");
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(node.path().join("kubepods/podx/c")).unwrap();
        let mut mounts = [
            mount(Version::V2, own.to_str().unwrap(), "/"),
            mount(Version::V2, node.path().to_str().unwrap(), "/../../.."),
            mount(Version::V2, "/nowhere", "/.."),
        ];
        find_ourselves(&mut mounts);
        assert_eq!(mounts[1].own.as_deref(), Some("kubepods/podu/me"));
        assert_eq!((&mounts[0].own, &mounts[2].own), (&None, &None));
        for (path, expected) in [
            ("/", Some((0, ""))),
            ("/inner", Some((0, "inner"))),
            ("/../../podx/c", Some((1, "kubepods/podx/c"))),
            ("/../../../init.scope", Some((1, "init.scope"))),
            ("/../../../..", None),
        ] {
            let line = format!("0::{path}\n");
            let found = locate(&mounts, &parse_membership(line.as_bytes()));
            let expected = expected.map(|(at, below)| (&mounts[at], below.to_owned()));
            assert_eq!(found, expected, "{path}");
        }
    }
}
