//! Debug information of real programs, by every toolchain at hand.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::{Source, all_releases, newest};
use inspect::dwarf::{Dwarf, FrameSlot, Frames};
use inspect::memory::Pieces;
use inspect::types::{Label, Sources, Types};

/// Offsets and sizes as compiled for amd64; `None` for a field that this release does not have.
/// Columns: 1.21, 1.22, 1.23, 1.24, 1.25, 1.26, 1.27.
type Row = (&'static str, &'static str, [Option<u64>; 7]);

const fn all(offset: u64) -> [Option<u64>; 7] {
    [Some(offset); 7]
}

const fn each(offsets: [u64; 7]) -> [Option<u64>; 7] {
    let mut row = [None; 7];
    let mut at = 0;
    while at < 7 {
        row[at] = Some(offsets[at]);
        at += 1;
    }
    row
}

const fn since_22(offset: u64) -> [Option<u64>; 7] {
    let mut row = [Some(offset); 7];
    row[0] = None;
    row
}

const FIELDS: &[Row] = &[
    ("g", "stack.lo", all(0)),
    ("g", "stack.hi", all(8)),
    ("g", "goid", each([152, 152, 160, 160, 152, 152, 152])),
    ("g", "waitreason", each([176, 176, 184, 184, 176, 176, 176])),
    ("g", "gopc", each([280, 280, 288, 288, 280, 288, 288])),
    ("mspan", "freeindex", all(48)),
    ("mspan", "nelems", each([56, 50, 50, 50, 50, 50, 50])),
    ("mspan", "spanclass", each([106, 98, 98, 98, 98, 98, 98])),
    (
        "mspan",
        "elemsize",
        each([112, 104, 104, 104, 104, 104, 104]),
    ),
    ("mspan", "largeType", since_22(152)),
    (
        "moduledata",
        "gcdatamask",
        each([536, 536, 536, 536, 536, 544, 520]),
    ),
    (
        "moduledata",
        "rodata",
        each([312, 312, 312, 312, 312, 312, 336]),
    ),
    ("mheap", "allspans", each([65864; 7])),
    ("mheap", "no such field", [None; 7]),
    ("no such type", "at all", [None; 7]),
];
const SIZES: &[(&str, [u64; 7])] = &[
    ("mspan", [168, 160, 160, 160, 160, 160, 160]),
    ("g", [408, 424, 432, 440, 440, 456, 456]),
    ("moduledata", [592, 592, 584, 584, 584, 592, 568]),
];
const SPECIAL_PROFILE: [u64; 7] = [2, 2, 3, 3, 4, 4, 4];

const SOURCE: Source = Source::new("dwarf", &[("main.go", PROGRAM)]);

const PROGRAM: &str = r#"package main

import "os"

type session struct {
	id   string
	next *session
}

var sessions = map[string]*session{}
var hook func()

//go:noinline
func keep(s *session) {
	n := len(s.id)
	hook = func() { n++; sessions[s.id] = s; os.Stdout.WriteString(s.id) }
	hook()
	println(n)
}

func main() { keep(&session{id: "x"}) }
"#;

#[test]
fn every_release_is_read_alike() {
    for release in all_releases() {
        let column = release.minor as usize - 21;
        assert!(column < 7, "go{}: add a column", release.version);
        for (form, flags) in [("normal", &[][..]), ("pie", &["-buildmode=pie"][..])] {
            let name = format!("go{} {form}", release.version);
            let path = SOURCE.build(&release, flags);
            let dwarf = Dwarf::read(&fs::File::open(&path).unwrap())
                .unwrap()
                .expect(&name);
            check(&dwarf, column, &name);
            let frames = Frames::read(&fs::File::open(&path).unwrap()).unwrap();
            check_locals(&dwarf, &frames, &name);
        }
        let path = SOURCE.build(&release, &["-ldflags=-s -w"]);
        assert!(
            Dwarf::read(&fs::File::open(&path).unwrap())
                .unwrap()
                .is_none()
        );
    }
}

