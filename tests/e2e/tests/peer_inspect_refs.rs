//! `inspect refs` against what the program knows of itself: all that lives is reached, and each planted
//! holder is named and has its size.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::targets::inspect::inspect;
use e2e::targets::{cases, half_of_cases};
use e2e::{Program, RunningTarget, Setting, Target, tell};
use serde_json::Value;

const SCHEMA: &str = "unswept/inspect-refs/1";
const DIFF_SCHEMA: &str = "unswept/inspect-refs-diff/1";

/// Nanoseconds of a second.
const NS: u64 = 1_000_000_000;

/// Words that the types and the paths below a holder have to show a person.
const READABLE: &[(&str, &[&str])] = &[
    ("main.blocks", &["[*]", "uint8"]),
    ("main.sessions", &["[*]", "main.session", ".token"]),
    ("main.index", &["[*]", "main.price"]),
    ("main.catalog", &["main.event", ".body"]),
    ("main.jobs", &["main.event", ".body"]),
    ("main.lastCall", &["context.valueCtx"]),
    ("main.history", &["list.Element", "main.event"]),
    ("main.chain", &["main.link", ".next"]),
    ("main.recent", &["lru.entry", "main.event"]),
    ("main.quotes", &["cache.Entry", "main.event"]),
    ("main.shards", &["[*]", "main.event"]),
    ("main.records", &["main.wide", ".events[*]"]),
    ("main.shop", &["main.memoryStore", ".rows"]),
];

#[test]
fn holders_are_named_and_have_their_sizes() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    for (release, form) in half_of_cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let mut running = target.start(&["planted"]);
        let truth = running.ask("truth")["holders"].clone();
        let truth = truth.as_array().expect("the planted holders").clone();
        running.ask("gc");
        let heap_alloc = running.mem_stats()["heap_alloc"];
        let refs = look(&setting, &target, &running, &[]);
        let reached = refs["reached_bytes"].as_u64().expect("reached_bytes");
        tell(
            story,
            format!("{target}: reached {reached} of {heap_alloc}"),
        );
        assert!(
            reached.abs_diff(heap_alloc) * 1000 <= heap_alloc,
            "{target}: {reached} of {heap_alloc}"
        );
        nothing_grew_since(&setting, &target, &running, &refs);
        let wrong = match form.is_stripped() {
            false => by_name(&truth, &refs),
            true => by_size(&truth, &refs),
        };
        assert!(
            wrong.is_empty(),
            "{target}: {}\n{}",
            wrong.join("\n"),
            names(&refs)
        );
    }
}

#[test]
fn a_busy_target_gives_the_same_holders() {
    let Some(setting) = Setting::find() else {
        return;
    };
    for (release, form) in half_of_cases(&setting)
        .into_iter()
        .filter(|(_, form)| !form.is_stripped())
    {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let mut running = target.start(&["planted"]);
        let stopped = look(&setting, &target, &running, &["--pause"]);
        running.ask("churn on");
        running.ask("mapgrow on");
        let racy = look(&setting, &target, &running, &[]);
        // It has run on all the time.
        running.ask("mapgrow off");
        running.ask("churn off");
        let all = stopped["reached_bytes"].as_u64().expect("reached_bytes");
        for holder in stopped["holders"].as_array().expect("holders") {
            let size = bytes(holder);
            if size * 100 < all || holder["name"] == "main.table" {
                continue;
            }
            let again = find(&racy, text(holder, "kind"), text(holder, "name"));
            let again = again.map(bytes).unwrap_or_default();
            assert!(
                again.abs_diff(size) * 50 <= size,
                "{target}: {} has {size}, then {again}",
                holder["name"]
            );
        }
    }
}

