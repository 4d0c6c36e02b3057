//! Who may do what: the main process has no capability, its reader has two, its keeper one more,
//! neither has anything that listens, and neither a kill -9 nor a hundred of them leave anything behind or hurt what is watched.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::process::{command, descendants_of, started_with, status_line};
use e2e::{Running, Setting, Settings, Shop, Watcher, http, tell, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
/// `CAP_DAC_READ_SEARCH` and `CAP_SYS_PTRACE`, capabilities(7): the numbers 2 and 19.
const READERS_OWN: u64 = 1 << 2 | 1 << 19;
/// The same and `CAP_SYS_ADMIN`: the number 21.
const KEEPERS_OWN: u64 = READERS_OWN | 1 << 21;
const ROUNDS: u32 = 100;

#[test]
fn the_main_process_has_no_capability_and_the_reader_nothing_that_listens() {
    let Some(setting) = Setting::find() else {
        return;
    };
    if capabilities(std::process::id())[2] == 0 {
        println!("SKIP: this user has no capability to begin with");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let main = watcher.running.pid();
    let reader = reader_of(main);
    let keeper = keeper_of(main);

    assert_eq!(capabilities(main), [0; 5], "the main process: {SETS:?}");
    let all = [
        ("main process", main, 0),
        ("reader", reader, READERS_OWN),
        ("keeper", keeper, KEEPERS_OWN),
    ];
    for (name, pid, own) in &all[1..] {
        let [inheritable, permitted, effective, bounding, ambient] = capabilities(*pid);
        for (set, bits) in [
            ("permitted", permitted),
            ("effective", effective),
            ("bounding", bounding),
        ] {
            assert_eq!(bits & !own, 0, "the {name}'s {set} set is {bits:#x}");
        }
        assert_eq!(
            (inheritable, ambient),
            (0, 0),
            "the {name} passes nothing on"
        );
    }
    for (name, pid, may) in all {
        let no_new = status_line(pid, "NoNewPrivs");
        assert_eq!(
            no_new.as_deref(),
            Some("1"),
            "the {name} may gain privileges"
        );
        // A thread that starts a child that reads passes the two on for that moment.
        for thread in threads_of(pid) {
            let of_thread = capabilities(thread);
            assert!(
                of_thread.iter().all(|set| set & !may == 0),
                "thread {thread} of the {name}: {of_thread:#x?} of {SETS:?}"
            );
        }
    }

    // The second one lies in the data directory, and only its owner may open it.
    assert_eq!(listening(main), 2, "the page and the operator's socket");
    for (name, pid, _) in &all[1..] {
        assert_eq!(listening(*pid), 0, "the {name} listens to nobody");
    }
}

#[test]
fn a_killed_watcher_leaves_no_reader_behind() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let mut watcher = Watcher::start(&setting, &Settings::default(), &data);
    let reader = reader_of(watcher.running.pid());
    watcher.running.kill();
    wait_for_the_end_of(reader);

    // The same when it ends by itself.
    let mut watcher = Watcher::start(&setting, &Settings::default(), &data);
    let reader = reader_of(watcher.running.pid());
    let end = watcher.running.stop();
    assert!(end.success(), "SIGTERM: {end}");
    wait_for_the_end_of(reader);
}

#[test]
fn a_lost_reader_comes_back_with_its_rights() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings::default();
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let main = watcher.running.pid();
    let first = reader_of(main);
    let rights = capabilities(first);
    kill_by_pid(first, Signal::KILL);
    let second = wait_until("another reader", Duration::from_secs(20), || {
        let again = started_with(main, "__reader").filter(|&pid| pid != first);
        again.ok_or("none yet".to_owned())
    });
    assert_eq!(capabilities(second)[..4], rights[..4]);
    wait_until("all to be well", Duration::from_secs(20), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        let well = ready.status == 200;
        well.then_some(()).ok_or(ready.text())
    });
    assert!(watcher.running.stop().success(), "and ends cleanly");
    wait_for_the_end_of(second);
}

