//! The Go programs of `tests/targets`, built with several Go releases in several forms, started and
//! asked what they know about themselves.
//!
//! A build is kept in the target folder under a name that says all it was made of, so it is made once:
//! start at [`cases`], then [`Target::build`] and [`Target::start`].

pub mod goroutines;
pub mod inspect;
pub mod profile;

use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::fmt;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;

use crate::{Setting, process};

/// The pinned releases, oldest first. `cargo xtask` installs them.
const RELEASES: &str = include_str!("../../targets/releases");

/// A program may have to make a big heap before it is ready, or print a big dump.
const PATIENCE: Duration = Duration::from_secs(300);

/// A Go release, and its `go` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `1.27.3`.
    pub version: String,
    go: PathBuf,
}

impl Release {
    /// The minor version: 27 of 1.27.3.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn minor(&self) -> u32 {
        let minor = self.version.split('.').nth(1);
        minor
            .and_then(|text| text.parse().ok())
            .expect("1.MINOR.PATCH")
    }
}

/// How a program is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With symbols and DWARF, at a fixed address.
    Normal,
    /// With symbols and DWARF, at any address.
    Pie,
    /// Without symbols and DWARF, at a fixed address.
    Stripped,
    /// Without symbols and DWARF, at any address.
    StrippedPie,
}

impl Form {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Pie, Self::Stripped, Self::StrippedPie];

    /// As it is written in names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Pie => "pie",
            Self::Stripped => "stripped",
            Self::StrippedPie => "stripped-pie",
        }
    }

    /// Whether names of globals and types' layouts are gone.
    #[must_use]
    pub const fn is_stripped(self) -> bool {
        matches!(self, Self::Stripped | Self::StrippedPie)
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Normal => &[],
            Self::Pie => &["-buildmode=pie"],
            Self::Stripped => &["-ldflags=-s -w"],
            Self::StrippedPie => &["-buildmode=pie", "-ldflags=-s -w"],
        }
    }
}

/// One of the programs of `tests/targets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The one with modes: `planted`, `parked`, `profiled`, `heap`.
    Targets,
    /// The one whose heap profile was dropped by the linker.
    NoProf,
    /// The one with C in it. It needs a C compiler.
    CgoHeap,
    /// The one that loads a plugin, which it takes as its argument. It needs a C compiler.
    Plug,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Targets => "targets",
            Self::NoProf => "noprof",
            Self::CgoHeap => "cgoheap",
            Self::Plug => "plug",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Targets => ".",
            Self::NoProf => "./noprof",
            Self::CgoHeap => "./cgoheap",
            Self::Plug => "./plug",
        }
    }

    const fn with_c(self) -> bool {
        matches!(self, Self::CgoHeap | Self::Plug)
    }
}

/// What this run looks into: the oldest and the newest release and one between them, which the setting's
/// seed picks, in all forms; every release if `UNSWEPT_FULL_MATRIX` is 1, and nothing but `1.22.10/pie` if
/// `UNSWEPT_ONLY` says so.
///
/// # Panics
/// When `UNSWEPT_GO_RELEASES` is not set, or lacks one of them.
#[must_use]
pub fn cases(setting: &Setting) -> Vec<(Release, Form)> {
    cases_of(setting, &Form::ALL)
}

/// As [`cases`], but two forms of each release, which the setting's seed picks: one that is stripped and one that is
/// not, one that is linked at any address and one that is not. For what takes long.
///
/// # Panics
/// As [`cases`].
#[must_use]
pub fn half_of_cases(setting: &Setting) -> Vec<(Release, Form)> {
    match setting.seed % 2 {
        0 => cases_of(setting, &[Form::Normal, Form::StrippedPie]),
        _ => cases_of(setting, &[Form::Pie, Form::Stripped]),
    }
}

