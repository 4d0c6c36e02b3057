//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::parsers::NAMES;

/// How long a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// So long for each parser.
    Time(Duration),
    /// So many rounds for each parser, those of earlier runs of this commit included.
    Rounds(u64),
    /// This one round.
    Only(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) names: Vec<&'static str>,
    pub(crate) until: Until,
    pub(crate) seed: Option<u64>,
    /// The first round; for workers.
    pub(crate) from: u64,
    /// Parsers fed at a time.
    pub(crate) beside: usize,
    pub(crate) is_worker: bool,
    /// The input is made and saved, and not fed.
    pub(crate) save_only: bool,
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Where inputs, failures and results are kept.
    pub(crate) folder: PathBuf,
    /// The folder of Go releases.
    pub(crate) releases: PathBuf,
    /// What is fed; without it no run goes on where another ended.
    pub(crate) commit: Option<String>,
}

pub(crate) fn help() -> String {
    let mut text = "\
usage: fuzz [NAME]... [--for 60s | --rounds N | --round R] [--seed S] [--beside N]
            --root FOLDER --folder FOLDER --releases FOLDER [--commit ID]

parsers:
"
    .to_owned();
    for (name, what) in NAMES {
        text += &format!("  {name:<12}{what}\n");
    }
    text
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            names: Vec::new(),
            until: Until::Time(Duration::from_secs(60)),
            seed: None,
            from: 0,
            beside: 1,
            is_worker: false,
            save_only: false,
            root: PathBuf::from("."),
            folder: PathBuf::from("target/fuzz"),
            releases: PathBuf::from("target/tools"),
            commit: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--worker" => options.is_worker = true,
                "--save-only" => options.save_only = true,
                "--for" => options.until = Until::Time(seconds(value()?)?),
                "--rounds" => options.until = Until::Rounds(value()?.parse()?),
                "--round" => options.until = Until::Only(value()?.parse()?),
                "--seed" => options.seed = Some(value()?.parse()?),
                "--from" => options.from = value()?.parse()?,
                "--beside" => options.beside = value()?.parse::<usize>()?.clamp(1, 64),
                "--root" => options.root = value()?.into(),
                "--folder" => options.folder = value()?.into(),
                "--releases" => options.releases = value()?.into(),
                "--commit" => options.commit = Some(value()?.clone()),
                name => {
                    let known = NAMES.iter().find(|(known, _)| *known == name);
                    let known = known.with_context(|| format!("there is no parser `{name}`"))?;
                    options.names.push(known.0);
                }
            }
        }
        if matches!(options.until, Until::Only(_)) && options.seed.is_none() {
            bail!("--round needs the --seed that it is of");
        }
        if options.names.is_empty() {
            options.names = NAMES.iter().map(|(name, _)| *name).collect();
        }
        Ok(options)
    }
}

/// `90s`, `5m`.
fn seconds(text: &str) -> anyhow::Result<Duration> {
    let unit = [("s", 1), ("m", 60), ("h", 3600)];
    let unit = unit.iter().find(|(unit, _)| text.ends_with(unit));
    let (unit, factor) = unit.with_context(|| format!("expected a time as 60s, found `{text}`"))?;
    let number: u64 = text.trim_end_matches(unit).parse()?;
    Ok(Duration::from_secs(number.saturating_mul(*factor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        let options = parse("memory wire --for 2m --seed 7").unwrap();
        assert_eq!(options.names, ["memory", "wire"]);
        assert_eq!(options.until, Until::Time(Duration::from_secs(120)));
        assert_eq!(options.seed, Some(7));
        assert_eq!(parse("").unwrap().names.len(), NAMES.len());
        let rows = [
            ("no such parser", "memories"),
            ("no unit", "--for 60"),
            ("no value", "--rounds"),
            ("no number", "--rounds many"),
            ("a round of an unknown run", "memory --round 7"),
        ];
        for (name, text) in rows {
            assert!(parse(text).is_err(), "{name}: {text}");
        }
    }
}
