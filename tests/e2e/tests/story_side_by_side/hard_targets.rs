//! Targets that make it hard: each becomes a state that the user sees, and the watcher lives on.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::{Duration, Instant};

use e2e::process::status_line;
use e2e::{Behaviour, Server, Setting, Settings, Shop, Watcher, tell, wait_until};
use serde_json::Value;

/// What the watcher may hold while an endpoint sends without end, in KiB.
const RSS_KIB_MAX: u64 = 200 << 10;
/// Sets the pid that the next process gets, less one: proc(5).
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

#[test]
fn endpoints_that_hang_or_lie_or_never_end_are_said_to_fail() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build(&setting);
    let open = shop.start(&["-load", "20"]);
    let good = open.url.trim_start_matches("http://").to_owned();
    let bad = [
        ("hangs", Behaviour::Hangs),
        ("speaks-garbage", Behaviour::SpeaksGarbage),
        ("sends-garbage", Behaviour::SendsGarbage),
        ("never-ends", Behaviour::NeverEnds),
    ];
    let servers = bad.map(|(name, behaviour)| (name, Server::start(behaviour)));
    let mut jobs = vec![
        ("good".to_owned(), good),
        ("nobody".to_owned(), free_port()),
    ];
    for (name, server) in &servers {
        jobs.push(((*name).to_owned(), server.host_port()));
    }
    let settings = Settings {
        local_processes: false,
        jobs,
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));

    for job in [
        "hangs",
        "speaks-garbage",
        "sends-garbage",
        "never-ends",
        "nobody",
    ] {
        let what = format!("{job} to be said to fail");
        let reason = wait_until(&what, Duration::from_secs(20), || {
            let row = watcher.target_of_job(job)?;
            let state = &row["state"];
            let fails = state["state"] == "endpoint-failing";
            fails
                .then(|| state["reason"].clone())
                .ok_or(state.to_string())
        });
        let words = reason.as_str().unwrap_or_default();
        assert!(words.len() > 10, "{job} fails without a reason: {words}");
        tell(story, format!("{job}: {words}"));
    }
    // Long enough for many rounds of each.
    std::thread::sleep(Duration::from_secs(8));
    watcher.running.assert_alive();
    let good = watcher
        .target_of_job("good")
        .expect("the good one is a target");
    assert_eq!(good["state"]["state"], "up", "{good:#}");
    let id = good["target"]["id"].as_str().expect("an id");
    let view = watcher.api(&format!("targets/{id}")).expect("its view");
    let last = view["last_read"].clone();
    assert!(!last.is_null(), "it was read");
    wait_until(
        "the good one to be read again",
        Duration::from_secs(5),
        || {
            let view = watcher.api(&format!("targets/{id}"))?;
            (view["last_read"] != last)
                .then_some(())
                .ok_or(last.to_string())
        },
    );
    let rss = status_line(watcher.running.pid(), "VmRSS").unwrap_or_default();
    let rss: u64 = rss
        .split(' ')
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(u64::MAX);
    assert!(rss < RSS_KIB_MAX, "the watcher holds {rss} KiB");
    assert!(watcher.incidents().is_empty(), "nothing here leaks");
    tell(
        story,
        format!("the watcher lives on with {} MiB", rss >> 10),
    );
    assert!(watcher.running.stop().success(), "and ends cleanly");
}

#[test]
fn a_pid_that_is_used_again_is_another_target() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let shop = Shop::build(&setting);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings::default();
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let mut first = shop.start(&["-load", "20"]);
    let pid = first.running.pid();
    let before = wait_until("the first one to be read", Duration::from_secs(20), || {
        let row = watcher.target_of(pid)?;
        (row["state"]["state"] == "up")
            .then(|| row.clone())
            .ok_or(row["state"].to_string())
    });
    let _ = first.running.stop();
    let Some(second) = start_as(&shop, pid) else {
        println!("SKIP: the kernel does not let us choose a pid ({LAST_PID})");
        return;
    };
    let rows = wait_until("two targets of one pid", Duration::from_secs(20), || {
        let answer = watcher.api("targets")?;
        let all = answer["targets"].as_array().cloned().unwrap_or_default();
        let mut rows: Vec<Value> = all
            .into_iter()
            .filter(|r| r["target"]["pid"] == pid)
            .collect();
        rows.sort_by_key(|row| row["state"]["state"].to_string());
        let states: Vec<&Value> = rows.iter().map(|row| &row["state"]["state"]).collect();
        let done = states == ["gone", "up"];
        done.then(|| rows.clone()).ok_or(format!("{states:?}"))
    });
    let id = |row: &Value| row["target"]["id"].clone();
    assert_eq!(
        id(&rows[0]),
        id(&before),
        "the one that is gone is the first one"
    );
    assert_ne!(id(&rows[1]), id(&before), "the second one is somebody else");
    assert_ne!(
        rows[1]["target"]["start_time"],
        before["target"]["start_time"]
    );
    assert_eq!(second.running.pid(), pid);
    watcher.running.assert_alive();
}

/// A shop with this pid, if we may choose and others leave it to us.
fn start_as(shop: &Shop, pid: u32) -> Option<e2e::shop::OpenShop> {
    for _ in 0..40 {
        fs::write(LAST_PID, (pid - 1).to_string()).ok()?;
        let open = shop.start(&["-load", "20"]);
        if open.running.pid() == pid {
            return Some(open);
        }
    }
    None
}

#[test]
fn what_the_kernel_refuses_is_said() {
    let Some(setting) = Setting::find() else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: only root can run the watcher as somebody else");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    open_to_all(folder.path());
    // Nobody may not read where the binary was built.
    let own = Setting {
        unswept: folder.path().join("unswept"),
        ..setting.clone()
    };
    fs::copy(&setting.unswept, &own.unswept).expect("a copy of the binary");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    chown(&data, Some(65_534), Some(65_534)).expect("root may give it away");

    let shop = Shop::build(&setting);
    let open = shop.start(&["-load", "20"]);
    let as_nobody = Settings {
        as_nobody: true,
        ..Settings::default()
    };
    let mut watcher = Watcher::start(&own, &as_nobody, &data);
    // What nobody may not look into is not known to be Go. It is not passed over in silence.
    let said = wait_until("the refusal to be said", Duration::from_secs(20), || {
        let state = match watcher.target_of(open.running.pid()) {
            Ok(row) => row["state"].clone(),
            Err(_) => Value::Null,
        };
        if state["state"] == "no-permission" {
            return Ok(state["hint"].as_str().unwrap_or_default().to_owned());
        }
        let ready = e2e::http::get(&format!("{}/-/ready", watcher.url))?.text();
        let troubles = ready.contains("cannot be looked into");
        troubles
            .then(|| ready.clone())
            .ok_or(format!("{state} {ready}"))
    });
    println!("          said: {said}");
    assert!(
        said.contains("CAP_SYS_PTRACE") || said.contains("root"),
        "no hint: {said}"
    );
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "and ends cleanly");
}

fn open_to_all(folder: &std::path::Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a folder of ours");
}

/// A port where nobody listens.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
