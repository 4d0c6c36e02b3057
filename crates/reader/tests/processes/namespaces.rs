//! Targets in namespaces of their own, as pods are: their loopback is reached, and nothing else, by a process that
//! keeps two capabilities for it; their files are read as they see them.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reader::{DialFailure, ReadFailure};
use serde_json::{Value, json};

use super::{
    NONE, Probe, Running, as_nobody, capability_lines, find, in_thread, is_root, plain, probe_path,
    runs, signal,
};

/// CAP_DAC_READ_SEARCH is number 2, CAP_SYS_PTRACE 19, CAP_SYS_ADMIN 21.
const KEEPING: &str = "0000000000280004";

/// A target that listens on the loopback of a network namespace of its own, with its address there.
/// `None`, after a line that says so, where none can be made.
pub(super) fn inside() -> Option<(Running, SocketAddr)> {
    let can = Command::new("unshare").args(["--net", "true"]).status();
    if !is_root() || !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIP: no network namespace can be made here");
        return None;
    }
    let script = format!("ip link set lo up && exec {}", plain().display());
    let mut target = Running::start(Command::new("unshare").args(["--net", "sh", "-c", &script]));
    let address = target.line().parse().unwrap();
    Some((target, address))
}

fn network_namespace(pid: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    link.to_string_lossy().into_owned()
}

fn first_line(mut stream: TcpStream) -> std::io::Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /debug/pprof/ HTTP/1.0\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream.take(1 << 20)).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[test]
fn a_loopback_elsewhere_is_reached_and_nothing_else() {
    let Some((target, address)) = inside() else {
        return;
    };
    let reader = in_thread();
    let found = find(&reader, target.pid()).unwrap();
    assert_eq!(
        (found.netns_is_ours, found.listening),
        (false, vec![address])
    );
    let before = network_namespace(std::process::id());
    let stream = reader.dial(&found.key, address).unwrap();
    assert_eq!(first_line(stream).unwrap(), "HTTP/1.0 200 OK");
    assert!(TcpStream::connect(address).is_err(), "it is not in our own");
    assert_eq!(network_namespace(std::process::id()), before);

    let mut closed = address;
    closed.set_port(1);
    let refused = match reader.dial(&found.key, closed) {
        Ok(stream) => first_line(stream).unwrap_err().to_string(),
        Err(failure) => failure.to_string(),
    };
    assert!(refused.contains("refused"), "{refused}");
    let other: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let failure = reader.dial(&found.key, other).unwrap_err();
    assert_eq!(failure, DialFailure::NotLoopback { address: other });
    let mut reused = found.key.clone();
    reused.start_ticks.0 += 1;
    let failure = reader.dial(&reused, address).unwrap_err();
    assert_eq!(failure, DialFailure::Gone);
    drop(target);
    assert_eq!(
        reader.dial(&found.key, address).unwrap_err(),
        DialFailure::Gone
    );
}

/// The probe's words for a GET in the namespace of this process.
fn ask(probe: &mut Probe, pid: u32, address: SocketAddr) -> Value {
    let words = dial(probe, pid, address);
    probe.ask(&words)
}

/// What the probe is asked for that.
fn dial(probe: &mut Probe, pid: u32, address: SocketAddr) -> String {
    let found = probe.ask("discover");
    let start = super::process_of(&found, pid).expect("it is found")["key"]["start_ticks"].clone();
    format!("dial {pid} {start} {address}")
}

