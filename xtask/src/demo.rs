//! `cargo xtask demo`: the sample shop leaks, the watcher watches it, and Ctrl-C ends both.
//!
//! The shop has a process group of its own, so the terminal's Ctrl-C reaches the watcher and us; we
//! then end the shop. Should we be killed, the kernel ends both for us ([`guarded`]).

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::process::{Ended, Show, adopt_orphans, clock, guarded, left_behind, stop_child, stream};
use crate::toolchain::{self, Go};
use crate::workspace::Workspace;
use crate::{http, usage};

/// The two shops, the same program under two names: one leaks, one has a cache that fills and stops.
const SHOPS: [(&str, &str); 2] = [("shop", "session-cache"), ("calm-shop", "bounded-cache")];
/// What both are started with beside their scenario: a port of the kernel's choice and a hundred
/// requests a second.
const SHOP_ARGUMENTS: [&str; 4] = ["-listen", "127.0.0.1:0", "-load", "100"];

/// Where the incidents are asked for.
const INCIDENTS: &str = "/api/v1/unswept/incidents";

const LISTEN: &str = "127.0.0.1:7787";
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

struct Options {
    /// End by itself after this time.
    time: Option<Duration>,
    listen: SocketAddr,
}

/// Runs `cargo xtask demo`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = parse(arguments)?;
    let workspace = Workspace::find()?;
    if !workspace.shop().join("go.mod").is_file() {
        bail!("there is no sample shop in {}", workspace.shop().display());
    }
    // Before the minutes of building, not after them.
    if let Err(error) = TcpListener::bind(options.listen) {
        bail!(
            "cannot listen on {}: {error}\nhint: end what listens there, or choose another port: \
             cargo xtask demo --listen 127.0.0.1:7788",
            options.listen
        );
    }
    println!(
        "This demo builds unswept and a small Go web shop, and runs both on this machine only.\n\
         One shop has a bug, sessions that are kept for ever; a second, calm one has a cache that fills\n\
         and stops. The watcher is not told which is which.\n\
         In about three minutes it opens an incident and names the function and line that leak.\n\
         Watch it below or on http://{}/. Ctrl-C ends everything; all files lie in {}.\n",
        options.listen,
        folder(&workspace).display()
    );
    let go = prepare(&workspace)?;
    build_shops(&workspace, &go)?;
    play(&workspace, &options)
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options {
        time: None,
        listen: address(LISTEN)?,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| usage(format!("`{argument}` needs a value")));
        match argument.as_str() {
            "--for" => options.time = Some(duration(value?)?),
            "--listen" => options.listen = address(value?)?,
            other => return Err(usage(format!("`demo` does not know `{other}`"))),
        }
    }
    Ok(options)
}

fn address(text: &str) -> anyhow::Result<SocketAddr> {
    text.parse()
        .map_err(|_| usage(format!("expected ADDRESS:PORT, found `{text}`")))
}

/// `240s`, `4m`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    let seconds = match text.strip_suffix('s') {
        Some(seconds) => seconds.parse::<u32>().ok(),
        None => text
            .strip_suffix('m')
            .and_then(|m| m.parse::<u32>().ok()?.checked_mul(60)),
    };
    let seconds =
        seconds.ok_or_else(|| usage(format!("expected a time like 240s, found `{text}`")))?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("demo")
}

fn prepare(workspace: &Workspace) -> anyhow::Result<Go> {
    println!("== tools");
    let go = toolchain::ensure_go(workspace)?;
    if !go.cgo {
        println!("    no C compiler: the shop is built without cgo; this demo needs none");
    }
    println!("== building unswept");
    build(workspace.cargo(&["build", "--package", "unswept", "--release", "--locked"]))?;
    Ok(go)
}

fn build_shops(workspace: &Workspace, go: &Go) -> anyhow::Result<()> {
    println!("== building the shop");
    let demo = folder(workspace);
    std::fs::create_dir_all(&demo).with_context(|| format!("failed to make {}", demo.display()))?;
    let (first, others) = (demo.join(SHOPS[0].0), &SHOPS[1..]);
    let output = first.to_string_lossy();
    let mut command = go.command(&workspace.shop(), &["build", "-o", &output, "."]);
    command.env("CGO_ENABLED", if go.cgo { "1" } else { "0" });
    build(command)?;
    for (name, _) in others {
        let copy = demo.join(name);
        std::fs::copy(&first, &copy)
            .with_context(|| format!("failed to make {}", copy.display()))?;
    }
    Ok(())
}

