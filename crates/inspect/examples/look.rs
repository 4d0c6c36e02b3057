use inspect::graph::*;
use inspect::heap::*;
use inspect::roots::*;
use inspect::*;
fn main() {
    let pid = std::env::args().nth(1).unwrap().parse().unwrap();
    let t = std::time::Instant::now();
    let p = match Program::attach(pid) {
        Ok(p) => p,
        Err(e) => {
            println!("ERR {e}");
            std::process::exit(1)
        }
    };
    println!("{p:?} {:?} {:?}", t.elapsed(), p.memory().cost());
    let s = MemStatsReader::new(&p).unwrap().read().unwrap();
    let t = std::time::Instant::now();
    let h = Heap::read(&p, 1 << 36).unwrap();
    println!(
        "heap {:?} {:?} blurred {}",
        t.elapsed(),
        h.size(),
        h.blurred()
    );
    let t = std::time::Instant::now();
    let r = RootSet::read(&p, &h, &Default::default()).unwrap();
    println!(
        "roots {:?}: {} roots {} pointers {} samples",
        t.elapsed(),
        r.roots.len(),
        r.pointers.len(),
        r.samples.len()
    );
    let classes: Vec<u8> = r.roots.iter().map(|x| x.rank(&r.goroutines)).collect();
    let ptrs: Vec<(u32, u32)> = r
        .pointers
        .iter()
        .map(|x| (x.root, h.object_at(x.value).unwrap()))
        .collect();
    let roots = Roots::new(&classes, &ptrs);
    let t = std::time::Instant::now();
    let d = Dominators::new(&h, &roots, Effort::Fast { threads: 2 }).unwrap();
    println!("dominators {:?}", t.elapsed());
    let (mut n, mut b) = (0u64, 0u64);
    for o in 0..h.slots() {
        if d.is_reached(o) {
            n += 1;
            b += h.bytes(o);
        }
    }
    println!(
        "reached {n} objects {b} bytes; HeapAlloc {} HeapObjects {} diff {:.3}%",
        s.heap_alloc,
        s.heap_objects,
        100.0 * (b as f64 / s.heap_alloc as f64 - 1.0)
    );
    let mut hist = std::collections::BTreeMap::new();
    for o in 0..h.slots() {
        if h.object_at(h.address(o)) == Some(o) && !d.is_reached(o) {
            *hist.entry(h.bytes(o)).or_insert(0) += 1;
        }
    }
    println!("unreached by size {hist:?}");
    let mut v: Vec<(u64, u32)> = (0..r.roots.len() as u32)
        .map(|i| (d.retained(&h, h.slots() + i), i))
        .collect();
    v.sort();
    v.reverse();
    for (b, i) in v.iter().take(26) {
        let x = &r.roots[*i as usize];
        let n = match x.kind {
            RootKind::Global => r.globals.all[x.at as usize].name.to_string(),
            RootKind::Goroutine => {
                let g = &r.goroutines.goroutines[x.at as usize];
                format!(
                    "g{} {:?}",
                    g.id,
                    g.stack.map(|s| r.goroutines.stacks[s]
                        .frames
                        .iter()
                        .map(|f| f.function.to_string())
                        .find(|n| !n.starts_with("runtime.")))
                )
            }
            _ => String::new(),
        };
        println!("{b:>12} {:?} {n}", x.kind);
    }
}
