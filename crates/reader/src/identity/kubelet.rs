//! Names that the kubelet gives to logs: `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` and
//! `/var/log/pods/NAMESPACE_POD_UID/`. Every runtime under it has these.

use super::Found;
use crate::answers::{ContainerIdentity, PodIdentity};
use crate::root::Root;

pub(super) fn look(
    root: &Root,
    container: &ContainerIdentity,
    pod: Option<&PodIdentity>,
) -> Option<Found> {
    // Only pods have these, and what the runtime told is not asked again.
    let pod = pod.filter(|pod| pod.name.is_none() || container.name.is_none())?;
    let logs = root.names("var/log/containers").into_iter();
    let of_log = |log: String| of_log(&log, &container.id);
    let folders = || root.names("var/log/pods").into_iter();
    let of_folder = |folder: String| of_folder(&folder, pod.uid.as_deref()?);
    logs.into_iter()
        .find_map(of_log)
        .or_else(|| folders().find_map(of_folder))
}

pub(super) fn of_log(log: &str, id: &str) -> Option<Found> {
    let names = log.strip_suffix(".log")?.strip_suffix(id)?;
    let mut names = names.strip_suffix('-')?.splitn(3, '_');
    let (pod, namespace, container) = (names.next()?, names.next()?, names.next()?);
    Some(Found {
        container: ContainerIdentity {
            name: Some(container.to_owned()),
            ..ContainerIdentity::default()
        },
        pod: Some(pod_of(pod, namespace)),
    })
}

pub(super) fn of_folder(folder: &str, uid: &str) -> Option<Found> {
    let names = folder.strip_suffix(uid)?.strip_suffix('_')?;
    let (namespace, pod) = names.split_once('_')?;
    Some(Found {
        container: ContainerIdentity::default(),
        pod: Some(pod_of(pod, namespace)),
    })
}

fn pod_of(name: &str, namespace: &str) -> PodIdentity {
    PodIdentity {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..PodIdentity::default()
    }
}