#[test]
fn without_its_keeper_a_lost_reader_is_said_to_be_lost() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings::default();
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let main = watcher.running.pid();
    let reader = reader_of(main);
    kill_by_pid(keeper_of(main), Signal::KILL);
    wait_for_the_end_of(reader);
    wait_until("the loss to be said", Duration::from_secs(20), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        let said = ready.status == 503 && ready.text().contains("restart unswept");
        said.then_some(()).ok_or(ready.text())
    });
    let healthy = http::get(&format!("{}/-/healthy", watcher.url)).expect("an answer");
    assert_eq!(healthy.status, 200, "the watcher lives on");
    // Whoever reads now has no more rights than the main process.
    for child in descendants_of(main) {
        let may = capabilities(child)[2];
        assert_eq!(may, 0, "a second reader with privileges");
    }
    assert!(watcher.running.stop().success(), "and ends cleanly");
}

/// Waits for a signal, and then takes memory until it is killed.
const WAITS_THEN_GROWS: &str = r#"package main

import ("os"; "os/signal"; "syscall"; "time")

var kept [][]byte

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	<-told
	for {
		block := make([]byte, 1<<20)
		for i := range block { block[i] = 1 }
		kept = append(kept, block)
		time.Sleep(5 * time.Millisecond)
	}
}
"#;

/// Builds that program, without anything to link at run time, as `svc` in `folder`.
fn build_service(setting: &Setting, folder: &Path) {
    fs::write(folder.join("main.go"), WAITS_THEN_GROWS).expect("a source");
    let mut build = std::process::Command::new(&setting.go);
    build
        .current_dir(folder)
        .env("CGO_ENABLED", "0")
        .args(["build", "-o", "svc", "main.go"]);
    let _ = e2e::process::run(build);
}

#[test]
fn a_lost_reader_ends_no_target() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    build_service(&setting, folder.path());
    let Some(cgroup) = e2e::cgroup::MemoryCgroup::make("lost-reader", 64 << 20) else {
        return;
    };
    // Neither names its program by a path that is one here.
    let mut relative = cgroup.command(Path::new("./svc"));
    relative.current_dir(folder.path());
    let mut relative = Running::start("relative", relative);
    let mut inside = command("chroot");
    inside.arg(folder.path()).arg("/svc");
    let mut inside = Running::start("inside", inside);
    let settings = Settings::default();
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let pids = [relative.pid(), inside.pid()];
    wait_until("both to be watched", Duration::from_secs(20), || {
        pids.iter()
            .try_for_each(|&pid| watcher.target_of(pid).map(drop))
    });
    // And the reader with it.
    kill_by_pid(keeper_of(watcher.running.pid()), Signal::KILL);
    wait_until(
        "the loss to be said of both",
        Duration::from_secs(30),
        || {
            pids.iter().try_for_each(|&pid| {
                let state = watcher.target_of(pid)?["state"].clone();
                let said = state.to_string().contains("no-permission");
                said.then_some(()).ok_or(state.to_string())
            })
        },
    );
    // Several looks of discovery later they are what they were.
    std::thread::sleep(Duration::from_secs(5));
    for pid in pids {
        let state = watcher.target_of(pid).expect("a target")["state"].to_string();
        assert!(state.contains("no-permission"), "{state}");
    }
    kill_by_pid(relative.pid(), Signal::USR1);
    relative.wait(Duration::from_secs(60));
    wait_until("the kill to be told", Duration::from_secs(20), || {
        let incidents = watcher.api("incidents")?.to_string();
        let told = incidents.contains("killed for lack of memory");
        told.then_some(()).ok_or(incidents)
    });
    inside.kill();
    wait_until("the other's end", Duration::from_secs(20), || {
        let state = watcher.target_of(pids[1])?["state"].to_string();
        state.contains("gone").then_some(()).ok_or(state)
    });
    assert!(watcher.running.stop().success(), "and ends cleanly");
}

