//! Profiles in pprof's format, as Go's own tool reads them: nothing of ours decodes them here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::{Setting, process};

/// The values of each stack and label set, samples of the same stack added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// `inuse_objects/count`, ...
    pub sample_types: Vec<String>,
    /// By stack, innermost first, inlined calls as calls, then the labels.
    pub samples: BTreeMap<Stack, Vec<i64>>,
}

/// A stack and its labels.
pub type Stack = (Vec<String>, Vec<String>);

impl Profile {
    /// Reads a file by `go tool pprof -raw`.
    ///
    /// # Panics
    /// When the tool can't read it.
    #[must_use]
    pub fn read(setting: &Setting, file: &Path) -> Self {
        let mut tool = Command::new(&setting.go);
        tool.args(["tool", "pprof", "-raw", "-symbolize=none"])
            .arg(file);
        let text = process::run(tool);
        parse(&text).unwrap_or_else(|line| panic!("pprof -raw says `{line}`:\n{text}"))
    }

    /// What differs, at most `most` of it, in words. Stacks that `ignored` knows are left out.
    #[must_use]
    pub fn differences(
        &self,
        other: &Self,
        most: usize,
        ignored: impl Fn(&Stack) -> bool,
    ) -> Vec<String> {
        let mut found = Vec::new();
        if self.sample_types != other.sample_types {
            found.push(format!(
                "{:?} and {:?}",
                self.sample_types, other.sample_types
            ));
        }
        let more = other
            .samples
            .keys()
            .filter(|key| !self.samples.contains_key(*key));
        for key in self.samples.keys().chain(more).filter(|key| !ignored(key)) {
            // Made only by writing the profile itself: nothing of it is in the figures yet.
            let counted = |values: &&Vec<i64>| values.iter().any(|value| *value != 0);
            let left = self.samples.get(key).filter(counted);
            let right = other.samples.get(key).filter(counted);
            if left != right && found.len() < most {
                found.push(format!("{left:?} and {right:?} at {key:#?}"));
            }
        }
        found
    }
}

/// The tool's `-raw` output: a head, `Samples:` with their types, a line a sample (values, a colon, numbers
/// of locations) and a line of its labels, `Locations` with a line a call, `Mappings`.
fn parse(text: &str) -> Result<Profile, String> {
    let mut profile = Profile::default();
    let mut samples: Vec<(Vec<i64>, Vec<u64>, Vec<String>)> = Vec::new();
    let mut locations: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut location = 0;
    let mut part = "";
    for line in text.lines() {
        match line {
            "Samples:" | "Locations" | "Mappings" => part = line,
            _ if part == "Samples:" && profile.sample_types.is_empty() => {
                // The default type is marked.
                let types = line.split_whitespace();
                profile.sample_types = types.map(|word| word.replace("[dflt]", "")).collect();
            }
            _ if part == "Samples:" => match parse_sample(line) {
                Some((values, ids)) => samples.push((values, ids, Vec::new())),
                // Labels stand on one line: `bytes:[512]`, `handler:[/checkout]`.
                None => {
                    let (_, _, labels) = samples.last_mut().ok_or(line)?;
                    labels.push(line.trim().to_owned());
                }
            },
            _ if part == "Locations" => {
                let call = match line.trim_start().split_once(": 0x") {
                    Some((id, rest)) if id.bytes().all(|byte| byte.is_ascii_digit()) => {
                        location = id.parse().map_err(|_| line)?;
                        without_address(rest)
                    }
                    _ => line.trim_start(),
                };
                let calls = locations.entry(location).or_default();
                calls.push(without_start(call).to_owned());
            }
            _ => {}
        }
    }
    for (values, ids, labels) in samples {
        let stack = ids
            .iter()
            .flat_map(|id| locations.get(id).cloned().unwrap_or_default());
        let sum = profile
            .samples
            .entry((stack.collect(), labels))
            .or_insert_with(|| vec![0; values.len()]);
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value;
        }
    }
    match profile.sample_types.is_empty() {
        true => Err("no samples".to_owned()),
        false => Ok(profile),
    }
}

