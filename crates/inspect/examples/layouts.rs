//! Prints the table of runtime layouts that `src/layout/table.rs` embeds, from running programs of one Go version.
//!
//! `cargo xtask layouts` calls it: `layouts PID [PID...]`, the first linked as usual, the others in other ways.

use std::process::ExitCode;

use inspect::layout::make_table;
use inspect::{InspectError, Program};

fn main() -> ExitCode {
    let pids: Result<Vec<u32>, _> = std::env::args().skip(1).map(|pid| pid.parse()).collect();
    let Ok(pids) = pids else {
        eprintln!("usage: layouts PID [PID...]");
        return ExitCode::FAILURE;
    };
    match table(&pids) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn table(pids: &[u32]) -> Result<String, InspectError> {
    let programs: Result<Vec<Program>, _> = pids.iter().map(|&pid| Program::attach(pid)).collect();
    let mut programs = programs?;
    if programs.is_empty() {
        return Err(InspectError::NotGo);
    }
    let reference = programs.remove(0);
    make_table(&reference, &programs)
}
