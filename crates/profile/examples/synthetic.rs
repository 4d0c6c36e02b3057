//! Writes a large synthetic heap profile, or reports on one:
//! `synthetic make FILE [SAMPLES]`, `synthetic top FILE [SAMPLE_TYPE]`.
//!
//! The profile has the shape of a large service's: 20,000 functions, 60,000 locations of which a
//! third hold an inlined call, stacks of 48 to 112 locations walked through one call graph, and a
//! `bytes` label.

use profile::{Label, Limits, Profile, ProfileBuilder, TopOptions, top};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", file] => make(file, 200_000),
        ["make", file, samples] => make(file, samples.parse()?),
        ["top", file] => report(file, ""),
        ["top", file, sample_type] => report(file, sample_type),
        _ => Err("usage: synthetic make FILE [SAMPLES] | synthetic top FILE [SAMPLE_TYPE]".into()),
    }
}

fn report(file: &str, sample_type: &str) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let bytes = std::fs::read(file)?;
    let profile = Profile::parse(&bytes, &Limits::default())?;
    let parsed = start.elapsed();
    let index = profile.sample_type_index(sample_type)?;
    print!("{}", top(&profile, index, &TopOptions::default()).render());
    eprintln!(
        "{} samples: parsed in {parsed:?}, all in {:?}",
        profile.samples_len(),
        start.elapsed()
    );
    Ok(())
}

fn make(file: &str, samples: usize) -> Result<(), Box<dyn Error>> {
    let mut made = ProfileBuilder::new(&[
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ]);
    made.period("space", "bytes", 512 << 10)
        .time(1_700_000_000_000_000_000, 0);
    let mut state = 1u64;
    // Xorshift (Marsaglia, 2003): the same file every time.
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let functions: Vec<_> = (0..20_000u64)
        .map(|n| {
            let package = n % 400;
            let name = format!("example.com/shop/internal/pkg{package}.(*Service{n}).Handle{n}");
            let path = format!("/src/shop/internal/pkg{package}/service{}.go", n % 7);
            made.function(&name, &path, 10 + n as i64 % 900)
        })
        .collect();
    let locations: Vec<_> = (0..60_000u64)
        .map(|n| {
            let mut function = || functions[below(20_000) as usize];
            let lines = [(function(), 12), (function(), 34)];
            made.location(0x40_0000 + n * 16, &lines[usize::from(n % 3 != 0)..])
        })
        .collect();
    for _ in 0..samples {
        let depth = 48 + below(65);
        // A walk down a call graph: mostly the usual callee, now and then one of eight.
        let mut at = below(4);
        let mut stack = Vec::new();
        for _ in 0..depth {
            stack.push(locations[at as usize]);
            let callee = if below(4) == 0 { below(8) } else { 0 };
            at = (at * 8 + callee + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 60_000;
        }
        stack.reverse();
        let (objects, size) = (1 + below(200) as i64, 16 << below(12));
        let values = [objects * 3, objects * 3 * size, objects, objects * size];
        let label = Label {
            key: "bytes",
            str: "",
            num: size,
            num_unit: "",
        };
        made.labelled_sample(&stack, &values, &[label]);
    }
    let profile = made.build()?;
    let bytes = profile.to_gzip();
    std::fs::write(file, &bytes)?;
    println!(
        "{} bytes raw, {} under gzip",
        profile.to_proto().len(),
        bytes.len()
    );
    Ok(())
}