/// Goroutines that keep something in a local variable alone, or in a register: all of it is reached, and the variable
/// named where the compiler tells where it lies. Timers hold what they hold.
#[test]
fn local_variables_hold_and_are_named() {
    let Some(setting) = Setting::find() else {
        return;
    };
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        // Go 1.27 has no setting any more that keeps tickers as before.
        let keeps_tickers = !release.version.starts_with("1.27.");
        let mut running = target.start(&["spinning"]);
        let truth = running.ask("truth")["held"].clone();
        let truth = truth.as_array().expect("what is held").clone();
        running.ask("gc");
        let heap_alloc = running.mem_stats()["heap_alloc"];
        for mode in ["--pause", "--snapshot", "--once"] {
            let is_still = mode != "--once";
            let words: &[&str] = match is_still {
                true => &[mode, "--max-pause", "5s"],
                false => &[mode],
            };
            let refs = look(&setting, &target, &running, words);
            timers(&refs, &format!("{target} {mode}"), keeps_tickers);
            let reached = refs["reached_bytes"].as_u64().expect("reached_bytes");
            assert!(
                !is_still || reached.abs_diff(heap_alloc) * 1000 <= heap_alloc,
                "{target} {mode}: {reached} of {heap_alloc}"
            );
            // Nobody tells the registers of a thread that runs.
            let sure = truth
                .iter()
                .filter(|held| is_still || held["spins"] == false);
            let wrong: Vec<String> = sure
                .filter_map(|held| local(held, &refs, form.is_stripped()))
                .collect();
            assert!(
                wrong.is_empty(),
                "{target} {mode}: {}\n{}",
                wrong.join("\n"),
                names(&refs)
            );
        }
    }
}

/// Timers one by one: when, how often, what they hold, and which tickers nobody can stop any more.
fn timers(refs: &Value, name: &str, keeps_tickers: bool) {
    let groups = refs["timers"].as_array().expect("timers");
    let of = |kind: &str, period_s: u64| {
        let is = |group: &&Value| group["kind"] == kind && group["period_ns"] == period_s * NS;
        let found = groups.iter().find(is);
        found.unwrap_or_else(|| panic!("{name}: no {kind} in {groups:?}"))
    };
    let tickers = of("ticker", 3600);
    let lost: u64 = if keeps_tickers { 50 } else { 0 };
    assert_eq!(tickers["count"], lost + 1, "{name}");
    // A word that was left on a stack or in a register may still lead to one of them.
    let abandoned = tickers["abandoned"].as_u64().expect("a number");
    assert!(
        (lost.max(3) - 3..=lost).contains(&abandoned),
        "{name}: {tickers}"
    );
    let functions = of("function", 0);
    assert_eq!(
        text(&functions["calls"], "function"),
        "main.startTimers.func2",
        "{name}"
    );
    assert!(
        text(&functions["calls"], "file").ends_with("spinning.go"),
        "{name}"
    );
    assert!(functions["calls"]["line"].as_u64() > Some(0), "{name}");
    let each = functions["timers"].as_array().expect("single timers");
    let mut days: Vec<f64> = each
        .iter()
        .map(|one| one["fires_in_ns"].as_f64().expect("when") / (86_400 * NS) as f64)
        .collect();
    days.sort_by(f64::total_cmp);
    for (day, wanted) in days.iter().zip([1.0, 2.0, 3.0]) {
        assert!((wanted - 0.01..=wanted).contains(day), "{name}: {days:?}");
    }
    for one in each {
        let size = bytes(one);
        // The only timer of a processor leads to its structure of 16 KiB.
        assert!((100 << 10..125 << 10).contains(&size), "{name}: {size}");
    }
    assert_eq!(each.len(), 3, "{name}");
}

