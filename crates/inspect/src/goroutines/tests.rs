use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::functions::Functions;
use crate::functions::tests::tables;
use crate::layout::{Field, Layout};
use crate::memory::{Memory, Pieces, ReadCost};

/// Fields of a record of 160 bytes, one word each, in this order.
const WORDS: [&str; 18] = [
    "g.stack.lo",
    "g.stack.hi",
    "g.m",
    "g.sched.sp",
    "g.sched.pc",
    "g.syscallsp",
    "g.syscallpc",
    "g.atomicstatus.value",
    "g.goid",
    "g.waitsince",
    "g.waitreason",
    "g.lockedm",
    "g.parentGoid",
    "g.gopc",
    "g.startpc",
    "g.waiting",
    "g.labels",
    "g.bubble",
];
const RECORD_BYTES: u64 = 160;

fn layout() -> Layout {
    let mut layout = Layout::default();
    let mut field = |name: &str, at: u64| {
        layout.set_field(
            name,
            Field {
                offset: at * 8,
                bytes: 8,
            },
        );
    };
    for (at, name) in WORDS.iter().enumerate() {
        field(name, at as u64);
    }
    for (at, name) in ["sudog.c", "sudog.elem", "sudog.waitlink"]
        .iter()
        .enumerate()
    {
        field(name, at as u64);
    }
    for name in ["m.procid", "synctestBubble.id"] {
        field(name, 0);
    }
    layout.set_size("g", RECORD_BYTES);
    layout.set_size("sudog", 24);
    layout
}

