//! Texts recorded from real programs (tests/data/README.md tells which), and damage done to them.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use native::{Basis, Class, Hints, Limits, Mapping, MemoryMap, growth, parse_smaps};
use proptest::prelude::*;

const FILES: &[(&str, &str)] = &[
    ("go1.21-heap", include_str!("data/go1.21-heap.smaps")),
    ("go1.24-heap", include_str!("data/go1.24-heap.smaps")),
    ("go1.27-heap", include_str!("data/go1.27-heap.smaps")),
    (
        "go1.27-cgo-small.before",
        include_str!("data/go1.27-cgo-small.before.smaps"),
    ),
    (
        "go1.27-cgo-small.after",
        include_str!("data/go1.27-cgo-small.after.smaps"),
    ),
    (
        "go1.24-cgo-small-pie",
        include_str!("data/go1.24-cgo-small-pie.smaps"),
    ),
    (
        "go1.27-cgo-large",
        include_str!("data/go1.27-cgo-large.smaps"),
    ),
    (
        "go1.21-cgo-mmap",
        include_str!("data/go1.21-cgo-mmap.smaps"),
    ),
];

fn text(name: &str) -> &'static str {
    FILES.iter().find(|(file, _)| *file == name).unwrap().1
}

fn map_of(text: &str, hints: &Hints) -> MemoryMap {
    MemoryMap::new(
        parse_smaps(text.as_bytes(), &Limits::default()).unwrap(),
        hints,
    )
}

/// What the programs are known to have done, in KiB of resident memory by class.
#[test]
fn real_programs_are_classed_by_layout() {
    use Class::*;
    // (file, class, least, most): the bounds are what the program allocated, with room for allocators.
    let rows: &[(&str, Class, u64, u64)] = &[
        // 8,000 blocks of 64 KiB = 512,000 KiB, whatever the base of the heap.
        ("go1.21-heap", GoHeap, 512_000, 514_000),
        ("go1.24-heap", GoHeap, 512_000, 514_000),
        ("go1.27-heap", GoHeap, 512_000, 514_000),
        // The runtime's bookkeeping that has no shape of its own.
        ("go1.21-heap", AnonOther, 0, 11_000),
        ("go1.27-heap", AnonOther, 0, 3_000),
        ("go1.27-heap", GlibcArena, 0, 0),
        ("go1.27-heap", BrkHeap, 0, 0),
        // 12,400 blocks of 4,000 bytes = 48,437 KiB over main arena and thread arenas.
        ("go1.27-cgo-small.before", GlibcArena, 42_000, 45_000),
        ("go1.27-cgo-small.before", BrkHeap, 5_000, 6_000),
        ("go1.27-cgo-small.before", AnonOther, 0, 200),
        ("go1.27-cgo-small.before", GoHeap, 300, 500),
        ("go1.24-cgo-small-pie", GlibcArena, 130_000, 150_000),
        ("go1.24-cgo-small-pie", GoHeap, 300, 500),
        ("go1.24-cgo-small-pie", AnonOther, 0, 200),
        // 600 blocks of 200 KiB = 120,000 KiB, and a page each for the header.
        ("go1.27-cgo-large", AnonOther, 120_000, 123_000),
        ("go1.27-cgo-large", GlibcArena, 1_500, 1_700),
        // 300 mappings of 256 KiB = 76,800 KiB, of which Linux made 9.
        ("go1.21-cgo-mmap", AnonOther, 76_800, 77_200),
        ("go1.21-cgo-mmap", GlibcArena, 1_500, 1_700),
    ];
    for (file, class, least, most) in rows {
        let kib = map_of(text(file), &Hints::default())
            .totals()
            .of(*class)
            .rss
            >> 10;
        assert!(
            (*least..=*most).contains(&kib),
            "{file}: {class:?} has {kib} KiB"
        );
    }
    for (file, text) in FILES {
        let map = map_of(text, &Hints::default());
        assert_eq!(map.go_heap_basis(), Some(Basis::Layout), "{file}");
        // One guard and one stack a thread, and the main thread's stack: the cgo programs have about ten threads.
        let stacks = *map.totals().of(ThreadStack);
        let threads = if file.contains("cgo") { 9..=12 } else { 0..=0 };
        assert!(
            threads.contains(&((stacks.count - 1) / 2)),
            "{file}: {} stack mappings",
            stacks.count
        );
        assert!(
            stacks.rss <= 256 << 10,
            "{file}: a stack was taken for more: {} bytes",
            stacks.rss
        );
    }
}

