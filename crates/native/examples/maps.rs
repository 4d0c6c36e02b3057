//! Prints the mappings of a recorded or live smaps with their classes, and the growth to a second one:
//! `cargo run -p native --example maps -- /proc/self/smaps`.

use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use native::{Hints, Limits, MemoryMap, growth, parse_smaps};

fn read(path: &str) -> Result<MemoryMap, Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mappings = parse_smaps(BufReader::new(File::open(path)?), &Limits::default())?;
    let map = MemoryMap::new(mappings, &Hints::default());
    eprintln!(
        "{path}: {} mappings in {:?}",
        map.mappings().list().len(),
        started.elapsed()
    );
    Ok(map)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let maps = paths
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = maps.first() else {
        return Ok(());
    };
    for (mapping, kind) in first.iter() {
        let (class, basis) = (kind.class.label(), kind.basis);
        let kib = mapping.rss >> 10;
        println!(
            "{:x}-{:x} {kib:8} KiB {class:22} {basis:?} {}",
            mapping.start, mapping.end, mapping.name
        );
    }
    for (class, totals) in first.totals().iter() {
        println!(
            "{class:?}: {} mappings, {} KiB",
            totals.count,
            totals.rss >> 10
        );
    }
    if let Some(second) = maps.get(1) {
        let growth = growth(first, second);
        growth
            .classes
            .iter()
            .for_each(|change| println!("{change}"));
        growth
            .mappings
            .iter()
            .for_each(|change| println!("{change}"));
    }
    Ok(())
}
