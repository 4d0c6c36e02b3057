use inspect::*;
fn main() {
    let pid = std::env::args().nth(1).unwrap().parse().unwrap();
    let t = std::time::Instant::now();
    let p = Program::attach(pid);
    let p = match p {
        Ok(p) => p,
        Err(e) => {
            println!("ERR {e}");
            std::process::exit(1)
        }
    };
    println!("{p:?} {:?} {:?}", t.elapsed(), p.memory().cost());
    let r = MemStatsReader::new(&p).unwrap();
    let t = std::time::Instant::now();
    let s = r.read().unwrap();
    println!("{:?} {s:?}", t.elapsed());
}