/// The cases of a run, of these forms where it asks for no more.
fn cases_of(setting: &Setting, forms: &[Form]) -> Vec<(Release, Form)> {
    let only = std::env::var("UNSWEPT_ONLY").ok();
    let all = std::env::var_os("UNSWEPT_FULL_MATRIX").is_some_and(|value| value == "1");
    let (versions, forms) = match all || only.is_some() {
        true => (RELEASES.lines().collect(), &Form::ALL[..]),
        false => (chosen(setting.seed), forms),
    };
    let cases = versions
        .into_iter()
        .flat_map(|version| forms.iter().map(move |form| (version, *form)));
    let wanted = |(version, form): &(&str, Form)| {
        let name = format!("{version}/{}", form.name());
        only.as_ref().is_none_or(|only| *only == name)
    };
    let cases: Vec<_> = cases
        .filter(wanted)
        .map(|(version, form)| (release(version), form))
        .collect();
    assert!(
        !cases.is_empty(),
        "UNSWEPT_ONLY={only:?} is no RELEASE/FORM that we know"
    );
    cases
}

/// The newest pinned release.
///
/// # Panics
/// As [`cases`].
#[must_use]
pub fn newest() -> Release {
    release(RELEASES.lines().last().expect("a release"))
}

/// The oldest, the newest, and one of those between.
fn chosen(seed: u64) -> Vec<&'static str> {
    let all: Vec<&str> = RELEASES.lines().collect();
    let [oldest, middle @ .., newest] = all.as_slice() else {
        panic!("too few releases are pinned: {all:?}");
    };
    // `cargo xtask` installs by the same rule.
    let place = seed % u64::try_from(middle.len()).expect("few");
    let middle = middle[usize::try_from(place).expect("few")];
    vec![oldest, middle, newest]
}

fn release(version: &str) -> Release {
    let folder = std::env::var_os("UNSWEPT_GO_RELEASES");
    let folder = folder.expect("UNSWEPT_GO_RELEASES: use `cargo xtask test --stage peers`");
    let go = Path::new(&folder).join(format!("go-{version}/go/bin/go"));
    assert!(
        go.is_file(),
        "no {}: `cargo xtask test --stage install` brings it",
        go.display()
    );
    Release {
        version: version.to_owned(),
        go,
    }
}

/// A built program.
#[derive(Debug, Clone)]
pub struct Target {
    /// For messages: `targets 1.21.13/stripped-pie`.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// The plugin, for [`Program::Plug`].
    pub plugin: PathBuf,
    /// What it was built with.
    pub release: Release,
    /// How it was linked.
    pub form: Form,
}

impl Target {
    /// Builds a program, or finds it built. Takes 6 to 9 s on two cores for the first program of a
    /// release at a fixed address and as much for the first at any address, for the standard library is
    /// compiled anew; 0.4 s for stripped ones after that.
    ///
    /// # Panics
    /// When it does not build.
    #[must_use]
    pub fn build(setting: &Setting, release: &Release, form: Form, program: Program) -> Self {
        let home = setting.target().join("targets");
        fs::create_dir_all(&home).expect("a folder for targets");
        let sources = setting.root.join("tests/targets");
        let prefix = prefix(program, &release.version, form);
        let key = format!("{prefix}{:016x}", hash(&sources, program, form));
        let folder = home.join(&key);
        // Tests run side by side, and each wants it.
        let lock = File::create(home.join(format!("{prefix}lock"))).expect("a file to lock");
        lock.lock().expect("the lock");
        if !folder.is_dir() {
            remove_all(&home, &prefix);
            // A build that was cut short must not look like one that is there.
            let unfinished = home.join(format!("{prefix}unfinished"));
            compile(&home, &sources, &unfinished, (release, form, program));
            fs::rename(&unfinished, &folder).expect("to rename a folder of ours");
        }
        Self {
            name: format!("{} {}/{}", program.name(), release.version, form.name()),
            program: folder.join(program.name()),
            plugin: folder.join("part.so"),
            release: release.clone(),
            form,
        }
    }

