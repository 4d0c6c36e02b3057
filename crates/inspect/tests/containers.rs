//! Targets in namespaces of their own: their files are theirs, never those of the host that have the same names.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{FORMS, Running, Source, newest, releases};
use inspect::heap::Reading;
use inspect::holders::{Options, Report, Taken};
use inspect::{Mapping, Program};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

const PLUGIN: Source = Source {
    name: "targets",
    files: &[
        (
            "allow/allow.go",
            include_str!("../../../tests/targets/allow/allow.go"),
        ),
        (
            "plug/main.go",
            include_str!("../../../tests/targets/plug/main.go"),
        ),
        (
            "plug/part/part.go",
            include_str!("../../../tests/targets/plug/part/part.go"),
        ),
    ],
    with_c: true,
};

/// A process in a root of its own. Its files are gone with this.
struct Contained {
    running: Running,
    pid: u32,
    /// Its root, as a folder of ours; what it sees there only it does.
    root: PathBuf,
    /// Where its files lie, in its root and, others, in ours.
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum RootBy {
    /// The root is a folder of the mounts.
    Chroot,
    /// The root is that of the mounts, as in containers.
    PivotRoot,
}

impl Contained {
    /// Starts the program with its plugin in namespaces of its own. At the same paths of ours lie another program and
    /// another plugin. `None`, and a word, without the privilege.
    fn start(name: &str, how: &[&str], root_by: RootBy) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP: needs root, to make namespaces");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("unswept-{name}-{}", std::process::id()));
        let root = folder.join("root");
        let inner = root.join(folder.strip_prefix("/").unwrap());
        fs::create_dir_all(&inner).unwrap();
        let (release, (_, flags)) = (newest(), FORMS[0]);
        let part = [&["-buildmode=plugin"], flags].concat();
        let part = PLUGIN.build_package("./plug/part", &release, &part, "");
        fs::copy(part, inner.join("part.so")).unwrap();
        let program = PLUGIN.build_package("./plug", &release, flags, "");
        fs::copy(program, inner.join("shop")).unwrap();
        // Of another release: names at other places.
        let other = &releases()[0];
        let part = PLUGIN.build_package("./plug/part", other, &["-buildmode=plugin"], "");
        fs::copy(part, folder.join("part.so")).unwrap();
        fs::copy("/bin/true", folder.join("shop")).unwrap();
        let enter = match root_by {
            RootBy::Chroot => "exec chroot . $shop $part",
            RootBy::PivotRoot => "pivot_root . old; exec chroot . $shop $part",
        };
        let script = format!(
            "set -e; root={}; shop={}; part={}; mount --bind $root $root; cd $root; \
             mkdir -p usr old; mount --rbind /usr usr; \
             for one in bin lib lib64; do ln -sfn usr/$one $one; done; {enter}",
            root.display(),
            folder.join("shop").display(),
            folder.join("part.so").display(),
        );
        let mut command = Command::new("unshare");
        command.args(how).args(["sh", "-c", &script]);
        let running = Running::from(&mut command);
        // It is the child of `unshare` where that had to make a process for a new pid namespace.
        let children = format!("/proc/{0}/task/{0}/children", running.pid());
        let children = fs::read_to_string(children).unwrap();
        let child = children.split_whitespace().next();
        Some(Self {
            pid: child.map_or(running.pid(), |child| child.parse().unwrap()),
            running,
            root,
            folder,
        })
    }

    /// Its file of that name, as we get at it.
    fn file(&self, name: &str) -> PathBuf {
        self.root
            .join(self.folder.strip_prefix("/").unwrap())
            .join(name)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn report_of(program: &Program) -> Report {
    let options = Options::default();
    let taken = Taken::read(program, &options, Reading::Copy(Vec::new()), None).unwrap();
    taken.report(program, &options).unwrap()
}

fn code_of(program: &Program, name: &str) -> Mapping {
    let mut mappings = program.mappings().into_iter();
    mappings.find(|of| of.file.ends_with(name)).unwrap()
}

/// The GNU build id as `readelf -n` shows it.
fn build_id(file: &Path) -> String {
    let output = Command::new("readelf")
        .arg("-n")
        .arg(file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let id = text.lines().find_map(|line| line.split_once("Build ID: "));
    id.unwrap_or_default().1.to_owned()
}

/// Without what opening `map_files` takes, as for most who look.
fn unprivileged<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective &= !(CapabilitySet::SYS_ADMIN | CapabilitySet::CHECKPOINT_RESTORE);
            set_capabilities(None, sets).unwrap();
            look()
        });
        thread.join().unwrap()
    })
}

const THEIRS: &str = "example.com/targets/plug/part.Theirs";

/// Looks into it, with and without all privileges.
fn look(contained: &Contained, check: impl Fn(&str, &Program) + Sync) {
    let look = |who: &str| check(who, &Program::attach(contained.pid).unwrap());
    look("privileged");
    unprivileged(|| look("unprivileged"));
}

const NAMESPACES: &[(&str, &[&str], RootBy)] = &[
    ("chroot", &["-m"], RootBy::Chroot),
    ("mount", &["-m"], RootBy::PivotRoot),
    ("user", &["-m", "-U", "-r"], RootBy::PivotRoot),
    (
        "all",
        &["-muipnCUr", "-f", "--kill-child"],
        RootBy::PivotRoot,
    ),
];

#[test]
fn files_of_a_container_are_its_own() {
    for (name, how, root_by) in NAMESPACES {
        let Some(contained) = Contained::start(name, how, *root_by) else {
            return;
        };
        let planted = contained.folder.join("part.so");
        let (shop, part) = (contained.file("shop"), contained.file("part.so"));
        assert_ne!(build_id(&part), build_id(&planted));
        look(&contained, |who, program| {
            let case = format!("{name}, {who}");
            assert_eq!(
                code_of(program, "/shop").build_id,
                build_id(&shop),
                "{case}"
            );
            assert_eq!(
                code_of(program, "/part.so").build_id,
                build_id(&part),
                "{case}"
            );
            let report = report_of(program);
            let names: Vec<&str> = report.holders.iter().map(|of| &*of.name).collect();
            assert_eq!(names[..2], [THEIRS, "main.ours"], "{case}: {names:?}");
        });
    }
}

#[test]
fn what_a_rollout_put_in_place_of_a_file_is_not_taken_for_it() {
    let Some(contained) = Contained::start("rollout", &["-m"], RootBy::PivotRoot) else {
        return;
    };
    let (shop, part) = (contained.file("shop"), contained.file("part.so"));
    let ids = (build_id(&shop), build_id(&part));
    // The host's other ones come to their places.
    for name in ["shop", "part.so"] {
        let (new, old) = (contained.folder.join(name), contained.file(name));
        fs::remove_file(&old).unwrap();
        fs::copy(new, old).unwrap();
    }
    look(&contained, |who, program| {
        assert_eq!(code_of(program, "/shop").build_id, ids.0, "{who}");
        let part = code_of(program, "/part.so").build_id;
        let report = report_of(program);
        let names: Vec<&str> = report.holders.iter().map(|of| &*of.name).collect();
        assert_eq!(names[1], "main.ours", "{who}: {names:?}");
        match who {
            "privileged" => assert_eq!((part, names[0]), (ids.1.clone(), THEIRS)),
            _ => assert_eq!((&*part, names[0]), ("", "plugin 1 bss+0x0")),
        }
    });
}
