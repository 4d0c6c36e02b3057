//! What is watched, and the stable identities above it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::process::{BootId, Pid, ProcessKey};
use crate::time::UnixMs;

/// Identifies a target in URLs, evidence paths and series: 16 hexadecimal digits made from what
/// the target is (process key, or job and instance), so it is the same after a restart of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub String);

impl TargetId {
    /// The id of a discovered process.
    #[must_use]
    pub fn of_process(key: &ProcessKey) -> Self {
        Self(fingerprint(&[
            "process",
            &key.boot_id.0,
            &key.pid.0.to_string(),
            &key.start_ticks.0.to_string(),
        ]))
    }

    /// The id of a configured job and instance.
    #[must_use]
    pub fn of_instance(job: &str, instance: &str) -> Self {
        Self(fingerprint(&["instance", job, instance]))
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 16 hexadecimal digits of the FNV-1a hash of `parts`, each closed by a zero byte. Stable over
/// releases: it names files. Not for hostile collisions: parts come from the kernel and the
/// configuration.
#[must_use]
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// The stable identity above targets: namespace/kind/name, else systemd unit, else executable and
/// module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Workload(pub String);

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What code a target runs: image digest, else vcs.revision, else build id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

/// A watched target: a discovered process, or a configured job and instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its id.
    pub id: TargetId,
    /// A short name for people: the executable's or the job's.
    pub name: String,
    /// The process, where it is one on this host.
    #[serde(skip)]
    pub process: Option<ProcessKey>,
    /// Its pid, where it is a process on this host.
    pub pid: Option<Pid>,
    /// When it started, where known.
    #[serde(with = "crate::time::rfc3339::option")]
    pub start_time: Option<UnixMs>,
    /// The host it runs on.
    pub host: String,
    /// The boot it runs in, where it is a process on this host.
    pub boot_id: Option<BootId>,
    /// The base URL of its endpoint, such as `http://127.0.0.1:6060`, where it has one.
    pub url: Option<String>,
    /// That URL holds in its own network namespace, as within its pod, and not on the host.
    #[serde(default)]
    pub url_inside: bool,
    /// Its container's name, where it is in one; its id where no name is known.
    pub container: Option<String>,
    /// Its container's id, as `crictl` and `docker` take it.
    #[serde(default)]
    pub container_id: Option<String>,
    /// The image that its container was made of.
    #[serde(default)]
    pub image: Option<String>,
    /// Its pod's name, where it is in one; its uid where no name is known.
    pub pod: Option<String>,
    /// The workload it belongs to.
    pub workload: Workload,
    /// The code it runs.
    pub revision: Revision,
    /// The Go release it was built with, such as `go1.27.3`.
    pub go_version: Option<String>,
    /// The main module's path.
    pub module: Option<String>,
    /// Its labels: `job`, `instance`, and those from the configuration.
    pub labels: Labels,
}

impl Target {
    /// Its name, with what tells it from others of that name: `shop (pid 4242)`, `shop (10.0.0.7:6060)`.
    #[must_use]
    pub fn name_in_words(&self) -> String {
        let own = match (self.pid, self.labels.get("instance")) {
            (Some(pid), _) => format!("pid {pid}"),
            (None, Some(instance)) => instance.to_owned(),
            (None, None) => return self.name.clone(),
        };
        format!("{} ({own})", self.name)
    }

    /// Its namespace, by its labels: its pod's, or the one that it was configured with.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.labels.get("namespace")
    }

    /// Its container's name, by its labels; `None` where only the id is known, which no restart keeps.
    #[must_use]
    pub fn container_name(&self) -> Option<&str> {
        self.labels.get("container")
    }
}

/// How watching a target goes. What is not `Up` is shown, never hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TargetState {
    /// Seen, not read yet.
    Pending,
    /// Its process and, where it has one, its endpoint answer.
    Up,
    /// The process is read, and it offers no endpoint.
    NoEndpoint,
    /// The process is read, and its endpoint fails: it hangs, refuses, or sends garbage.
    EndpointFailing {
        /// What went wrong, in words.
        reason: String,
    },
    /// The kernel does not let us read the process.
    NoPermission {
        /// What would let us.
        hint: String,
    },
    /// Nothing has been heard of it for five periods: what is shown of it is old.
    NotRead {
        /// When it was heard of last.
        #[serde(with = "crate::time::rfc3339")]
        since: UnixMs,
    },
    /// It has ended; its history is kept.
    Gone {
        /// When its end was seen.
        #[serde(with = "crate::time::rfc3339")]
        at: UnixMs,
    },
}

/// What somebody wrote where `host:port` belongs, for an error about it: without what may be a secret, that is the
/// login before an `@` and all from a `?` on.
#[must_use]
pub fn without_secrets(written: &str) -> String {
    let (address, query) = written.split_at(written.find('?').unwrap_or(written.len()));
    let query = if query.is_empty() { "" } else { "?..." };
    match address.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}{query}"),
        None => format!("{address}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_tell_processes_apart() {
        let key = |pid, ticks| ProcessKey {
            boot_id: BootId("b".into()),
            pid: Pid(pid),
            start_ticks: crate::StartTicks(ticks),
        };
        // Written down: these ids are in stored series and folder names.
        assert_eq!(fingerprint(&["a", "b"]), fingerprint(&["a", "b"]));
        assert_ne!(fingerprint(&["a", "b"]), fingerprint(&["ab", ""]));
        assert_ne!(
            TargetId::of_process(&key(1, 2)),
            TargetId::of_process(&key(1, 3))
        );
        assert_eq!(TargetId::of_process(&key(1, 2)).0.len(), 16);
    }

    #[test]
    fn an_error_about_an_address_has_no_login_and_no_query_in_it() {
        for (written, told) in [
            ("host:80", "host:80"),
            ("user:hunter2@host:80", "...@host:80"),
            ("http://user:hunt@er2@host:80/m", "...@host:80/m"),
            ("host:80/robot?token=hunter2", "host:80/robot?..."),
            ("host?a=hunter2@b", "host?..."),
        ] {
            assert_eq!(without_secrets(written), told);
        }
    }
}