fn build(command: Command) -> anyhow::Result<()> {
    let started = Instant::now();
    let program = command.get_program().display().to_string();
    let mut steps = 0;
    let ended = stream(command, Duration::from_secs(3600), &mut |line| {
        let working = [
            "   Compiling",
            "  Downloaded",
            " Downloading",
            "go: downloading",
        ];
        if working.iter().any(|word| line.starts_with(word)) {
            steps += 1;
            return Show::Progress(format!("{steps} steps, last: {}", line.trim()));
        }
        Show::Line
    })?;
    match ended {
        Ended::Exited(status) if status.success() => {
            println!("    built in {}", clock(started.elapsed()));
            Ok(())
        }
        _ => bail!("`{program}` could not build; its messages are above"),
    }
}

/// All programs; whatever happens, they have ended after `stop`.
struct Cast {
    shops: Vec<Child>,
    watcher: Option<Child>,
}

impl Cast {
    fn stop(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            stop_child(watcher, GRACE);
        }
        for shop in &mut self.shops {
            stop_child(shop, GRACE);
        }
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How the demo ended.
enum End {
    Asked,
    Time,
    Watcher(ExitStatus),
    Shop(ExitStatus),
}

fn play(workspace: &Workspace, options: &Options) -> anyhow::Result<ExitCode> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&asked))
            .context("failed to catch Ctrl-C")?;
    }
    adopt_orphans();
    let demo = folder(workspace);
    let data = demo.join("data");
    // An earlier demo's history belongs to a shop that is gone.
    if data.exists() {
        std::fs::remove_dir_all(&data)
            .with_context(|| format!("failed to remove {}", data.display()))?;
    }
    println!("== starting the shops");
    let mut cast = Cast {
        shops: Vec::new(),
        watcher: None,
    };
    let mut addresses = Vec::new();
    for (name, scenario) in SHOPS {
        let log = demo.join(format!("{name}.log"));
        cast.shops
            .push(start_shop(&demo.join(name), scenario, &log)?);
        let shop = cast.shops.last_mut().context("the shop was just started")?;
        let address = shop_address(shop, &log, &asked)?;
        println!("    {name} ({scenario}) serves http://{address}/");
        addresses.push(address);
    }
    let config = demo.join("unswept.yml");
    std::fs::write(&config, configuration(&addresses))
        .with_context(|| format!("failed to write {}", config.display()))?;

    println!("== starting the watcher on http://{}/", options.listen);
    let mut command = guarded(&workspace.unswept())?;
    command
        .arg("watch")
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(&data);
    command.arg("--listen").arg(options.listen.to_string());
    let watcher = command.spawn().context("failed to start the watcher")?;
    cast.watcher = Some(watcher);

    let (end, incident) = attend(&mut cast, options, &asked)?;
    println!("\n== ending");
    cast.stop();
    let left = left_behind(Duration::from_secs(2));
    for process in &left {
        println!(
            "    {} (pid {}) had not ended by itself",
            process.name, process.pid
        );
    }
    conclude(&end, incident, options, &demo)
}

fn start_shop(shop: &Path, scenario: &str, log: &Path) -> anyhow::Result<Child> {
    let output = File::create(log).with_context(|| format!("failed to make {}", log.display()))?;
    let errors = output
        .try_clone()
        .context("failed to share the shop's log")?;
    let mut command = guarded(shop)?;
    command
        .args(SHOP_ARGUMENTS)
        .args(["-scenario", scenario])
        .process_group(0);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    command.spawn().context("failed to start the shop")
}