/// Without the kernel's flags (maps, or Linux before 3.8) the shapes alone must do.
#[test]
fn flags_are_a_help_not_a_need() {
    for (file, text) in FILES {
        let without: String = text
            .lines()
            .filter(|line| !line.starts_with("VmFlags"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let with = map_of(text, &Hints::default()).totals();
        let without = map_of(&without, &Hints::default()).totals();
        for class in [Class::GoHeap, Class::GlibcArena, Class::BrkHeap] {
            assert_eq!(with.of(class), without.of(class), "{file}: {class:?}");
        }
    }
}

#[test]
fn the_callers_ranges_and_names_come_first() {
    let hints = Hints {
        go_heap: vec![
            0x7f67_1000_0000..0x7f67_1020_0000,
            0x7f67_1020_0000..0x7f67_1400_0000,
        ],
        ..Hints::default()
    };
    let map = map_of(text("go1.27-cgo-small.before"), &hints);
    assert_eq!(map.go_heap_basis(), Some(Basis::Runtime));
    assert_eq!(
        map.totals().of(Class::GoHeap).rss,
        7152 << 10,
        "only what the caller said"
    );
    let named = text("go1.27-heap").replacen(
        "rw-p 00000000 00:00 0 \n",
        "rw-p 00000000 00:00 0                  [anon: Go: gc bits]\n",
        2,
    );
    let map = map_of(&named, &Hints::default());
    let gc_bits = map
        .iter()
        .filter(|(mapping, _)| mapping.name == "[anon: Go: gc bits]");
    let kinds: Vec<_> = gc_bits.map(|(_, kind)| (kind.class, kind.basis)).collect();
    assert_eq!(kinds, [(Class::GoRuntime, Basis::Name); 2]);
    let not_go = Hints {
        is_go: false,
        ..Hints::default()
    };
    let totals = map_of(text("go1.27-heap"), &not_go).totals();
    assert_eq!(
        (
            totals.of(Class::GoHeap).count,
            totals.of(Class::GoRuntime).count
        ),
        (0, 0)
    );
}

#[test]
fn names_tell_classes() {
    use Class::*;
    let rows: &[(&str, &str, u64, Class)] = &[
        ("[anon: Go: heap]", "rw-p", 0, GoHeap),
        ("[anon: Go: profiler hash buckets]", "rw-p", 0, GoRuntime),
        ("[anon: glibc: malloc arena]", "rw-p", 0, GlibcArena),
        ("[anon: glibc: malloc]", "rw-p", 0, GlibcMmap),
        ("[anon: glibc: pthread stack: 4711]", "rw-p", 0, ThreadStack),
        ("[anon:dalvik]", "rw-p", 0, AnonOther),
        ("[anon_shmem:ring]", "rw-s", 5, Shmem),
        ("[heap]", "rw-p", 0, BrkHeap),
        ("[stack]", "rw-p", 0, ThreadStack),
        ("[vvar_vclock]", "r--p", 0, Special),
        ("[uprobes]", "r-xp", 0, Special),
        ("/dev/zero (deleted)", "rw-s", 5, Shmem),
        ("/dev/zero", "rw-p", 5, AnonOther),
        ("/memfd:ring (deleted)", "rw-s", 5, Shmem),
        ("/SYSV00000000 (deleted)", "rw-s", 5, Shmem),
        ("/dev/shm/a", "rw-p", 5, Shmem),
        ("/usr/lib/libc.so.6", "r-xp", 5, File),
        ("anon_inode:[perf_event]", "rw-s", 5, File),
        ("", "rw-p", 0, AnonOther),
    ];
    for (name, permissions, inode, want) in rows {
        let text =
            format!("7f0000000000-7f0000001000 {permissions} 00000000 00:00 {inode}    {name}\n");
        let map = map_of(&text, &Hints::default());
        assert_eq!(map.iter().next().unwrap().1.class, *want, "{name}");
    }
}

/// Shapes that look alike, told apart or left unclaimed.
#[test]
fn layouts_that_look_alike() {
    use Class::*;
    const MIB: u64 = 1 << 20;
    const BASE: u64 = 0x7f00_0000_0000;
    let guard = |at| (at, 4096, "---p", "");
    // (start, size, permissions, flags), and the class of the one that `which` points at.
    type Row<'a> = (&'a str, &'a [(u64, u64, &'a str, &'a str)], usize, Class);
    let rows: &[Row<'_>] = &[
        (
            "full arena",
            &[(BASE, 64 * MIB, "rw-p", "nr")],
            0,
            GlibcArena,
        ),
        (
            "64 MiB of mmap at the same place",
            &[(BASE, 64 * MIB, "rw-p", "ac")],
            0,
            AnonOther,
        ),
        (
            "two full arenas merged",
            &[(BASE, 128 * MIB, "rw-p", "nr")],
            0,
            GlibcArena,
        ),
        (
            "arena without overcommit",
            &[
                (BASE, MIB, "rw-p", "ac"),
                (BASE + MIB, 63 * MIB, "---p", ""),
            ],
            0,
            GlibcArena,
        ),
        (
            "rest ends elsewhere",
            &[(BASE, MIB, "rw-p", "nr"), (BASE + MIB, MIB, "---p", "nr")],
            0,
            AnonOther,
        ),
        (
            "not at a border",
            &[
                (BASE + MIB, MIB, "rw-p", "nr"),
                (BASE + 2 * MIB, 62 * MIB, "---p", "nr"),
            ],
            0,
            AnonOther,
        ),
        (
            "stack",
            &[guard(BASE), (BASE + 4096, 8 * MIB, "rw-p", "ac")],
            1,
            ThreadStack,
        ),
        (
            "its guard",
            &[guard(BASE), (BASE + 4096, 8 * MIB, "rw-p", "ac")],
            0,
            ThreadStack,
        ),
        (
            "stack merged with a stranger",
            &[guard(BASE), (BASE + 4096, 9 * MIB, "rw-p", "ac")],
            1,
            AnonOther,
        ),
        (
            "large stack, marked",
            &[guard(BASE), (BASE + 4096, 64 * MIB, "rw-p", "ac nh")],
            1,
            ThreadStack,
        ),
        (
            "no guard",
            &[(BASE + 4096, 8 * MIB, "rw-p", "ac")],
            0,
            AnonOther,
        ),
        (
            "guard apart",
            &[guard(BASE), (BASE + 8192, 8 * MIB, "rw-p", "ac")],
            1,
            AnonOther,
        ),
        (
            "code after a guard",
            &[guard(BASE), (BASE + 4096, MIB, "r-xp", "")],
            1,
            AnonOther,
        ),
        (
            "Go heap below 1.26",
            &[
                (0xc0_0000_0000, 8 * MIB, "rw-p", "ac"),
                (0xc0_0080_0000, 56 * MIB, "---p", ""),
            ],
            0,
            GoHeap,
        ),
        (
            "the same near others",
            &[
                (BASE - MIB, 4096, "rw-p", ""),
                (BASE, 8 * MIB, "rw-p", "ac"),
                (BASE + 8 * MIB, 56 * MIB, "---p", ""),
            ],
            1,
            AnonOther,
        ),
        (
            "the same in odd steps",
            &[
                (0xc0_0000_0000, 4096, "rw-p", "ac"),
                (0xc0_0000_1000, 64 * MIB - 4096, "---p", ""),
            ],
            0,
            GlibcArena,
        ),
        (
            "island in a reservation",
            &[
                (BASE, 16 * MIB, "---p", ""),
                (BASE + 16 * MIB, 4096, "rw-p", "ac"),
                (BASE + 16 * MIB + 4096, MIB, "---p", ""),
            ],
            1,
            GoRuntime,
        ),
    ];
    for (name, mappings, which, want) in rows {
        let text: String = mappings
            .iter()
            .map(|(start, size, permissions, flags)| {
                format!(
                    "{start:x}-{:x} {permissions} 00000000 00:00 0 \nVmFlags: {flags} \n",
                    start + size
                )
            })
            .collect();
        // A library in the neighbourhood, as every process with C has.
        let text =
            format!("{text}7f0040000000-7f0040001000 r-xp 00000000 fe:00 9    /lib/libc.so.6\n");
        let map = map_of(&text, &Hints::default());
        assert_eq!(map.iter().nth(*which).unwrap().1.class, *want, "{name}");
    }
    let last = "ffffffffffffe000-fffffffffffff000 rw-p 00000000 00:00 0 \n";
    let map = map_of(last, &Hints::default());
    assert_eq!(map.totals().of(AnonOther).count, 1, "the last addresses");
}

#[test]
fn growth_names_the_arenas_that_leak() {
    let before = map_of(text("go1.27-cgo-small.before"), &Hints::default());
    let after = map_of(text("go1.27-cgo-small.after"), &Hints::default());
    let growth = growth(&before, &after);
    let lines: Vec<_> = growth.mappings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "glibc arena at 0x7f6710000000: +37 MiB",
            "glibc arena at 0x7f6720000000: +36 MiB",
            "glibc arena at 0x7f671c000000: +19 MiB",
            "Go heap at 0xbff52c00000: +8 KiB",
            "anonymous mapping at 0x7f677c428000: +8 KiB",
        ]
    );
    assert_eq!(growth.classes[0].to_string(), "glibc arena: +92 MiB");
}