/// A record with these fields and zeros.
fn record(fields: &[(&str, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; RECORD_BYTES as usize];
    for (name, value) in fields {
        let at = WORDS.iter().position(|word| &word[2..] == *name).unwrap() * 8;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The stack at 0x8000: `main.b` (with `main.inner` inlined into it from 0x1014 to 0x1017) called by `main.a`.
fn parked(id: u64) -> Vec<(&'static str, u64)> {
    vec![
        ("goid", id),
        ("atomicstatus.value", 4),
        ("waitreason", 1),
        ("stack.lo", 0x7000),
        ("stack.hi", 0x8040),
        ("sched.sp", 0x8000),
        ("sched.pc", 0x1016),
        ("gopc", 0x1020),
        ("startpc", 0x1000),
        ("parentGoid", 1),
    ]
}

/// Memory with `records` in the list of goroutines, one stack, and what a wait needs.
fn memory(records: &[Vec<u8>]) -> Pieces {
    let mut memory = Pieces::new();
    let count = records.len() as u64;
    memory.put(0x100, words(&[0x200, count, count]));
    memory.put(
        0x200,
        words(
            &(0..count)
                .map(|at| 0x1_0000 + at * 0x1000)
                .collect::<Vec<_>>(),
        ),
    );
    for (at, record) in records.iter().enumerate() {
        memory.put(0x1_0000 + at as u64 * 0x1000, record.clone());
    }
    memory.put(0x8000, words(&[1, 2, 3, 0x1008, 4, 5, 6, 7]));
    memory.put(0x400, words(&[0, 0, 0x500, 12, 0x510, 5, 0x600, 99]));
    memory.put(0x500, *b"chan receive").put(0x510, *b"sleep");
    // Names' offsets in the tables: 0, `main.a` 1, `main.b` 8, `main.inner` 15.
    memory.put(0x9200, [5, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0]);
    memory
}

/// Functions whose `main.b` does not switch stacks.
fn functions() -> Functions {
    let mut tables = tables();
    let record = u32::from_le_bytes(tables.ftab[12..16].try_into().unwrap());
    tables.functions[record as usize + 41] = 0;
    Functions::new(tables).unwrap()
}

fn dump(memory: &dyn Memory, options: &Options<'_>) -> Result<Goroutines, InspectError> {
    let (layout, functions) = (layout(), functions());
    let target = Target {
        memory,
        layout: &layout,
        code: Code::new(vec![&functions], false),
        minor: 27,
        allgs: 0x100,
        wait_reasons: Some(0x400),
        finalizer_status: None,
    };
    look(&target, options, None)
}

#[test]
fn a_parked_goroutine_is_told_as_a_traceback_does() {
    let mut waiting = parked(7);
    waiting.extend([
        ("waitsince", 1_000_000_000),
        ("lockedm", 1),
        ("waiting", 0x700),
    ]);
    waiting.extend([("bubble", 0x740), ("labels", 0x760)]);
    let mut memory = memory(&[record(&waiting), record(&[("atomicstatus.value", 6)])]);
    memory
        .put(0x700, words(&[0xc000, 0x8010, 0x720]))
        .put(0x720, words(&[0xd000, 0, 0x700]));
    memory
        .put(0x740, words(&[3]))
        .put(0x760, words(&[0x780, 1, 1]));
    memory
        .put(0x780, words(&[0x7a0, 4, 0x7b0, 5]))
        .put(0x7a0, *b"path")
        .put(0x7b0, *b"/\x1b[2J");
    let options = Options {
        now_ns: Some(182_000_000_000),
        ..Options::default()
    };
    let dump = dump(&memory, &options).unwrap();
    let want = "\
goroutine 7 [chan receive, 3 minutes, locked to thread, synctest bubble 3] {path: \"/\\u{1b}[2J\"}:
main.inner(...)
\t/b.go:9
main.b(...)
\t/a.go:7 +0x6
main.a(...)
\t/b.go:9 +0x8
created by main.b in goroutine 1
\t/b.go:3 +0x10
";
    assert_eq!(dump.text(false).to_string(), want);
    let goroutine = &dump.goroutines[0];
    let wait = |channel, elem| Wait { channel, elem };
    assert_eq!(
        goroutine.waits,
        [wait(0xc000, 0x8010), wait(0xd000, 0)],
        "the circle ends"
    );
    assert_eq!(
        goroutine.stack_bytes,
        StackSize {
            allocated: 0x1040,
            used: 0x40
        }
    );
    assert!(!goroutine.approximate);
    assert_eq!(dump.goroutines.len(), 1, "the dead one is none");
}

#[test]
fn a_circle_of_waits_ends() {
    let mut waiting = parked(7);
    waiting.push(("waiting", 0x700));
    let mut memory = memory(&[record(&waiting)]);
    // Seven links, the last of which leads back to the fourth.
    for at in 0..7 {
        let next = if at == 6 { 3 } else { at + 1 };
        memory.put(0x700 + at * 24, words(&[0xc000 + at, 0, 0x700 + next * 24]));
    }
    let waits = &dump(&memory, &Options::default()).unwrap().goroutines[0].waits;
    assert!((7..20).contains(&waits.len()), "{}", waits.len());
    assert_eq!(waits[6].channel, 0xc006);
}

#[test]
fn the_queue_of_a_semaphore_is_not_taken_for_one_goroutines_waits() {
    let mut waiting = parked(7);
    waiting.push(("waiting", 0x700));
    let mut memory = memory(&[record(&waiting)]);
    memory
        .put(0x700, words(&[0, 0x8010, 0x718]))
        .put(0x718, words(&[0, 0x8010, 0]));
    let waits = &dump(&memory, &Options::default()).unwrap().goroutines[0].waits;
    let own = Wait {
        channel: 0,
        elem: 0x8010,
    };
    assert_eq!(waits[..], [own]);
}

#[test]
fn states_read_as_in_tracebacks() {
    let state = |fields: &[(&'static str, u64)]| {
        let mut all = parked(2);
        all.extend(fields);
        let memory = memory(&[record(&all)]);
        let options = Options {
            now_ns: Some(60_000_000_001),
            ..Options::default()
        };
        dump(&memory, &options).unwrap().goroutines[0].state()
    };
    let status = |number| ("atomicstatus.value", number);
    let rows: [(&str, &[(&str, u64)]); 13] = [
        ("chan receive", &[]),
        ("chan receive, 1 minutes", &[("waitsince", 1)]),
        ("chan receive", &[("waitsince", 2)]),
        ("chan receive", &[("waitsince", u64::MAX)]),
        ("waiting", &[("waitreason", 0)]),
        ("waiting", &[("waitreason", 200)]),
        ("runnable", &[status(1), ("waitsince", 1)]),
        ("running", &[status(2)]),
        ("syscall, 1 minutes", &[status(3), ("waitsince", 1)]),
        ("copystack", &[status(8)]),
        ("chan receive (leaked)", &[status(10), ("waitsince", 1)]),
        ("chan receive (scan)", &[status(0x1004)]),
        ("???", &[status(77)]),
    ];
    for (want, fields) in rows {
        assert_eq!(state(fields), want, "{fields:?}");
    }
    let mut sleeping = dump(&memory(&[record(&parked(2))]), &Options::default()).unwrap();
    sleeping.goroutines[0].wait_reason = "sleep".into();
    for (bubble, want) in [
        (None, "sleep"),
        (
            Some(Bubble {
                id: 4,
                is_group: false,
            }),
            "sleep (durable), synctest bubble 4",
        ),
        (
            Some(Bubble {
                id: 4,
                is_group: true,
            }),
            "sleep, synctest group 4",
        ),
    ] {
        sleeping.goroutines[0].bubble = bubble;
        assert_eq!(sleeping.goroutines[0].state(), want);
    }
}

#[test]
fn a_running_goroutine_is_where_its_thread_says() {
    let mut running = parked(3);
    running.extend([("atomicstatus.value", 2), ("m", 0x300)]);
    let mut memory = memory(&[record(&running)]);
    memory.put(0x300, words(&[4242]));
    let first = |registers: Option<&dyn Fn(u64) -> Option<Registers>>| {
        let options = Options {
            registers,
            ..Options::default()
        };
        let mut dump = dump(&memory, &options).unwrap();
        let goroutine = dump.goroutines.remove(0);
        let frame = goroutine
            .stack
            .map(|stack| dump.stacks[stack].frames[0].function.to_string());
        (frame, goroutine.approximate)
    };
    assert_eq!(first(None), (None, false), "nobody tells");
    assert_eq!(first(Some(&|_| None)), (None, false), "the thread is gone");
    let at = |pc, sp| move |tid| (tid == 4242).then_some(Registers::new(pc, sp, 0, &[]));
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(first(Some(&at(0x1018, 0x8000))), (name("main.b"), false));
    let elsewhere = first(Some(&at(0x1018, 0x9_0000)));
    assert_eq!(
        elsewhere,
        (name("main.inner"), true),
        "on its system stack: as it left"
    );
}

/// Memory where each look at a goroutine's record finds it a word further down, `times` times.
struct Moving {
    pieces: Pieces,
    left: AtomicU64,
}

impl Memory for Moving {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError> {
        self.pieces.read(addr, buf)?;
        if addr == 0x1_0000 {
            let less = |left: u64| Some(left.saturating_sub(1));
            let left = self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .unwrap();
            let sp = 0x8000 - left * 8;
            buf[24..32].copy_from_slice(&sp.to_le_bytes());
        }
        Ok(())
    }

    fn cost(&self) -> ReadCost {
        self.pieces.cost()
    }
}

#[test]
fn what_moves_is_read_again_and_then_marked() {
    for (times, approximate) in [(0, false), (3, false), (100, true)] {
        let pieces = memory(&[record(&parked(2)), record(&parked(3))]);
        let moving = Moving {
            pieces,
            left: AtomicU64::new(times),
        };
        let dump = dump(&moving, &Options::default()).unwrap();
        let found: Vec<(u64, bool)> = dump
            .goroutines
            .iter()
            .map(|goroutine| (goroutine.id, goroutine.approximate))
            .collect();
        assert_eq!(
            found,
            [(2, approximate), (3, false)],
            "{times}: in the runtime's order"
        );
    }
}

#[test]
fn the_runtimes_own_are_left_out_unless_asked_for() {
    let mut tables = tables();
    let at = tables
        .names
        .windows(6)
        .position(|window| window == b"main.a")
        .unwrap();
    tables.names.splice(at..at + 6, *b"runtime.x");
    for word in 0..3 {
        let record = u32::from_le_bytes(tables.ftab[word * 8 + 4..word * 8 + 8].try_into().unwrap())
            as usize;
        if word > 0 {
            tables.functions[record + 4] += 3;
        }
    }
    let functions = Functions::new(tables).unwrap();
    let (layout, memory) = (layout(), memory(&[record(&parked(2))]));
    let target = Target {
        memory: &memory,
        layout: &layout,
        code: Code::new(vec![&functions], false),
        minor: 27,
        allgs: 0x100,
        wait_reasons: None,
        finalizer_status: None,
    };
    let count = |system| {
        let options = Options {
            system,
            ..Options::default()
        };
        let dump = look(&target, &options, None).unwrap();
        (dump.goroutines.len(), dump.system_left_out)
    };
    assert_eq!((count(false), count(true)), ((0, 1), (1, 0)));
}

#[test]
fn a_list_without_end_is_refused_and_what_cannot_be_read_is_counted() {
    let mut memory = memory(&[record(&parked(2))]);
    memory.put(0x100, words(&[0x200, u64::MAX, 0]));
    let error = dump(&memory, &Options::default()).unwrap_err();
    assert!(matches!(error, InspectError::TooBig { .. }), "{error}");
    memory
        .put(0x100, words(&[0x200, 2, 2]))
        .put(0x208, words(&[0xdead_0000]));
    let dump = dump(&memory, &Options::default()).unwrap();
    assert_eq!((dump.goroutines.len(), dump.unreadable), (1, 1));
}

#[test]
fn stacks_are_printed_as_far_as_they_go() {
    let mut dump = dump(&memory(&[record(&parked(2))]), &Options::default()).unwrap();
    let frame = dump.stacks[0].frames[1].clone();
    for (frames, elided) in [(100, None), (101, Some(1)), (250, Some(150))] {
        dump.stacks[0].frames = vec![frame.clone(); frames];
        let text = dump.text(false).to_string();
        let shown = text
            .lines()
            .filter(|line| line.starts_with("main.b("))
            .count();
        assert_eq!(shown, frames.min(100));
        let line = elided.map(|elided| format!("...{elided} frames elided..."));
        let at = text.lines().position(|line| line.starts_with("..."));
        assert_eq!(at.map(|at| text.lines().nth(at).unwrap().to_owned()), line);
        assert_eq!(at, line.map(|_| 101), "behind the first fifty");
    }
    let running = record(&[("atomicstatus.value", 2), ("goid", 9)]);
    let unreadable = record(&[("atomicstatus.value", 1), ("goid", 10)]);
    let none = self::dump(&memory(&[running, unreadable]), &Options::default()).unwrap();
    let want = "\
goroutine 9 [running]:
\tgoroutine running on other thread; stack unavailable

goroutine 10 [runnable]:
\tstack unavailable
";
    assert_eq!(none.text(false).to_string(), want);
    for frame in &mut dump.stacks[0].frames {
        frame.hidden = true;
    }
    assert!(
        dump.text(false).to_string().contains("main.b(...)"),
        "nothing else to show"
    );
}

#[test]
fn groups_are_of_the_same_place_in_the_source() {
    let mut records = Vec::new();
    for (id, since) in [(2, 40), (3, 10), (4, 30), (5, 20), (6, 0)] {
        let mut fields = parked(id);
        fields.push(("waitsince", since));
        records.push(record(&fields));
    }
    let mut other = parked(7);
    // One instruction further: the same line.
    other.extend([("sched.pc", 0x1017), ("waitsince", 5)]);
    records.push(record(&other));
    let mut asleep = parked(8);
    asleep.push(("waitreason", 2));
    records.push(record(&asleep));
    let options = Options {
        now_ns: Some(50),
        ..Options::default()
    };
    let dump = dump(&memory(&records), &options).unwrap();
    let groups = dump.groups();
    let found: Vec<(&str, u64)> = groups
        .iter()
        .map(|group| (&*group.state, group.count))
        .collect();
    assert_eq!(found, [("chan receive", 6), ("sleep", 1)]);
    let times = WaitTimes {
        shortest_ns: 10,
        median_ns: 30,
        longest_ns: 45,
    };
    assert_eq!(groups[0].waited, Some(times));
    assert_eq!(groups[1].waited, None);
    assert_eq!(groups[0].sample, [0, 1, 2, 3, 4, 5]);
    let samples: Vec<(usize, u64)> = dump
        .samples()
        .iter()
        .map(|sample| (sample.stack, sample.count))
        .collect();
    assert_eq!(samples, [(0, 6), (1, 1)], "one for each stack");
    let text = dump.groups_text(&groups, false).to_string();
    let head = "6 goroutines [chan receive] waiting at least 0s, 0s, 0s (shortest, median, longest):\nmain.inner(...)\n";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("\n\n1 goroutine [sleep]:\n"), "{text}");
}

proptest! {
    #[test]
    fn no_memory_makes_it_panic(
        records in prop::collection::vec(prop::collection::vec(any::<u64>(), 20), 1..6),
        places in prop::collection::vec((0..20_usize, 0..6_usize, prop::sample::select(vec![
            0x100, 0x1000, 0x1016, 0x1030, 0x400, 0x700, 0x760, 0x7fff, 0x8000, 0x8040, 0x9200, 1, 2, 3, 4, 8, 0x1004,
        ])), 0..60),
        sudog in prop::collection::vec(prop::sample::select(vec![0, 0x700, 0x718, 0x8000, u64::MAX]), 6),
    ) {
        let mut records = records;
        for (word, which, value) in places {
            let count = records.len();
            records[which % count][word] = value;
        }
        let records: Vec<Vec<u8>> = records.iter().map(|record| words(record)).collect();
        let mut memory = memory(&records);
        memory.put(0x700, words(&sudog)).put(0x760, words(&[0x700, 3, 3]));
        let registers = |_| Some(Registers::new(0x1016, 0x8000, 0, &[]));
        let options = Options { system: true, now_ns: Some(1), no_labels: false, registers: Some(&registers) };
        let dump = dump(&memory, &options).unwrap();
        let _ = dump.text(true).to_string();
        let groups = dump.groups();
        let _ = dump.groups_text(&groups, false).to_string();
        prop_assert!(dump.goroutines.len() <= records.len());
    }
}
