//! `inspect memstats` against `runtime.ReadMemStats` and `runtime.NumGoroutine` of the same process: the same numbers, without the
//! pause, in under 2 ms and under 100 system calls.

use std::time::Instant;

use e2e::targets::inspect::inspect;
use e2e::targets::{cases, newest};
use e2e::{Form, Program, RunningTarget, Setting, Target, tell};
use serde_json::Value;

const SCHEMA: &str = "unswept/inspect-memstats/1";

/// What has to be there. Others that both sides know are compared as well.
const FIELDS: &[&str] = &[
    "heap_alloc",
    "total_alloc",
    "heap_inuse",
    "heap_idle",
    "heap_released",
    "heap_objects",
    "mallocs",
    "frees",
    "stack_inuse",
    "num_gc",
    "next_gc",
    "last_gc_ns",
    "pause_total_ns",
    "gc_sys",
    "num_goroutine",
];

/// Readings of one process; the best counts, for other programs run on this machine too.
const READINGS: usize = 9;

#[test]
fn every_field_equals_read_mem_stats() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        for mode in [&["planted"][..], &["parked", "-n", "1000"]] {
            let mut running = target.start(mode);
            compare(&setting, &target, &mut running);
        }
        tell(story, &target);
    }
}

#[test]
fn limits_in_force_are_shown() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let target = Target::build(&setting, &newest(), Form::Normal, Program::Targets);
    let unlimited = i64::MAX.cast_unsigned();
    type Variables = &'static [(&'static str, &'static str)];
    let rows: &[(&str, Variables, i64, u64)] = &[
        ("neither set", &[], 100, unlimited),
        ("GOGC", &[("GOGC", "37")], 37, unlimited),
        ("no GOGC", &[("GOGC", "off")], -1, unlimited),
        ("GOMEMLIMIT, far", &[("GOMEMLIMIT", "8GiB")], 100, 8 << 30),
        // Below what GOGC would allow: it decides when the next collection comes.
        (
            "GOMEMLIMIT, near",
            &[("GOMEMLIMIT", "160MiB")],
            100,
            160 << 20,
        ),
        (
            "both",
            &[("GOMEMLIMIT", "160MiB"), ("GOGC", "off")],
            -1,
            160 << 20,
        ),
    ];
    for (name, variables, gogc, limit) in rows {
        let mut running = target.start_with(&["planted"], variables);
        let ours = compare(&setting, &target, &mut running);
        assert_eq!(ours["gogc"].as_i64(), Some(*gogc), "{name}");
        assert_eq!(ours["memory_limit"].as_u64(), Some(*limit), "{name}");
    }
}

#[test]
fn a_reading_is_cheap() {
    let Some(setting) = Setting::find() else {
        return;
    };
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let running = target.start(&["planted"]);
        let costs = (0..READINGS).map(|_| read(&setting, &target, running.pid())["cost"].clone());
        let costs: Vec<Value> = costs.collect();
        let least = |name: &str| {
            let all = costs.iter().map(|cost| cost[name].as_u64());
            all.min()
                .flatten()
                .unwrap_or_else(|| panic!("no cost.{name}: {costs:?}"))
        };
        let (calls, wall_us) = (least("calls"), least("wall_us"));
        println!("{target}: {calls} system calls, {wall_us} us");
        assert!(calls < 100, "{target}: {costs:?}");
        assert!(wall_us < 2000, "{target}: {costs:?}");
    }
}

fn read(setting: &Setting, target: &Target, pid: u32) -> Value {
    inspect(setting, &["memstats", &pid.to_string(), "--json"]).json(setting, &target.name, SCHEMA)
}

/// Asks the target before and after; what has not changed meanwhile has to be what we have read.
fn compare(setting: &Setting, target: &Target, running: &mut RunningTarget) -> Value {
    // The scavenger gives pages back in the background for a while.
    for _ in 0..20 {
        let before = running.mem_stats();
        let ours = read(setting, target, running.pid());
        let after = running.mem_stats();
        if FIELDS
            .iter()
            .any(|field| before.get(*field) != after.get(*field))
        {
            continue;
        }
        for field in FIELDS {
            assert!(ours[field].is_u64(), "{target}: no {field}: {ours:#}");
        }
        for (field, value) in before.iter().filter(|(field, _)| ours[field].is_u64()) {
            if after.get(field) == Some(value) {
                assert_eq!(ours[field].as_u64(), Some(*value), "{target}: {field}");
            }
        }
        return ours;
    }
    panic!("{target}: its numbers never stay the same");
}
