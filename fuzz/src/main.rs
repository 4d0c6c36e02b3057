//! Damaged bytes for every parser of bytes from outside, for a time or for so many rounds: `cargo xtask fuzz`.
//!
//! A round is a number. Seed and number make the input, and nothing else does, so a failure is repeated with the two.
//! [`supervise`] starts a worker for each parser, so that one which dies of memory or of its stack is a failure with
//! an input, too; [`work`] runs the rounds. A worker may take [`work::ROOM_BYTES`] more than it has when it begins: the
//! kernel refuses the rest (`RLIMIT_AS`), and it dies.
#![forbid(unsafe_code)]

mod corpus;
mod files;
mod memories;
mod options;
mod parsers;
mod random;
mod state;
mod supervise;
mod texts;
mod work;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match Options::parse(&arguments) {
        Ok(options) if options.is_worker => work::run(&options),
        Ok(options) => supervise::run(&options),
        Err(error) => {
            eprintln!("error: {error:#}\n\n{}", options::help());
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
