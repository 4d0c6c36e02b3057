//! The least program around a reader: asks it what its standard input says, one request a line, and
//! prints each answer as one line of JSON. Try `probe <<< discover`.
//!
//! `host`, `discover`, `doctor`, `status`, `own` (this process's capability lines),
//! `read PID START_TICKS`, `go PID START_TICKS` (a reading with the figures of its Go runtime),
//! `goes N` (microseconds of the best of N for each Go process found, once open), `mappings PID START_TICKS`, `time N` (microseconds of the best of N).
//! `read PID START_TICKS`, `mappings PID START_TICKS`, `holders PID START_TICKS [BYTES SECONDS MS]`, `time N` (microseconds of the best of N).
//! `log PID START_TICKS PATH` (what lies at its end).
//! `dial PID START_TICKS ADDRESS` (the first line of an answer to `GET /debug/pprof/` there).
//! With the argument `in-thread` the reader is a thread; a number is the deadline of one call in
//! milliseconds.

use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use model::{BootId, Pid, ProcessKey, StartTicks};
use reader::{HoldersBudget, Reader, ReaderError, ReaderOptions};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if reader::is_reader() {
        return Ok(reader::serve(std::io::stdin())?);
    }
    if reader::is_holders() {
        return Ok(reader::find_holders(std::io::stdin(), std::io::stdout())?);
    }
    let argument = std::env::args().nth(1);
    let deadline_ms = argument.as_deref().and_then(|text| text.parse().ok());
    let options = ReaderOptions::with_deadline(Duration::from_millis(deadline_ms.unwrap_or(5000)));
    let reader = match argument.as_deref() {
        Some("in-thread") => Reader::in_thread(options)?,
        _ => Reader::start(options)?,
    };
    let boot = reader.host()?.boot_id;
    say(
        &json!({"pid": std::process::id(), "reader": reader.status().greeting, "keeper": reader.status().keeper}),
    )?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = answer(&reader, &boot, &words);
        say(&answer.unwrap_or_else(|error| json!({"error": error.to_string()})))?;
    }
    Ok(())
}

fn ask(mut stream: TcpStream) -> std::io::Result<String> {
    // The kernel keeps a write waiting until a connection stands.
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /debug/pprof/ HTTP/1.0\r\n\r\n")?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn say(value: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn answer(reader: &Reader, boot: &BootId, words: &[&str]) -> Result<Value, ReaderError> {
    let number = |at: usize| {
        words
            .get(at)
            .and_then(|w| w.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let key = ProcessKey {
        boot_id: boot.clone(),
        pid: Pid(u32::try_from(number(1)).unwrap_or(0)),
        start_ticks: StartTicks(number(2)),
    };
    Ok(match words[0] {
        "host" => json!(reader.host()?),
        "discover" => json!(reader.discover()?),
        "doctor" => json!(reader.doctor()?),
        "status" => {
            let status = reader.status();
            json!({"trouble": status.trouble(), "restarts": status.restarts, "reader": status.greeting})
        }
        "own" => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let wanted = |line: &&str| line.starts_with("Cap") || line.starts_with("NoNewPrivs");
            json!(status.lines().filter(wanted).collect::<Vec<_>>())
        }
        "read" => json!(reader.read(&[key])?),
        "go" => json!(reader.read_with_go(&[key])?),
        "goes" => goes(reader, number(1))?,
        "holders" => json!(reader.look(
            &key,
            reader::LookAt::Holders,
            &budget(number(3), number(4), number(5))
        )?),
        "mappings" => json!(reader.mappings(&key, false)?),
        "log" => json!(reader.log(&key, std::path::Path::new(words[3]), None)?),
        "dial" => match reader.dial(&key, words[3].parse().expect("an address")) {
            Ok(stream) => json!(ask(stream).unwrap_or_else(|error| error.to_string())),
            Err(failure) => json!({"failure": failure, "hint": failure.hint()}),
        },
        "time" => time(reader, number(1))?,
        other => json!({"error": format!("unknown request {other}")}),
    })
}

fn goes(reader: &Reader, times: u64) -> Result<Value, ReaderError> {
    let found = reader.discover()?;
    let keys: Vec<ProcessKey> = found.processes.iter().map(|p| p.key.clone()).collect();
    let is_opening = |reading: &Result<reader::Reading, reader::ReadFailure>| {
        let go = reading
            .as_ref()
            .ok()
            .and_then(|reading| reading.go.as_ref());
        matches!(go, Some(Err(reader::GoFailure::Opening)))
    };
    let start = Instant::now();
    while reader.read_with_go(&keys)?.iter().any(is_opening) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let opened = start.elapsed();
    let (mut with, mut without) = (Duration::MAX, Duration::MAX);
    for _ in 0..times {
        let start = Instant::now();
        reader.read(&keys)?;
        without = without.min(start.elapsed());
        let start = Instant::now();
        reader.read_with_go(&keys)?;
        with = with.min(start.elapsed());
    }
    let each = |time: Duration| time.as_micros() as u64 / (keys.len() as u64).max(1);
    Ok(json!({
        "go_processes": keys.len(), "open_all_ms": opened.as_millis() as u64,
        "read_us_each": each(without), "read_with_go_us_each": each(with),
    }))
}

/// The defaults where a number is 0.
fn budget(memory_bytes: u64, cpu_s: u64, time_ms: u64) -> HoldersBudget {
    let default = HoldersBudget::default();
    let or = |n: Duration, default| if n.is_zero() { default } else { n };
    let memory = match memory_bytes {
        0 => default.memory_bytes,
        bytes => bytes,
    };
    HoldersBudget::new(
        or(Duration::from_millis(time_ms), default.time),
        or(Duration::from_secs(cpu_s), default.cpu),
        memory,
    )
}

fn time(reader: &Reader, times: u64) -> Result<Value, ReaderError> {
    let first = Instant::now();
    let found = reader.discover()?;
    let first = first.elapsed();
    let keys: Vec<ProcessKey> = found.processes.iter().map(|p| p.key.clone()).collect();
    let (mut discover, mut read) = (Duration::MAX, Duration::MAX);
    for _ in 0..times {
        let start = Instant::now();
        reader.discover()?;
        discover = discover.min(start.elapsed());
        let start = Instant::now();
        reader.read(&keys)?;
        read = read.min(start.elapsed());
    }
    Ok(json!({
        "go_processes": keys.len(), "unreadable": found.unreadable,
        "discover_first_us": first.as_micros() as u64, "discover_us": discover.as_micros() as u64,
        "read_us": read.as_micros() as u64,
    }))
}