/// The address that the shop says it listens on.
fn shop_address(shop: &mut Child, log: &Path, asked: &AtomicBool) -> anyhow::Result<SocketAddr> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline && !asked.load(Ordering::Relaxed) {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        if let Some(address) = said.lines().find_map(loopback_address) {
            return Ok(address);
        }
        if let Some(status) = shop.try_wait().context("failed to wait for the shop")? {
            bail!(
                "the shop ended at once ({status}); it said:\n{}",
                said.trim_end()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!(
        "the shop has not said where it listens; see {}",
        log.display()
    )
}

/// The first `127.0.0.1:PORT` of a line, but not port 0: that is what was asked for.
fn loopback_address(line: &str) -> Option<SocketAddr> {
    line.match_indices("127.0.0.1:").find_map(|(start, _)| {
        let text = &line[start..];
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
        // A full stop at the end is prose.
        let text = text[..end.unwrap_or(text.len())].trim_end_matches(['.', ':']);
        let address: SocketAddr = text.parse().ok()?;
        (address.port() != 0).then_some(address)
    })
}

/// The demo's configuration: read every second, so that minutes are enough; only the shops are asked
/// for anything, other Go programs of this machine are left in peace.
fn configuration(shops: &[SocketAddr]) -> String {
    let targets: Vec<String> = shops.iter().map(|shop| format!("\"{shop}\"")).collect();
    format!(
        "# Written by `cargo xtask demo`.\n\
         global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 3s}}\n\
         discovery: {{min_age: 1s, refresh_interval: 2s, probe_ports: false}}\n\
         evidence: {{ring_interval: 30s}}\n\
         scrape_configs:\n  - job_name: shops\n    static_configs:\n      - targets: [{}]\n",
        targets.join(", ")
    )
}

/// Waits for an end; also the time after which the first incident was there.
fn attend(
    cast: &mut Cast,
    options: &Options,
    asked: &AtomicBool,
) -> anyhow::Result<(End, Option<Duration>)> {
    let started = Instant::now();
    let mut incident = None;
    let mut next_look = Duration::from_secs(2);
    loop {
        if asked.load(Ordering::Relaxed) {
            return Ok((End::Asked, incident));
        }
        if let Some(watcher) = &mut cast.watcher
            && let Some(status) = watcher
                .try_wait()
                .context("failed to wait for the watcher")?
        {
            // Ctrl-C may have reached it before us.
            std::thread::sleep(Duration::from_millis(100));
            let end = if asked.load(Ordering::Relaxed) {
                End::Asked
            } else {
                End::Watcher(status)
            };
            return Ok((end, incident));
        }
        for shop in &mut cast.shops {
            if let Some(status) = shop.try_wait().context("failed to wait for a shop")? {
                return Ok((End::Shop(status), incident));
            }
        }
        let elapsed = started.elapsed();
        if incident.is_none() && elapsed >= next_look {
            next_look = elapsed + Duration::from_secs(2);
            let answer = http::get(options.listen, INCIDENTS);
            incident = answer
                .is_some_and(|body| has_incident(&body))
                .then_some(elapsed);
        }
        if options.time.is_some_and(|time| elapsed >= time) {
            return Ok((End::Time, incident));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the API's answer lists an incident: `[..]`, `{"incidents": [..]}` or Prometheus' envelope
/// `{"status": "success", "data": ..}` around either.
fn has_incident(body: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else {
        return false;
    };
    let data = answer.get("data").unwrap_or(&answer);
    let list = data.get("incidents").unwrap_or(data);
    list.as_array().is_some_and(|list| !list.is_empty())
}

fn conclude(
    end: &End,
    incident: Option<Duration>,
    options: &Options,
    demo: &Path,
) -> anyhow::Result<ExitCode> {
    match incident {
        Some(time) => println!("    an incident was open {} after the start", clock(time)),
        None => println!("    no incident was opened"),
    }
    println!(
        "    the data and the evidence stay in {}",
        demo.join("data").display()
    );
    match end {
        End::Watcher(status) => bail!("the watcher ended by itself ({status}); see above"),
        End::Shop(status) => {
            bail!(
                "a shop ended by itself ({status}); see the logs in {}",
                demo.display()
            )
        }
        End::Asked => Ok(ExitCode::SUCCESS),
        End::Time if incident.is_some() => Ok(ExitCode::SUCCESS),
        End::Time => bail!(
            "no incident within {}",
            clock(options.time.unwrap_or_default())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let rows = [
            ("240s", Some(240)),
            ("4m", Some(240)),
            ("240", None),
            ("s", None),
            ("-1s", None),
            ("4294967295m", None),
        ];
        for (text, expected) in rows {
            let found = duration(text).ok().map(|time| time.as_secs());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn addresses_in_what_the_shop_says() {
        let rows = [
            ("READY http://127.0.0.1:40123/metrics", Some(40123)),
            ("listening on 127.0.0.1:40123", Some(40123)),
            ("asked for 127.0.0.1:0, got 127.0.0.1:40123.", Some(40123)),
            ("started with -listen 127.0.0.1:0", None),
            ("listening on :8080", None),
            ("127.0.0.1:99999", None),
        ];
        for (line, expected) in rows {
            assert_eq!(
                loopback_address(line).map(|address| address.port()),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn incidents_in_an_answer() {
        let rows = [
            (
                r#"{"status":"success","data":{"incidents":[{"id":"1"}]}}"#,
                true,
            ),
            (r#"{"status":"success","data":[{"id":"1"}]}"#, true),
            (r#"{"incidents":[{"id":"1"}]}"#, true),
            (r#"[{"id":"1"}]"#, true),
            (r#"{"status":"success","data":[]}"#, false),
            (r#"{"status":"error","error":"x"}"#, false),
            ("<html>", false),
        ];
        for (body, expected) in rows {
            assert_eq!(has_incident(body.as_bytes()), expected, "{body}");
        }
    }
}