/// What is wrong with one that a local variable holds.
fn local(held: &Value, refs: &Value, is_stripped: bool) -> Option<String> {
    let wanted = held["bytes"].as_u64().expect("a size");
    let entry = text(held, "entry");
    let Some(found) = find(refs, "goroutine", entry) else {
        return Some(format!("no goroutine {entry}"));
    };
    let size = bytes(found);
    if size.abs_diff(wanted) * 100 > wanted {
        return Some(format!("{entry} holds {size} bytes instead of {wanted}"));
    }
    let (function, variable) = (text(held, "function"), text(held, "variable"));
    // Of what never leaves a register in a loop the compiler tells nothing.
    let is_told = !is_stripped && variable != "buf";
    let path = text(&found["paths"][0], "path");
    let is_named = path.starts_with(&format!(" in {function} spinning.go:"))
        && path.ends_with(&format!(", variable {variable}"));
    (is_told && !is_named).then(|| format!("{entry}: `{path}` instead of {variable} of {function}"))
}

/// A gigabyte of pointer-free data is not read, so it costs next to nothing: under 100 ms is asked for, and measured by
/// `cargo xtask bench inspect`. The limit here is for machines that do other things meanwhile.
#[test]
fn memory_without_pointers_costs_nothing() {
    const GB: u64 = 1_000_000_000;
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let Some((release, form)) = cases(&setting).pop() else {
        return;
    };
    let target = Target::build(&setting, &release, form, Program::Targets);
    let blob = GB.to_string();
    let running = target.start(&["heap", "--objects", "1000", "--blob", &blob]);
    let pid = running.pid().to_string();
    let looks = [(); 3].map(|()| inspect(&setting, &["refs", &pid, "--json"]));
    let best = looks.iter().map(|look| look.took).min().expect("looks");
    tell(
        story,
        format!("{target}: {best:?} for 1 GB without pointers"),
    );
    for look in looks {
        let refs = look.json(&setting, &target.name, SCHEMA);
        assert!(bytes_of(&refs["reached_bytes"]) >= GB, "{refs}");
        assert!(
            bytes_of(&refs["cost"]["bytes"]) < GB / 50,
            "{}",
            refs["cost"]
        );
    }
    assert!(best < Duration::from_millis(500), "{target}: {best:?}");
}

fn bytes_of(value: &Value) -> u64 {
    value.as_u64().expect("a number of bytes")
}

fn look(setting: &Setting, target: &Target, running: &RunningTarget, more: &[&str]) -> Value {
    let pid = running.pid().to_string();
    let words = [&["refs", &pid, "--json"], more].concat();
    inspect(setting, &words).json(setting, &target.name, SCHEMA)
}

/// An earlier look from a file is what the next one is compared with; the planted holders stay as they are.
fn nothing_grew_since(
    setting: &Setting,
    target: &Target,
    running: &RunningTarget,
    earlier: &Value,
) {
    let name = format!("look-{}.json", running.pid());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, earlier.to_string()).expect("a file for the look");
    let file = file.to_str().expect("a name in UTF-8");
    let pid = running.pid().to_string();
    let words = ["refs", &pid, "--json", "--against", file];
    let diff = inspect(setting, &words).json(setting, &target.name, DIFF_SCHEMA);
    let changes = diff["changes"].as_array().expect("changes").iter();
    let grown: i64 = changes
        .filter_map(|change| change["growth_bytes"].as_i64())
        .sum();
    assert!(grown.abs() < 1 << 20, "{target}: {diff}");
    let _ = std::fs::remove_file(file);
}

/// What is wrong with holders whose names are known.
fn by_name(truth: &[Value], refs: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for planted in truth {
        let (kind, name) = (text(planted, "kind"), text(planted, "name"));
        let wanted = planted["bytes"].as_u64().expect("a size");
        let found = find(refs, kind, name);
        if planted["payload_bytes"] == 0 {
            // Weak pointers: the pointers count, what they point to does not.
            let size = found.map(bytes).unwrap_or_default();
            if size > 2 * wanted {
                wrong.push(format!("{name} holds nothing, and is said to hold {size}"));
            }
            continue;
        }
        match found.map(bytes) {
            None => wrong.push(format!("no {kind} {name} of {wanted} bytes")),
            Some(size) if size.abs_diff(wanted) * 100 > wanted => {
                wrong.push(format!("{kind} {name}: {size} bytes instead of {wanted}"));
            }
            Some(_) => {}
        }
    }
    for (name, words) in READABLE {
        let below = find(refs, "global", name)
            .map(Value::to_string)
            .unwrap_or_default();
        let missing = words.iter().filter(|word| !below.contains(*word));
        wrong.extend(missing.map(|word| format!("nothing below {name} says `{word}`: {below}")));
    }
    wrong.extend(bare_tables(refs));
    wrong
}

