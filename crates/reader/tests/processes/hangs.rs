//! Files on a disk that hangs: a file system of the test's own, which stops answering when it is told to.
//! Needs root and `/dev/fuse`; `SKIP` without.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Probe, Running, is_root, plain, probe_path};

/// A file system with one file, `file`. Its protocol: linux/fuse.h.
struct Disk {
    at: tempfile::TempDir,
    hangs: Arc<AtomicBool>,
}

impl Disk {
    fn mount(content: Vec<u8>) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let fuse = fuse.ok().filter(|_| is_root())?;
        let mut mount = Command::new("mount");
        mount
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0,allow_other")
            .args([Path::new("hangs"), at.path()])
            .stdin(Stdio::from(fuse.try_clone().unwrap()));
        if !mount.status().ok()?.success() {
            return None;
        }
        let hangs = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&hangs);
        std::thread::spawn(move || serve(fuse, &told, &content));
        Some(Self { at, hangs })
    }

    fn file(&self) -> PathBuf {
        self.at.path().join("file")
    }

    fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // By force: whoever waits for it gets an error.
        let mut umount = Command::new("umount");
        let _ = umount.args(["-f", "-l"]).arg(self.at.path()).status();
    }
}

fn serve(mut fuse: File, hangs: &AtomicBool, content: &[u8]) {
    let mut request = vec![0; 1 << 20];
    // Ends when it is unmounted.
    while let Ok(read) = fuse.read(&mut request) {
        let request = &request[..read];
        let number = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (operation, unique, node) = (number(4), &request[8..16], number(16));
        let forgets = matches!(operation, 2 | 42);
        if forgets || hangs.load(Ordering::SeqCst) {
            continue;
        }
        let answer = answer(operation, node, &request[40..], content);
        let (error, body) = answer.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let mut reply = u32::try_from(16 + body.len())
            .unwrap()
            .to_le_bytes()
            .to_vec();
        reply.extend(i32::to_le_bytes(error));
        reply.extend(unique);
        reply.extend(body);
        // One that was interrupted is not waited for.
        let _ = fuse.write(&reply);
    }
}

fn answer(operation: u32, node: u32, body: &[u8], content: &[u8]) -> Result<Vec<u8>, i32> {
    const NOENT: i32 = 2;
    const NOSYS: i32 = 38;
    let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap()) as usize;
    match operation {
        // INIT: version 7.31, the same readahead, no flags, one write at a time.
        26 => {
            let mut words = [0_u32; 16];
            words[..6].copy_from_slice(&[7, 31, 65_536, 0, 10 << 16 | 12, 65_536]);
            words[6] = 1;
            Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
        }
        // LOOKUP: nothing of it may be remembered.
        1 if body.starts_with(b"file\0") => {
            let mut entry = 2_u64.to_le_bytes().to_vec();
            entry.extend([0; 32]);
            entry.extend(attributes(2, content.len()));
            Ok(entry)
        }
        1 => Err(NOENT),
        // GETATTR
        3 => {
            let mut said = vec![0; 16];
            said.extend(attributes(node, content.len()));
            Ok(said)
        }
        // OPEN, OPENDIR
        14 | 27 => Ok(vec![0; 16]),
        // READ
        15 => {
            let from = content.len().min(number(8));
            let to = content.len().min(from + number(16));
            Ok(content[from..to].to_vec())
        }
        // RELEASE, FLUSH, RELEASEDIR
        18 | 25 | 29 => Ok(Vec::new()),
        _ => Err(NOSYS),
    }
}

fn attributes(node: u32, size: usize) -> Vec<u8> {
    let (mode, size) = match node {
        1 => (0o40_755_u32, 0),
        _ => (0o100_755, size as u64),
    };
    let mut said = u64::from(node).to_le_bytes().to_vec();
    said.extend(size.to_le_bytes());
    said.extend(size.div_ceil(512).to_le_bytes());
    said.extend([0; 36]); // times
    for word in [mode, 1, 0, 0, 0, 4096, 0] {
        said.extend(word.to_le_bytes());
    }
    said
}

/// The disk goes first: whoever hangs on it cannot be ended.
struct Scene {
    disk: Disk,
    targets: Vec<Running>,
}

/// Starts a program with its file on the disk beside one that has nothing to do with it.
fn scene(content: Vec<u8>) -> Option<Scene> {
    let Some(disk) = Disk::mount(content) else {
        eprintln!("SKIP: no file system of our own can be mounted here");
        return None;
    };
    let targets = Vec::new();
    Some(Scene { disk, targets })
}

