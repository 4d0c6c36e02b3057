//! Prints the goroutines of running programs, with what it took: `goroutines [--groups] [--all] PID...`.

use std::time::Instant;

use inspect::goroutines::{Options, goroutines};
use inspect::{InspectError, Program};

fn main() {
    let (flags, pids): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    for pid in pids.iter().filter_map(|pid| pid.parse().ok()) {
        if let Err(error) = print(pid, has("--groups"), has("--all")) {
            eprintln!("{pid}: {error}");
        }
    }
}

fn print(pid: u32, groups: bool, all: bool) -> Result<(), InspectError> {
    let started = Instant::now();
    let program = Program::attach(pid)?;
    let attached = started.elapsed();
    let options = Options {
        system: all,
        ..Options::default()
    };
    for _ in 0..3 {
        let (started, before) = (Instant::now(), program.memory().cost());
        let dump = goroutines(&program, &options)?;
        let (read, cost) = (started.elapsed(), program.memory().cost());
        eprintln!(
            "{pid}: {} goroutines ({} system left out), {} stacks, {} approximate, {} calls, {} bytes in {read:?} after {attached:?}",
            dump.goroutines.len(),
            dump.system_left_out,
            dump.stacks.len(),
            dump.goroutines
                .iter()
                .filter(|goroutine| goroutine.approximate)
                .count(),
            cost.calls - before.calls,
            cost.bytes - before.bytes,
        );
    }
    let dump = goroutines(&program, &options)?;
    if groups {
        println!("{}", dump.groups_text(&dump.groups(), all));
    } else {
        println!("{}", dump.text(all));
    }
    Ok(())
}
