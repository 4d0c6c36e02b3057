//! The binary: arguments, wiring, exit codes.
#![forbid(unsafe_code)]

mod args;
mod exit;
mod setup;
mod watch;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    // Before anything else: this may be the reader, which shares nothing with the rest.
    if reader::is_reader() {
        return match reader::serve(std::io::stdin()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => exit::failed(&error.into()),
        };
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    let command = arguments
        .command
        .unwrap_or_else(|| Command::Watch(args::Watch::default()));
    let done = match command {
        Command::Watch(watch) => watch::run(&watch),
    };
    done.unwrap_or_else(|error| exit::failed(&error))
}