impl Scene {
    fn start(&mut self, program: &Path) -> u32 {
        let mut target = Running::start(&mut Command::new(program));
        target.line();
        self.targets.push(target);
        self.targets.last().unwrap().pid()
    }
}

/// Asks, and holds the answer against the clock: nobody is held up by a disk that is not his.
fn at_once(probe: &mut Probe, request: &str) -> Value {
    let began = Instant::now();
    let answer = probe.ask(request);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{request} took {took:?}");
    answer
}

fn found(discovery: &Value, pid: u32) -> Option<String> {
    let processes = discovery["processes"].as_array().unwrap();
    let found = processes.iter().find(|p| p["key"]["pid"] == pid)?;
    Some(format!("{pid} {}", found["key"]["start_ticks"]))
}

/// Its pid and start, once it is found.
fn key_of(probe: &mut Probe, pid: u32) -> String {
    let began = Instant::now();
    loop {
        if let Some(key) = found(&at_once(probe, "discover"), pid) {
            return key;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{pid} is not found"
        );
    }
}

/// The reader is the first one still, with what it may, and has no more children than it may have.
fn is_well(probe: &mut Probe) {
    let status = at_once(probe, "status");
    assert_eq!(status["restarts"], 0, "{status}");
    assert!(status["trouble"].is_null(), "{status}");
    assert_eq!(status["reader"]["capabilities"], probe.capabilities);
    let path = format!("/proc/{0}/task/{0}/children", probe.reader);
    let children = std::fs::read_to_string(path).unwrap();
    let count = children.split_whitespace().count();
    assert!(count <= 10, "{count} children");
}

#[test]
fn an_executable_on_a_disk_that_hangs_holds_nobody_up() {
    let program = std::fs::read(plain()).unwrap();
    let Some(mut scene) = scene(program) else {
        return;
    };
    let beside = scene.start(plain());
    let known = scene.start(&scene.disk.file());
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let beside = key_of(&mut probe, beside);
    let known_key = key_of(&mut probe, known);

    // Another reader, which has not looked into it.
    let mut late = Probe::start(&mut Command::new(probe_path()));
    scene.disk.hang();
    let began = Instant::now();
    loop {
        let discovery = at_once(&mut late, "discover");
        assert!(found(&discovery, known).is_none());
        let read = at_once(&mut late, &format!("read {beside}"));
        assert!(read.to_string().contains("rss_bytes"), "{read}");
        let left_alone = discovery["left_alone"].to_string();
        if left_alone.contains("has not answered") {
            assert!(discovery["unreadable"].as_u64() >= Some(1), "{discovery}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{discovery}");
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(
        at_once(&mut late, "doctor")
            .to_string()
            .contains("has not answered")
    );
    for _ in 0..5 {
        at_once(&mut late, "discover");
    }
    is_well(&mut late);

    // Whoever knew it goes on with it.
    let discovery = at_once(&mut probe, "discover");
    assert!(found(&discovery, known).is_some(), "{discovery}");
    at_once(&mut probe, &format!("read {known_key}"));
    is_well(&mut probe);
}

#[test]
fn a_log_on_a_disk_that_hangs_holds_nobody_up() {
    let Some(mut scene) = scene(b"first\n".to_vec()) else {
        return;
    };
    let target = scene.start(plain());
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let key = key_of(&mut probe, target);
    let log = format!("log {key} {}", scene.disk.file().display());
    let piece = at_once(&mut probe, &log);
    assert!(piece.to_string().contains("first"), "{piece}");

    scene.disk.hang();
    let began = Instant::now();
    loop {
        let piece = at_once(&mut probe, &log).to_string();
        assert!(!piece.contains("first"), "{piece}");
        let read = at_once(&mut probe, &format!("read {key}"));
        assert!(read.to_string().contains("rss_bytes"), "{read}");
        if piece.contains("is left alone") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{piece}");
        std::thread::sleep(Duration::from_millis(300));
    }
    // Another log is read meanwhile, and more of that disk are bounded.
    let other = scene.disk.at.path().with_extension("log");
    std::fs::write(&other, "second\n").unwrap();
    let other_log = format!("log {key} {}", other.display());
    let piece = at_once(&mut probe, &other_log);
    std::fs::remove_file(&other).unwrap();
    assert!(piece.to_string().contains("second"), "{piece}");
    is_well(&mut probe);
}
