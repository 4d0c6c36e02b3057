//! `inspect refs` against what a program and the kernel know of open descriptors: who holds how many, of which kind,
//! and who holds more than before.

use std::path::Path;
use std::time::Instant;

use e2e::targets::half_of_cases;
use e2e::targets::inspect::inspect;
use e2e::{Program, RunningTarget, Setting, Target, tell};
use serde_json::Value;

const SCHEMA: &str = "unswept/inspect-refs/1";
const DIFF_SCHEMA: &str = "unswept/inspect-refs-diff/1";

#[test]
fn descriptors_are_told_by_who_holds_them() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    for (release, form) in half_of_cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let mut running = target.start(&["descriptors"]);
        let truth = running.ask("truth");
        let pid = running.pid().to_string();
        let refs = inspect(&setting, &["refs", &pid, "--json"]);
        let refs = refs.json(&setting, &target.name, SCHEMA);
        let told = &refs["descriptors"];
        tell(story, format!("{target}: {} open", told["open"]));
        assert_eq!(told["open"], open_now(&running), "{target}");
        adds_up(&target, told);
        let held = truth["held"].as_array().expect("what is held");
        for wanted in held {
            is_held(&target, told, held, wanted);
        }
        // The runtime has some of its own (a cgroup's since Go 1.25), and what its parent left it.
        let others = told["others"].as_array().expect("others").iter();
        let files = others.filter(|other| other["kind"] == "file");
        let files: u64 = files.map(|files| number(files, "count")).sum();
        assert!(
            files >= number(&truth, "files_by_system_call"),
            "{target}: {told}"
        );
        running.ask("grow");
        who_holds_more(&setting, &target, &running, &refs);
    }
}

/// What the kernel says.
fn open_now(running: &RunningTarget) -> u64 {
    let links = std::fs::read_dir(format!("/proc/{}/fd", running.pid()));
    links.expect("our own child's descriptors").count() as u64
}

/// Every open descriptor is told once.
fn adds_up(target: &Target, told: &Value) {
    let sum = |name: &str| -> u64 {
        let groups = told[name].as_array().expect("groups").iter();
        groups.filter_map(|group| group["count"].as_u64()).sum()
    };
    let all = sum("held") + sum("others") + number(told, "unreached") + number(told, "left_out");
    assert_eq!(all, number(told, "open"), "{target}: {told}");
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().expect("a number")
}

/// With its name and way; in a stripped program a variable has neither, and what lies on all of its ways is one group.
fn is_held(target: &Target, told: &Value, truth: &[Value], wanted: &Value) {
    let held = told["held"].as_array().expect("groups");
    let is_variable = wanted["path"] != "";
    let is_told = match target.form.is_stripped() && is_variable {
        true => {
            let of_holder = truth.iter().filter(|one| one["holder"] == wanted["holder"]);
            let count: u64 = of_holder.map(|one| number(one, "count")).sum();
            let is_it =
                |group: &Value| group["kind"] == wanted["kind"] && number(group, "count") == count;
            held.iter().any(is_it)
        }
        false => {
            let of = if is_variable {
                &["path", "type"][..]
            } else {
                &[]
            };
            let of: Vec<&str> = ["holder", "kind", "count"]
                .iter()
                .chain(of)
                .copied()
                .collect();
            let is_it = |group: &Value| of.iter().all(|name| group[name] == wanted[name]);
            held.iter().any(is_it)
        }
    };
    assert!(is_told, "{target}: {wanted} of {told}");
}

/// Two looks tell who holds more.
fn who_holds_more(setting: &Setting, target: &Target, running: &RunningTarget, earlier: &Value) {
    let name = format!("descriptors-{}.json", running.pid());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, earlier.to_string()).expect("a file for the look");
    let against = file.to_str().expect("a name in UTF-8");
    let pid = running.pid().to_string();
    let diff = inspect(setting, &["refs", &pid, "--json", "--against", against]);
    let diff = diff.json(setting, &target.name, DIFF_SCHEMA);
    let changes = diff["descriptors"].as_array().expect("changes");
    let [change] = &changes[..] else {
        panic!("{target}: {changes:#?}");
    };
    assert_eq!(
        (number(change, "before"), &change["growth"]),
        (40, &25.into()),
        "{target}"
    );
    let is_named = change["holder"] == "main.openFiles" && change["path"] == "[*]";
    // Without names, the functions that use the variable tell which it is.
    let users = change["used_by"].as_array().into_iter().flatten();
    let is_used = users
        .filter_map(Value::as_str)
        .any(|user| user.starts_with("main.growFiles "));
    assert!(
        is_named || (target.form.is_stripped() && is_used),
        "{target}: {change:#}"
    );
    let _ = std::fs::remove_file(file);
}
