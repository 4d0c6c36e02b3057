//! The programs that are looked into do what they say, in every release and form: without that, an equal
//! number proves nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use e2e::targets::goroutines::{self, Goroutine};
use e2e::targets::profile::Profile;
use e2e::targets::{cases, newest};
use e2e::{Form, Program, Setting, Target, tell};

#[test]
fn what_is_planted_is_there() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let mut running = target.start(&["planted"]);
        let truth = running.ask("truth")["holders"].clone();
        let holders = truth.as_array().expect("the planted holders");
        assert!(holders.len() >= 23, "{target}: {}", holders.len());
        let sum = |field: &str| -> u64 {
            holders
                .iter()
                .map(|holder| holder[field].as_u64().expect("a size"))
                .sum()
        };
        for holder in holders {
            assert!(
                holder["bytes"].as_u64() >= holder["payload_bytes"].as_u64(),
                "{target}: {holder}"
            );
        }
        let stats = running.mem_stats();
        let (bytes, alive) = (sum("bytes"), stats["heap_alloc"]);
        // The rest is the program's own.
        assert!(
            bytes <= alive && alive - bytes < 1 << 20,
            "{target}: {bytes} of {alive}"
        );
        // What the runtime keeps for itself, such as work buffers of its collector, comes and goes.
        let after = running.mem_stats();
        for counter in ["heap_alloc", "heap_objects", "mallocs", "frees", "num_gc"] {
            assert_eq!(
                after[counter], stats[counter],
                "{target}: asking changes nothing: {counter}"
            );
        }
        let grown = running.ask("grow main.blocks 1000000");
        assert_eq!(grown["payload_bytes"], 16 << 16, "{target}");
        let more = running.mem_stats()["heap_alloc"] - alive;
        assert!((1 << 20..1 << 21).contains(&more), "{target}: {more}");
        tell(story, &target);
    }
}

#[test]
fn what_is_parked_stays_parked() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("goroutines.pb.gz");
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let mut running = target.start(&["parked", "-n", "10000"]);
        let mut dump = || {
            let text = String::from_utf8(running.dump("dump2")).expect("text");
            goroutines::parse(&text).unwrap_or_else(|error| panic!("{target}: {error}"))
        };
        let (first, second) = (dump(), dump());
        let found = goroutines::differences(&first, &second, 3);
        assert!(found.is_empty(), "{target}: {}", found.join("\n"));
        assert!(first.len() > 9950, "{target}: {}", first.len());
        let states: BTreeSet<&str> = first.values().map(|one| one.state.as_str()).collect();
        assert!(states.len() >= 14, "{target}: {states:?}");
        let outermost = |one: &Goroutine| one.frames.last().map(|frame| frame.function.clone());
        let stacks: BTreeSet<_> = first.values().map(outermost).collect();
        assert!(stacks.len() >= 40, "{target}: {stacks:?}");
        assert!(
            first.values().any(|one| one.locked && one.elided.is_none()),
            "{target}"
        );
        assert!(
            first.values().any(|one| one.elided.is_some()),
            "{target}: none is cut"
        );
        let count = first.len();
        std::fs::write(&file, running.dump("dumpproto")).expect("a file");
        let profile = Profile::read(&setting, &file);
        let sum: i64 = profile.samples.values().map(|values| values[0]).sum();
        assert_eq!(usize::try_from(sum), Ok(count), "{target}");
        let tenant = |labels: &[String]| labels.iter().any(|label| label.contains("tenant:["));
        assert!(
            profile.samples.keys().any(|(_, labels)| tenant(labels)),
            "{target}"
        );
    }
}

#[test]
fn what_is_profiled_is_in_the_profile() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("heap.pb.gz");
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let mut running = target.start(&["profiled", "-rate", "1"]);
        std::fs::write(&file, running.dump("heap")).expect("a file");
        let profile = Profile::read(&setting, &file);
        assert_eq!(
            profile.sample_types.len(),
            4,
            "{target}: {:?}",
            profile.sample_types
        );
        let kept = |function: &str| -> (i64, i64) {
            let of = profile.samples.iter().filter(|((stack, _), values)| {
                // The collector starts in the middle of an allocation, and its workers' `g` objects
                // are counted there; ours are bigger.
                let ours = values[2] > 0 && values[3] / values[2] >= 512;
                ours && stack
                    .iter()
                    .any(|call| call.split(' ').next() == Some(function))
            });
            of.fold((0, 0), |(count, bytes), (_, values)| {
                (count + values[2], bytes + values[3])
            })
        };
        // 200 pieces of 512 to 711 bytes, in size classes.
        let (count, bytes) = kept("main.direct");
        assert_eq!(count, 200, "{target}");
        assert!((200 * 512..200 * 768).contains(&bytes), "{target}: {bytes}");
        assert_eq!(
            kept("main.inner"),
            kept("main.outer"),
            "{target}: inlined calls are calls"
        );
        assert_eq!(kept("main.(*maker).produce").0, 200, "{target}");
        assert_eq!(kept("main.recursive").0, 400, "{target}");
    }
}

#[test]
fn what_has_c_in_it_starts() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let build = |program| Target::build(&setting, &newest(), Form::Normal, program);
    let with_c = build(Program::CgoHeap);
    let mut running = with_c.start(&[]);
    let stats = running.mem_stats();
    let truth = running.ask("truth");
    let held = ["pinned_bytes", "handle_bytes", "callback_bytes"];
    let held: u64 = held
        .iter()
        .map(|name| truth[name].as_u64().expect("a size"))
        .sum();
    assert!(
        (held..held + (1 << 20)).contains(&stats["heap_alloc"]),
        "{stats:?}"
    );
    let text = String::from_utf8(running.dump("dump2")).expect("text");
    let all = goroutines::parse(&text).unwrap_or_else(|error| panic!("{with_c}: {error}"));
    let called = |one: &&Goroutine| {
        one.frames
            .iter()
            .any(|frame| frame.function == "main.fromC")
    };
    assert_eq!(all.values().filter(called).count(), 8, "{text}");

    let plug = build(Program::Plug);
    let mut running = plug.start(&[plug.plugin.to_str().expect("a path")]);
    assert_eq!(
        running.ask("truth")["holders"].as_array().map(Vec::len),
        Some(2)
    );
}
