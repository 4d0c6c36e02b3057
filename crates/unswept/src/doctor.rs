//! `unswept doctor`: what this host and these privileges allow, and what to do about each `no`.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use reader::{Discovery, GoFailure, ReadFailure, Reader};
use rustix::fs::{Access, access};
use serde::Serialize;

use crate::args::{DEFAULT_LISTEN, Doctor, Format};
use crate::terminal::{self, Screen};
use crate::text::{Line, Style, hang};
use crate::{find, setup, words};

/// How long a watcher on this machine may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Abilities of the host that nothing works without.
const NEEDED: [&str; 1] = ["kernel"];

pub(crate) fn run(arguments: &Doctor) -> anyhow::Result<ExitCode> {
    let reader = setup::reader(&arguments.host)?;
    setup::logs();
    let checks = checks(&reader, arguments.data.as_deref())?;
    let well = checks.iter().all(|check| check.ok || !check.needed);
    match arguments.format {
        Format::Json => terminal::json(&Document {
            schema: "unswept/doctor/1",
            ok: well,
            checks,
        })?,
        Format::Text => terminal::lines(&lines(&checks, Screen::stdout().text_width()))?,
    }
    Ok(ExitCode::from(u8::from(!well)))
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    ok: bool,
    checks: Vec<Check>,
}

/// One thing that is there or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// Without it `unswept` cannot do its work.
    needed: bool,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn new(name: &str, ok: bool, detail: impl Into<String>, hint: &str) -> Self {
        Self {
            name: name.into(),
            ok,
            needed: false,
            detail: detail.into(),
            hint: (!ok && !hint.is_empty()).then(|| hint.into()),
        }
    }

    fn needed(self) -> Self {
        Self {
            needed: true,
            ..self
        }
    }
}

fn checks(reader: &Reader, data: Option<&Path>) -> anyhow::Result<Vec<Check>> {
    let abilities = reader.doctor()?;
    let discovery = find::discover(reader)?;
    let mut checks: Vec<Check> = abilities
        .into_iter()
        .map(|ability| Check {
            needed: NEEDED.contains(&ability.name.as_str()),
            name: ability.name,
            ok: ability.ok,
            detail: ability.detail,
            hint: ability.hint,
        })
        .collect();
    checks.push(own_privileges());
    checks.push(reader_check(reader));
    checks.push(go_processes(&discovery));
    checks.push(runtimes(reader, &discovery)?);
    checks.push(containers(&discovery));
    let namespaces = network_namespaces(reader);
    let inside = namespaces.ok;
    checks.push(namespaces);
    checks.push(endpoints(&discovery, inside));
    checks.push(data_folder(data));
    checks.push(watcher());
    Ok(checks)
}

/// That this process, which talks to networks and files, has given up every capability.
fn own_privileges() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
    };
    let left: Vec<&str> = ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"]
        .into_iter()
        .filter(|name| field(name) != Some(0))
        .collect();
    match left.is_empty() {
        true => Check::new("main-process", true, "has given up every capability", ""),
        false => Check::new(
            "main-process",
            false,
            format!("capabilities are left in {}", left.join(" ")),
            "report this: it is our fault",
        ),
    }
    .needed()
}

fn reader_check(reader: &Reader) -> Check {
    let status = reader.status();
    let Some(greeting) = &status.greeting else {
        let trouble = status
            .trouble()
            .unwrap_or_else(|| "it does not answer".into());
        return Check::new("reader", false, trouble, "start unswept again").needed();
    };
    let kept = match greeting.capabilities.is_empty() {
        true => "no capability".to_owned(),
        false => greeting.capabilities.join(", "),
    };
    let gain = if greeting.no_new_privs {
        "cannot gain any"
    } else {
        "could gain some"
    };
    let mut detail = format!("runs as process {} with {kept}; {gain}", greeting.pid);
    if greeting.inherited_fds > 0 {
        detail.push_str(&format!(
            "; inherited {} open files",
            greeting.inherited_fds
        ));
    }
    let hint = "what started unswept left files open, and the reader holds them too: start it from a \
                shell or a unit that closes them";
    Check::new("reader", greeting.inherited_fds == 0, detail, hint)
}

fn go_processes(discovery: &Discovery) -> Check {
    let seen = discovery.processes.len();
    let mut detail = format!("{seen} found");
    if discovery.unreadable > 0 {
        let hidden = words::processes(discovery.unreadable);
        detail.push_str(&format!(
            "; {hidden} cannot be looked into, and may be Go or not"
        ));
    }
    let hint = discovery.hint.as_deref().unwrap_or_default();
    Check::new("go-processes", discovery.unreadable == 0, detail, hint)
}

