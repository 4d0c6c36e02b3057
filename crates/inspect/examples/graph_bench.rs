//! How long the object graph takes: `cargo run --release -p inspect --example graph_bench -- 24000000 64000000`.
//!
//! Prints the median CPU time of several runs and the memory per object, for a random graph, where nearly every
//! step misses the cache, and for one shaped as heaps are: most pointers go to something allocated nearby, and
//! most objects have no pointers. First, what a random graph costs any depth-first walk: as many reads as there are
//! objects, each at a place that only the one before names.

use std::env;
use std::fs;
use std::ops::Range;
use std::time::Instant;

use inspect::graph::{Dominators, Edges, Effort, Roots};
use memmap2::{Advice, MmapMut};

/// Pointers by source, as a snapshot of memory would give them.
struct Heap {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Edges for Heap {
    fn objects(&self) -> u32 {
        self.starts.len() as u32 - 1
    }
    fn bytes(&self, object: u32) -> u64 {
        u64::from(16 + object % 8 * 16)
    }
    #[inline]
    fn each_from(&self, object: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let object = object as usize;
        let range = self.starts[object] as usize..self.starts[object + 1] as usize;
        for (at, &target) in (0..).zip(&self.targets[range]).skip(from as usize) {
            if !visit(target) {
                return Some(at + 1);
            }
        }
        None
    }
    fn each_in(&self, range: Range<u32>, mut visit: impl FnMut(u32, u32)) {
        for object in range {
            let range = self.starts[object as usize]..self.starts[object as usize + 1];
            for &target in &self.targets[range.start as usize..range.end as usize] {
                visit(object, target);
            }
        }
    }
    fn touch(&self, object: u32) -> u32 {
        self.starts[object as usize]
    }
}

/// xorshift64*: the same numbers every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

/// Pointers from anywhere to anywhere.
fn random(objects: u64, pointers: u64) -> Heap {
    let mut random = Random(42);
    let mut starts = vec![0u32; objects as usize + 1];
    for _ in 0..pointers {
        starts[random.below(objects) as usize + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let targets = (0..pointers)
        .map(|_| random.below(objects) as u32)
        .collect();
    Heap { starts, targets }
}

/// 60 % of the objects without pointers; of the pointers, 90 % go to one of the next few hundred objects, most of
/// them to one that nothing else points at.
fn heaplike(objects: u64, pointers: u64) -> Heap {
    let mut random = Random(43);
    let mut starts = Vec::with_capacity(objects as usize + 1);
    let mut targets = Vec::with_capacity(pointers as usize);
    starts.push(0);
    for object in 0..objects {
        if random.below(10) < 4 {
            let mean = pointers as f64 / objects as f64 / 0.4;
            let count = random.below((2.0 * mean) as u64 + 1);
            for _ in 0..count {
                let near = (object + 1 + random.below(300)) % objects;
                let far = random.below(objects);
                targets.push(if random.below(10) < 9 { near } else { far } as u32);
            }
        }
        starts.push(targets.len() as u32);
    }
    Heap { starts, targets }
}

/// Bytes of a node in a walk's memory.
const NODE: usize = 16;

/// CPU seconds of one step to every one of `nodes` places on large pages, in a random order that is one circle.
fn chase(nodes: usize) -> std::io::Result<f64> {
    let mut order: Vec<u32> = (0..nodes as u32).collect();
    let mut random = Random(44);
    for at in (1..nodes).rev() {
        // Never itself: what is left is one circle (Sattolo 1986).
        order.swap(at, random.below(at as u64) as usize);
    }
    let mut memory = MmapMut::map_anon(nodes * NODE)?;
    // Where the kernel refuses, small pages do.
    let _ = memory.advise(Advice::HugePage);
    for (place, next) in memory.chunks_exact_mut(NODE).zip(&order) {
        place[..4].copy_from_slice(&next.to_ne_bytes());
    }
    let before = cpu_seconds();
    let mut at = 0;
    for _ in 0..nodes {
        let mut next = [0; 4];
        next.copy_from_slice(&memory[at * NODE..at * NODE + 4]);
        at = u32::from_ne_bytes(next) as usize;
    }
    std::hint::black_box(at);
    Ok(cpu_seconds() - before)
}

/// CPU seconds of this process, user and system, all threads.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let number = |at, default| {
        let text = env::args().nth(at);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (objects, pointers) = (number(1, 24_000_000), number(2, 64_000_000));
    let runs = number(3, 3);
    let only = env::args().nth(4);
    println!(
        "asked for 24000000 objects and 64000000 pointers: cpu under 8 s; low memory under 24 bytes per object"
    );
    match chase(objects as usize) {
        Ok(cpu) => {
            println!("{objects} steps, each to a place that the last one names: cpu {cpu:.2} s")
        }
        Err(error) => eprintln!("no memory for {objects} steps: {error}"),
    }
    for (shape, make) in [
        ("random", random as fn(u64, u64) -> Heap),
        ("heaplike", heaplike),
    ] {
        if only.as_ref().is_some_and(|only| only != shape) {
            continue;
        }
        let heap = make(objects, pointers);
        let mut random = Random(7);
        let roots: Vec<(u32, u32)> = (0..1000)
            .map(|at| (at / 10, random.below(objects) as u32))
            .collect();
        let roots = Roots::new(&[0; 100], &roots);
        for (name, effort) in [
            ("fast, 1 thread", Effort::Fast { threads: 1 }),
            ("fast, 2 threads", Effort::Fast { threads: 2 }),
            ("low memory", Effort::LowMemory),
        ] {
            if env::args().nth(5).is_some_and(|only| !name.contains(&only)) {
                continue;
            }
            let (mut cpu, mut wall) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                let (cpu_before, started) = (cpu_seconds(), Instant::now());
                let Some(found) = Dominators::new(&heap, &roots, effort) else {
                    return println!("too many objects");
                };
                cpu.push(cpu_seconds() - cpu_before);
                wall.push(started.elapsed().as_secs_f64());
                if cpu.len() == runs as usize {
                    let held = found.held();
                    let per = |bytes: u64| bytes as f64 / objects as f64;
                    println!(
                        "{shape:<9} {:>10} pointers  {name:<16} cpu {:5.2} s  wall {:5.2} s  bytes per object: \
                         peak {:5.1} (walking {:.1}, linking {:.1}, result {:.1})",
                        heap.targets.len(),
                        median(cpu.clone()),
                        median(wall.clone()),
                        per(held.peak()),
                        per(held.walking),
                        per(held.linking),
                        per(held.result),
                    );
                }
            }
        }
    }
}
