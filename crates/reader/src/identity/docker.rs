//! Docker's `config.v2.json` of a container.

use serde::Deserialize;

use super::{Found, digest};
use crate::answers::{ContainerIdentity, ContainerRuntime, PodIdentity};
use crate::root::Root;

/// Its environment and labels are in it too.
const BYTES_MAX: u64 = 2 << 20;
const SETTINGS_BYTES_MAX: u64 = 64 << 10;

/// Where its data is unless told otherwise: by itself, as a snap.
const DATA: [&str; 2] = ["var/lib/docker", "var/snap/docker/common/var-lib-docker"];

pub(super) fn look(
    root: &Root,
    container: &ContainerIdentity,
    _pod: Option<&PodIdentity>,
) -> Option<Found> {
    let moved = root.read("etc/docker/daemon.json", SETTINGS_BYTES_MAX);
    let moved = moved.and_then(|settings| data_root(&settings));
    let folders = moved.as_deref().into_iter().chain(DATA);
    let mut files = folders.filter_map(|folder| {
        let path = format!("{folder}/containers/{}/config.v2.json", container.id);
        root.read(&path, BYTES_MAX)
    });
    parse(&files.next()?)
}

/// Where its settings have its data.
fn data_root(settings: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Settings {
        #[serde(rename = "data-root")]
        data_root: Option<String>,
    }
    serde_json::from_slice::<Settings>(settings).ok()?.data_root
}

#[derive(Deserialize)]
struct Document {
    /// With a slash before it.
    #[serde(rename = "Name")]
    name: String,
    /// The image's id.
    #[serde(rename = "Image")]
    image_id: Option<String>,
    #[serde(rename = "Config")]
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<Labels>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "com.docker.compose.project")]
    compose_project: Option<String>,
    #[serde(rename = "com.docker.compose.service")]
    compose_service: Option<String>,
    #[serde(rename = "com.docker.swarm.service.name")]
    swarm_service: Option<String>,
    #[serde(rename = "io.kubernetes.container.name")]
    container: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    namespace: Option<String>,
    #[serde(rename = "io.kubernetes.pod.uid")]
    uid: Option<String>,
}

pub(super) fn parse(bytes: &[u8]) -> Option<Found> {
    let own: Document = serde_json::from_slice(bytes).ok()?;
    let labels = own.config.labels.unwrap_or_default();
    let compose = labels.compose_project.zip(labels.compose_service);
    let compose = compose.map(|(project, service)| format!("{project}/{service}"));
    let pod = PodIdentity {
        uid: labels.uid,
        name: labels.pod,
        namespace: labels.namespace,
        qos: None,
    };
    Some(Found {
        container: ContainerIdentity {
            runtime: Some(ContainerRuntime::Docker),
            // Kubernetes' own name for it is shorter than Docker's `k8s_...`.
            name: labels
                .container
                .or_else(|| Some(own.name.trim_start_matches('/').to_owned())),
            image: own.config.image,
            image_digest: own.image_id.as_deref().and_then(digest),
            service: labels.swarm_service.or(compose),
            ..ContainerIdentity::default()
        },
        pod: pod.name.is_some().then_some(pod),
    })
}
