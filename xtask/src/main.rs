//! Every chore is one command: `cargo xtask demo`, `cargo xtask test`, `cargo xtask tidy`.
//!
//! Start at [`commands`](run): each command is one module. [`toolchain`] brings what a fresh machine
//! lacks, [`process`] runs and watches other programs, [`tidy`] holds the rules a machine can check.
//! Nothing here is part of the product: `unswept` never runs this code.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod counts;
mod demo;
mod fuzz;
mod http;
mod layouts;
mod process;
mod stages;
mod tidy;
mod toolchain;
mod workspace;

use std::fmt;
use std::process::ExitCode;

const HELP: &str = "\
Every chore of this project is one command.

usage: cargo xtask COMMAND [OPTION]...

commands
  demo    build unswept and the sample shop, let the shop leak, watch it live
            --for 240s          end by itself; exit code 0 if an incident was opened
            --listen ADDR:PORT  where the watcher serves its page (default 127.0.0.1:7787)
  test    all checks and tests, in stages with a time budget each
            --stage NAME        only this stage and what it needs; may be given several times
            --list              name the stages and their budgets
  soak    what takes too long for every run; goes on where it was interrupted
            inspect             looking into Go programs: every release in every form
            kills               every way to look into a process, killed 1,000 times
            fuzz                a million rounds of `fuzz` for every parser
  fuzz    damaged bytes for every parser of bytes from outside
            NAME...             only these: memory, core, executable, profile, wire, native, reader
            --for 60s           so long for each; or --rounds N, those of earlier runs included
            --seed S            the same inputs again; with --round R this one input
            --beside N          parsers fed at a time
  bench   measure on this machine what the product promises, and write docs/bench/
            inspect             looking into a process of 1 and of 6 GB, and the graph alone: ten minutes
                                to half an hour, and 12 GB of free memory; goes on where it was interrupted
            --quick             small sizes, half a minute, nothing written
            judge               how right and how early the judge is on histories whose truth is known
            shop                every leak and look-alike of the sample shop, original and renamed, bare
                                and in cgroups: kind, culprit, time; half an hour
            watch               what watching 21 services costs: a quarter of an hour
  layouts make the tables of Go runtimes' layouts anew, from programs of each release
            --check             only compare them with those in the tree
  tidy    the rules of this repository that a machine can check: who may know whom,
          licences, no sample's names in the product, files, docs

What a fresh machine lacks (a Go toolchain, test peers) is installed where that is possible;
otherwise the exact command is printed.

exit codes: 0 done, 1 something you can mend, 2 wrong usage
";

/// A wrong command line; ends with exit code 2.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A [`Usage`] error as `anyhow` carries it.
fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(message.into()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    };
    let asks_help = rest
        .iter()
        .any(|argument| argument == "--help" || argument == "-h");
    match command.as_str() {
        "--help" | "-h" | "help" => print!("{HELP}"),
        "demo" | "test" | "soak" | "fuzz" | "bench" | "layouts" | "tidy" if asks_help => {
            print!("{HELP}");
        }
        "demo" => return demo::run(rest),
        "test" => return stages::run(rest),
        "soak" => return stages::soak::run(rest),
        "fuzz" => return fuzz::run(rest),
        "bench" => return bench::run(rest),
        "layouts" => return layouts::run(rest),
        "tidy" => return tidy::run(rest),
        process::GUARD => return Err(process::exec_guarded(rest)),
        other => return Err(usage(format!("there is no command `{other}`"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
    if error.is::<Usage>() {
        eprintln!("hint: `cargo xtask --help` lists the commands and their options");
        return ExitCode::from(2);
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_usage(arguments: &[&str]) -> bool {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        run(&arguments).is_err_and(|error| error.is::<Usage>())
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        let rows: &[(&str, &[&str])] = &[
            ("no such command", &["tset"]),
            ("a stage without a name", &["test", "--stage"]),
            ("a stage that does not exist", &["test", "--stage", "lintt"]),
            ("a duration without a unit", &["demo", "--for", "240"]),
            (
                "an address without a port",
                &["demo", "--listen", "127.0.0.1"],
            ),
            ("tidy takes nothing", &["tidy", "--fix"]),
            ("a soak without a name", &["soak"]),
            ("a soak that does not exist", &["soak", "everything"]),
            ("a benchmark without a name", &["bench", "--quick"]),
            ("a benchmark that does not exist", &["bench", "everything"]),
        ];
        for (name, arguments) in rows {
            assert!(is_usage(arguments), "{name}: {arguments:?}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for command in ["demo", "test", "soak", "fuzz", "bench", "layouts", "tidy"] {
            assert!(HELP.contains(&format!("\n  {command} ")), "{command}");
        }
    }
}