fn check(dwarf: &Dwarf, column: usize, name: &str) {
    for (ty, field, offsets) in FIELDS {
        let found = dwarf.field(&format!("runtime.{ty}"), field);
        assert_eq!(
            found.map(|found| found.0),
            offsets[column],
            "{name}: {ty}.{field}"
        );
    }
    for (ty, sizes) in SIZES {
        let found = dwarf.size(&format!("runtime.{ty}"));
        assert_eq!(found, Some(sizes[column]), "{name}: {ty}");
    }
    let kind = dwarf.constant("runtime._KindSpecialProfile");
    assert_eq!(kind, Some(SPECIAL_PROFILE[column]), "{name}");
    assert_eq!(
        dwarf.constant("runtime._KindSpecialNothing"),
        None,
        "{name}"
    );

    let sessions = dwarf.variable("main.sessions").expect(name);
    let ty = dwarf.entry(sessions.ty.unwrap()).unwrap();
    assert_eq!(
        (&ty.name[..], ty.kind),
        ("map[string]*main.session", 21),
        "{name}"
    );
    let elem = dwarf.entry(ty.elem.unwrap()).unwrap();
    assert_eq!(elem.name, "*main.session", "{name}");
    assert!(ty.descriptor > 0, "{name}: a type in use has a descriptor");
    let same = dwarf.type_of_descriptor(ty.descriptor).unwrap();
    assert_eq!(dwarf.name_of(same).unwrap(), ty.name, "{name}");

    let variables: Vec<_> = dwarf.variables().collect();
    assert!(
        variables.is_sorted_by_key(|variable| variable.addr),
        "{name}"
    );
    assert!(variables.contains(&sessions), "{name}");
    assert!(dwarf.variable("runtime.allgs").is_some(), "{name}");
    assert_eq!(dwarf.variable("main.nothing"), None, "{name}");
    assert_eq!(dwarf.counts().1, variables.len(), "{name}");
}

/// The parameter of `main.keep` comes in rax, register 0, and goes elsewhere; no other function has one of its name
/// and type.
fn check_locals(dwarf: &Dwarf, frames: &Frames, name: &str) {
    let in_rax = |&entry: &u64| {
        let locals = frames.locals(dwarf, entry, entry, FrameSlot::Register(0));
        locals.iter().any(|local| {
            let ty = local.ty.and_then(|ty| dwarf.name_of(ty));
            local.name == "s" && local.offset == 0 && ty.as_deref() == Some("*main.session")
        })
    };
    let with: Vec<u64> = dwarf.functions().filter(in_rax).collect();
    let [keep] = with[..] else {
        panic!("{name}: {with:x?}");
    };
    let variables = (-256..64).step_by(8).flat_map(|slot| {
        let at = move |pc| frames.locals(dwarf, keep, pc, FrameSlot::Frame(slot));
        (keep..keep + 256).flat_map(at)
    });
    // `n` is changed by the closure, so it lies on the heap and the frame has its address.
    let found: BTreeSet<String> = variables.map(|local| local.name).collect();
    assert!(
        found.contains("s") && found.contains("n"),
        "{name}: {found:?}"
    );
    let none = frames.locals(dwarf, keep + 1, keep, FrameSlot::Register(0));
    assert_eq!(none, [], "{name}: no function begins there");
}

/// Debug information with bytes changed at random: every look-up ends, and nothing panics.
#[test]
fn damaged_debug_information_is_survived() {
    let path = SOURCE.build(&newest(), &["-ldflags=-compressdwarf=false"]);
    let good = fs::read(&path).unwrap();
    for seed in 1..=60u64 {
        println!("seed {seed}");
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut bytes = good.clone();
        // The debug sections lie in the second half of the file.
        for _ in 0..1 << (seed % 12) {
            let at = bytes.len() / 2 + next(bytes.len() / 2);
            bytes[at] = next(256) as u8;
        }
        if let Ok(Some(dwarf)) = Dwarf::read(&bytes[..]) {
            ask_everything(&dwarf);
            if let Ok(frames) = Frames::read(&bytes[..]) {
                for entry in dwarf.functions().step_by(5) {
                    for slot in [
                        FrameSlot::Frame(-48),
                        FrameSlot::Frame(0),
                        FrameSlot::Register(0),
                    ] {
                        frames.locals(&dwarf, entry, entry + 40, slot);
                    }
                }
            }
        }
    }
}

fn ask_everything(dwarf: &Dwarf) {
    for (ty, field, _) in FIELDS {
        dwarf.field(&format!("runtime.{ty}"), field);
    }
    dwarf.constant("runtime._KindSpecialProfile");
    let memory = Pieces::new();
    let mut types = Types::new(Sources {
        memory: &memory,
        dwarf: Some(dwarf),
        bias: 0,
        plugins: Vec::new(),
        modules: Vec::new(),
        go_minor: 27,
        function: Box::new(|_| Some("f".to_owned())),
    });
    for variable in dwarf.variables() {
        types.closure(variable.addr);
        let Some(ty) = variable.ty.map(|ty| types.by_die(ty)) else {
            continue;
        };
        for offset in (0..types.size(ty).min(256)).step_by(8) {
            let slot = types.slot(Label::one(ty), offset, 0, 0, &|at| Some(at & 7));
            if let Some(next) = slot.label(0) {
                types.slot(next, offset, 0, 0, &|_| None);
            }
        }
    }
}
