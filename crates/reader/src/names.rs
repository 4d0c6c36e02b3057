//! Container, pod and service, by the path of a process's cgroup: the names that Docker, containerd,
//! CRI-O, Podman, the kubelet and systemd give their cgroups, under either cgroup driver.

use crate::answers::{ContainerIdentity, ContainerRuntime, PodIdentity, QosClass};

/// What a cgroup's path tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    pub(crate) container_id: Option<String>,
    pub(crate) runtime: Option<ContainerRuntime>,
    pub(crate) pod_uid: Option<String>,
    pub(crate) qos: Option<QosClass>,
    pub(crate) systemd_unit: Option<String>,
}

impl Names {
    /// The container, as far as the path tells of it.
    pub(crate) fn container(&self) -> Option<ContainerIdentity> {
        Some(ContainerIdentity {
            id: self.container_id.clone()?,
            runtime: self.runtime,
            ..ContainerIdentity::default()
        })
    }

    /// The pod, as far as the path tells of it.
    pub(crate) fn pod(&self) -> Option<PodIdentity> {
        Some(PodIdentity {
            uid: Some(self.pod_uid.clone()?),
            qos: self.qos,
            ..PodIdentity::default()
        })
    }
}

/// Reads the names out of one path. The innermost name counts.
pub(crate) fn names_of(path: &str) -> Names {
    let mut names = Names::default();
    let mut qos = QosClass::Guaranteed;
    let mut keeper = None;
    for component in path.split('/').filter(|c| !c.is_empty()) {
        qos = qos_of(component).unwrap_or(qos);
        if let Some(uid) = pod_uid(component) {
            names.pod_uid = Some(uid);
            names.qos = Some(qos);
        }
        // containerd under a wrongly guessed driver: `...-podUID.slice:cri-containerd:ID`.
        let last = component.rsplit(':').next().unwrap_or(component);
        if let Some(id) = container_id(last) {
            names.runtime = runtime_of(last).or(keeper);
            names.container_id = Some(id);
            // A service that runs a container is the container's keeper, not the workload.
            names.systemd_unit = None;
        } else if component.len() > ".service".len() && component.ends_with(".service") {
            names.systemd_unit = Some(component.to_owned());
        }
        // Under the cgroupfs driver the name is the folder above: `/docker/ID`.
        keeper = runtime_of(component);
    }
    names
}

/// `docker-ID.scope`, `docker`, `cri-containerd-ID`, `crio-ID`, `libpod-ID`, `lxc.payload.NAME`.
fn runtime_of(component: &str) -> Option<ContainerRuntime> {
    let known = [
        ("docker", ContainerRuntime::Docker),
        ("cri-containerd", ContainerRuntime::Containerd),
        ("nerdctl", ContainerRuntime::Containerd),
        ("crio", ContainerRuntime::CriO),
        ("libpod", ContainerRuntime::Podman),
        ("lxc.payload", ContainerRuntime::Lxc),
    ];
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['-', '.']);
    let is_it = |name: &str| component.strip_prefix(name).is_some_and(ends);
    let found = known.iter().find(|(name, _)| is_it(name));
    found.map(|(_, runtime)| *runtime)
}

/// `burstable`, or `kubepods-burstable-podUID.slice`; the guaranteed have no name.
fn qos_of(component: &str) -> Option<QosClass> {
    let names = |class| component == class || component.contains(&format!("kubepods-{class}"));
    match () {
        () if names("burstable") => Some(QosClass::Burstable),
        () if names("besteffort") => Some(QosClass::BestEffort),
        () => None,
    }
}

/// 64 hexadecimal digits, bare or as `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID`;
/// or a task's container of Fargate: 32 digits, a dash, a number.
fn container_id(component: &str) -> Option<String> {
    let component = component.strip_suffix(".scope").unwrap_or(component);
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return Some(name.to_owned()).filter(|name| !name.is_empty());
    }
    if component.contains("conmon") {
        return None; // the container's monitor, outside of it
    }
    let mut parts = component.rsplitn(2, '-');
    let last = parts.next()?;
    let before = parts.next();
    if last.len() == 64 && is_hex(last) {
        return Some(last.to_owned());
    }
    let number = (1..=10).contains(&last.len()) && last.bytes().all(|b| b.is_ascii_digit());
    match before {
        Some(task) if number && task.len() == 32 && is_hex(task) => Some(component.to_owned()),
        _ => None,
    }
}

