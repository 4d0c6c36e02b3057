//! Profiles of a real Go program (`data/leaky`), read and judged.

#![allow(clippy::unwrap_used)]

use profile::{Diff, Limits, Profile, TopOptions, diff, groups, top};

fn parse(name: &str) -> Profile {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap();
    Profile::parse(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compare(kind: &str, sample_type: &str) -> Diff {
    let [before, after] = ["before", "after"].map(|when| parse(&format!("{kind}_{when}.pb.gz")));
    diff(&before, &after, sample_type).unwrap()
}

/// The text files were written by `go tool pprof -top` of Go 1.26 (`data/update.sh`).
#[test]
fn top_prints_what_go_tool_pprof_prints() {
    let dir = format!("{}/tests/data/top", env!("CARGO_MANIFEST_DIR"));
    let mut compared = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (name, sample_type) = stem.split_once('.').unwrap();
        let profile = parse(&format!("{name}.pb.gz"));
        let index = profile.sample_type_index(sample_type).unwrap();
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            top(&profile, index, &TopOptions::default()).render(),
            expected,
            "{stem}"
        );
        compared += 1;
    }
    assert!(compared >= 8, "{compared} reports");
}

#[test]
fn the_leak_is_named() {
    let diff = compare("heap", "inuse_space");
    let frames = diff.by_frame(Some("shop"));
    let first = &frames[0];
    let frame = first.frame.unwrap();
    assert_eq!(frame.function, "shop/internal/cache.(*SessionCache).Put");
    assert!(
        frame.file.ends_with("internal/cache/cache.go"),
        "{}",
        frame.file
    );
    assert_eq!((frame.line, frame.start_line), (16, 15));
    assert_eq!(first.stack[0].function, "bytes.Clone");
    let bytes = first.growth();
    assert!(
        (24 << 20..48 << 20).contains(&bytes),
        "{bytes} of about 32 MB"
    );
    let objects = first.count.unwrap().growth();
    assert!((700..1_500).contains(&objects), "{objects} of about 1000");
    assert_eq!(diff.count_type(), Some("inuse_objects"));
    let sum: i64 = frames.iter().map(|of| of.growth()).sum();
    assert_eq!(sum, diff.total().growth());
    let mut names = diff
        .growths()
        .flat_map(|of| of.stack)
        .map(|frame| frame.function);
    assert!(
        names.any(|name| name.contains("List[")),
        "generics are in it"
    );
}

#[test]
fn goroutines_by_what_they_wait_for() {
    let profile = parse("goroutine_after.pb.gz");
    let groups = groups(&profile, "goroutine").unwrap();
    let first = groups.iter().next().unwrap();
    assert_eq!((first.value, first.wait_reason()), (110, Some("chan send")));
    let mut rows: Vec<String> = groups
        .iter()
        .map(|group| {
            let frame = profile::frame_to_look_at(&group.stack, Some("shop")).unwrap();
            let function = frame.function.trim_start_matches("main.");
            format!("{function}: {}", group.wait_reason().unwrap_or("-"))
        })
        .collect();
    rows.sort();
    insta::assert_snapshot!(rows.join("\n"), @r"
    block.func10: sync.Cond.Wait
    block.func11: sleep
    block.func12: IO wait
    block.func1: chan send
    block.func2: chan receive
    block.func3: chan receive
    block.func4: select (no cases)
    block.func5: select
    block.func6: sync.Mutex.Lock
    block.func7: sync.RWMutex.RLock
    block.func8: sync.RWMutex.Lock
    block.func9: sync.WaitGroup.Wait
    write: -
    ");
}

#[test]
fn goroutines_that_became_more() {
    let diff = compare("goroutine", "goroutine");
    let first = diff.growths().next().unwrap();
    assert_eq!((first.before, first.after, first.growth()), (10, 110, 100));
    assert_eq!(first.stack.last().unwrap().function, "main.block.func1");
    assert_eq!(
        diff.by_frame(Some("shop"))[0].frame.unwrap().function,
        "main.block.func1"
    );
    assert_eq!(diff.count_type(), None);
}

#[test]
fn labels_periods_and_sample_types() {
    let cpu = parse("cpu.pb.gz");
    let mut labels = cpu.samples().flat_map(|sample| sample.labels());
    assert!(labels.any(|label| (label.key, label.str) == ("handler", "list")));
    assert_eq!(
        cpu.sample_type(cpu.sample_type_index("").unwrap()).name,
        "cpu"
    );
    assert_eq!(
        (cpu.period(), cpu.period_type().unwrap().unit),
        (10_000_000, "nanoseconds")
    );
    let heap = parse("heap_after.pb.gz");
    assert_eq!(heap.sample_type_index("inuse_space").unwrap(), 3);
    assert_eq!(heap.sample_type_index("").unwrap(), 3);
    assert_eq!(
        (heap.period(), heap.mappings().next().unwrap().file),
        (524_288, "/tmp/shop")
    );
}
