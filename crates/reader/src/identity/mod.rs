//! Who a container is: its name, image and pod, from the files that its runtime and the kubelet leave
//! on the node. No runtime's socket is asked, and of every file only a few names are taken.
//!
//! The files are looked for where the container's *keeper* sees them: its shim or monitor, which is
//! the nearest parent outside of the container. So a node is read from inside a pod, and a node that
//! is a container itself (kind) from outside, without anything being mounted for us. What the
//! container itself can write names nobody, but for a pod's host name where nothing else is known.

mod docker;
mod kubelet;
mod oci;
mod podman;

use std::path::{Path, PathBuf};

use crate::answers::{ContainerIdentity, PodIdentity};
use crate::cgroup;
use crate::names::names_of;
use crate::proc_dir::ProcDir;
use crate::root::Root;

/// Parents followed to find the keeper.
const PARENTS_MAX: usize = 64;
/// Names of Kubernetes have 253 at most; images' names with their digest are longer.
const NAME_BYTES_MAX: usize = 384;

/// Finds who containers are.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// The node's file system, where somebody mounted it for us.
    pub(crate) host_root: Option<PathBuf>,
}

impl Identities {
    /// A plain file of the node's: below where its file system was mounted for us, else below our own.
    pub(crate) fn node_file(&self, path: &str, bytes_max: u64) -> Option<Vec<u8>> {
        let own = PathBuf::from("/");
        let mut roots = self.host_root.iter().chain([&own]);
        roots.find_map(|root| Root::open(root)?.read(path, bytes_max))
    }

    /// Fills in what the node's files tell of a container and its pod. Up to a dozen files are
    /// opened; to be called once a process.
    pub(crate) fn complete(
        &self,
        dir: &ProcDir,
        container: &mut ContainerIdentity,
        pod: &mut Option<PodIdentity>,
    ) {
        let keeper = keeper_of(dir, &container.id);
        let roots = self.host_root.iter().cloned();
        let roots = roots.chain(keeper.map(|pid| format!("/proc/{pid}/root").into()));
        for root in roots.chain([PathBuf::from("/")]) {
            if let Some(root) = Root::open(&root) {
                look_in(&root, container, pod);
            }
            // What is mounted for us may be a part of the node only.
            if container.name.is_some() && container.image.is_some() {
                break;
            }
        }
        if let Some(pod) = pod
            && pod.name.is_none()
        {
            pod.name = host_name(dir.pid());
        }
    }
}

/// Takes what the files below `root` tell of the container.
fn look_in(root: &Root, container: &mut ContainerIdentity, pod: &mut Option<PodIdentity>) {
    for look in [oci::look, docker::look, podman::look, kubelet::look] {
        if let Some(found) = look(root, container, pod.as_ref()) {
            found.fill(container, pod);
        }
    }
}

/// What one file tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    container: ContainerIdentity,
    pod: Option<PodIdentity>,
}

impl Found {
    /// What is known already stays.
    fn fill(self, container: &mut ContainerIdentity, pod: &mut Option<PodIdentity>) {
        let take = |known: &mut Option<String>, found: Option<String>| {
            *known = known.take().or_else(|| found.as_deref().and_then(name));
        };
        take(&mut container.name, self.container.name);
        take(&mut container.image, self.container.image);
        take(&mut container.image_digest, self.container.image_digest);
        take(&mut container.service, self.container.service);
        container.runtime = container.runtime.or(self.container.runtime);
        if let Some(found) = self.pod {
            let pod = pod.get_or_insert_default();
            take(&mut pod.uid, found.uid);
            take(&mut pod.name, found.name);
            take(&mut pod.namespace, found.namespace);
        }
    }
}

/// A name as files tell it, if it is one: nothing else becomes a label.
fn name(text: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@+".contains(&b);
    let good = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain);
    good.then(|| text.to_owned())
}

/// `sha256:` and 64 digits, wherever a reference to an image has them.
fn digest(reference: &str) -> Option<String> {
    let at = reference.find("sha256:")?;
    let digest = reference.get(at..at + 71)?;
    let digits = digest["sha256:".len()..].bytes();
    digits
        .into_iter()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| digest.to_owned())
}

/// The nearest parent of a process that is outside of its container.
fn keeper_of(dir: &ProcDir, container_id: &str) -> Option<u32> {
    let mut pid = dir.stat().ok()?.ppid;
    for _ in 0..PARENTS_MAX {
        let parent = ProcDir::open(pid).ok()?;
        let membership = cgroup::parse_membership(&parent.read("cgroup").ok()?);
        let inside = names_of(membership.path()).container_id;
        if inside.as_deref() != Some(container_id) {
            return Some(pid);
        }
        pid = parent.stat().ok()?.ppid;
    }
    None
}

/// A pod's host name is its name unless it was given another: from the file that the kubelet mounts
/// into it.
fn host_name(pid: u32) -> Option<String> {
    let root = Root::open(Path::new(&format!("/proc/{pid}/root")))?;
    let text = root.read("etc/hostname", 4096)?;
    name(std::str::from_utf8(&text).ok()?.trim())
}

pub(crate) fn fuzz_one(bytes: &[u8]) {
    let _ = (
        oci::parse(bytes),
        docker::parse(bytes),
        podman::parse(bytes, "0"),
    );
    let text = String::from_utf8_lossy(bytes);
    let _ = (kubelet::of_log(&text, "0"), kubelet::of_folder(&text, "0"));
    let _ = (name(&text), digest(&text));
}

#[cfg(test)]
mod tests;
