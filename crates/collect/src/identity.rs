//! From what discovery found, or what somebody configured, to a target with its stable identities.

use std::collections::BTreeMap;

use model::target::fingerprint;
use model::{Labels, Revision, Target, TargetId, Workload};
use reader::{GoProcess, Host};

use crate::workload;

/// The job label of processes that discovery found by itself.
pub const DISCOVERED_JOB: &str = "local";

/// The target that a discovered process is.
#[must_use]
pub fn of_process(process: &GoProcess, host: &Host) -> Target {
    let name = file_name(&process.exe).unwrap_or(&process.comm).to_owned();
    let instance = instance_of(process);
    let build = &process.build;
    let (container, pod) = (process.container.as_ref(), process.pod.as_ref());
    let pod_name = pod.and_then(|pod| pod.name.as_deref());
    let labels = [
        ("job", Some(DISCOVERED_JOB)),
        ("instance", Some(instance.as_str())),
        ("namespace", pod.and_then(|pod| pod.namespace.as_deref())),
        ("pod", pod_name),
        (
            "container",
            container.and_then(|container| container.name.as_deref()),
        ),
    ];
    let labels = labels.into_iter();
    Target {
        id: TargetId::of_process(&process.key),
        labels: Labels::new(labels.filter_map(|(name, value)| Some((name, value?)))),
        process: Some(process.key.clone()),
        pid: Some(process.key.pid),
        start_time: Some(process.started),
        host: host.hostname.clone(),
        boot_id: Some(host.boot_id.clone()),
        url: None,
        url_inside: false,
        container: container.map(|own| own.name.as_ref().unwrap_or(&own.id).clone()),
        container_id: container.map(|own| own.id.clone()),
        image: container.and_then(|own| own.image.clone()),
        pod: pod.and_then(|own| own.name.as_ref().or(own.uid.as_ref()).cloned()),
        workload: workload_of(process, host, &name),
        revision: revision_of(process),
        go_version: Some(build.go_version.clone()).filter(|version| !version.is_empty()),
        module: build.module.clone().or_else(|| build.main_path.clone()),
        name,
    }
}

/// The target that a configured `host:port` of a job is.
#[must_use]
pub fn of_instance(
    job: &str,
    instance: &str,
    url: &str,
    labels: &BTreeMap<String, String>,
) -> Target {
    let own = [("job", job), ("instance", instance)];
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(own);
    Target {
        id: TargetId::of_instance(job, instance),
        name: job.to_owned(),
        labels: Labels::new(pairs),
        process: None,
        pid: None,
        start_time: None,
        host: instance
            .rsplit_once(':')
            .map_or(instance, |(host, _)| host)
            .to_owned(),
        boot_id: None,
        url: Some(url.to_owned()),
        url_inside: false,
        container: None,
        container_id: None,
        image: None,
        pod: None,
        workload: Workload(job.to_owned()),
        revision: Revision::default(),
        go_version: None,
        module: None,
    }
}

/// Where it listens, else its id. Addresses of another network namespace are the same in many: there
/// the pod or the container stands for the host.
fn instance_of(process: &GoProcess) -> String {
    let Some(listener) = process.listening.iter().min() else {
        return TargetId::of_process(&process.key).0;
    };
    let pod = process.pod.as_ref().and_then(|pod| pod.name.as_deref());
    let container = process.container.as_ref();
    let container = container.map(|own| own.name.as_deref().unwrap_or(short(&own.id)));
    match pod.or(container).filter(|_| !process.netns_is_ours) {
        Some(host) => format!("{host}:{}", listener.port()),
        None => listener.to_string(),
    }
}

/// As much of a container's id as its runtime shows.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A pod's owner, a container's service or name, a systemd unit, else executable and module.
fn workload_of(process: &GoProcess, host: &Host, name: &str) -> Workload {
    let pod = process.pod.as_ref();
    let of_pod = pod.and_then(|pod| workload::of_pod(pod, &host.hostname));
    let container = process.container.as_ref().filter(|_| pod.is_none());
    if let Some(workload) = of_pod.or_else(|| container.and_then(workload::of_container)) {
        return workload;
    }
    if let Some(unit) = &process.systemd_unit {
        return Workload(unit.clone());
    }
    let module = process
        .build
        .module
        .as_ref()
        .or(process.build.main_path.as_ref());
    match module {
        Some(module) if file_name(module) != Some(name) => Workload(format!("{name} ({module})")),
        Some(module) => Workload(module.clone()),
        None => Workload(name.to_owned()),
    }
}

/// The image's digest, else vcs.revision of the build information, else the build id, else nothing
/// known.
fn revision_of(process: &GoProcess) -> Revision {
    let build = &process.build;
    let container = process.container.as_ref();
    let image = container.and_then(|container| container.image_digest.clone());
    let revision = image.or_else(|| build.vcs_revision.clone());
    // A Go build id is long and has slashes; people see the revision, so it is shortened.
    let id = || {
        build
            .build_id
            .as_ref()
            .map(|id| fingerprint(&["build", id]))
    };
    Revision(revision.or_else(id).unwrap_or_default())
}

