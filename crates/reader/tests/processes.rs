//! Real processes: Go programs of several builds, ended ones, other users'; and the reader's own
//! life, by the example `probe`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use model::{BootId, ProcessKey, StartTicks};
use reader::{Access, GoProcess, ReadFailure, Reader, ReaderError, ReaderOptions};
use serde_json::Value;

#[path = "processes/cgroups.rs"]
mod cgroups;
#[path = "processes/hangs.rs"]
mod hangs;
#[path = "processes/namespaces.rs"]
mod namespaces;
#[path = "processes/runtimes.rs"]
mod runtimes;

const NOBODY: &str = "65534";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where this run's programs are: other crates' tests have folders of their own beside it.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reader");
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// Builds the target with these flags.
fn build(name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/target");
    build_from(&source, name, flags)
}

/// Builds the program in the folder `source`.
fn build_from(source: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let out = folder().join(name);
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&out)
        .args(flags)
        .arg(".")
        .current_dir(source)
        .env("GOFLAGS", "-mod=mod -buildvcs=false")
        .output();
    let built = built.expect("no `go` on PATH: `cargo xtask test` installs one");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    out
}

/// The ordinary build, made once.
fn plain() -> &'static Path {
    static PLAIN: OnceLock<PathBuf> = OnceLock::new();
    PLAIN.get_or_init(|| build("plain", &[]))
}

/// A running program that ends with this value.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            lines,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it ended");
        line.trim().to_owned()
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_thread() -> Reader {
    Reader::in_thread(ReaderOptions::default()).unwrap()
}

fn find(reader: &Reader, pid: u32) -> Option<GoProcess> {
    let found = reader.discover().unwrap();
    found.processes.into_iter().find(|p| p.key.pid.0 == pid)
}

fn read_one(reader: &Reader, key: &ProcessKey) -> Result<reader::Reading, ReadFailure> {
    let mut all = reader.read(std::slice::from_ref(key)).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn go_programs_of_every_build_are_found() {
    let builds: [(&str, &[&str], bool, bool); 4] = [
        ("go-plain", &[], false, false),
        ("go-stripped", &["-ldflags=-s -w"], true, false),
        ("go-pie", &["-buildmode=pie"], false, true),
        (
            "go-pie-strip",
            &["-buildmode=pie", "-ldflags=-s -w"],
            true,
            true,
        ),
    ];
    let reader = in_thread();
    for (name, flags, stripped, pie) in builds {
        let program = build(name, flags);
        let mut command = Command::new(&program);
        command
            .env_clear()
            .env("GOGC", "50")
            .env("GOMEMLIMIT", "1GiB")
            .env("SECRET_OF_THE_TARGET", "hush");
        let mut target = Running::start(&mut command);
        let address: SocketAddr = target.line().parse().unwrap();
        let found = find(&reader, target.pid()).expect(name);
        assert!(found.build.go_version.starts_with("go1."), "{name}");
        assert_eq!(found.build.module.as_deref(), Some("example.com/found"));
        assert_eq!(
            (found.build.stripped, found.build.pie),
            (stripped, pie),
            "{name}"
        );
        assert!(found.build.build_id.is_some(), "{name}");
        assert!(found.handlers.pprof && found.handlers.expvar, "{name}");
        assert!(!found.handlers.metrics, "{name}");
        assert_eq!(found.listening, [address], "{name}");
        assert!(found.netns_is_ours && found.pid_namespace_is_ours);
        assert_eq!(found.env.gogc.as_deref(), Some("50"));
        assert_eq!(found.env.gomemlimit.as_deref(), Some("1GiB"));
        assert_eq!(found.env.godebug, None);
        assert_eq!(found.exe, program.to_string_lossy());
        assert_eq!((found.comm.as_str(), found.exe_deleted), (name, false));
        assert_eq!(found.ppid, std::process::id());
        assert_eq!(found.access, Access::Full);
        let age = reader.host().map(|_| age_ms(&found)).unwrap();
        assert!((-100..60_000).contains(&age), "{name} started {age} ms ago");
        // All of the answer, as it crosses the socket.
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("SECRET") && !text.contains("hush"));
    }
}

fn age_ms(found: &GoProcess) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis() as i64 - found.started.0
}

