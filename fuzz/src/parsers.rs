//! What is fed: every parser of bytes from outside, under a name.

use std::path::Path;
use std::sync::Arc;

use crate::corpus;
use crate::files::Files;
use crate::memories::Memories;
use crate::random::Random;
use crate::texts::Texts;

/// Makes inputs for one parser.
pub(crate) trait Parser {
    /// One input; the same numbers make the same.
    fn make(&self, random: &mut Random) -> Box<dyn Input + '_>;
}

/// One input.
pub(crate) trait Input {
    /// Feeds it. Returns how many bytes there were to read.
    fn run(&self) -> u64;

    /// How it was made, for people.
    fn recipe(&self) -> String;

    /// Its bytes, under the endings that they are to be saved with.
    fn files(&self) -> Vec<(&'static str, Vec<u8>)>;
}

/// All names, with what is fed.
pub(crate) const NAMES: &[(&str, &str)] = &[
    ("memory", "inspect: a whole look into a running Go program"),
    (
        "core",
        "inspect: a core and its executable, and the same look",
    ),
    (
        "executable",
        "inspect: ELF, build information, debug information, function names",
    ),
    (
        "profile",
        "profile: profile.proto, and Go's heap and goroutine texts",
    ),
    (
        "wire",
        "wire: expositions of metrics, expvar, heap profiles in text, traces in logs",
    ),
    (
        "ledger",
        "ledger: figures, ledgers, load and series out of a scrape",
    ),
    ("native", "native: smaps"),
    (
        "reader",
        "reader: /proc, cgroups, frames between the processes",
    ),
];

/// The parser of that name. `crates` is the folder with recorded inputs, `corpus` that of Go programs.
pub(crate) fn parser(name: &str, crates: &Path, corpus: &Path) -> anyhow::Result<Box<dyn Parser>> {
    let texts = |of: &[&str], run| {
        let folders: Vec<_> = of
            .iter()
            .map(|of| crates.join(of).join("tests/data"))
            .collect();
        Texts::new(&folders, run).map(Box::new)
    };
    Ok(match name {
        "memory" => Box::new(Memories::new(&corpus::programs(corpus))?),
        "core" => Box::new(Files::new(
            &corpus::programs(corpus),
            |of| Ok(vec![of.core()?, of.program()?]),
            &[|files, look| {
                inspect::fuzz::core(Arc::clone(&files[0]), Arc::clone(&files[1]), look);
            }],
        )?),
        "executable" => Box::new(Files::new(
            &corpus::programs(corpus),
            |of| Ok(vec![of.program()?]),
            &[
                |files, _| inspect::fuzz::executable(&files[0]),
                |files, _| inspect::fuzz::debug_information(&files[0]),
            ],
        )?),
        "profile" => texts(&["profile"], profile::fuzz::fuzz_one)?,
        "wire" => texts(&["wire", "ledger"], wire::fuzz_one)?,
        "ledger" => texts(&["ledger", "wire"], ledger_of_text)?,
        "native" => texts(&["native"], native::fuzz_one)?,
        "reader" => texts(&["reader"], reader::fuzz_one)?,
        _ => anyhow::bail!("there is no parser `{name}`"),
    })
}

/// What is made of a scrape: its text says which figures there are.
fn ledger_of_text(body: &[u8]) {
    let limits = wire::Limits {
        samples_max: 10_000,
        ..wire::Limits::default()
    };
    if let Ok(scrape) = wire::parse(None, body, &limits) {
        let samples = scrape.samples.into_iter();
        let samples: Vec<_> = samples
            .map(|sample| (sample.labels, sample.value))
            .collect();
        ledger::fuzz_one(&samples);
    }
}
