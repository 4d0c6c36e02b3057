//! The watcher is killed in the middle of an incident and started again: history and incident are
//! there. Then the leaking service is replaced by a clean one, which ends the incident, in its time.

use std::time::{Duration, Instant};

use e2e::watcher::Incident;
use e2e::{Setting, Settings, Shop, Watcher, tell, wait_until};
use serde_json::Value;

/// Mostly 140 s; a machine that stands still for seconds makes growth uneven, and a judge wait.
const INCIDENT_WITHIN: Duration = Duration::from_secs(240);

#[test]
fn history_and_incident_are_there_and_a_clean_successor_ends_it() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build_with(&setting, "rolling", &[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let settings = Settings::default();
    let mut watcher = Watcher::start(&setting, &settings, &data);
    let mut leaking = shop.start(&["-load", "40", "-scenario", "session-cache"]);
    let pid = leaking.running.pid();

    let incident = wait_until("the incident", INCIDENT_WITHIN, || {
        let all = watcher.incidents_of(pid);
        let with_evidence = all.into_iter().find(|i| !i.evidence().is_empty());
        with_evidence.ok_or_else(|| format!("{:?}", watcher.verdict_of(pid)))
    });
    let id = incident.text("id");
    tell(story, format!("incident {id}"));
    // As in a rolling deployment: the next one starts before the last one ends.
    // Its age counts from the process's start, which is before it says that it is ready.
    let clean_since = Instant::now();
    let clean = shop.start(&["-load", "40"]);

    let target = watcher
        .target_of(pid)
        .expect("the leaking shop is a target");
    let target = target["target"]["id"].as_str().expect("an id").to_owned();
    watcher.running.kill();
    let killed = now_unix_s();
    std::thread::sleep(Duration::from_secs(3));
    let mut watcher = Watcher::start(&setting, &settings, &data);
    tell(story, "killed and started again");

    assert_the_only_incident_is(&watcher, &id, "open");
    let path = format!("incidents/{id}");
    let manifest = watcher
        .api(&path)
        .expect("the open incident is known at once");
    assert_eq!(
        manifest["evidence"], incident.manifest["evidence"],
        "the evidence is kept"
    );
    assert_history(&watcher, &target, killed);
    let verdict = wait_until("a verdict on it again", Duration::from_secs(30), || {
        let verdict = watcher.verdict_of(pid)?;
        (verdict["verdict"] == "leak")
            .then(|| verdict.clone())
            .ok_or(verdict["verdict"].to_string())
    });
    assert_eq!(verdict["kind"], "go-heap", "{verdict:#}");
    assert!(
        unix_s(&verdict["window"]["from"]) < killed - 30.0,
        "{}",
        verdict["window"]
    );
    let again = wait_until("the alert to be repeated", Duration::from_secs(10), || {
        let alerts = watcher.alerts();
        let same = alerts
            .iter()
            .find(|alert| alert["fingerprint"] == id.as_str());
        same.cloned().ok_or(format!("{} alerts", alerts.len()))
    });
    assert_eq!(again["status"], "firing", "{again:#}");
    // Two more judgements: none of them opens a second incident.
    std::thread::sleep(Duration::from_secs(7));
    assert_the_only_incident_is(&watcher, &id, "open");

    let end = leaking.running.stop();
    assert!(end.success(), "the shop ends on SIGTERM: {end}");
    wait_until(
        "the leaking shop to be gone",
        Duration::from_secs(15),
        || {
            let row = watcher.target_of(pid)?;
            (row["state"]["state"] == "gone")
                .then_some(())
                .ok_or(row["state"].to_string())
        },
    );
    assert_the_only_incident_is(&watcher, &id, "open");
    tell(story, "the leaking shop has ended, its incident has not");

    let clean_pid = clean.running.pid();
    let resolved = wait_until(
        "the incident to be resolved",
        Duration::from_secs(260),
        || {
            let found = one(&watcher, &id)?;
            let verdict = watcher.verdict_of(clean_pid)?;
            let seen = format!(
                "{} {}, age of the successor {:.0} s, its verdict {} {}",
                id,
                found.text("state"),
                clean_since.elapsed().as_secs_f64(),
                verdict["verdict"],
                verdict["kind"]
            );
            (found.text("state") == "resolved")
                .then_some(found)
                .ok_or(seen)
        },
    );
    let age = clean_since.elapsed().as_secs_f64();
    tell(story, format!("resolved by a successor {age:.0} s old"));
    let wanted = resolved.manifest["age_s"].as_f64().unwrap_or(f64::NAN);
    assert!(
        age >= wanted,
        "resolved at {age} s, the leaking one had {wanted} s"
    );
    let codes: Vec<&Value> = resolved.manifest["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| &event["code"])
        .collect();
    for code in ["opened", "evidence", "target-gone", "resolved"] {
        assert!(
            codes.iter().any(|known| *known == code),
            "{code} is not in {codes:?}"
        );
    }
    wait_until("the alert to be over", Duration::from_secs(10), || {
        let over =
            |alert: &Value| alert["fingerprint"] == id.as_str() && alert["status"] == "resolved";
        let alerts = watcher.alerts();
        alerts
            .iter()
            .any(over)
            .then_some(())
            .ok_or(format!("{alerts:?}"))
    });
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

/// Exactly one incident of our shop, in the folders and in the API.
fn assert_the_only_incident_is(watcher: &Watcher, id: &str, state: &str) {
    let found = one(watcher, id).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(found.text("state"), state, "{id}");
    let listed = watcher.api("incidents").expect("a list of incidents");
    let rows = listed["incidents"].as_array().expect("a list");
    let rows: Vec<&Value> = rows
        .iter()
        .filter(|row| row["workload"] == found.text("workload").as_str())
        .collect();
    assert_eq!(rows.len(), 1, "incidents in the API: {rows:#?}");
    assert_eq!(
        (&rows[0]["id"], &rows[0]["state"]),
        (&id.into(), &state.into())
    );
}

fn one(watcher: &Watcher, id: &str) -> Result<Incident, String> {
    let mut all = watcher.incidents();
    let known = all.iter().find(|incident| incident.text("id") == id);
    let workload = known.ok_or(format!("{id} is lost"))?.text("workload");
    all.retain(|incident| incident.text("workload") == workload);
    match all.len() {
        1 => Ok(all.remove(0)),
        count => Err(format!("{count} incidents of {workload}")),
    }
}

/// The series of the target reach back before the kill.
fn assert_history(watcher: &Watcher, target: &str, killed: f64) {
    let history = wait_until("the history", Duration::from_secs(20), || {
        watcher.api(&format!("targets/{target}/history?minutes=5"))
    });
    let times = history["times"].as_array().expect("times");
    let values = history["rss_bytes"].as_array().expect("resident memory");
    let before = times
        .iter()
        .zip(values)
        .filter(|(time, value)| time.as_f64() < Some(killed - 30.0) && value.is_number())
        .count();
    assert!(before > 20, "{before} points before the kill: {history:#}");
}

fn now_unix_s() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// A time as JSON has it, `2026-11-21T22:30:00.5Z`, in seconds since 1970.
fn unix_s(time: &Value) -> f64 {
    let text = time.as_str().expect("a time");
    let numbers: Vec<f64> = text
        .split(['-', 'T', ':', 'Z'])
        .filter_map(|part| part.parse().ok())
        .collect();
    let [year, month, day, hour, minute, second] = numbers[..] else {
        panic!("not a time: {text}");
    };
    // Days before the month in a year that begins in March, as the calendar's arithmetic likes it.
    let (year, month) = if month > 2.0 {
        (year, month - 3.0)
    } else {
        (year - 1.0, month + 9.0)
    };
    let days = (365.25 * year).floor() - (year / 100.0).floor()
        + (year / 400.0).floor()
        + ((153.0 * month + 2.0) / 5.0).floor()
        + day
        - 1.0
        - 719_468.0;
    days * 86_400.0 + hour * 3_600.0 + minute * 60.0 + second
}

#[test]
fn times_are_read() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2000-02-29T12:00:00.5Z", 951_825_600.5),
        ("2026-11-22T16:43:47Z", 1_795_365_827.0),
    ] {
        assert_eq!(unix_s(&text.into()), expected, "{text}");
    }
}