#[test]
fn a_reading_holds_what_the_process_has_and_ends_with_it() {
    let program = plain();
    let mut target = Running::start(&mut Command::new(program));
    target.line();
    let reader = in_thread();
    let key = find(&reader, target.pid()).unwrap().key;
    let reading = read_one(&reader, &key).unwrap();
    let memory = reading.memory;
    assert!(memory.anon_bytes > 64 << 20, "{memory:?}");
    assert_eq!(
        memory.rss_bytes,
        memory.anon_bytes + memory.file_bytes + memory.shmem_bytes
    );
    assert!(memory.threads > 1 && memory.fds >= Some(4));
    assert_eq!(memory.sockets, Some(1));
    let mappings = reader.mappings(&key, false).unwrap().unwrap();
    assert!(mappings.bytes.go_bytes > 64 << 20, "{mappings:?}");
    assert!(!mappings.bytes.go_basis.is_empty() && mappings.elapsed_us > 0);

    let mut reused = key.clone();
    reused.start_ticks = StartTicks(key.start_ticks.0 + 1);
    let mut rebooted = key.clone();
    rebooted.boot_id = BootId("another".to_owned());
    for other in [&reused, &rebooted] {
        assert_eq!(read_one(&reader, other), Err(ReadFailure::Gone));
        assert_eq!(
            reader.mappings(other, false).unwrap(),
            Err(ReadFailure::Gone)
        );
    }

    target.child.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    // Not waited for yet: it stays as a zombie.
    while read_one(&reader, &key) != Err(ReadFailure::Gone) {
        assert!(Instant::now() < deadline, "a zombie is still read");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        find(&reader, target.pid()).is_none(),
        "a zombie is still found"
    );
    target.child.wait().unwrap();
    assert_eq!(read_one(&reader, &key), Err(ReadFailure::Gone));
}

#[test]
fn many_keys_are_answered_in_order() {
    let program = plain();
    let mut target = Running::start(&mut Command::new(program));
    target.line();
    let reader = in_thread();
    let key = find(&reader, target.pid()).unwrap().key;
    let mut wrong = key.clone();
    wrong.start_ticks = StartTicks(1);
    let mut keys = vec![wrong; 2500];
    keys[2048] = key;
    let readings = reader.read(&keys).unwrap();
    assert_eq!(readings.len(), keys.len());
    for (at, reading) in readings.iter().enumerate() {
        assert_eq!(reading.is_ok(), at == 2048, "{at}");
    }
}

#[test]
fn a_replaced_executable_and_an_exec_are_seen() {
    let program = plain();
    let copy = folder().join("gone");
    let _ = fs::remove_file(&copy);
    fs::hard_link(program, &copy).unwrap();
    let mut target = Running::start(&mut Command::new(&copy));
    target.line();
    fs::remove_file(&copy).unwrap();
    let reader = in_thread();
    let found = find(&reader, target.pid()).unwrap();
    assert_eq!(
        (found.exe, found.exe_deleted),
        (copy.to_string_lossy().into_owned(), true)
    );

    // A shell is no Go program, until it becomes one under the same pid.
    let script = format!("echo shell; read go; exec {}", program.display());
    let mut shell = Running::start(Command::new("sh").arg("-c").arg(script));
    assert_eq!(shell.line(), "shell");
    assert!(find(&reader, shell.pid()).is_none());
    shell.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    let address: SocketAddr = shell.line().parse().unwrap();
    let found = find(&reader, shell.pid()).unwrap();
    assert_eq!(found.listening, [address]);
}

#[test]
fn it_must_start_before_any_thread() {
    // Tests run in threads.
    let error = Reader::start(ReaderOptions::default()).unwrap_err();
    assert!(
        matches!(error, ReaderError::Threads { threads } if threads > 1),
        "{error}"
    );
}

// The reader as a child, by the example `probe`.

fn probe_path() -> PathBuf {
    let ours = std::env::current_exe().unwrap();
    ours.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/probe")
}

struct Probe {
    running: Running,
    reader: u32,
    keeper: Option<u32>,
    capabilities: Value,
}

impl Probe {
    fn start(command: &mut Command) -> Self {
        let mut running = Running::start(command);
        let hello: Value = serde_json::from_str(&running.line()).unwrap();
        Self {
            reader: hello["reader"]["pid"].as_u64().unwrap() as u32,
            keeper: hello["keeper"].as_u64().map(|pid| pid as u32),
            capabilities: hello["reader"]["capabilities"].clone(),
            running,
        }
    }

    fn ask(&mut self, request: &str) -> Value {
        let stdin = self.running.stdin.as_mut().unwrap();
        writeln!(stdin, "{request}").unwrap();
        serde_json::from_str(&self.running.line()).unwrap()
    }
}

fn signal(pid: u32, name: &str) {
    let number = pid.to_string();
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &number])
        .status();
    assert!(sent.unwrap().success());
}

/// Whether a process runs: a zombie does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| !status.contains("State:\tZ") && !status.contains("State:\tX"))
}

fn capability_lines(pid: u32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let wanted = status.lines().filter(|line| line.starts_with("Cap"));
    wanted.map(|line| line.replace('\t', " ")).collect()
}