/// The runtime's own name of what a map is made of tells nobody anything.
fn bare_tables(refs: &Value) -> Option<String> {
    let inner = "internal/runtime/maps";
    let shown = holders(refs).find(|holder| holder.to_string().contains(inner))?;
    Some(format!("{inner} is told: {shown}"))
}

/// Without symbols: the five biggest have their sizes, and say where they were allocated.
fn by_size(truth: &[Value], refs: &Value) -> Vec<String> {
    let mut biggest: Vec<&Value> = truth.iter().collect();
    biggest.sort_by_key(|planted| std::cmp::Reverse(planted["bytes"].as_u64()));
    let mut wrong = Vec::new();
    for planted in &biggest[..5] {
        let wanted = planted["bytes"].as_u64().expect("a size");
        let made_in = text(planted, "made_in");
        let fits = |holder: &&Value| {
            let sites = holder["allocated_at"].as_array();
            let mut functions = sites
                .into_iter()
                .flatten()
                .map(|site| text(site, "function"));
            bytes(holder).abs_diff(wanted) * 100 <= wanted && functions.any(|name| name == made_in)
        };
        if !holders(refs).any(|holder| fits(&holder)) {
            wrong.push(format!(
                "nobody holds {wanted} bytes allocated in {made_in}"
            ));
        }
    }
    // What an interface has in it tells its own type.
    let contexts = truth
        .iter()
        .find(|planted| planted["name"] == "main.lastCall");
    let wanted = contexts.and_then(|planted| planted["bytes"].as_u64());
    let is_told = |holder: &Value| {
        let of_size = wanted.is_some_and(|wanted| bytes(holder).abs_diff(wanted) * 100 <= wanted);
        of_size && holder["paths"][0]["type"] == "context.valueCtx"
    };
    if !holders(refs).any(is_told) {
        wrong.push(format!("nobody holds {wanted:?} bytes of contexts"));
    }
    wrong.extend(bare_tables(refs));
    wrong.extend(unused(refs));
    wrong
}

/// Variables that no code names by the address of their pointer: it lies inside of one, or behind another variable.
fn unused(refs: &Value) -> Option<String> {
    for function in ["main.plantCatalog ", "main.growShop "] {
        let of = |holder: &Value| {
            let used_by = holder["used_by"].as_array();
            let mut users = used_by.into_iter().flatten().filter_map(Value::as_str);
            users.any(|user| user.starts_with(function))
        };
        if !holders(refs).any(of) {
            return Some(format!("no variable is used by {function}"));
        }
    }
    None
}

fn holders(refs: &Value) -> impl Iterator<Item = &Value> {
    refs["holders"].as_array().into_iter().flatten()
}

/// Which of the variables that share something it is called after is not said.
fn find<'a>(refs: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    holders(refs).find(|holder| {
        text(holder, "kind") == kind
            && (text(holder, "name") == name
                || kind == "several" && text(holder, "name").contains(name))
    })
}

fn bytes(holder: &Value) -> u64 {
    holder["retained_bytes"].as_u64().expect("retained_bytes")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn names(refs: &Value) -> String {
    let line = |holder: &Value| {
        format!(
            "{:>10} {} {}\n",
            bytes(holder),
            text(holder, "kind"),
            text(holder, "name")
        )
    };
    holders(refs).take(40).map(line).collect()
}
