use inspect::holders::*;
use inspect::*;
fn show(p: &[Path], d: usize) {
    for x in p.iter().take(4) {
        println!(
            "{}{:>11} {} ({}) x{}",
            "    ".repeat(d),
            x.bytes,
            x.path,
            x.ty,
            x.count
        );
        show(&x.children, d + 1);
    }
}
fn main() {
    let pid = std::env::args().nth(1).unwrap().parse().unwrap();
    let full = std::env::args().nth(2).is_some();
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
    let o = Options::default();
    let k = Taken::read(&p, &o, Vec::new(), None).unwrap();
    println!("taken {:?}", t.elapsed());
    for r in k
        .roots()
        .roots
        .iter()
        .enumerate()
        .filter(|r| r.1.kind == inspect::roots::RootKind::Timer)
        .take(3)
    {
        println!(
            "{r:?} {:?}",
            k.roots()
                .pointers
                .iter()
                .filter(|p| p.root == r.0 as u32)
                .collect::<Vec<_>>()
        );
    }
    let t = std::time::Instant::now();
    let r = k.report(&p, &o).unwrap();
    println!("report {:?}", t.elapsed());
    println!(
        "reached {} objects {} bytes; HeapAlloc {} HeapObjects {} diff {:.3}%",
        r.reached_objects,
        r.reached_bytes,
        s.heap_alloc,
        s.heap_objects,
        100.0 * (r.reached_bytes as f64 / s.heap_alloc as f64 - 1.0)
    );
    if full {
        println!("{:?} {:?} {:?}", r.heap, r.left_out, r.cost);
    }
    for h in &r.holders {
        println!(
            "{:>11} {:?} {} ({}) x{} objs {} {:?} @ {}",
            h.retained_bytes,
            h.kind,
            h.name,
            h.ty,
            h.count,
            h.retained_objects,
            h.used_by,
            h.allocated_at
                .iter()
                .map(|s| format!(
                    "{} {}:{} ~{}",
                    s.function,
                    s.file.rsplit('/').next().unwrap(),
                    s.line,
                    s.bytes
                ))
                .collect::<Vec<_>>()
                .join("; ")
        );
        if full {
            show(&h.paths, 1);
        }
    }
}