    /// Starts it and waits until its state is built.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> RunningTarget {
        self.start_with(arguments, &[])
    }

    /// Starts it in a cgroup, all its memory charged there.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_in(&self, cgroup: &Path, arguments: &[&str]) -> RunningTarget {
        let mut command = process::command("sh");
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", script]).arg(cgroup).arg(&self.program);
        command.args(arguments);
        RunningTarget::start(&self.name, command)
    }

    /// Starts it with more variables in its environment.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> RunningTarget {
        let mut command = process::command(&self.program);
        for name in ["GOGC", "GOMEMLIMIT", "GODEBUG", "GOMAXPROCS", "GOTRACEBACK"] {
            command.env_remove(name);
        }
        command.args(arguments).envs(variables.iter().copied());
        RunningTarget::start(&self.name, command)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn compile(home: &Path, sources: &Path, into: &Path, what: (&Release, Form, Program)) {
    let (release, form, program) = what;
    let build = |flags: &[&str], name: &str, package: &str| {
        let mut go = Command::new(&release.go);
        // Nothing of the machine's own settings gets in, and nothing is fetched. The cache holds what it is asked
        // for by all that went into it: Go's own library is built there already.
        for (name, _) in std::env::vars_os() {
            let is_setting = |name: &str| name.starts_with("GO") && name != "GOCACHE";
            if name.to_str().is_some_and(is_setting) {
                go.env_remove(name);
            }
        }
        go.current_dir(sources)
            .env("GOTOOLCHAIN", "local")
            .env("GOENV", "off")
            .env("GOPROXY", "off")
            .env("GOWORK", "off")
            .env("GOFLAGS", "-buildvcs=false")
            .env("GOPATH", home.join("path"))
            .env("CGO_ENABLED", if program.with_c() { "1" } else { "0" })
            .args(["build", "-o"])
            .arg(into.join(name))
            .args(flags)
            .args(form.flags())
            .arg(package);
        let _ = process::run(go);
    };
    build(&[], program.name(), program.package());
    if program == Program::Plug {
        build(&["-buildmode=plugin"], "part.so", "./plug/part");
    }
}

/// What the names of all builds of a program in a form have in common, and no others.
fn prefix(program: Program, version: &str, form: Form) -> String {
    format!("{}-{version}-{}.", program.name(), form.name())
}

/// Of all that a build is made of and its name does not say.
fn hash(sources: &Path, program: Program, form: Form) -> u64 {
    let mut files = Vec::new();
    find_sources(sources, &mut files);
    files.sort();
    let mut hasher = DefaultHasher::new();
    (program.package(), form.flags()).hash(&mut hasher);
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file).expect("a source").hash(&mut hasher);
    }
    hasher.finish()
}

fn find_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .expect("the targets' sources")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            find_sources(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| end == "go" || end == "mod")
        {
            found.push(path);
        }
    }
}

/// Builds of other sources.
fn remove_all(home: &Path, prefix: &str) {
    for entry in fs::read_dir(home).expect("the targets' folder").flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(prefix));
        if ours && entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).expect("to remove an old build");
        }
    }
}

/// A target whose state is built, and that waits for commands. It is killed when this is dropped, and by
/// the kernel when the thread that started it ends.
#[derive(Debug)]
pub struct RunningTarget {
    child: Child,
    name: String,
    input: ChildStdin,
    answers: Receiver<Answer>,
    /// Its first line.
    pub ready: Value,
}

#[derive(Debug)]
enum Answer {
    Line(Value),
    Dump(Vec<u8>),
}

