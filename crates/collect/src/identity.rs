//! From what discovery found, or what somebody configured, to a target with its stable identities.

use std::collections::BTreeMap;

use model::target::fingerprint;
use model::{Labels, Revision, Target, TargetId, Workload};
use reader::{GoProcess, Host};

/// The job label of processes that discovery found by itself.
pub const DISCOVERED_JOB: &str = "local";

/// The target that a discovered process is.
#[must_use]
pub fn of_process(process: &GoProcess, host: &Host) -> Target {
    let name = file_name(&process.exe).unwrap_or(&process.comm).to_owned();
    let instance = process
        .listening
        .iter()
        .min()
        .map_or_else(|| TargetId::of_process(&process.key).0, ToString::to_string);
    let build = &process.build;
    Target {
        id: TargetId::of_process(&process.key),
        labels: Labels::new([("job", DISCOVERED_JOB), ("instance", instance.as_str())]),
        process: Some(process.key.clone()),
        pid: Some(process.key.pid),
        start_time: Some(process.started),
        host: host.hostname.clone(),
        boot_id: Some(host.boot_id.clone()),
        url: None,
        container: process.container_id.clone(),
        pod: process.pod_uid.clone(),
        workload: workload_of(process, &name),
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
        container: None,
        pod: None,
        workload: Workload(job.to_owned()),
        revision: Revision::default(),
        go_version: None,
        module: None,
    }
}

/// Systemd unit, else executable and module. A pod's or container's own names come with the
/// container runtime's files.
fn workload_of(process: &GoProcess, name: &str) -> Workload {
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

/// vcs.revision of the build information, else the build id, else nothing known.
fn revision_of(process: &GoProcess) -> Revision {
    let build = &process.build;
    let revision = build.vcs_revision.clone();
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
