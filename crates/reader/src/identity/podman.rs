//! The list of containers of containers/storage, in which Podman's have their names.

use serde::Deserialize;

use super::Found;
use crate::answers::{ContainerIdentity, ContainerRuntime, PodIdentity};
use crate::root::Root;

/// Of thousands of containers; a bigger list is left alone.
const BYTES_MAX: u64 = 8 << 20;

pub(super) fn look(
    root: &Root,
    container: &ContainerIdentity,
    pod: Option<&PodIdentity>,
) -> Option<Found> {
    // CRI-O keeps this list too, with nothing in it that its own file has not told.
    let told = pod.is_some() || container.name.is_some();
    if told || container.runtime != Some(ContainerRuntime::Podman) {
        return None;
    }
    let path = "var/lib/containers/storage/overlay-containers/containers.json";
    parse(&root.read(path, BYTES_MAX)?, &container.id)
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON in a string.
    #[serde(default)]
    metadata: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "image-name")]
    image_name: Option<String>,
}

pub(super) fn parse(bytes: &[u8], id: &str) -> Option<Found> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes).ok()?;
    let entry = entries.into_iter().find(|entry| entry.id == id)?;
    let metadata = serde_json::from_str::<Metadata>(&entry.metadata).ok();
    Some(Found {
        container: ContainerIdentity {
            runtime: Some(ContainerRuntime::Podman),
            name: entry.names.into_iter().next(),
            image: metadata.and_then(|metadata| metadata.image_name),
            ..ContainerIdentity::default()
        },
        pod: None,
    })
}
