//! One question, one answer: `ps` lists what runs, `diagnose` says of one service whether it leaks, as
//! an exit code too, and `doctor` what this host allows.

use std::time::{Duration, Instant};

use e2e::process::{self, command};
use e2e::{Running, Setting, Shop, tell};
use serde_json::Value;

#[test]
fn a_leak_fails_the_build_and_calm_does_not() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build_with(&setting, "soaked", &[]);
    let leaking = shop.start(&["-load", "40", "-scenario", "session-cache"]);
    let calm = shop.start(&["-load", "40"]);
    // Nothing is ever collected here, unless somebody asks for it.
    let off = [("GOGC", "off")];
    let uncollected = shop.start_with(&off, &["-load", "40", "-scenario", "session-cache"]);
    let diagnose = |pid: u32, more: &[&str]| {
        let mut diagnose = command(&setting.unswept);
        diagnose.args(["diagnose", &pid.to_string()]).args(more);
        diagnose.args(["--for", "60s", "--interval", "1s"]);
        diagnose.args(["--fail-on", "leak", "--format", "json"]);
        Running::start("unswept diagnose", diagnose)
    };
    let mut of_leaking = diagnose(leaking.running.pid(), &[]);
    let mut of_calm = diagnose(calm.running.pid(), &[]);
    let mut of_uncollected = diagnose(uncollected.running.pid(), &["--confirm"]);
    let limit = Duration::from_secs(90);
    let all = [&mut of_leaking, &mut of_calm, &mut of_uncollected];
    let codes = all.map(|running| running.wait(limit).code());
    tell(
        story,
        format!("leaking, calm, uncollected: exit codes {codes:?}"),
    );
    let verdict = verdict_of(&of_leaking);
    assert_eq!(
        codes[..2],
        [Some(3), Some(0)],
        "{verdict:#}\n{}",
        of_leaking.stderr()
    );
    assert_confirmed(&setting, &verdict_of(&of_uncollected), codes[2]);

    assert_eq!(
        (&verdict["verdict"], &verdict["kind"]),
        (&"leak".into(), &"go-heap".into())
    );
    let culprit = shop.culprit("session-cache");
    let first = &verdict["suspects"][0];
    assert_eq!(first["function"], culprit.function, "{first:#}");
    assert_eq!(first["line"], culprit.line, "{first:#}");
    // The sessions hang on the shop that `main` runs, not on a variable of a package; while a pool
    // keeps a connection, that reaches them too.
    let holder = &first["holder"];
    tell(story, format!("held by {}: {holder}", first["held_by"]));
    let held_by = first["held_by"].as_str().unwrap_or_default();
    assert!(
        held_by.contains("sessions") || held_by.contains("main.main"),
        "{first:#}"
    );
    assert_eq!(holder["allocated_in"], culprit.function, "{first:#}");
    let growth = holder["growth_bytes_per_s"].as_f64().unwrap_or_default() * 60.0;
    let rate = verdict["findings"][0]["growth"]["per_minute"]
        .as_f64()
        .unwrap_or(0.0);
    let asked = 60.0 * 1024.0 * 1024.0;
    assert!(
        (growth / asked - 1.0).abs() < 0.5,
        "the holder grows by {growth} bytes a minute instead of {asked}"
    );
    assert!(
        (rate / asked - 1.0).abs() < 0.15,
        "{rate} bytes a minute instead of {asked}"
    );
    let verdict = verdict_of(&of_calm);
    assert_ne!(verdict["verdict"], "leak", "{verdict:#}");
    setting.assert_schema(&verdict);
}

/// What lives was told from garbage by collections that were forced, and what is wrong with the settings is said.
fn assert_confirmed(setting: &Setting, verdict: &Value, code: Option<i32>) {
    setting.assert_schema(verdict);
    assert_eq!(code, Some(3), "{verdict:#}");
    assert_eq!(verdict["kind"], "go-heap", "{verdict:#}");
    let finding = &verdict["findings"][0];
    let has = |list: &Value, code: &str| {
        let all = list.as_array().into_iter().flatten();
        all.clone().any(|one| one["code"] == code)
    };
    assert!(has(&finding["why"], "forced-gc"), "{finding:#}");
    assert!(has(&finding["advice"], "gc-off-no-limit"), "{finding:#}");
}

fn verdict_of(diagnose: &Running) -> Value {
    let text = diagnose.stdout();
    let said = diagnose.stderr();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}\n{said}"))
}

#[test]
fn ps_lists_builds_of_every_form() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let forms: [(&str, &[&str]); 3] = [
        ("plain", &[]),
        ("stripped", &["-ldflags=-s -w", "-trimpath"]),
        ("pie", &["-buildmode=pie"]),
    ];
    let shops = forms.map(|(name, arguments)| Shop::build_with(&setting, name, arguments));
    let open: Vec<_> = shops.iter().map(|shop| shop.start(&[])).collect();
    let mut version = std::process::Command::new(&setting.go);
    version.args(["env", "GOVERSION"]);
    let version = process::run(version).trim().to_owned();

    let mut ps = command(&setting.unswept);
    ps.arg("ps");
    let table = process::run(ps);
    let mut ps = command(&setting.unswept);
    ps.args(["ps", "--format", "json"]);
    let document: Value = serde_json::from_str(&process::run(ps)).expect("JSON");
    let rows = document["processes"].as_array().expect("a list");
    for (shop, open) in shops.iter().zip(&open) {
        let pid = open.running.pid();
        let row = rows.iter().find(|row| row["pid"] == pid);
        let row = row.unwrap_or_else(|| panic!("{} (pid {pid}) is not listed", shop.name));
        assert_eq!(row["name"], shop.name.as_str(), "{row:#}");
        assert_eq!(row["module"], "example.com/shop", "{row:#}");
        assert!(
            row.to_string().contains(&version),
            "{version} is not in {row:#}"
        );
        let line = table.lines().find(|line| line.contains(&pid.to_string()));
        let line = line.unwrap_or_else(|| panic!("no line for {pid} in:\n{table}"));
        for word in [
            shop.name.as_str(),
            "example.com/shop",
            version.trim_start_matches("go"),
        ] {
            assert!(line.contains(word), "{word} is not in: {line}");
        }
    }
}

#[test]
fn doctor_and_help_are_there() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut doctor = command(&setting.unswept);
    doctor.args(["doctor", "--data"]).arg(folder.path());
    let mut running = Running::start("unswept doctor", doctor);
    let code = running.wait(Duration::from_secs(20)).code();
    assert_eq!(code, Some(0), "{}{}", running.stdout(), running.stderr());
    assert!(running.stdout().lines().count() > 5, "{}", running.stdout());

    let mut help = command(&setting.unswept);
    help.arg("--help");
    let text = process::run(help);
    for word in [
        "watch",
        "diagnose",
        "ps",
        "profile",
        "incidents",
        "doctor",
        "Exit codes",
    ] {
        assert!(
            text.contains(word),
            "--help does not teach `{word}`:\n{text}"
        );
    }
    let mut wrong = command(&setting.unswept);
    wrong.arg("diagnoze");
    let mut running = Running::start("unswept diagnoze", wrong);
    assert_eq!(running.wait(Duration::from_secs(10)).code(), Some(2));
    assert!(
        running.stderr().contains("diagnose"),
        "a hint: {}",
        running.stderr()
    );
}