/// Runtimes named one by one when they cannot be read.
const NAMED_MAX: usize = 5;

/// Of which processes Go's own numbers can be read in their memory, and of which not and why.
fn runtimes(reader: &Reader, discovery: &Discovery) -> anyhow::Result<Check> {
    let keys: Vec<_> = discovery.processes.iter().map(|p| p.key.clone()).collect();
    let readings = find::read_with_go(reader, &keys)?;
    let failures = discovery.processes.iter().zip(&readings);
    let failures: Vec<(String, GoFailure)> = failures
        .filter_map(|(process, reading)| {
            let failure = match reading {
                Ok(reading) => reading.go.clone()?.err()?,
                Err(ReadFailure::Denied { path, hint }) => GoFailure::Refused {
                    what: format!("no permission to read {path}"),
                    hint: hint.clone(),
                },
                // It has ended since, which is no fault.
                Err(_) => return None,
            };
            let name = format!("{} (pid {})", find::name(process), process.key.pid);
            (failure != GoFailure::Gone).then_some((name, failure))
        })
        .collect();
    Ok(runtimes_check(keys.len(), &failures))
}

fn runtimes_check(all: usize, failures: &[(String, GoFailure)]) -> Check {
    let read = all - failures.len();
    let mut detail = format!("of {all} Go processes {read} can be asked for Go's own numbers");
    for (name, failure) in failures.iter().take(NAMED_MAX) {
        detail.push_str(&format!("; {name}: {failure}"));
    }
    if failures.len() > NAMED_MAX {
        detail.push_str(&format!("; and {} more", failures.len() - NAMED_MAX));
    }
    let hints = failures.iter().filter_map(|(_, failure)| failure.hint());
    let mut hints: Vec<&str> = hints.collect();
    hints.sort_unstable();
    hints.dedup();
    Check::new(
        "go-runtimes",
        failures.is_empty(),
        detail,
        &hints.join("; "),
    )
}

/// Of how many containers the names are known.
fn containers(discovery: &Discovery) -> Check {
    let own = discovery
        .processes
        .iter()
        .filter_map(|p| p.container.as_ref());
    let mut all: Vec<_> = own.collect();
    all.sort_unstable_by_key(|container| &container.id);
    all.dedup_by_key(|container| &container.id);
    let named = all.iter().filter(|own| own.name.is_some()).count();
    let detail = match all.len() {
        0 => "no Go process runs in one".to_owned(),
        count => format!("Go processes run in {count}, of which {named} have names"),
    };
    let hint = "names come from the files of the runtime and the kubelet: run unswept with the host's \
                pid namespace and CAP_SYS_PTRACE, or mount the host's /run, /var/log and /var/lib/docker \
                below a folder and name that with --host-root";
    Check::new("containers", named == all.len(), detail, hint)
}

/// Whether the loopback of containers and pods can be reached.
fn network_namespaces(reader: &Reader) -> Check {
    let name = "network-namespaces";
    if let Err(failure) = reader.can_dial() {
        let hint = failure.hint().unwrap_or_default();
        return Check::new(name, false, failure.to_string(), hint);
    }
    let keeper = reader.status().keeper;
    let keeper = keeper.map_or_else(|| "this process".into(), |pid| format!("process {pid}"));
    let detail = format!(
        "endpoints on the loopback of containers and pods can be asked; {keeper} alone keeps \
         CAP_SYS_ADMIN for that"
    );
    Check::new(name, true, detail, "")
}

/// How many could be asked for Go's own numbers and for profiles. Nothing is asked here. `inside`
/// says whether other network namespaces are reached too.
fn endpoints(discovery: &Discovery, inside: bool) -> Check {
    let open = discovery
        .processes
        .iter()
        .filter(|p| !p.listening.is_empty());
    let (mut metrics, mut pprof, mut elsewhere) = (0, 0, 0);
    for process in open {
        let reached = process.netns_is_ours || inside;
        metrics += usize::from(process.handlers.metrics && reached);
        pprof += usize::from(process.handlers.pprof && reached);
        elsewhere += usize::from(!process.netns_is_ours);
    }
    let all = discovery.processes.len();
    let mut detail = format!(
        "of {all} Go processes {metrics} may serve metrics and {pprof} profiles; none was asked"
    );
    if elsewhere > 0 {
        detail.push_str(&format!("; {elsewhere} in other network namespaces"));
    }
    let hint = "without metrics goroutines and load are not seen, without net/http/pprof no function \
                can be named: serve /metrics and /debug/pprof/, or name where with scrape_configs";
    Check::new("endpoints", metrics.min(pprof) >= all, detail, hint)
}

