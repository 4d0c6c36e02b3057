//! Writes one history as OpenMetrics text: `cargo run -p corpus --example history -- linear 42 > linear.om`. A second
//! number names the replica. Without arguments it lists the families.
//!
//! `promtool tsdb create-blocks-from openmetrics linear.om data/` makes a Prometheus show it.

use std::env;
use std::process::ExitCode;

use corpus::{Family, View, history};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, default| {
        arguments
            .get(at)
            .map_or(Some(default), |text| text.parse().ok())
    };
    let named = |name: &String| Family::ALL.iter().find(|family| family.name() == name);
    let (Some(family), Some(seed), Some(replica)) = (
        arguments.first().and_then(named),
        number(1, 0),
        number(2, 1),
    ) else {
        for family in Family::ALL {
            println!("{:<18} {}", family.name(), family.what());
        }
        return ExitCode::from(u8::from(!arguments.is_empty()));
    };
    let history = history(*family, seed);
    let Some(replica) = history.replicas.get((replica as usize).wrapping_sub(1)) else {
        eprintln!(
            "error: there are {} replicas, from 1",
            history.replicas.len()
        );
        return ExitCode::FAILURE;
    };
    eprintln!("{:?}", history.truth);
    print!("{}", replica.open_metrics(&history, View::All));
    ExitCode::SUCCESS
}
