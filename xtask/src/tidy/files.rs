//! The files of the repository, and rules about what may lie in any of them.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::process::output_of;

/// A text file; binary files have an empty text.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// From the root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Bigger files are data; nobody wrote them by hand.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// All files that git knows or would add.
///
/// # Errors
/// When git can't list them: `tidy` works in a clone only.
pub(crate) fn load(root: &Path) -> anyhow::Result<Vec<File>> {
    let mut command = Command::new("git");
    // The owner of a mounted clone may be another user than we are.
    command.args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
    ]);
    command.arg("--exclude-standard").current_dir(root);
    let list = output_of(&mut command).context("`git ls-files` failed; tidy needs a git clone")?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // Deleted but still in the index: no file.
        let Ok(bytes) = std::fs::read(root.join(path)) else {
            continue;
        };
        let binary = bytes.len() > TEXT_BYTES_MAX || bytes.contains(&0);
        let text = if binary {
            String::new()
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        };
        files.push(File {
            path: path.to_string(),
            text,
        });
    }
    Ok(files)
}

/// Complaints about places that exist on one machine only, and about vendored code.
pub(super) fn check(files: &[File], root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    let patterns = patterns(root);
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some((found, advice)) = patterns.iter().find(|(p, _)| line.contains(p)) {
                complaints.push(format!(
                    "files: {}:{}: `{found}`: {advice}",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    complaints.extend(lock_sources(files));
    complaints.extend(vendored(files));
    complaints
}

const ADVICE_PATH: &str = "a path of one machine; use one relative to the repository";
const ADVICE_HOST: &str = "the host of a registry; clients know theirs, and mirrors are each user's own \
                           setting";

/// What no file may hold. Built from parts, so that this file does not hold it.
fn patterns(root: &Path) -> Vec<(String, &'static str)> {
    let mut patterns: Vec<(String, &'static str)> = Vec::new();
    for parts in [
        ["/work", "/wt/"],
        ["/work", "/main"],
        ["/work", "/shared"],
        ["/Us", "ers/"],
        ["/root", "/."],
        [".cargo/", "registry/src"],
    ] {
        patterns.push((parts.concat(), ADVICE_PATH));
    }
    for parts in [
        ["py", "pi.org"],
        ["files.python", "hosted.org"],
        ["static.", "crates.io"],
        ["index.", "crates.io"],
        ["proxy.", "golang.org"],
        ["registry.", "npmjs.org"],
        ["deb.", "debian.org"],
        ["--index", "-url"],
        ["replace", "-with ="],
    ] {
        patterns.push((parts.concat(), ADVICE_HOST));
    }
    // This clone and this home, unless so short that they may be meant otherwise.
    let home = std::env::var_os("HOME").unwrap_or_default();
    for folder in [root, Path::new(&home)] {
        if folder.components().count() > 3 {
            patterns.push((folder.display().to_string(), ADVICE_PATH));
        }
    }
    patterns
}

/// A Cargo.lock made behind a mirror can't be used without it.
fn lock_sources(files: &[File]) -> Vec<String> {
    let usual = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    files
        .iter()
        .filter(|file| file.name() == "Cargo.lock")
        .flat_map(|file| file.text.lines().map(move |line| (file, line)))
        .filter(|(_, line)| line.starts_with("source = ") && *line != usual)
        .map(|(file, line)| {
            format!(
                "files: {}: {line}: only crates.io; make the file again without it",
                file.path
            )
        })
        .collect()
}

/// Code of others inside the repository carries its licence and its version.
fn vendored(files: &[File]) -> Vec<String> {
    let mut folders: Vec<&str> = Vec::new();
    for file in files {
        let Some(start) = vendor_start(&file.path) else {
            continue;
        };
        // `go mod vendor` keeps licences and versions in its own way.
        let go = format!("{}modules.txt", &file.path[..start]);
        if files.iter().any(|file| file.path == go) {
            continue;
        }
        if let Some(end) = file.path[start..].find('/') {
            folders.push(&file.path[..start + end]);
        }
    }
    folders.sort_unstable();
    folders.dedup();
    let mut complaints = Vec::new();
    for folder in folders {
        for wanted in ["LICENSE", "VERSION"] {
            let beginning = format!("{folder}/{wanted}");
            if !files.iter().any(|file| file.path.starts_with(&beginning)) {
                complaints.push(format!(
                    "files: {folder} has no {wanted}; add the one of its source"
                ));
            }
        }
    }
    complaints
}

/// Where the name of the vendored thing begins in `vendor/THING/...` at any depth.
fn vendor_start(path: &str) -> Option<usize> {
    if path.starts_with("vendor/") {
        return Some("vendor/".len());
    }
    path.find("/vendor/").map(|place| place + "/vendor/".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_string(),
            text: text.to_string(),
        }
    }

    #[test]
    fn machine_paths_and_registries() {
        let root = Path::new("/srv/clones/someone/project");
        let rows: &[(&str, String, usize)] = &[
            ("a relative path", "crates/model/src/lib.rs".to_string(), 0),
            (
                "a path of the target",
                "/home/app/main.go and /proc/self".to_string(),
                0,
            ),
            (
                "this clone",
                "see /srv/clones/someone/project/x".to_string(),
                1,
            ),
            ("a mac's home", ["/Us", "ers/ann/go"].concat(), 1),
            ("a registry", ["https://py", "pi.org/simple"].concat(), 1),
            ("two lines", ["/Us", "ers/a\n/Us", "ers/b"].concat(), 2),
        ];
        for (name, text, expected) in rows {
            let found = check(&[file("docs/a.md", text)], root);
            assert_eq!(found.len(), *expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_lock_file_from_a_mirror() {
        let usual = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(lock_sources(&[file("Cargo.lock", usual)]).is_empty());
        let mirror = usual.replace("github.com", "mirror.example");
        assert_eq!(lock_sources(&[file("fuzz/Cargo.lock", &mirror)]).len(), 1);
    }

    #[test]
    fn vendored_folders() {
        let licence = file("crates/web/vendor/plot/LICENSE", "");
        let version = file("crates/web/vendor/plot/VERSION", "");
        let code = file("crates/web/vendor/plot/plot.js", "");
        let rows: &[(&str, Vec<File>, usize)] = &[
            ("complete", vec![licence.clone(), version, code.clone()], 0),
            ("no version", vec![licence, code.clone()], 1),
            ("neither", vec![code], 2),
            (
                "Go's own",
                vec![
                    file("a/vendor/modules.txt", ""),
                    file("a/vendor/example.com/x.go", ""),
                ],
                0,
            ),
        ];
        for (name, files, expected) in rows {
            assert_eq!(vendored(files).len(), *expected, "{name}");
        }
    }
}
