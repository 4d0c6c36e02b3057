//! The runtime bundle's `config.json` of containerd and CRI-O: annotations of the OCI runtime spec,
//! in which the two, and Kubernetes, write who the container is.

use serde::Deserialize;

use super::{Found, digest};
use crate::answers::{ContainerIdentity, ContainerRuntime, PodIdentity};
use crate::root::Root;

/// Environments and annotations are in it too: pods have up to 256 KiB of these.
const BYTES_MAX: u64 = 2 << 20;

/// Where containerd keeps its running containers, below a folder for each of its namespaces: by
/// itself, in k3s and RKE2, k0s, MicroK8s.
const CONTAINERD: [&str; 4] = [
    "run/containerd/io.containerd.runtime.v2.task",
    "run/k3s/containerd/io.containerd.runtime.v2.task",
    "run/k0s/containerd/io.containerd.runtime.v2.task",
    "var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
];
/// Docker, Kubernetes, nerdctl, and whoever else uses containerd.
const CONTAINERD_NAMESPACES_MAX: usize = 16;

/// Where CRI-O and Podman keep theirs.
const STORAGE: [&str; 2] = [
    "run/containers/storage/overlay-containers",
    "var/lib/containers/storage/overlay-containers",
];

pub(super) fn look(
    root: &Root,
    container: &ContainerIdentity,
    _pod: Option<&PodIdentity>,
) -> Option<Found> {
    let id = &container.id;
    let by_containerd = CONTAINERD.iter().find_map(|folder| {
        let namespaces = root.names(folder).into_iter();
        namespaces
            .take(CONTAINERD_NAMESPACES_MAX)
            .find_map(|namespace| {
                let bytes =
                    root.read(&format!("{folder}/{namespace}/{id}/config.json"), BYTES_MAX)?;
                // Docker's containers are Docker's, also where containerd runs them.
                let runtime = match namespace.as_str() {
                    "moby" => ContainerRuntime::Docker,
                    _ => ContainerRuntime::Containerd,
                };
                Some((runtime, bytes))
            })
    });
    let by_storage = || {
        STORAGE.iter().find_map(|folder| {
            let bytes = root.read(&format!("{folder}/{id}/userdata/config.json"), BYTES_MAX)?;
            Some((ContainerRuntime::CriO, bytes))
        })
    };
    let (runtime, bytes) = by_containerd.or_else(by_storage)?;
    let mut found = parse(&bytes)?;
    found.container.runtime = found.container.runtime.or(Some(runtime));
    Some(found)
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: Annotations,
}

/// One runtime writes one set of these.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "io.kubernetes.cri.container-name")]
    cri_container: Option<String>,
    #[serde(rename = "io.kubernetes.cri.image-name")]
    cri_image: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    cri_pod: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    cri_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-uid")]
    cri_uid: Option<String>,
    #[serde(rename = "io.kubernetes.container.name")]
    container: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    namespace: Option<String>,
    #[serde(rename = "io.kubernetes.pod.uid")]
    uid: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ImageName")]
    image: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ImageRef")]
    image_ref: Option<String>,
    #[serde(rename = "nerdctl/name")]
    nerdctl: Option<String>,
    #[serde(rename = "io.container.manager")]
    manager: Option<String>,
}

pub(super) fn parse(bytes: &[u8]) -> Option<Found> {
    let own = serde_json::from_slice::<Spec>(bytes).ok()?.annotations;
    let image = own.cri_image.or(own.image);
    let by_ref = own.image_ref.as_deref().and_then(digest);
    let pod = PodIdentity {
        uid: own.cri_uid.or(own.uid),
        name: own.cri_pod.or(own.pod),
        namespace: own.cri_namespace.or(own.namespace),
        qos: None,
    };
    let runtime = match own.manager.as_deref() {
        Some("libpod") => Some(ContainerRuntime::Podman),
        Some("cri-o") => Some(ContainerRuntime::CriO),
        _ => None,
    };
    Some(Found {
        container: ContainerIdentity {
            runtime,
            name: own.cri_container.or(own.container).or(own.nerdctl),
            image_digest: by_ref.or_else(|| image.as_deref().and_then(digest)),
            image,
            ..ContainerIdentity::default()
        },
        pod: pod.name.is_some().then_some(pod),
    })
}
