//! What endpoints answer that mean harm, or are broken in ways that look like it.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// In which way an endpoint is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hostile {
    /// Metrics, a byte at a time, without end.
    Drips,
    /// `100 Continue` without end, and never an answer.
    Continues,
    /// Metrics whose few packed bytes unpack to gigabytes.
    Explodes,
    /// Metrics with bytes that are no UTF-8 in names, labels and help.
    InvalidText,
    /// Metrics with labels of a megabyte, and with ten thousand labels.
    GiantLabels,
    /// Series in great number and with long labels, all of them new in each answer.
    NewSeries,
    /// Figures that cannot be: infinite, negative, of the far future.
    Lies,
    /// Good metrics; profiles that are none, or are cut off.
    BreaksProfiles,
    /// Good metrics; profiles and dumps of goroutines without end.
    FloodsProfiles,
}

const GOOD: &str = "# TYPE go_goroutines gauge\ngo_goroutines 12\n\
    go_memstats_heap_alloc_bytes 8388608\ngo_memstats_heap_inuse_bytes 9388608\n\
    go_memstats_heap_idle_bytes 1048576\ngo_memstats_heap_released_bytes 524288\n\
    go_memstats_next_gc_bytes 16777216\nprocess_resident_memory_bytes 33554432\n";

const LIES: &str = "go_goroutines +Inf\ngo_memstats_heap_alloc_bytes 1e308\n\
    go_memstats_heap_inuse_bytes NaN\ngo_memstats_heap_idle_bytes -1e300\n\
    go_memstats_heap_released_bytes 1.7976931348623157e308\ngo_memstats_next_gc_bytes -Inf\n\
    process_resident_memory_bytes -5\nprocess_start_time_seconds 1e300\n\
    go_memstats_stack_inuse_bytes 18446744073709551616\nprocess_open_fds -9223372036854775808\n\
    container_memory_usage_bytes{container=\"a\",pod=\"b\"} 1e308\n\
    future_total 7 9223372036854775807\npast_total 7 -9223372036854775808\n";

/// Answers a request for `path`, the `number`th one.
pub(crate) fn answer(
    stream: &mut TcpStream,
    how: Hostile,
    path: &str,
    number: u64,
) -> io::Result<()> {
    let profile = path.starts_with("/debug/pprof/");
    match how {
        Hostile::Drips => drip(stream),
        Hostile::Continues => {
            let piece = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
            loop {
                stream.write_all(piece.as_bytes())?;
            }
        }
        Hostile::Explodes => explode(stream),
        Hostile::InvalidText => {
            let mut body = GOOD.as_bytes().to_vec();
            body.extend_from_slice(b"# HELP good \xff\xfe\ngood{a=\"\xc3\x28\xf0\x9f\"} 1\n");
            body.extend_from_slice(b"b\xffd{x=\"\x00\x01\"} 2\nnul\x00 3\n");
            whole(stream, &body)
        }
        Hostile::GiantLabels => {
            let giant = "x".repeat(1 << 20);
            let many: Vec<String> = (0..10_000).map(|n| format!("l{n}=\"v\"")).collect();
            let many = many.join(",");
            let body = format!("{GOOD}giant{{a=\"{giant}\"}} 1\nmany{{{many}}} 1\n");
            whole(stream, body.as_bytes())
        }
        Hostile::NewSeries => {
            let mut body = GOOD.to_owned();
            for n in 0..20_000 {
                body += &format!("new_total{{n=\"{number}-{n}\"}} {n}\n");
            }
            // Just below what a label may have.
            let long = "y".repeat(15 << 10);
            for n in 0..500 {
                body += &format!("long{{a=\"{long}{number}-{n}\"}} 1\n");
            }
            whole(stream, body.as_bytes())
        }
        Hostile::Lies => whole(stream, LIES.as_bytes()),
        Hostile::BreaksProfiles if profile => match number % 3 {
            0 => whole(stream, b"\x1f\x8b\x08\x00 no gzip at all"),
            1 => whole(stream, &packed()[..packed().len() / 2]),
            _ => whole(stream, &[0xff; 4096]),
        },
        Hostile::FloodsProfiles if profile => flood(stream),
        Hostile::BreaksProfiles | Hostile::FloodsProfiles => whole(stream, GOOD.as_bytes()),
    }
}

fn head(stream: &mut TcpStream, more: &str) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{more}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

fn whole(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    head(stream, &format!("Content-Length: {}\r\n", body.len()))?;
    stream.write_all(body)
}

fn drip(stream: &mut TcpStream) -> io::Result<()> {
    head(stream, "")?;
    for byte in GOOD.bytes().cycle() {
        stream.write_all(&[byte])?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// 128 MiB of lines as gzip.
fn packed() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| {
        let made = Command::new("sh")
            .args(["-c", "yes 'bomb 1' | head -c 134217728 | gzip -6"])
            .output();
        made.expect("gzip").stdout
    })
}

fn explode(stream: &mut TcpStream) -> io::Result<()> {
    head(stream, "Content-Encoding: gzip\r\n")?;
    stream.write_all(packed())
}

fn flood(stream: &mut TcpStream) -> io::Result<()> {
    head(stream, "")?;
    let stack = "1 @ 0x1 0x2\n#\t0x1\tmain.f+0x1\t/f.go:1\n\n".repeat(1_000);
    loop {
        stream.write_all(stack.as_bytes())?;
    }
}