/// CAP_DAC_READ_SEARCH is number 2, CAP_SYS_PTRACE 19.
const TWO: &str = "0000000000080004";
const NONE: &str = "0000000000000000";

#[test]
fn the_main_process_keeps_nothing_and_the_reader_two_capabilities() {
    if !is_root() {
        eprintln!("SKIP: not root, there is nothing to give up");
        return;
    }
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let sets = |eff, bnd| {
        [
            format!("CapInh: {NONE}"),
            format!("CapPrm: {eff}"),
            format!("CapEff: {eff}"),
            format!("CapBnd: {bnd}"),
            format!("CapAmb: {NONE}"),
        ]
    };
    assert_eq!(capability_lines(probe.running.pid()), sets(NONE, NONE));
    assert_eq!(capability_lines(probe.reader), sets(TWO, TWO));
    for pid in [probe.running.pid(), probe.reader] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    }
    let found = probe.ask("discover");
    assert!(found["processes"].is_array(), "{found}");
    sockets_of_the_reader_do_not_listen(probe.reader);
}

/// The sockets it has are that to the main process and, after it has worked, that to its helper for files.
fn sockets_of_the_reader_do_not_listen(reader: u32) {
    let links = fs::read_dir(format!("/proc/{reader}/fd")).unwrap();
    let mut sockets: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(
                link.strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    sockets.sort();
    sockets.dedup();
    assert!(
        (1..=2).contains(&sockets.len()),
        "only the pairs: {sockets:?}"
    );
    for table in ["tcp", "tcp6", "udp", "udp6", "raw"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let inodes = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(9));
        assert!(
            !inodes
                .into_iter()
                .any(|inode| sockets.iter().any(|of| of == inode)),
            "{table}"
        );
    }
    // In /proc/net/unix listening sockets have the flag 00010000.
    let unix = fs::read_to_string("/proc/net/unix").unwrap();
    let row = unix
        .lines()
        .find(|line| line.split_whitespace().nth(6) == Some(&sockets[0]));
    assert!(
        row.is_some_and(|row| row.contains(" 00000000 0001 03 ")),
        "{row:?}"
    );
}

#[test]
fn the_reader_dies_with_the_main_process() {
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    assert!(runs(probe.reader));
    signal(probe.running.pid(), "KILL");
    let killed = Instant::now();
    while runs(probe.reader) {
        assert!(
            killed.elapsed() < Duration::from_secs(1),
            "the reader lives on"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    probe.running.child.wait().unwrap();

    // The usual end: the main process goes, the reader too.
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    drop(probe.running.stdin.take());
    assert!(probe.running.child.wait().unwrap().success());
    assert!(!runs(probe.reader));
}

#[test]
fn a_killed_reader_is_replaced_and_the_loss_is_told() {
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    assert_eq!(probe.ask("status")["trouble"], Value::Null);
    signal(probe.reader, "KILL");
    let error = probe.ask("discover");
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("the reader was lost"),
        "{error}"
    );
    std::thread::sleep(Duration::from_millis(150));
    let again = probe.ask("discover");
    assert!(again["processes"].is_array(), "{again}");
    let status = probe.ask("status");
    assert_eq!(status["restarts"], 1, "{status}");
    let now = &status["reader"]["capabilities"];
    assert_eq!(*now, probe.capabilities, "it has the rights of the first");
    assert_eq!(status["trouble"], Value::Null);
}

#[test]
fn without_what_keeps_the_privileges_a_reader_has_none_and_that_is_told() {
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let Some(keeper) = probe.keeper else {
        eprintln!("SKIP: not root, there is nothing to keep");
        return;
    };
    signal(keeper, "KILL");
    let killed = Instant::now();
    while runs(probe.reader) {
        let waited = killed.elapsed();
        assert!(waited < Duration::from_secs(5), "the reader lives on");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(probe.ask("discover")["error"].is_string(), "it is lost");
    std::thread::sleep(Duration::from_millis(150));
    let again = probe.ask("discover");
    assert!(again["processes"].is_array(), "{again}");
    let status = probe.ask("status");
    assert_eq!(status["reader"]["capabilities"], serde_json::json!([]));
    let trouble = status["trouble"].as_str().unwrap();
    assert!(
        trouble.starts_with("privileged reader lost: restart unswept"),
        "{trouble}"
    );
}

#[test]
fn a_reader_that_hangs_is_ended_at_the_deadline() {
    let mut probe = Probe::start(Command::new(probe_path()).arg("400"));
    signal(probe.reader, "STOP");
    let start = Instant::now();
    let error = probe.ask("discover");
    assert!(
        error["error"].as_str().unwrap().contains("within 400ms"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(3));
    std::thread::sleep(Duration::from_millis(150));
    let again = probe.ask("host");
    assert!(again["boot_id"].is_string(), "{again}");
    assert!(!runs(probe.reader));
}

/// A command that runs `program` as nobody, with `capabilities` in the ambient set.
fn as_nobody(program: &Path, capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    if !capabilities.is_empty() {
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]);
    }
    command.arg(program);
    command
}

/// Where every user may enter.
fn folder_for_everybody() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).unwrap();
    folder
}