fn kill_by_pid(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a pid"), signal).expect("it runs");
}

#[test]
fn a_hundred_kills_hurt_neither_target_nor_data() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build(&setting);
    let mut open = shop.start(&["-load", "20"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    for round in 0..ROUNDS {
        let mut start = command(&setting.unswept);
        start
            .args(["watch", "--plain", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data);
        let mut watcher = Running::start("unswept watch", start);
        // From before its first step to the middle of its first readings.
        std::thread::sleep(Duration::from_millis(u64::from(round * 7 % 150)));
        let ours = descendants_of(watcher.pid());
        watcher.kill();
        ours.into_iter().for_each(wait_for_the_end_of);
    }
    tell(story, format!("{ROUNDS} rounds"));
    open.running.assert_alive();
    let state = status_line(open.running.pid(), "State").unwrap_or_default();
    assert!(
        !state.starts_with('T') && !state.starts_with('t'),
        "the shop is stopped: {state}"
    );
    let tracer = status_line(open.running.pid(), "TracerPid");
    assert_eq!(tracer.as_deref(), Some("0"), "somebody traces the shop");

    let mut watcher = Watcher::start(&setting, &Settings::default(), &data);
    let up = wait_until("the shop to be read", Duration::from_secs(20), || {
        let row = watcher.target_of(open.running.pid())?;
        (row["state"]["state"] == "up")
            .then(|| row.clone())
            .ok_or(row.to_string())
    });
    assert!(up["rss_bytes"].as_u64() > Some(1 << 20), "{up:#}");
    assert!(
        watcher.running.stop().success(),
        "the data directory is whole"
    );
    tell(story, "the data directory survived");
}

fn reader_of(main: u32) -> u32 {
    started_with(main, "__reader").expect("it has a reader")
}

fn keeper_of(main: u32) -> u32 {
    started_with(main, "__keeper").expect("it has a keeper")
}

fn wait_for_the_end_of(pid: u32) {
    wait_until("the reader to end", Duration::from_secs(5), || {
        let state = status_line(pid, "State");
        match state.as_deref() {
            // A zombie has ended; whoever adopted it has not looked yet.
            None | Some("Z (zombie)" | "X (dead)") => Ok(()),
            Some(state) => Err(format!("pid {pid} is {state}")),
        }
    });
}

fn capabilities(pid: u32) -> [u64; 5] {
    SETS.map(|set| {
        let text = status_line(pid, set).unwrap_or_else(|| panic!("{set} of {pid}"));
        u64::from_str_radix(&text, 16).expect("a hexadecimal number")
    })
}

fn threads_of(pid: u32) -> Vec<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    folder.flatten().filter_map(number).collect()
}

/// How many listening sockets a process has, of any family and kind that /proc/net lists.
fn listening(pid: u32) -> usize {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        panic!("the open files of {pid} cannot be listed");
    };
    let links = folder
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    let own: Vec<String> = links
        .filter_map(|link| socket_inode(&link).map(str::to_owned))
        .collect();
    ["tcp", "tcp6", "udp", "udp6", "unix"]
        .into_iter()
        .map(|table| {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            let of_ours =
                |line: &&str| listening_inode(table, line).is_some_and(|i| own.contains(&i));
            text.lines().skip(1).filter(of_ours).count()
        })
        .sum()
}

fn socket_inode(link: &Path) -> Option<&str> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')
}

/// The inode of a line of `/proc/net/TABLE`, if that socket takes what strangers send.
fn listening_inode(table: &str, line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (listens, inode) = match table {
        // 0A is TCP_LISTEN.
        "tcp" | "tcp6" => (fields.get(3)? == &"0A", fields.get(9)?),
        "udp" | "udp6" => (true, fields.get(9)?),
        // __SO_ACCEPTCON.
        _ => (fields.get(3)? == &"00010000", fields.get(6)?),
    };
    listens.then(|| (*inode).to_owned())
}