impl RunningTarget {
    fn start(name: &str, mut command: Command) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let input = child.stdin.take().expect("its standard input");
        let mut output = BufReader::new(child.stdout.take().expect("its standard output"));
        let (sender, answers) = mpsc::channel();
        // Reading in a thread of its own lets every question have a deadline: a target that somebody has
        // stopped is a failure, and no test that hangs.
        std::thread::spawn(move || {
            while let Some(answer) = read_answer(&mut output) {
                if sender.send(answer).is_err() {
                    break;
                }
            }
        });
        let mut target = Self {
            child,
            name: name.to_owned(),
            input,
            answers,
            ready: Value::Null,
        };
        target.ready = target.line("to be ready");
        assert_eq!(target.ready["ready"], true, "{name}: {}", target.ready);
        target
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its answer to a command.
    ///
    /// # Panics
    /// When it does not answer within 300 s, or says that it can't.
    pub fn ask(&mut self, command: &str) -> Value {
        self.send(command);
        let answer = self.line(command);
        assert!(
            answer["error"].is_null(),
            "{}: {command}: {answer}",
            self.name
        );
        answer
    }

    /// The bytes that it answers a command with.
    ///
    /// # Panics
    /// As [`RunningTarget::ask`].
    pub fn dump(&mut self, command: &str) -> Vec<u8> {
        self.send(command);
        match self.answer(command) {
            Answer::Dump(bytes) => bytes,
            Answer::Line(line) => panic!("{}: {command}: {line}", self.name),
        }
    }

    /// `runtime.ReadMemStats`, by the names of its fields in `snake_case`.
    ///
    /// # Panics
    /// As [`RunningTarget::ask`].
    pub fn mem_stats(&mut self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.ask("memstats")).expect("numbers")
    }

    fn send(&mut self, command: &str) {
        let sent = writeln!(self.input, "{command}").and_then(|()| self.input.flush());
        assert!(
            sent.is_ok(),
            "{} has ended: {:?}",
            self.name,
            self.child.try_wait()
        );
    }

    fn line(&mut self, of: &str) -> Value {
        match self.answer(of) {
            Answer::Line(line) => line,
            Answer::Dump(bytes) => panic!("{}: {of}: {} bytes", self.name, bytes.len()),
        }
    }

    fn answer(&mut self, of: &str) -> Answer {
        self.answers.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let state = process::status_line(self.pid(), "State");
            panic!(
                "{}: no answer to `{of}` ({error}); it is {state:?}",
                self.name
            )
        })
    }
}

/// A line of JSON, or `{"bytes":N}` and then N bytes; nothing at the end.
fn read_answer(output: &mut impl std::io::BufRead) -> Option<Answer> {
    let mut line = String::new();
    if output.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let value: Value = serde_json::from_str(&line).ok()?;
    let Some(count) = value.get("bytes").and_then(Value::as_u64) else {
        return Some(Answer::Line(value));
    };
    let mut bytes = Vec::new();
    let read = output.take(count).read_to_end(&mut bytes).ok()?;
    (u64::try_from(read) == Ok(count)).then_some(Answer::Dump(bytes))
}

impl Drop for RunningTarget {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_takes_both_ends() {
        let rows = [
            ("the first", 0, "1.22.10"),
            ("the last", 2, "1.26.6"),
            ("around the end", 3, "1.22.10"),
            ("a big one", u64::from(u32::MAX), "1.22.10"),
        ];
        for (name, seed, middle) in rows {
            assert_eq!(chosen(seed), ["1.21.13", middle, "1.27.3"], "{name}");
        }
    }

    #[test]
    fn no_build_is_taken_for_another() {
        let all = Form::ALL.map(|form| prefix(Program::Targets, "1.27.3", form));
        for one in &all {
            let like = all.iter().filter(|other| other.starts_with(one)).count();
            assert_eq!(like, 1, "{one}");
        }
    }

    #[test]
    fn answers() {
        let mut text: &[u8] = b"{\"gc\":2}\n{\"bytes\":3}\na\nb{\"x\":1}\n{\"bytes\":9}\nshort";
        let mut next = || read_answer(&mut text);
        assert!(matches!(next(), Some(Answer::Line(line)) if line["gc"] == 2));
        assert!(matches!(next(), Some(Answer::Dump(bytes)) if bytes == b"a\nb"));
        assert!(matches!(next(), Some(Answer::Line(line)) if line["x"] == 1));
        assert!(next().is_none(), "cut short");
        assert!(next().is_none(), "at the end");
    }
}
