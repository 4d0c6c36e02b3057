//! The binary: arguments, wiring, exit codes.
#![forbid(unsafe_code)]

mod answer;
mod args;
mod board;
mod diagnose;
mod doctor;
mod exit;
mod find;
mod incidents;
mod inspect;
mod judge;
mod live;
mod look;
mod news;
mod notify;
mod operator;
mod profiles;
mod ps;
mod running;
mod setup;
mod terminal;
mod text;
mod watch;
mod words;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    // Before anything else: this may be the reader, which shares nothing with the rest.
    if reader::is_reader() {
        return match reader::serve(std::io::stdin()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => exit::failed(&error.into()),
        };
    }
    if reader::is_holders() {
        return match reader::find_holders(std::io::stdin(), std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => exit::failed(&error.into()),
        };
    }
    let command = match args::command(std::env::args_os()) {
        Ok(command) => command,
        Err(error) => return exit::usage(&error),
    };
    let done = match command {
        Command::Watch(watch) => watch::run(&watch),
        Command::Diagnose(diagnose) => diagnose::run(&diagnose),
        Command::Ps(ps) => ps::run(&ps),
        Command::Profile(command) => profiles::run(&command),
        Command::Incidents(command) => incidents::run(&command),
        Command::Report(report) => incidents::report(&report),
        Command::Judge(judge) => judge::run(&judge),
        Command::Inspect(command) => inspect::run(&command),
        Command::Notify(command) => notify::run(&command),
        Command::PauseGuard => return inspect::guard(),
        Command::Doctor(doctor) => doctor::run(&doctor),
    };
    done.unwrap_or_else(|error| exit::failed(&error))
}
