//! `unswept inspect`: into a live Go process that offers nothing.
//!
//! Nothing here needs an endpoint, a restart or a change of the program; what is read comes out of the process's
//! memory through the crate `inspect`. Here are the arguments, the words, the files and the JSON.

pub(crate) mod args;
mod document;
mod goroutines;
mod heap;
mod memstats;
mod open;
mod output;
mod pprof;
mod refs;

use std::process::ExitCode;

use args::Inspect;

pub(crate) use open::OpenError;
pub(crate) use refs::LookError;

pub(crate) fn run(command: &Inspect) -> anyhow::Result<ExitCode> {
    crate::setup::logs();
    match command {
        Inspect::Memstats(arguments) => memstats::run(arguments)?,
        Inspect::Goroutines(arguments) => goroutines::run(arguments)?,
        Inspect::Heap(arguments) => heap::run(arguments)?,
        Inspect::Refs(arguments) => refs::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The process that ends a pause when `inspect` itself cannot any more; see [`inspect::stop::Guard`].
pub(crate) fn guard() -> ExitCode {
    let code = inspect::stop::guard_main(std::io::stdin(), std::io::stdout());
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
