//! Debian's packages: what is missing is installed in one go as root, otherwise the exact command is
//! the error.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use crate::process::{Ended, Show, descendants, stream};
use crate::workspace::which;

/// Something that a test or a build needs, and the package that brings it.
pub(crate) struct Need {
    /// Any of these programs is enough.
    pub(crate) programs: &'static [&'static str],
    pub(crate) package: &'static str,
    pub(crate) what_for: &'static str,
}

/// What the tests run against.
pub(crate) const PEERS: &[Need] = &[
    need(
        &["chromium", "chromium-browser", "google-chrome"],
        "chromium",
        "looking at the pages",
    ),
    need(
        &["prometheus"],
        "prometheus",
        "the reference for PromQL and storage",
    ),
    need(&["promtool"], "prometheus", "the reference for rules"),
    need(
        &["prometheus-alertmanager", "alertmanager"],
        "prometheus-alertmanager",
        "receiving our alerts",
    ),
    need(
        &["amtool"],
        "prometheus-alertmanager",
        "asking what was received",
    ),
    need(&["aiosmtpd"], "python3-aiosmtpd", "receiving our mail"),
    need(&["openssl"], "openssl", "certificates of a test's own"),
    need(&["ip"], "iproute2", "network namespaces"),
    need(&["setpriv"], "util-linux", "running with fewer privileges"),
    need(&["tmux"], "tmux", "a real terminal"),
];

const fn need(
    programs: &'static [&'static str],
    package: &'static str,
    what_for: &'static str,
) -> Need {
    Need {
        programs,
        package,
        what_for,
    }
}

/// The first of `programs` that this machine has.
pub(crate) fn first_present(programs: &[&str]) -> Option<std::path::PathBuf> {
    programs.iter().find_map(|name| which(name))
}

/// Sees to it that all `needs` are there.
///
/// # Errors
/// With the command to run, where we may not or can't install.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing = |needs: &[Need]| -> Vec<String> {
        needs
            .iter()
            .filter(|need| first_present(need.programs).is_none())
            .map(|need| format!("{} ({})", need.programs[0], need.what_for))
            .collect()
    };
    let absent = missing(needs);
    if absent.is_empty() {
        return Ok(());
    }
    let packages: BTreeSet<&str> = needs
        .iter()
        .filter(|need| first_present(need.programs).is_none())
        .map(|need| need.package)
        .collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    println!("    missing: {}", absent.join(", "));
    install(&packages)?;
    let still = missing(needs);
    if !still.is_empty() {
        bail!(
            "still missing after installing {}: {}\nhint: this system's packages differ from \
             Debian 12's; put these programs on PATH",
            packages.join(" "),
            still.join(", ")
        );
    }
    Ok(())
}

/// Installs Debian packages, as root; says so.
///
/// # Errors
/// With the command to run, where we are not root or there is no apt; when apt fails.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    let by_hand = format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if which("apt-get").is_none() {
        bail!(
            "{} missing, and there is no apt-get here\nhint: install what Debian calls so; there \
             the command is: {by_hand}",
            packages.join(", ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{} missing\nhint: run this and try again: sudo sh -c '{by_hand}'",
            packages.join(", ")
        );
    }
    println!(
        "    installing Debian packages, system-wide: {}",
        packages.join(" ")
    );
    let before = daemons();
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    apt(&arguments)?;
    for daemon in daemons().difference(&before) {
        println!("    note: installing started `{daemon}`; it is left running");
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let mut last = Vec::new();
    let ended = stream(command, Duration::from_secs(900), &mut |line| {
        last.push(line.to_string());
        let keep = last.len().saturating_sub(20);
        last.drain(..keep);
        Show::Progress(line.to_string())
    })?;
    match ended {
        Ended::Exited(status) if status.success() => Ok(()),
        Ended::Exited(status) => {
            bail!(
                "`apt-get {}` ended with {status}:\n{}",
                arguments.join(" "),
                last.join("\n")
            )
        }
        Ended::Stopped => bail!("`apt-get {}` took over 15 minutes", arguments.join(" ")),
    }
}

/// Names of peers that run on this machine and are not our children.
fn daemons() -> BTreeSet<String> {
    let ours: BTreeSet<i32> = descendants().iter().map(|process| process.pid).collect();
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    folder
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let name = name.trim().to_string();
            // The kernel cuts names after 15 bytes.
            let known = name.starts_with("prometheus") || name.starts_with("alertmanager");
            (known && !ours.contains(&pid)).then(|| format!("{name} (pid {pid})"))
        })
        .collect()
}
