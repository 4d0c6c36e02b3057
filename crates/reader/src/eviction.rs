//! Where kubelet evicts pods: `evictionHard` of its configuration file on the node.
//! Fields: KubeletConfiguration, kubelet.config.k8s.io/v1beta1. Of a file that sets any signal of `evictionHard`
//! kubelet takes the others' defaults only with `mergeDefaultEvictionSettings`. What is set by a flag of kubelet's
//! or in a drop-in folder is not seen here.

use serde::{Deserialize, Serialize};

/// Where it lies on a node.
pub(crate) const PATH: &str = "var/lib/kubelet/config.yaml";
/// A longer file is none of kubelet's.
pub(crate) const FILE_BYTES_MAX: u64 = 256 << 10;
/// kubelet's own default on Linux.
pub const EVICTION_DEFAULT_BYTES: u64 = 100 << 20;

/// What kubelet's configuration says of evictions for lack of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeletEviction {
    /// With less than this available on the node, pods are evicted; 0 for never.
    pub available_bytes: u64,
}

/// Reads kubelet's configuration; `None` where it is none, or says it in a way that is not understood.
/// `memory_bytes` is what percent are of.
pub(crate) fn parse(text: &str, memory_bytes: u64) -> Option<KubeletEviction> {
    let lines = || text.lines().map(without_comment);
    if !lines().any(|line| value_of(line, "kind") == Some("KubeletConfiguration")) {
        return None;
    }
    let merges = lines().any(|line| value_of(line, "mergeDefaultEvictionSettings") == Some("true"));
    let mut below = lines().skip_while(|line| value_of(line, "evictionHard").is_none());
    let available_bytes = match below.next().and_then(|line| value_of(line, "evictionHard")) {
        None => EVICTION_DEFAULT_BYTES,
        Some("") => {
            let own = below.take_while(|line| line.is_empty() || line.starts_with([' ', '\t']));
            threshold(own, merges, memory_bytes)?
        }
        Some("null" | "~") => EVICTION_DEFAULT_BYTES,
        Some(inline) => {
            let inside = inline.strip_prefix('{')?.strip_suffix('}')?;
            threshold(inside.split(','), merges, memory_bytes)?
        }
    };
    Some(KubeletEviction { available_bytes })
}

/// The threshold among the signals of `evictionHard`.
fn threshold<'a>(
    signals: impl Iterator<Item = &'a str>,
    merges: bool,
    memory_bytes: u64,
) -> Option<u64> {
    let signals: Vec<&str> = signals
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mut found = signals
        .iter()
        .filter_map(|line| value_of(line, "memory.available"));
    match found.next() {
        Some(quantity) => bytes(quantity, memory_bytes),
        None if merges || signals.is_empty() => Some(EVICTION_DEFAULT_BYTES),
        None => Some(0),
    }
}

/// The value of `key: value`, where the line begins with that key, each with or without quotation marks.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    let bare = |text: &'a str| text.trim_end().trim_matches(['"', '\'']);
    (bare(found) == key).then(|| bare(value.trim()))
}

fn without_comment(line: &str) -> &str {
    let comment = line.find(" #").or(line.starts_with('#').then_some(0));
    line[..comment.unwrap_or(line.len())].trim_end()
}

/// A quantity as Kubernetes writes it, or percent of the node's memory.
fn bytes(quantity: &str, memory_bytes: u64) -> Option<u64> {
    const UNITS: [(&str, f64); 9] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("", 1.0),
    ];
    let (number, unit) = match quantity.strip_suffix('%') {
        Some(percent) => (percent, memory_bytes as f64 / 100.0),
        None => UNITS
            .iter()
            .find_map(|(name, unit)| Some((quantity.strip_suffix(name)?, *unit)))?,
    };
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = plain.then(|| number.parse().ok())??;
    Some((number * unit) as u64)
}

/// For fuzzers: must return without a panic.
pub(crate) fn fuzz_one(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = parse(&text, 1 << 34);
    let _ = parse(&format!("kind: KubeletConfiguration\n{text}"), 1 << 34);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn thresholds_of_files_as_kubelet_reads_them() {
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
        let read = |rest: &str| {
            let found = parse(&format!("{head}{rest}"), 8 << 30);
            found.map(|found| found.available_bytes)
        };
        let rows = [
            ("silent", "cgroupDriver: systemd\n", Some(100 * MIB)),
            (
                "written",
                "evictionHard:\n  imagefs.available: 15%\n  memory.available: \"200Mi\" # more\nmaxPods: 9\n",
                Some(200 * MIB),
            ),
            (
                "percent",
                "evictionHard:\n  memory.available: 5%\n",
                Some((8 << 30) / 20),
            ),
            (
                "in one line",
                "evictionHard: {memory.available: 1.5Gi, nodefs.available: 5%}\n",
                Some(1536 * MIB),
            ),
            (
                "decimal",
                "evictionHard: {\"memory.available\": '500M'}\n",
                Some(500_000_000),
            ),
            (
                "other signals only",
                "evictionHard:\n  nodefs.available: 10%\n",
                Some(0),
            ),
            (
                "other signals, merged",
                "mergeDefaultEvictionSettings: true\nevictionHard:\n  nodefs.available: 10%\n",
                Some(100 * MIB),
            ),
            ("empty", "evictionHard: {}\n", Some(100 * MIB)),
            ("null", "evictionHard: null\n", Some(100 * MIB)),
            (
                "of something else",
                "evictionSoft:\n  memory.available: 1Gi\nlogging: {}\n",
                Some(100 * MIB),
            ),
            (
                "after the block",
                "evictionHard:\n\n  # none\n  nodefs.available: 1%\nother:\n  memory.available: 1Gi\n",
                Some(0),
            ),
            (
                "no quantity",
                "evictionHard: {memory.available: some}\n",
                None,
            ),
            ("a reference", "evictionHard: *other\n", None),
        ];
        for (name, rest, want) in rows {
            assert_eq!(read(rest), want, "{name}");
        }
        assert_eq!(parse("kind: Pod\n", 1), None, "another's file");
        assert_eq!(parse("", 1), None);
    }

    #[test]
    fn a_share_is_of_this_node_s_memory() {
        assert_eq!(bytes("10%", 1000), Some(100));
        for broken in ["", "-1Mi", "1e9x", "Mi", "1..2"] {
            assert_eq!(bytes(broken, 1000), None, "{broken}");
        }
    }
}