/// `  1   512: 1 2 3`.
fn parse_sample(line: &str) -> Option<(Vec<i64>, Vec<u64>)> {
    let (values, ids) = line.split_once(": ").or_else(|| line.split_once(':'))?;
    let values: Option<Vec<i64>> = values
        .split_whitespace()
        .map(|word| word.parse().ok())
        .collect();
    let ids: Option<Vec<u64>> = ids
        .split_whitespace()
        .map(|word| word.parse().ok())
        .collect();
    values.filter(|values| !values.is_empty()).zip(ids)
}

/// `main.f /src/main.go:12:0 s=10` of `4012f3 M=1 [F] main.f /src/main.go:12:0 s=10`.
fn without_address(text: &str) -> &str {
    let mut rest = text.split_once(' ').map_or("", |(_, rest)| rest);
    while let Some((_, behind)) = rest
        .split_once(' ')
        .filter(|(word, _)| word.starts_with("M=") || *word == "[F]")
    {
        rest = behind;
    }
    rest
}

/// Without the line on which the function begins (` s=10`), which not every writer gives, and without the
/// column.
fn without_start(call: &str) -> &str {
    let call = call.trim_end();
    let call = call.rsplit_once(" s=").map_or(call, |(call, _)| call);
    call.strip_suffix(":0").unwrap_or(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
PeriodType: space bytes
Period: 4096
Time: 2026-01-02 03:04:05 +0000 UTC
Samples:
alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]
         10       5120          2       1024: 1 2 
                handler:[/checkout] tenant:[a b] bytes:[512]
          1        512          1        512: 1 2 
                handler:[/checkout] tenant:[a b] bytes:[512]
          3       4096          0          0: 2 
                bytes:[1024]
Locations
     1: 0x4012f3 M=1 main.inner /src/main.go:12:0 s=10
             main.outer /src/main.go:20:0 s=18
     2: 0x401400 M=1 [F] main.(*T[...]).f /src/a b.go:5:0 s=3
Mappings
1: 0x400000/0x500000/0x0 /bin/x  [FN]
";

    #[test]
    fn raw_output() {
        let profile = parse(TEXT).expect("a profile");
        assert_eq!(
            profile.sample_types.last().map(String::as_str),
            Some("inuse_space/bytes")
        );
        let both = [
            "main.inner /src/main.go:12",
            "main.outer /src/main.go:20",
            "main.(*T[...]).f /src/a b.go:5",
        ];
        let both: Vec<String> = both.map(str::to_owned).to_vec();
        let of_checkout = "handler:[/checkout] tenant:[a b] bytes:[512]".to_owned();
        let expected = BTreeMap::from([
            (
                (both[2..].to_vec(), vec!["bytes:[1024]".to_owned()]),
                vec![3, 4096, 0, 0],
            ),
            ((both, vec![of_checkout]), vec![11, 5632, 3, 1536]),
        ]);
        assert_eq!(profile.samples, expected);
        assert!(parse("main: no such file").is_err());
    }

    #[test]
    fn differences_are_seen() {
        let profile = parse(TEXT).expect("a profile");
        let all = |_: &Stack| false;
        assert!(profile.differences(&profile, 9, all).is_empty());
        for (name, from, to) in [
            ("a value", "1024: 1 2", "1025: 1 2"),
            ("a label", "bytes:[1024]", "bytes:[1025]"),
            ("a line", "main.go:12", "main.go:13"),
            ("a type", "alloc_space", "space"),
        ] {
            let other = parse(&TEXT.replace(from, to)).expect("a profile");
            assert!(!profile.differences(&other, 9, all).is_empty(), "{name}");
        }
        let other = parse(&TEXT.replace("bytes:[1024]", "bytes:[1025]")).expect("a profile");
        assert!(
            profile
                .differences(&other, 9, |(stack, _)| stack.len() == 1)
                .is_empty()
        );
    }
}
