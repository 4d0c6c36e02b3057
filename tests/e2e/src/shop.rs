//! The sample shop, built as it is or under other names, and the lines in it that are to blame.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::cgroup::MemoryCgroup;
use crate::process::{self, Running};
use crate::{Setting, wait_until};

/// The line that is to blame for a leak, as the sources mark it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// The function as Go's profiles name it: `main.(*SessionCache).Put`.
    pub function: String,
    /// The file's name, without folders.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
}

/// A built shop.
#[derive(Debug)]
pub struct Shop {
    /// For messages: `shop` or `copy`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    sources: PathBuf,
    _folder: TempDir,
}

impl Shop {
    /// Builds the shop as it is.
    ///
    /// # Panics
    /// When it does not build.
    #[must_use]
    pub fn build(setting: &Setting) -> Self {
        Self::build_with(setting, "shop", &[])
    }

    /// Builds the shop as it is, with more arguments to `go build`, as a program called `name`.
    ///
    /// # Panics
    /// When it does not build.
    #[must_use]
    pub fn build_with(setting: &Setting, name: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sources = setting.shop.clone();
        Self::compile(setting, name, sources, folder, arguments)
    }

    /// Builds a copy in which functions, types, fields, files, metrics and paths have other names,
    /// picked by the setting's seed.
    ///
    /// # Panics
    /// When it does not build.
    #[must_use]
    pub fn build_renamed(setting: &Setting) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sources = folder.path().join("sources");
        let mut rename = Command::new(&setting.go);
        rename
            .current_dir(setting.root.join("tests/rename"))
            .args(["run", ".", "-seed", &setting.seed.to_string(), "-in"])
            .arg(&setting.shop)
            .arg("-out")
            .arg(&sources);
        let names = process::run(rename);
        assert!(names.starts_with('{'), "rename prints the names it gave");
        Self::compile(setting, "copy", sources, folder, &[])
    }

    fn compile(
        setting: &Setting,
        name: &str,
        sources: PathBuf,
        folder: TempDir,
        arguments: &[&str],
    ) -> Self {
        let program = folder.path().join(name);
        let mut build = Command::new(&setting.go);
        build
            .current_dir(&sources)
            .env("CGO_ENABLED", "1")
            .args(["build", "-o"])
            .arg(&program)
            .args(arguments)
            .arg(".");
        let _ = process::run(build);
        // Programs are also run as nobody.
        open_to_all(folder.path());
        Self {
            name: name.into(),
            program,
            sources,
            _folder: folder,
        }
    }

    /// Starts the shop on a port of its own with `arguments`, and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve within 10 s.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> OpenShop {
        self.start_by(process::command(&self.program), arguments)
    }

    /// Starts it with more variables in its environment.
    ///
    /// # Panics
    /// When it does not serve within 10 s.
    #[must_use]
    pub fn start_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> OpenShop {
        let mut command = process::command(&self.program);
        command.envs(variables.iter().copied());
        self.start_by(command, arguments)
    }

    /// Starts it as a service of its own, under another program's name, and inside of a cgroup from its first page of
    /// memory on if there is one.
    ///
    /// # Panics
    /// When it does not serve within 10 s.
    #[must_use]
    pub fn start_as(
        &self,
        name: &str,
        group: Option<&MemoryCgroup>,
        arguments: &[&str],
    ) -> OpenShop {
        let program = self.program.with_file_name(name);
        fs::hard_link(&self.program, &program).expect("another name in our folder");
        let command = match group {
            Some(group) => group.command(&program),
            None => process::command(program),
        };
        self.start_by(command, arguments)
    }

    fn start_by(&self, mut command: Command, arguments: &[&str]) -> OpenShop {
        command.args(["-listen", "127.0.0.1:0"]).args(arguments);
        let mut running = Running::start(&self.name, command);
        let ready = format!("{} to be ready", self.name);
        let url = wait_until(&ready, Duration::from_secs(10), || {
            running.assert_alive();
            let text = running.stdout();
            let line = text.lines().find_map(|line| line.strip_prefix("READY "));
            line.map(str::to_owned).ok_or(text.clone())
        });
        OpenShop { running, url }
    }

    /// The line that ends in `// culprit: NAME`.
    ///
    /// # Panics
    /// When there is not exactly one.
    #[must_use]
    pub fn culprit(&self, name: &str) -> Culprit {
        let mut found = Vec::new();
        find_culprits(&self.sources, name, &mut found);
        assert_eq!(
            found.len(),
            1,
            "{} marks one culprit {name}: {found:?}",
            self.name
        );
        found.remove(0)
    }
}

/// A shop that serves.
#[derive(Debug)]
pub struct OpenShop {
    /// Its process.
    pub running: Running,
    /// Where it serves: `http://127.0.0.1:PORT`.
    pub url: String,
}

fn find_culprits(folder: &Path, name: &str, found: &mut Vec<Culprit>) {
    for entry in fs::read_dir(folder).expect("the shop's sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_culprits(&path, name, found);
            continue;
        }
        let file = entry.file_name().to_string_lossy().into_owned();
        if !file.ends_with(".go") || file.ends_with("_test.go") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a Go file");
        let lines: Vec<&str> = text.lines().collect();
        let mark = format!("// culprit: {name}");
        for (index, _) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.ends_with(&mark))
        {
            let function = lines[..=index]
                .iter()
                .rev()
                .find_map(|line| function_of(line));
            found.push(Culprit {
                function: function.expect("a function around the mark"),
                file: file.clone(),
                line: u64::try_from(index + 1).expect("few lines"),
            });
        }
    }
}

/// `func (c *Cache) Put(id string)` is `main.(*Cache).Put` in profiles.
fn function_of(line: &str) -> Option<String> {
    let rest = line.strip_prefix("func ")?;
    let Some(receiver) = rest.strip_prefix('(') else {
        return Some(format!("main.{}", rest.split('(').next()?));
    };
    let (receiver, rest) = receiver.split_once(") ")?;
    let of = receiver.rsplit(' ').next()?;
    let method = rest.split('(').next()?;
    Some(match of.starts_with('*') {
        true => format!("main.({of}).{method}"),
        false => format!("main.{of}.{method}"),
    })
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, all).expect("a folder of ours");
}