/// Linux puts new mappings below the old ones and merges them: the start moves, the region is the same.
#[test]
fn growth_downwards_is_growth_of_the_same_mapping() {
    let look = |text: &str| map_of(text, &Hints::default());
    let before = look(
        "7f0000800000-7f0001000000 rw-p 00000000 00:00 0 \nRss: 8192 kB\n\
                       7f0100000000-7f0100100000 rw-p 00000000 00:00 0 \nRss: 1024 kB\n",
    );
    let after = look(
        "7f0000300000-7f0001000000 rw-p 00000000 00:00 0 \nRss: 13312 kB\n\
                      7f0200000000-7f0200001000 r--p 00000000 fe:00 7     /srv/\u{1b}[31mdata\nRss: 4 kB\n",
    );
    let growth = growth(&before, &after);
    let lines: Vec<_> = growth.mappings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "anonymous mapping at 0x7f0000300000: +5.0 MiB",
            "file mapping /srv/\\u{1b}[31mdata at 0x7f0200000000: +4 KiB (new)",
            "anonymous mapping at 0x7f0100000000: -1.0 MiB (gone)",
        ]
    );
    let classes: Vec<_> = growth.classes.iter().map(ToString::to_string).collect();
    assert_eq!(
        classes,
        [
            "anonymous mapping: +4.0 MiB, 1 mapping fewer",
            "file mapping: +4 KiB, 1 mapping more"
        ]
    );
}

