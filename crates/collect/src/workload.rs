//! The stable identity above targets: what a pod, a container or a service is one of.
//!
//! Who owns a pod is known to the API server, which is not asked here. But controllers name their
//! pods by rule, with letters that make no words: the name tells the owner well enough to be stable
//! from one pod to the next, and to be read.

use model::Workload;
use reader::{ContainerIdentity, PodIdentity};

/// Letters and digits of generated names: `rand.SafeEncodeString` of Kubernetes' apimachinery.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters of a pod's own suffix.
const SUFFIX: usize = 5;
/// Characters of the hash of a pod template: a 32-bit number in decimal, each digit made a letter.
const HASH: std::ops::RangeInclusive<usize> = 6..=10;
/// A CronJob's run is named by its minute since 1970.
const MINUTES: std::ops::RangeInclusive<usize> = 8..=10;
/// A static pod's uid has no dashes.
const STATIC_UID: usize = 32;

/// `NAMESPACE/KIND/NAME` of a pod whose name is known. `host` ends the names of static pods.
///
/// `deployment`, `statefulset` and `cronjob` are told by the name; `pods` are those of a controller
/// whose kind the name does not tell (DaemonSet, Job, ReplicaSet); `pod` is one by itself.
pub(crate) fn of_pod(pod: &PodIdentity, host: &str) -> Option<Workload> {
    let (namespace, name) = (pod.namespace.as_deref()?, pod.name.as_deref()?);
    let is_static = pod.uid.as_ref().is_some_and(|uid| uid.len() == STATIC_UID);
    let of_host = name
        .strip_suffix(host)
        .and_then(|name| name.strip_suffix('-'));
    let (kind, name) = match of_host.filter(|_| is_static) {
        Some(name) => ("pod", name),
        None => owner(name),
    };
    Some(Workload(format!("{namespace}/{kind}/{name}")))
}

fn owner(pod: &str) -> (&'static str, &str) {
    let is_safe = |text: &str| text.bytes().all(|b| SAFE.contains(&b));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((before, last)) = pod.rsplit_once('-') else {
        return ("pod", pod);
    };
    if last.len() != SUFFIX || !is_safe(last) {
        return match is_number(last) && last.len() < SUFFIX {
            true => ("statefulset", before),
            false => ("pod", pod),
        };
    }
    match before.rsplit_once('-') {
        Some((name, run)) if MINUTES.contains(&run.len()) && is_number(run) => ("cronjob", name),
        Some((name, hash)) if HASH.contains(&hash.len()) && is_safe(hash) => ("deployment", name),
        _ => ("pods", before),
    }
}

/// A service's containers are one workload; another container is one by itself.
pub(crate) fn of_container(container: &ContainerIdentity) -> Option<Workload> {
    let name = container.service.as_ref().or(container.name.as_ref())?;
    Some(Workload(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_by_the_pod_s_name() {
        let rows = [
            (
                "a Deployment",
                "checkout-7d9c5b6f4d-x2kzp",
                "deployment",
                "checkout",
            ),
            (
                "with dashes",
                "web-api-5f6d8b-qwz29",
                "deployment",
                "web-api",
            ),
            ("a StatefulSet", "postgres-0", "statefulset", "postgres"),
            ("a DaemonSet", "kube-proxy-8wkz4", "pods", "kube-proxy"),
            (
                "a name with a word",
                "web-frontend-dxkbz",
                "pods",
                "web-frontend",
            ),
            ("a CronJob", "backup-28472930-7kqzx", "cronjob", "backup"),
            ("by itself", "debug", "pod", "debug"),
            ("a word at its end", "my-shell", "pod", "my-shell"),
            ("a year at its end", "report-20240", "pod", "report-20240"),
            ("dashes only", "--", "pod", "--"),
            ("nothing", "", "pod", ""),
        ];
        for (why, pod, kind, name) in rows {
            assert_eq!(owner(pod), (kind, name), "{why}");
        }
    }

    #[test]
    fn a_static_pod_ends_in_its_host() {
        let pod = |uid: &str| PodIdentity {
            uid: Some(uid.into()),
            name: Some("etcd-node-1".into()),
            namespace: Some("kube-system".into()),
            qos: None,
        };
        let told = |uid: &str| of_pod(&pod(uid), "node-1").unwrap().0;
        assert_eq!(told(&"0".repeat(32)), "kube-system/pod/etcd");
        let other = "00000000-0000-0000-0000-000000000000";
        assert_eq!(told(other), "kube-system/statefulset/etcd-node");
        let nameless = PodIdentity {
            name: None,
            ..pod(other)
        };
        assert_eq!(of_pod(&nameless, "node-1"), None);
    }
}