fn file_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use model::{BootId, Pid, ProcessKey, StartTicks, UnixMs};
    use reader::{Access, CgroupVersion, ContainerIdentity, GoBuild, GoEnv, Handlers, PodIdentity};

    use super::*;

    fn host() -> Host {
        Host {
            boot_id: BootId("b".into()),
            hostname: "node-1".into(),
            clock_ticks_per_s: 100,
            boot_time: UnixMs(0),
            memory_total_bytes: 0,
            kubelet: None,
            memory_available_bytes: 0,
            kernel: String::new(),
            cgroup_version: CgroupVersion::V2,
        }
    }

    fn process() -> GoProcess {
        GoProcess {
            key: ProcessKey {
                boot_id: BootId("b".into()),
                pid: Pid(7),
                start_ticks: StartTicks(1),
            },
            started: UnixMs(0),
            ppid: 1,
            uid: 0,
            exe: "/srv/shop".into(),
            exe_deleted: false,
            comm: "shop".into(),
            container: None,
            pod: None,
            systemd_unit: None,
            cgroup: "/".into(),
            pid_namespace_is_ours: true,
            netns_is_ours: true,
            build: GoBuild {
                module: Some("example.com/shop".into()),
                vcs_revision: Some("5b8c1f".into()),
                ..GoBuild::default()
            },
            handlers: Handlers::default(),
            listening: vec!["127.0.0.1:6060".parse().unwrap()],
            env: GoEnv::default(),
            access: Access::Full,
        }
    }

    fn container() -> ContainerIdentity {
        ContainerIdentity {
            id: "0123456789abcdef".repeat(4),
            ..ContainerIdentity::default()
        }
    }

    #[test]
    fn what_is_known_of_where_a_process_runs_becomes_its_names() {
        let named = ContainerIdentity {
            name: Some("app".into()),
            image: Some("registry.example/shop:1.2".into()),
            image_digest: Some("sha256:a1".into()),
            ..container()
        };
        let pod = PodIdentity {
            uid: Some("1b2c3d4e-0000-4aaa-8bbb-1234567890ab".into()),
            qos: None,
            name: Some("shop-7d9c5b6f4d-x2kzp".into()),
            namespace: Some("payments".into()),
        };
        let service = ContainerIdentity {
            service: Some("till/shop".into()),
            ..named.clone()
        };
        let uid_only = PodIdentity {
            uid: pod.uid.clone(),
            ..PodIdentity::default()
        };
        let unit = Some("shop.service");
        type Row<'a> = (
            &'a str,
            Option<ContainerIdentity>,
            Option<PodIdentity>,
            Option<&'a str>,
            [&'a str; 3],
        );
        let rows: Vec<Row<'_>> = vec![
            (
                "bare",
                None,
                None,
                None,
                ["example.com/shop", "127.0.0.1:6060", "5b8c1f"],
            ),
            (
                "a unit",
                None,
                None,
                unit,
                ["shop.service", "127.0.0.1:6060", "5b8c1f"],
            ),
            (
                "a pod",
                Some(named.clone()),
                Some(pod),
                None,
                [
                    "payments/deployment/shop",
                    "shop-7d9c5b6f4d-x2kzp:6060",
                    "sha256:a1",
                ],
            ),
            (
                "a pod without a name",
                Some(container()),
                Some(uid_only),
                None,
                ["example.com/shop", "0123456789ab:6060", "5b8c1f"],
            ),
            (
                "a container",
                Some(named),
                None,
                None,
                ["app", "app:6060", "sha256:a1"],
            ),
            (
                "of a service",
                Some(service),
                None,
                None,
                ["till/shop", "app:6060", "sha256:a1"],
            ),
        ];
        for (name, container, pod, unit, [workload, instance, revision]) in rows {
            let mut process = process();
            process.netns_is_ours = container.is_none();
            process.container = container.clone();
            process.pod = pod.clone();
            process.systemd_unit = unit.map(str::to_owned);
            let target = of_process(&process, &host());
            assert_eq!(target.workload.0, workload, "{name}");
            assert_eq!(target.labels.get("instance"), Some(instance), "{name}");
            assert_eq!(target.revision.0, revision, "{name}");
            let labelled = target.labels.get("container");
            assert_eq!(
                labelled,
                container.as_ref().and_then(|c| c.name.as_deref()),
                "{name}"
            );
            let id = target.container_id;
            assert_eq!(id, container.map(|container| container.id), "{name}");
            assert_eq!(target.pod.is_some(), pod.is_some(), "{name}");
        }
        // On the host's own network the address tells more than the pod.
        let mut process = process();
        process.container = Some(container());
        let target = of_process(&process, &host());
        assert_eq!(target.labels.get("instance"), Some("127.0.0.1:6060"));
        assert_eq!(target.container.as_deref(), Some(container().id.as_str()));
    }
}