/// A list of mappings like the kernel's, from gaps, sizes and contents.
fn mappings() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "",
        "",
        "",
        "[heap]",
        "[stack]",
        "/srv/app/a",
        "/dev/zero (deleted)",
        "[anon: Go: heap]",
    ];
    let one = (
        prop_oneof![Just(0u64), 1..1u64 << 20],
        prop_oneof![Just(1u64), Just(2048), Just(16384), 1..1u64 << 20],
        prop_oneof![Just("rw-p"), Just("---p"), Just("r-xp"), Just("rw-s")],
        prop::sample::select(NAMES),
        (0..1u64 << 30, 0..1u64 << 30, 0..1u64 << 30),
        prop_oneof![Just("rd wr ac"), Just("rd wr nr"), Just("nh")],
    );
    prop::collection::vec(one, 0..40).prop_map(|rows| {
        let mut at = 0xc0_0000_0000u64;
        let mut text = String::new();
        for (gap, pages, permissions, name, (rss, anonymous, swap), flags) in rows {
            let start = at + gap * 4096;
            at = start + pages * 4096;
            let inode = u64::from(name.starts_with('/')) * 9;
            text += &format!("{start:x}-{at:x} {permissions} 00000000 00:00 {inode}    {name}\nRss: {rss} kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nVmFlags: {flags}\n");
        }
        text
    })
}