#[test]
fn a_child_that_keeps_the_capabilities_dials_and_its_loss_is_told() {
    let Some((target, address)) = inside() else {
        return;
    };
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let keeper = probe.keeper.expect("root has what it needs");
    for _ in 0..3 {
        assert_eq!(ask(&mut probe, target.pid(), address), "HTTP/1.0 200 OK");
    }
    let sets = [NONE, KEEPING, KEEPING, KEEPING, NONE];
    let lines = capability_lines(keeper);
    assert!(
        lines
            .iter()
            .zip(sets)
            .all(|(line, set)| line.ends_with(set)),
        "{lines:?}"
    );
    assert_eq!(
        network_namespace(keeper),
        network_namespace(std::process::id())
    );

    let words = dial(&mut probe, target.pid(), address);
    signal(keeper, "KILL");
    for _ in 0..2 {
        let lost = probe.ask(&words);
        assert_eq!(lost["failure"]["failure"], "unavailable", "{lost}");
        assert_eq!(lost["hint"], "restart unswept", "{lost}");
    }
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let keeper = probe.keeper.unwrap();
    signal(probe.running.pid(), "KILL");
    let killed = Instant::now();
    while runs(keeper) {
        let waited = killed.elapsed();
        assert!(waited < Duration::from_secs(5), "the keeper lives on");
        std::thread::sleep(Duration::from_millis(2));
    }
    probe.running.child.wait().unwrap();
}

#[test]
fn without_the_capability_the_answer_says_what_would_help() {
    let Some((target, address)) = inside() else {
        return;
    };
    if Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIP: no setpriv: nobody else to be");
        return;
    }
    let folder = super::folder_for_everybody();
    let probe_path = super::copy_to(folder.path(), &probe_path());
    let capabilities = "+sys_ptrace,+dac_read_search";
    let mut probe = Probe::start(&mut as_nobody(&probe_path, capabilities));
    assert!(probe.keeper.is_some(), "for the reader's sake");
    let answer = ask(&mut probe, target.pid(), address);
    assert_eq!(answer["failure"]["failure"], "unavailable", "{answer}");
    assert_eq!(answer["failure"]["why"], "unswept has no CAP_SYS_ADMIN");
    assert!(answer["hint"].to_string().contains("SYS_ADMIN"), "{answer}");

    // The same user with one more, as systemd gives it.
    let capabilities = "+sys_ptrace,+dac_read_search,+sys_admin";
    let mut probe = Probe::start(&mut as_nobody(&probe_path, capabilities));
    assert_eq!(ask(&mut probe, target.pid(), address), "HTTP/1.0 200 OK");
    let two = json!(["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"]);
    assert_eq!(
        probe.capabilities, two,
        "the reader has no more than before"
    );
}

#[test]
fn a_log_is_read_as_its_process_sees_it() {
    let can = Command::new("unshare").args(["--mount", "true"]).status();
    if !is_root() || !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIP: no mount namespace can be made here");
        return;
    }
    let script = format!(
        "mount -t tmpfs none /mnt && echo first > /mnt/log && mkfifo /mnt/pipe && exec {}",
        plain().display()
    );
    let mut target = Running::start(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
    target.line();
    assert!(!Path::new("/mnt/log").exists(), "it is in its mounts alone");
    let reader = in_thread();
    let key = find(&reader, target.pid()).unwrap().key;
    let log = |path: &str, read| reader.log(&key, Path::new(path), read).unwrap();
    let piece = log("/mnt/log", None).unwrap();
    assert_eq!((piece.text.as_str(), piece.anew), ("first\n", false));
    let seen = format!("/proc/{}/root/mnt/log", target.pid());
    let mut file = OpenOptions::new().append(true).open(seen).unwrap();
    file.write_all(b"second\nthi").unwrap();
    let more = log("/mnt/log", Some(piece.place)).unwrap();
    assert_eq!((more.text.as_str(), more.anew), ("second\n", false));
    for (path, said) in [
        ("/mnt/none", "No such file"),
        ("/mnt", "it is no ordinary file"),
        ("/mnt/pipe", "it is no ordinary file"),
    ] {
        let failure = log(path, None).unwrap_err().to_string();
        let whose = format!(
            "failed to read {path} in the root of process {}",
            target.pid()
        );
        assert!(
            failure.starts_with(&whose) && failure.contains(said),
            "{failure}"
        );
    }
    drop(target);
    assert_eq!(log("/mnt/log", None).unwrap_err(), ReadFailure::Gone);
}
