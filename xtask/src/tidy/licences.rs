//! Licences of what we ship, and crates that we don't want at all.

use super::packages::Foreign;

/// Licences that let us give the binary away under MIT or Apache-2.0.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Second cryptography libraries; `ring` under `rustls` is the one we have.
const REFUSED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "native-tls",
    "openssl",
    "openssl-sys",
];

/// Crates of which two versions in one binary are a mistake: their global state or traits don't meet.
const ONCE: &[&str] = &["ring", "rustls", "tokio"];

/// Complaints about the packages of a normal build.
pub(super) fn check(foreign: &[Foreign]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in foreign {
        let Foreign {
            name,
            version,
            wanted_by,
            ..
        } = package;
        if REFUSED.contains(&name.as_str()) {
            complaints.push(format!(
                "licences: {name} {version} (wanted by {wanted_by}) is refused: TLS here is rustls \
                 with ring; switch that feature of {wanted_by} off"
            ));
        }
        let verdict = match &package.license {
            None => Err("no licence expression".to_string()),
            Some(text) => match evaluate(text) {
                Ok(true) => Ok(()),
                Ok(false) => Err(format!("`{text}`")),
                Err(reason) => Err(format!("`{text}`, which is not understood ({reason})")),
            },
        };
        if let Err(what) = verdict {
            complaints.push(format!(
                "licences: {name} {version} (wanted by {wanted_by}) has {what}; take another crate, \
                 or add the licence to ALLOWED in xtask/src/tidy/licences.rs with a reason in the \
                 commit"
            ));
        }
    }
    for name in ONCE {
        let mut versions: Vec<&str> = foreign
            .iter()
            .filter(|p| p.name == *name)
            .map(|p| p.version.as_str())
            .collect();
        versions.dedup();
        if versions.len() > 1 {
            complaints.push(format!(
                "licences: {name} comes in {} versions ({}); `cargo tree -i {name}` shows who wants \
                 which",
                versions.len(),
                versions.join(", ")
            ));
        }
    }
    complaints
}

/// Whether an SPDX expression can be met with allowed licences alone. A slash is the old way of
/// writing OR. Grammar: SPDX specification 2.3, annex D.
fn evaluate(text: &str) -> Result<bool, String> {
    let spaced = text
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let mut parser = Parser { words: &words };
    let value = parser.any()?;
    match parser.words.first() {
        None => Ok(value),
        Some(word) => Err(format!("expected an end, found `{word}`")),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.takes("OR") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.one()?;
        while self.takes("AND") {
            value &= self.one()?;
        }
        Ok(value)
    }

    fn one(&mut self) -> Result<bool, String> {
        match self.next() {
            // Depth is bounded by the words of one line of a manifest that cargo has accepted.
            Some("(") => {
                let value = self.any()?;
                if self.takes(")") {
                    Ok(value)
                } else {
                    Err("expected `)`".to_string())
                }
            }
            Some(word @ (")" | "AND" | "OR" | "WITH")) => {
                Err(format!("expected a licence, found `{word}`"))
            }
            Some(name) if self.takes("WITH") => {
                let exception = self.next().ok_or("expected an exception after `WITH`")?;
                Ok(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()))
            }
            Some(name) => Ok(ALLOWED.contains(&name)),
            None => Err("expected a licence, found the end".to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let rows: &[(&str, &str, Option<bool>)] = &[
            ("one", "MIT", Some(true)),
            ("a choice", "MIT OR GPL-3.0-only", Some(true)),
            ("the old way", "MIT/Apache-2.0", Some(true)),
            ("both", "MIT AND GPL-3.0-only", Some(false)),
            (
                "AND binds tighter",
                "GPL-3.0-only AND MIT OR ISC",
                Some(true),
            ),
            (
                "parentheses",
                "(MIT OR Apache-2.0) AND Unicode-3.0",
                Some(true),
            ),
            (
                "parentheses that matter",
                "GPL-3.0-only AND (MIT OR ISC)",
                Some(false),
            ),
            ("an exception", "Apache-2.0 WITH LLVM-exception", Some(true)),
            (
                "an exception we don't know",
                "MIT WITH Foo-exception",
                Some(false),
            ),
            ("copyleft", "LGPL-3.0", Some(false)),
            ("open end", "MIT OR", None),
            ("open parenthesis", "(MIT", None),
            ("two in a row", "MIT ISC", None),
            ("nothing", "", None),
        ];
        for (name, text, expected) in rows {
            assert_eq!(evaluate(text).ok(), *expected, "{name}: {text}");
        }
    }

    fn package(name: &str, version: &str, license: Option<&str>) -> Foreign {
        Foreign {
            name: name.to_string(),
            version: version.to_string(),
            license: license.map(str::to_string),
            wanted_by: "collect".to_string(),
        }
    }

    #[test]
    fn packages() {
        let mit = Some("MIT");
        let rows: &[(&str, &[Foreign], &str)] = &[
            (
                "copyleft",
                &[package("openmetrics", "0.5.1", Some("LGPL-3.0"))],
                "LGPL-3.0",
            ),
            (
                "no licence",
                &[package("mystery", "1.0.0", None)],
                "no licence expression",
            ),
            (
                "refused",
                &[package("aws-lc-rs", "1.0.0", Some("ISC"))],
                "refused",
            ),
            (
                "twice",
                &[
                    package("rustls", "0.22.0", mit),
                    package("rustls", "0.23.0", mit),
                ],
                "2 versions",
            ),
        ];
        for (name, packages, expected) in rows {
            let found = check(packages);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{name}: {found:?}"
            );
        }
        assert!(check(&[package("serde", "1.0.0", Some("MIT OR Apache-2.0"))]).is_empty());
    }
}