fn sum_of(text: &str, field: &str) -> u64 {
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(field)?.strip_suffix(" kB"));
    values
        .map(|value| value.trim().parse::<u64>().unwrap() << 10)
        .sum()
}

proptest! {
    /// No mapping is in two classes or none: the classes' sums are the sums of the text.
    #[test]
    fn sums_of_classes_are_the_sums_of_the_text(text in mappings()) {
        let map = map_of(&text, &Hints::default());
        let totals = map.totals();
        let sum = |of: fn(&native::Totals) -> u64| totals.iter().map(|(_, totals)| of(totals)).sum::<u64>();
        prop_assert_eq!(sum(|totals| totals.rss), sum_of(&text, "Rss:"));
        prop_assert_eq!(sum(|totals| totals.anonymous), sum_of(&text, "Anonymous:"));
        prop_assert_eq!(sum(|totals| totals.swap), sum_of(&text, "Swap:"));
        prop_assert_eq!(sum(|totals| totals.count), map.mappings().list().len() as u64);
        prop_assert_eq!(map.mappings().rss(), sum_of(&text, "Rss:"));
    }

    /// The growth of all classes, and of all mappings, is the growth of the whole.
    #[test]
    fn growth_adds_up(before in mappings(), after in mappings()) {
        let want = i128::from(sum_of(&after, "Rss:")) - i128::from(sum_of(&before, "Rss:"));
        let growth = growth(&map_of(&before, &Hints::default()), &map_of(&after, &Hints::default()));
        prop_assert_eq!(growth.classes.iter().map(|change| i128::from(change.rss)).sum::<i128>(), want);
        prop_assert_eq!(growth.mappings.iter().map(|change| i128::from(change.rss())).sum::<i128>(), want);
    }
}

#[test]
fn recorded_sums_add_up() {
    for (file, text) in FILES {
        let map = map_of(text, &Hints::default());
        let rss: u64 = map.totals().iter().map(|(_, totals)| totals.rss).sum();
        assert_eq!(rss, sum_of(text, "Rss:"), "{file}");
        assert!(
            map.iter()
                .all(|(mapping, _): (&Mapping, _)| mapping.rss <= mapping.size()),
            "{file}"
        );
    }
}

/// Splitmix64: enough randomness to damage texts with, and the seed says it all.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % below as u64) as usize
    }
}

/// Damaged texts get an answer, any answer, without panic.
#[test]
fn damaged_texts_get_an_answer() {
    let pieces: &[&[u8]] = &[
        b"\n",
        b"-",
        b" ",
        b":",
        b"ffffffffffffffff",
        b"0",
        b"Rss:",
        b" kB",
        b"\xff\0",
        b"---p",
        b"rw-p",
    ];
    for (file, text) in FILES {
        for seed in 0..200 {
            let mut random = Random(seed);
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                let end = (at + random.below(40)).min(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => drop(
                        bytes.splice(at..end, pieces[random.below(pieces.len())].iter().copied()),
                    ),
                    _ => {
                        let copy = bytes[at..end].to_vec();
                        let to = random.below(bytes.len());
                        bytes.splice(to..to, copy);
                    }
                }
            }
            let outcome = std::panic::catch_unwind(|| native::fuzz_one(&bytes));
            assert!(outcome.is_ok(), "{file}, seed {seed}");
        }
    }
}
