//! Rules about Rust sources and the pages that describe formats.

use super::arrows::PURE;
use super::files::File;

/// A longer file needs a line that says why.
const LINES_MAX: usize = 1500;
const REASON: &str = "// long file: ";

/// Crates that may hold `unsafe` blocks, each with a `SAFETY` comment (clippy checks that one).
const UNSAFE_ALLOWED: &[&str] = &[];

const FORBID: &str = "#![forbid(unsafe_code)]";

/// Complaints about sources and format pages.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX && !file.text.contains(REASON) {
            complaints.push(format!(
                "sources: {} has {lines} lines; split it by ideas, or say at its top `{REASON}...`",
                file.path
            ));
        }
    }
    files.iter().filter_map(root_of).for_each(|(name, file)| {
        complaints.extend(crate_root(name, file));
    });
    complaints.extend(format_pages(files));
    complaints
}

/// The crate whose root `file` is: `crates/NAME/src/lib.rs`, `xtask/src/main.rs`, ...
fn root_of(file: &File) -> Option<(&str, &File)> {
    let folder = file
        .path
        .strip_suffix("/src/lib.rs")
        .or_else(|| file.path.strip_suffix("/src/main.rs"))?;
    Some((folder.rsplit('/').next()?, file))
}

fn crate_root(name: &str, file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    if !file.text.starts_with("//!") {
        complaints.push(format!(
            "sources: {} begins without `//!`; say what the crate is for, where to start and what it \
             does not do",
            file.path
        ));
    }
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    let empty = file.text.lines().map(str::trim).filter(is_code).count() == 0;
    if !empty && !UNSAFE_ALLOWED.contains(&name) && !file.text.contains(FORBID) {
        let or = if PURE.contains(&name) {
            "the crate is pure"
        } else {
            "or list the crate in UNSAFE_ALLOWED in xtask/src/tidy/sources.rs, with a reason in the \
             commit"
        };
        complaints.push(format!(
            "sources: {} lacks {FORBID}; add it: {or}",
            file.path
        ));
    }
    complaints
}

fn format_pages(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.path.starts_with("docs/format/"))
        .filter(|page| {
            !files
                .iter()
                .any(|file| file.path.ends_with(".rs") && file.text.contains(&page.path))
        })
        .map(|page| {
            format!(
                "sources: no code names {}; name it where the format is written",
                page.path
            )
        })
        .collect()
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
    fn sources() {
        let good = "//! Ids.\n#![forbid(unsafe_code)]\npub struct Id;\n";
        let long = "\n".repeat(LINES_MAX + 1);
        let rows: &[(&str, Vec<File>, &[&str])] = &[
            ("good", vec![file("crates/model/src/lib.rs", good)], &[]),
            (
                "no words",
                vec![file("crates/model/src/lib.rs", &good[9..])],
                &["begins without"],
            ),
            (
                "unsafe not forbidden",
                vec![file(
                    "crates/model/src/lib.rs",
                    "//! Ids.\npub struct Id;\n",
                )],
                &["the crate is pure"],
            ),
            (
                "no code yet",
                vec![file("crates/model/src/lib.rs", "//! Ids.\n")],
                &[],
            ),
            (
                "long",
                vec![file("crates/model/src/id.rs", &long)],
                &["1501 lines"],
            ),
            (
                "long with a reason",
                vec![file(
                    "crates/model/src/id.rs",
                    &format!("// long file: a table\n{long}"),
                )],
                &[],
            ),
            (
                "a page nobody names",
                vec![file("docs/format/chunk.md", "")],
                &["no code names"],
            ),
            (
                "a page that is named",
                vec![
                    file("docs/format/chunk.md", ""),
                    file(
                        "crates/store/src/chunk.rs",
                        "//! See docs/format/chunk.md.\n",
                    ),
                ],
                &[],
            ),
        ];
        for (name, files, expected) in rows {
            let found = check(files);
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.contains(expected), "{name}: {found}");
            }
        }
    }
}