/// `podUID` or `kubepods-burstable-podUID.slice`, where systemd's driver writes `_` for `-`. A
/// static pod's uid is 32 hexadecimal digits without dashes.
fn pod_uid(component: &str) -> Option<String> {
    let component = component.split(':').next()?;
    let component = component.strip_suffix(".slice").unwrap_or(component);
    let uid = match component.rfind("-pod") {
        // A node in a container has its own name before it: `kubelet-kubepods-...`.
        Some(at) if component[..at].contains("kubepods") => &component[at + "-pod".len()..],
        _ => component.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(|&b| b != b'-').count();
    let plain = uid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    (plain && digits == 32 && matches!(uid.len(), 32 | 36)).then_some(uid)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why, the path; container, pod, service.
    type Row<'a> = (
        &'a str,
        String,
        Option<&'a str>,
        Option<&'a str>,
        Option<&'a str>,
    );

    #[test]
    fn paths_of_the_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        let uid = "1b2c3d4e-0000-4aaa-8bbb-1234567890ab";
        let under = uid.replace('-', "_");
        let static_uid = "0123456789abcdef".repeat(2);
        let rows: Vec<Row<'_>> = vec![
            ("root", "/".into(), None, None, None),
            (
                "docker, cgroupfs",
                format!("/docker/{id}"),
                Some(&id),
                None,
                None,
            ),
            (
                "docker, systemd",
                format!("/system.slice/docker-{id}.scope"),
                Some(&id),
                None,
                None,
            ),
            (
                "kubelet, cgroupfs",
                format!("/kubepods/burstable/pod{uid}/{id}"),
                Some(&id),
                Some(uid),
                None,
            ),
            (
                "kubelet, systemd, containerd",
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope"
                ),
                Some(&id),
                Some(uid),
                None,
            ),
            (
                "guaranteed, CRI-O",
                format!("/kubepods.slice/kubepods-pod{under}.slice/crio-{id}.scope/container"),
                Some(&id),
                Some(uid),
                None,
            ),
            (
                "CRI-O's monitor",
                format!("/kubepods.slice/kubepods-pod{under}.slice/crio-conmon-{id}.scope"),
                None,
                Some(uid),
                None,
            ),
            (
                "containerd as a service's child",
                format!(
                    "/system.slice/containerd.service/kubepods-besteffort-pod{under}.slice:cri-containerd:{id}"
                ),
                Some(&id),
                Some(uid),
                None,
            ),
            (
                "static pod",
                format!("/kubepods/burstable/pod{static_uid}/{id}"),
                Some(&id),
                Some(&static_uid),
                None,
            ),
            (
                "podman of a user",
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"
                ),
                Some(&id),
                None,
                None,
            ),
            (
                "Fargate",
                format!("/ecs/{static_uid}/{static_uid}-1234567890"),
                Some("0123456789abcdef0123456789abcdef-1234567890"),
                None,
                None,
            ),
            (
                "lxc",
                "/lxc.payload.web/system.slice".into(),
                Some("web"),
                None,
                None,
            ),
            (
                "service",
                "/system.slice/shop.service".into(),
                None,
                None,
                Some("shop.service"),
            ),
            (
                "service template",
                "/system.slice/system-shop.slice/shop@1.service".into(),
                None,
                None,
                Some("shop@1.service"),
            ),
            (
                "user's service",
                "/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service".into(),
                None,
                None,
                Some("shop.service"),
            ),
            (
                "session",
                "/user.slice/user-0.slice/session-3.scope".into(),
                None,
                None,
                None,
            ),
            (
                "63 digits",
                format!("/docker/{}", &id[1..]),
                None,
                None,
                None,
            ),
            (
                "upper case",
                format!("/docker/{}", id.to_uppercase()),
                None,
                None,
                None,
            ),
            (
                "a folder named pod",
                "/pod/podium/pod-x".into(),
                None,
                None,
                None,
            ),
            (
                "a bare suffix",
                "/system.slice/.service".into(),
                None,
                None,
                None,
            ),
            ("not ASCII", "/kubepods-podé/é-é".into(), None, None, None),
        ];
        for (name, path, container, pod, unit) in rows {
            let names = names_of(&path);
            assert_eq!(names.container_id.as_deref(), container, "{name}");
            assert_eq!(names.pod_uid.as_deref(), pod, "{name}");
            assert_eq!(names.systemd_unit.as_deref(), unit, "{name}");
        }
    }

    #[test]
    fn the_runtime_the_class_and_nodes_in_containers() {
        use ContainerRuntime::{Containerd, CriO, Docker, Lxc, Podman};
        use QosClass::{BestEffort, Burstable, Guaranteed};
        let id = "0123456789abcdef".repeat(4);
        let node = "fedcba9876543210".repeat(4);
        let uid = "1b2c3d4e-0000-4aaa-8bbb-1234567890ab";
        let under = uid.replace('-', "_");
        let kind = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice";
        let rows = [
            (format!("/docker/{id}"), Some(Docker), None),
            (
                format!("/system.slice/docker-{id}.scope"),
                Some(Docker),
                None,
            ),
            (
                format!("/system.slice/nerdctl-{id}.scope"),
                Some(Containerd),
                None,
            ),
            (
                format!("/machine.slice/libpod-{id}.scope/container"),
                Some(Podman),
                None,
            ),
            ("/lxc.payload.web/init.scope".into(), Some(Lxc), None),
            (
                format!("/kubepods/burstable/pod{uid}/{id}"),
                None,
                Some(Burstable),
            ),
            (format!("/kubepods/pod{uid}/{id}"), None, Some(Guaranteed)),
            (
                format!("/kubepods.slice/kubepods-pod{under}.slice/crio-{id}.scope"),
                Some(CriO),
                Some(Guaranteed),
            ),
            // kind: the node is a container of Docker, the pod's container is containerd's.
            (
                format!("/docker/{node}/kubelet/kubepods/besteffort/pod{uid}/{id}"),
                None,
                Some(BestEffort),
            ),
            (
                format!(
                    "/system.slice/docker-{node}.scope/{kind}/kubelet-kubepods-besteffort-pod{under}.slice/cri-containerd-{id}.scope"
                ),
                Some(Containerd),
                Some(BestEffort),
            ),
        ];
        for (path, runtime, qos) in rows {
            let names = names_of(&path);
            assert_eq!((names.runtime, names.qos), (runtime, qos), "{path}");
            assert_eq!(names.pod_uid.is_some(), qos.is_some(), "{path}");
            let inner = names.container_id.unwrap();
            assert!(inner == id || inner == "web", "{path}: {inner}");
        }
    }
}