fn copy_to(folder: &Path, program: &Path) -> PathBuf {
    let copy = folder.join(program.file_name().unwrap());
    // By another process: a fork in another thread of this one could hold it open for
    // writing, and then it cannot be executed.
    let copied = Command::new("cp").args([program, &copy]).status();
    assert!(copied.unwrap().success());
    copy
}

fn process_of(found: &Value, pid: u32) -> Option<&Value> {
    let processes = found["processes"].as_array()?;
    processes
        .iter()
        .find(|process| process["key"]["pid"] == pid)
}

#[test]
fn without_privileges_others_are_told_with_a_hint() {
    if !is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIP: not root, or no setpriv: nobody else to be");
        return;
    }
    let program = plain();
    let folder = folder_for_everybody();
    let program = &copy_to(folder.path(), program);
    let probe_path = &copy_to(folder.path(), &probe_path());
    let mut roots = Running::start(&mut Command::new(program));
    roots.line();
    let mut own = Running::start(&mut as_nobody(program, ""));
    own.line();

    let mut probe = Probe::start(&mut as_nobody(probe_path, ""));
    assert_eq!(probe.capabilities, serde_json::json!([]));
    let found = probe.ask("discover");
    assert!(
        found["unreadable"].as_u64() > Some(0) && found["hint"].is_string(),
        "{found}"
    );
    let denied = process_of(&found, roots.pid()).expect("listed by its first argument");
    assert_eq!(denied["access"]["access"], "denied", "{denied}");
    assert!(
        denied["access"]["hint"]
            .as_str()
            .unwrap()
            .contains("CAP_SYS_PTRACE")
    );
    assert_eq!(denied["build"]["module"], "example.com/found");
    let full = process_of(&found, own.pid()).expect("its own");
    assert_eq!(full["access"]["access"], "full", "{full}");
    assert_eq!(full["uid"].to_string(), NOBODY);

    let ask = |name: &str| format!("{name} {} {}", roots.pid(), denied["key"]["start_ticks"]);
    let go = runtimes::opened(&mut probe, &ask("go"));
    assert_eq!(go["Err"]["failure"], "refused", "{go}");
    assert!(go["Err"]["what"].to_string().contains("uid 0"), "{go}");
    assert!(
        go["Err"]["hint"].to_string().contains("CAP_SYS_PTRACE"),
        "{go}"
    );
    let start = &full["key"]["start_ticks"];
    let go = runtimes::opened(&mut probe, &format!("go {} {start}", own.pid()));
    assert!(
        go["Ok"]["heap_alloc_bytes"].as_u64() > Some(1 << 20),
        "{go}"
    );
    // What everybody may read is read; what not is said to be unknown.
    let reading = &probe.ask(&ask("read"))[0]["Ok"];
    assert!(
        reading["memory"]["rss_bytes"].as_u64() > Some(64 << 20),
        "{reading}"
    );
    assert_eq!(reading["memory"]["sockets"], Value::Null);
    let mappings = &probe.ask(&ask("mappings"))["Err"];
    assert_eq!(mappings["failure"], "denied", "{mappings}");
    let doctor = probe.ask("doctor");
    let line = |name: &str| {
        let all = doctor.as_array().unwrap();
        all.iter().find(|line| line["name"] == name).unwrap()["ok"].clone()
    };
    assert_eq!(
        (line("capabilities"), line("processes")),
        (false.into(), false.into())
    );

    // The same user with two capabilities, as systemd gives them, sees all.
    let capabilities = "+sys_ptrace,+dac_read_search";
    let mut probe = Probe::start(&mut as_nobody(probe_path, capabilities));
    assert_eq!(
        probe.capabilities.as_array().unwrap().len(),
        2,
        "{}",
        probe.capabilities
    );
    let go = runtimes::opened(&mut probe, &ask("go"));
    assert!(go["Ok"].is_object(), "the opener has them too: {go}");
    let main = capability_lines(probe.running.pid());
    assert!(
        main[..3].iter().all(|line| line.ends_with(NONE)),
        "{main:?}"
    );
    assert!(main[4].ends_with(NONE), "{main:?}");
    let found = probe.ask("discover");
    let others = process_of(&found, roots.pid()).unwrap();
    assert_eq!(others["listening"].as_array().unwrap().len(), 1, "{others}");
}