fn data_folder(data: Option<&Path>) -> Check {
    let hint = "name another folder with --data or UNSWEPT_DATA";
    let folder = match data.map_or_else(setup::default_data_dir, |data| Ok(data.to_owned())) {
        Ok(folder) => folder,
        Err(error) => return Check::new("data", false, error.to_string(), hint).needed(),
    };
    let (ok, detail) = writable(&folder);
    Check::new("data", ok, detail, hint).needed()
}

/// Whether `folder` can be written, or made if it is not there. Nothing is made.
fn writable(folder: &Path) -> (bool, String) {
    // A relative path ends in an empty one, which means here.
    let existing = folder
        .ancestors()
        .map(|path| match path.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => path.to_owned(),
        });
    let Some(existing) = existing.into_iter().find(|path| path.exists()) else {
        return (false, format!("{} cannot be made", folder.display()));
    };
    if !existing.is_dir() {
        return (false, format!("{} is not a folder", existing.display()));
    }
    match access(&existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if existing == folder => (true, format!("{} can be written", folder.display())),
        Ok(()) => (true, format!("{} can be made", folder.display())),
        Err(error) => (
            false,
            format!("{} cannot be written: {error}", existing.display()),
        ),
    }
}

/// Whether something answers where a watcher would. Neither answer is a fault.
fn watcher() -> Check {
    let running = DEFAULT_LISTEN
        .parse::<SocketAddr>()
        .is_ok_and(|at| TcpStream::connect_timeout(&at, CONNECT_TIMEOUT).is_ok());
    let detail = match running {
        true => format!("something answers on {DEFAULT_LISTEN}: see http://{DEFAULT_LISTEN}/"),
        false => format!("nothing answers on {DEFAULT_LISTEN}"),
    };
    Check::new("watcher", running, detail, "`unswept watch` starts one")
}

fn lines(checks: &[Check], width: usize) -> Vec<Line> {
    let longest = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    for check in checks {
        let (word, style) = match (check.ok, check.needed) {
            (true, _) => ("yes", Style::Good),
            (false, false) => ("no ", Style::Doubt),
            (false, true) => ("NO ", Style::Bad),
        };
        let name = format!("  {:<longest$}  ", check.name);
        let begin = Line::new(style, word).with(Style::Strong, name);
        let indent = begin.width();
        lines.extend(hang(begin, &check.detail, width));
        if let Some(hint) = &check.hint {
            let begin = Line::from(" ".repeat(indent)).with(Style::Faint, "-> ");
            lines.extend(hang(begin, hint, width));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_no_says_what_to_do() {
        let checks = [
            Check::new("kernel", true, "6.18.1", "unused"),
            Check::new(
                "capabilities",
                false,
                "the reader has no capabilities",
                "run it as root",
            ),
            Check::new("data", false, "/data cannot be written", "name another").needed(),
        ];
        let text: String = lines(&checks, 60)
            .iter()
            .map(|line| line.paint(false) + "\n")
            .collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_runtime_that_cannot_be_read_is_named_with_its_reason() {
        let refused = |pid: u32| {
            let failure = GoFailure::Refused {
                what: "not allowed to read its memory".into(),
                hint: "be root".into(),
            };
            (format!("shop (pid {pid})"), failure)
        };
        assert!(runtimes_check(3, &[]).ok);
        let check = runtimes_check(9, &[refused(1), refused(2)]);
        assert!(check.detail.contains("of 9 Go processes 7"), "{check:?}");
        assert!(
            check.detail.contains("shop (pid 2): not allowed"),
            "{check:?}"
        );
        assert_eq!(check.hint.as_deref(), Some("be root"), "said once");
        let many: Vec<_> = (0..8).map(refused).collect();
        let check = runtimes_check(9, &many);
        assert!(check.detail.ends_with("and 3 more"), "{check:?}");
    }

    #[test]
    fn a_folder_that_can_be_made_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(writable(folder.path()).0);
        assert!(writable(&folder.path().join("a/b")).0);
        assert!(writable(Path::new("relative/folder")).0);
        assert!(!writable(&file.join("a")).0);
        assert!(!writable(Path::new("/proc/1/nothing")).0);
        assert!(!folder.path().join("a").exists(), "looking makes nothing");
    }
}
