//! Nodes with the files of several runtimes, made after their formats, with what must not be taken
//! along in them; and live processes.

use std::fs;

use super::*;
use crate::answers::ContainerRuntime;

const UID: &str = "1b2c3d4e-0000-4aaa-8bbb-1234567890ab";

fn node(name: &str) -> Root {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nodes");
    Root::open(&path.join(name)).unwrap()
}

/// What a node tells of the container whose id has only this digit. In a pod, if `in_pod`.
fn told(name: &str, digit: &str, in_pod: bool) -> (ContainerIdentity, Option<PodIdentity>) {
    let mut container = ContainerIdentity {
        id: digit.repeat(64),
        ..ContainerIdentity::default()
    };
    let mut pod = in_pod.then(|| PodIdentity {
        uid: Some(UID.into()),
        ..PodIdentity::default()
    });
    look_in(&node(name), &mut container, &mut pod);
    let all = format!("{container:?} {pod:?}");
    assert!(!all.contains("hush"), "{name}: {all}");
    (container, pod)
}

#[test]
fn the_same_pod_under_every_runtime() {
    use ContainerRuntime::{Containerd, CriO, Docker};
    let rows = [
        ("containerd", "1", Some(Containerd), Some("a")),
        ("k3s", "1", Some(Containerd), Some("a")),
        ("crio", "2", Some(CriO), Some("b")),
        ("cri-dockerd", "5", Some(Docker), Some("d")),
        // Names only: the runtime's own files are out of reach.
        ("kubelet", "6", None, None),
    ];
    for (name, digit, runtime, digest) in rows {
        let (container, pod) = told(name, digit, true);
        let pod = pod.unwrap();
        assert_eq!(container.name.as_deref(), Some("shop"), "{name}");
        assert_eq!(pod.name.as_deref(), Some("shop-7d9c5b6f4d-x2kzp"), "{name}");
        assert_eq!(pod.namespace.as_deref(), Some("payments"), "{name}");
        assert_eq!(pod.uid.as_deref(), Some(UID), "{name}");
        assert_eq!(container.runtime, runtime, "{name}");
        let digest = digest.map(|digit| format!("sha256:{}", digit.repeat(64)));
        assert_eq!(container.image_digest, digest, "{name}");
        let image = container.image.unwrap_or_default();
        assert_eq!(
            image.starts_with("registry.example/shop:1.2"),
            digest.is_some()
        );
    }
    let (container, pod) = told("pods-only", "6", true);
    assert_eq!(container.name, None);
    assert_eq!(pod.unwrap().namespace.as_deref(), Some("payments"));
}

#[test]
fn containers_outside_of_pods() {
    let (container, pod) = told("docker", "5", false);
    assert_eq!(pod, None);
    assert_eq!(container.name.as_deref(), Some("till_shop_1"));
    assert_eq!(container.service.as_deref(), Some("till/shop"));
    assert_eq!(container.runtime, Some(ContainerRuntime::Docker));
    let (container, _) = told("docker-moved", "5", false);
    assert_eq!(container.name.as_deref(), Some("till"));
    let (container, _) = told("nerdctl", "b", false);
    assert_eq!(container.name.as_deref(), Some("till"));
    assert_eq!(container.runtime, Some(ContainerRuntime::Containerd));
    let (container, pod) = told("podman", "3", false);
    assert_eq!(pod, None);
    assert_eq!(container.name.as_deref(), Some("shop"));
    assert_eq!(
        container.image.as_deref(),
        Some("registry.example/shop:1.2")
    );
    assert_eq!(container.runtime, Some(ContainerRuntime::Podman));
}

#[test]
fn what_is_no_name_is_not_taken_and_what_is_not_there_is_unknown() {
    let (container, pod) = told("hostile", "8", true);
    let pod = pod.unwrap();
    assert_eq!((container.name, container.image), (None, None));
    assert_eq!((pod.name, pod.namespace), (None, None));
    for (name, digit) in [("hostile", "9"), ("docker", "0"), ("kubelet", "0")] {
        let (container, _) = told(name, digit, false);
        assert_eq!(container.name, None, "{name}");
    }
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    for text in ["", "a b", "a\"b", "ü", "a\0", &long] {
        assert_eq!(name(text), None, "{text}");
    }
    assert_eq!(digest("sha256:abc"), None);
    assert_eq!(digest(&format!("x@sha256:{}ü", "a".repeat(63))), None);
}

#[test]
fn the_keeper_is_the_nearest_parent_outside() {
    // Where there is no container by this name all parents are outside.
    let ours = ProcDir::open(std::process::id()).unwrap();
    let parent = ours.stat().unwrap().ppid;
    assert_eq!(keeper_of(&ours, &"0".repeat(64)), Some(parent));
    let first = ProcDir::open(1).unwrap();
    assert_eq!(keeper_of(&first, &"0".repeat(64)), None, "it has no parent");
}

#[test]
fn a_mounted_node_is_asked_first() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nodes/containerd");
    let identities = Identities {
        host_root: Some(fs::canonicalize(path).unwrap()),
    };
    let mut container = ContainerIdentity {
        id: "1".repeat(64),
        ..ContainerIdentity::default()
    };
    let mut pod = None;
    let ours = ProcDir::open(std::process::id()).unwrap();
    identities.complete(&ours, &mut container, &mut pod);
    assert_eq!(pod.unwrap().namespace.as_deref(), Some("payments"));
}
