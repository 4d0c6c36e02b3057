//! A service in a pod, as far as the kernel and the files of a node make one: a memory cgroup with the
//! kubelet's names, network and mount namespaces of its own, an executable that only it sees, and
//! endpoints on its own loopback only. It is found, named, scraped and profiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::process::{command, status_line};
use e2e::{Running, Setting, Settings, Shop, Watcher, http, tell, wait_until};

const UID: &str = "1b2c3d4e-0000-4aaa-8bbb-1234567890ab";
const POD: &str = "shop-7d9c5b6f4d-x2kzp";

/// The cgroup of a pod's container, gone with this value.
struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroup {
    fn make(id: &str) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/memory");
        let own = format!("unswept-story-{}", std::process::id());
        let mut folders = Vec::new();
        let mut path = root.to_owned();
        for name in [&own, "kubepods", "burstable", &format!("pod{UID}"), id] {
            path.push(name);
            fs::create_dir(&path).ok()?;
            folders.insert(0, path.clone());
        }
        fs::write(path.join("memory.limit_in_bytes"), "268435456").ok()?;
        Some(Self { folders })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            let begin = Instant::now();
            // What ran in it has ended, and the kernel takes a moment to notice.
            while fs::remove_dir(folder).is_err() && begin.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Starts the shop in the cgroup, in namespaces of its own, from a file system that only it sees.
fn start(shop: &Shop, cgroup: &Cgroup) -> Running {
    let inside = "ip link set lo up && mount -t tmpfs none /mnt && cp \"$0\" /mnt/shop && \
                  exec /mnt/shop -listen 127.0.0.1:6060 -load 20";
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec unshare --net --mount sh -c '{inside}' \"$0\"",
        cgroup.folders[0].display()
    );
    let mut start = command("sh");
    start.args(["-c", &script]).arg(&shop.program);
    let mut running = Running::start("the shop in a pod", start);
    wait_until("the shop to be ready", Duration::from_secs(20), || {
        running.assert_alive();
        let said = running.stdout();
        said.contains("READY").then_some(()).ok_or(said)
    });
    running
}

#[test]
fn a_pod_with_endpoints_on_its_own_loopback_is_found_named_and_profiled() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let id = "6".repeat(64);
    let Some(cgroup) = Cgroup::make(&id) else {
        println!("SKIP: no memory cgroup of version 1 can be made here");
        return;
    };
    println!("live: a memory cgroup of version 1; version 2 is held against recorded trees");
    let shop = Shop::build(&setting);
    let mut running = start(&shop, &cgroup);
    let pid = running.pid();
    // The node's side: what the kubelet calls the pod's log.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let logs = folder.path().join("host/var/log/containers");
    fs::create_dir_all(&logs).expect("a folder");
    fs::write(logs.join(format!("{POD}_payments_app-{id}.log")), "").expect("a file");
    let settings = Settings {
        host_root: Some(folder.path().join("host")),
        ..Settings::default()
    };
    let data = folder.path().join("data");
    let mut watcher = Watcher::start(&setting, &settings, &data);

    let row = wait_until("the pod's endpoint", Duration::from_secs(30), || {
        let row = watcher.target_of(pid)?;
        // The limit comes with the first verdict.
        let judged = row["state"]["state"] == "up" && row["limit_bytes"].is_u64();
        judged.then(|| row.clone()).ok_or(row.to_string())
    });
    let target = &row["target"];
    for (field, value) in [
        ("workload", "payments/deployment/shop"),
        ("pod", POD),
        ("container", "app"),
        ("container_id", &id),
        ("url", "http://127.0.0.1:6060"),
    ] {
        assert_eq!(target[field], value, "{field}: {target:#}");
    }
    assert_eq!(target["url_inside"], true, "{target:#}");
    let instance = format!("{POD}:6060");
    assert_eq!(target["labels"]["instance"], instance, "{target:#}");
    assert_eq!(target["labels"]["namespace"], "payments", "{target:#}");
    assert_eq!(row["limit_bytes"], 256 << 20, "{row:#}");
    assert!(row["goroutines"].as_f64() > Some(3.0), "scraped: {row:#}");
    tell(story, "found and scraped");

    let ring = data
        .join("ring")
        .join(target["id"].as_str().expect("an id"));
    wait_until("profiles from inside", Duration::from_secs(20), || {
        let files = fs::read_dir(&ring).map_err(|error| error.to_string())?;
        let names = files.flatten().map(|file| file.file_name());
        let names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        let has = |end: &str| names.iter().any(|name| name.ends_with(end));
        let both = has("ring-heap.pb.gz") && has("ring-goroutine.pb.gz");
        both.then_some(()).ok_or(format!("{names:?}"))
    });
    tell(story, "profiled");

    let page = http::get(&format!(
        "{}/targets/{}",
        watcher.url,
        target["id"].as_str().unwrap()
    ));
    let page = page.expect("the page").text();
    assert!(page.contains("in its own network namespace"), "{page}");
    let metrics = http::get(&format!("{}/metrics", watcher.url)).expect("metrics");
    let labels =
        format!("container=\"app\",instance=\"{instance}\",namespace=\"payments\",pod=\"{POD}\"");
    assert!(metrics.text().contains(&labels), "{}", metrics.text());
    // Nobody of ours has moved.
    let ours = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).expect("a namespace");
    assert_eq!(ours(watcher.running.pid()), ours(std::process::id()));
    running.assert_alive();
    let tracer = status_line(pid, "TracerPid");
    assert_eq!(tracer.as_deref(), Some("0"), "somebody traces the shop");
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
    drop(running);
}
