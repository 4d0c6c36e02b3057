//! Types and slots of a live program, by every toolchain at hand.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::collections::{BTreeSet, HashSet};
use std::fs;

use common::{Release, Running, Source, all_releases};
use inspect::Program;
use inspect::memory::Memory;
use inspect::types::{Label, Sources, Types};

const SOURCE: Source = Source::new("types", &[("main.go", PROGRAM)]);

/// A program that waits with one of everything in reach of `main.roots`.
const PROGRAM: &str = r#"package main

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

type session struct {
	id   string
	data []byte
	next *session
}

func (s *session) String() string { return s.id }

type big struct {
	pad [20]int64
	s   *session
}

type pair struct {
	a, b *session
}

type one struct{ p *session }

type named map[string]*session

type cache[K comparable, V any] struct {
	entries map[K]V
	last    atomic.Pointer[session]
}

type state struct {
	ptr       *session
	slice     []session
	strs      []string
	anys      []any
	err       error
	small     map[string]*session
	large     map[string]*session
	values    map[pair]session
	bigs      map[int]big
	named     named
	syncMap   sync.Map
	cache     *cache[string, *session]
	list      *list.List
	ch        chan *session
	fn        func()
	method    func() string
	pool      *sync.Pool
	after     *time.Timer
	ctx       context.Context
	array     [4]*session
	arrayPtr  *[16]*session
	deep      struct{ er struct{ p *session } }
	direct    any
	value     atomic.Value
	stringer  fmt.Stringer
	boxed     any
	reflected any
	raw       unsafe.Pointer
}

var roots []any

func fill(n int) map[string]*session {
	m := map[string]*session{}
	for i := 0; i < n; i++ {
		s := &session{id: fmt.Sprint("id", i)}
		m[strings.Clone(s.id)] = s
	}
	return m
}

func main() {
	s := &session{id: strings.Clone("first"), data: make([]byte, 100)}
	st := &state{ptr: s, slice: make([]session, 5), err: errors.New(strings.Clone("broken"))}
	st.slice[3].next = s
	st.strs = []string{strings.Clone("one"), strings.Clone("two")}
	st.anys = []any{s, *s, 7, pair{s, s}}
	st.small, st.large, st.named = fill(3), fill(2000), named(fill(1))
	st.values = map[pair]session{{s, s}: *s}
	st.bigs = map[int]big{}
	for i := 0; i < 50; i++ {
		st.bigs[i] = big{s: &session{}}
		st.syncMap.Store(fmt.Sprint("key", i), &session{})
	}
	st.cache = &cache[string, *session]{entries: fill(2)}
	st.cache.last.Store(s)
	st.list = list.New()
	st.list.PushBack(s)
	st.list.PushBack(&session{})
	st.ch = make(chan *session, 8)
	for i := 0; i < 8; i++ {
		st.ch <- &session{}
	}
	n, captured := 0, &session{id: strings.Clone("captured")}
	st.fn = func() { n++; captured.next = captured }
	st.fn()
	st.method = s.String
	st.pool = &sync.Pool{New: func() any { return new(session) }}
	st.pool.Put(&session{})
	st.after = time.AfterFunc(time.Hour, func() { fmt.Println(captured) })
	st.ctx = context.WithValue(context.Background(), s, &session{})
	st.array[2] = s
	st.arrayPtr = &[16]*session{s}
	st.deep.er.p = s
	st.direct = one{s}
	st.value.Store(s)
	st.stringer = s
	st.boxed = *s
	st.raw = unsafe.Pointer(s)
	made := reflect.SliceOf(reflect.ArrayOf(3, reflect.TypeOf(s)))
	slice := reflect.MakeSlice(made, 2, 2)
	slice.Index(1).Index(0).Set(reflect.ValueOf(s))
	st.reflected = slice.Interface()
	roots = append(roots, st)
	_ = n
	fmt.Println("READY")
	os.Stdin.Read(make([]byte, 1))
	fmt.Println(roots...)
}
"#;

const MAP: &str = "map[string]*main.session";

/// Path and type that must be met on the way from `roots`, with debug information and without it.
const BOTH: &[(&str, &str)] = &[
    ("[*]", "main.state"),
    ("[*].ptr", "main.session"),
    ("[*].ptr.id", "string data"),
    ("[*].ptr.data", "[]uint8"),
    ("[*].slice", "[]main.session"),
    ("[*].slice[*].next", "main.session"),
    ("[*].strs", "[]string"),
    ("[*].strs[*]", "string data"),
    ("[*].anys", "[]any"),
    ("[*].anys[*]", "main.session"),
    ("[*].anys[*]", "main.pair"),
    ("[*].anys[*].a", "main.session"),
    ("[*].err", "errors.errorString"),
    ("[*].err.s", "string data"),
    ("[*].small", MAP),
    ("[*].small", "map bucket"),
    ("[*].small[key]", "string data"),
    ("[*].small[*]", "main.session"),
    ("[*].small[*].id", "string data"),
    ("[*].large", MAP),
    ("[*].large[key]", "string data"),
    ("[*].large[*]", "main.session"),
    ("[*].values[key].b", "main.session"),
    ("[*].values[*].id", "string data"),
    ("[*].bigs[*]", "main.big"),
    ("[*].bigs[*].s", "main.session"),
    ("[*].named[*]", "main.session"),
    ("[*].syncMap[*]", "main.session"),
    ("[*].syncMap[key]", "string"),
    ("[*].syncMap[key]", "string data"),
    ("[*].cache", "main.cache[string,*main.session]"),
    ("[*].cache.entries[*]", "main.session"),
    ("[*].cache.last", "main.session"),
    ("[*].list", "container/list.List"),
    ("[*].list", "container/list.Element"),
    ("[*].list[*]", "main.session"),
    ("[*].ch", "chan *main.session"),
    ("[*].ch", "[]*main.session"),
    ("[*].ch[*]", "main.session"),
    ("[*].fn", "func main.main.func1"),
    ("[*].method", "func main.(*session).String-fm"),
    ("[*].pool", "sync.Pool"),
    ("[*].pool[*]", "main.session"),
    ("[*].after", "time.Timer"),
    ("[*].after.arg", "func main.main.func3"),
    ("[*].ctx", "context.valueCtx"),
    ("[*].ctx.val", "main.session"),
    ("[*].ctx.key", "main.session"),
    ("[*].array[*]", "main.session"),
    ("[*].arrayPtr", "[16]*main.session"),
    ("[*].arrayPtr[*]", "main.session"),
    ("[*].deep.er.p", "main.session"),
    ("[*].direct.p", "main.session"),
    ("[*].value", "main.session"),
    ("[*].stringer", "main.session"),
    ("[*].boxed", "main.session"),
    ("[*].boxed.id", "string data"),
    ("[*].reflected", "[][3]*main.session"),
    ("[*].reflected[*][*]", "main.session"),
];

/// What only debug information tells.
const NAMED: &[(&str, &str)] = &[("[*].method.receiver", "main.session")];

/// What only debug information tells since Go 1.23.
const CAPTURED: &[(&str, &str)] = &[
    ("[*].fn.captured", "main.session"),
    ("[*].fn.captured.id", "string data"),
    ("[*].fn.n", "int"),
];

/// Every path and type on the way from an object.
struct Walk<'a, 'b> {
    types: &'b mut Types<'a>,
    memory: &'a dyn Memory,
    heap: Vec<(u64, u64)>,
    seen: HashSet<(u64, Label)>,
    found: BTreeSet<(String, String)>,
}

impl Walk<'_, '_> {
    fn object(&mut self, path: &str, label: Label, addr: u64, count: u64, depth: usize) {
        if depth > 14 || !self.seen.insert((addr, label)) {
            return;
        }
        let size = self.types.size(label.ty);
        let count = if label.many { count.clamp(1, 64) } else { 1 };
        for offset in (0..size * count).step_by(8) {
            let at = addr + offset;
            let Ok(value) = self.memory.u64(at) else {
                break;
            };
            if !self
                .heap
                .iter()
                .any(|&(start, end)| (start..end).contains(&value))
            {
                continue;
            }
            let memory = self.memory;
            let words = |at: u64| memory.u64(at).ok();
            let slot = self.types.slot(label, offset, at, value, &words);
            let Some(next) = slot.label(0) else { continue };
            let path = format!("{path}{}", self.types.piece(slot.piece));
            let name = self.types.label_name(next);
            self.found.insert((path.clone(), name));
            // The length follows the address in slices, in a map's directory, in a pool. Behind the buckets of older
            // releases' maps there is a zero, and the first bucket may be empty.
            let count = self.memory.u64(at + 8).unwrap_or(1);
            let count = match count {
                1..0x10_0000 => count + 1,
                _ => 8,
            };
            self.object(&path, next, value, count, depth + 1);
        }
    }
}

/// Writable memory of no file: what points elsewhere points at no object.
fn heap(pid: u32) -> Vec<(u64, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines = maps
        .lines()
        .filter(|line| line.contains(" rw-p ") && !line.contains('/'));
    let hex = |text| u64::from_str_radix(text, 16).unwrap();
    lines
        .map(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            (hex(start), hex(rest.split(' ').next().unwrap()))
        })
        .collect()
}

fn walk(program: &Program, roots: u64, with_dwarf: bool) -> BTreeSet<(String, String)> {
    let mut from = Sources::of(program);
    if !with_dwarf {
        from.dwarf = None;
    }
    let mut types = Types::new(from);
    let any = types.by_name("interface {}").unwrap();
    let (array, len) = program.memory().slice_header(roots).unwrap();
    let mut walk = Walk {
        types: &mut types,
        memory: program.memory(),
        heap: heap(program.pid().unwrap()),
        seen: HashSet::new(),
        found: BTreeSet::new(),
    };
    walk.object("", Label::many(any), array, len, 0);
    walk.found
}

fn check(release: &Release, form: &str, flags: &[&str], experiment: &str) {
    let (minor, name) = (release.minor, format!("go{} {form}", release.version));
    let running = Running::start(&SOURCE.build_with(release, flags, experiment), &[]);
    let program = Program::attach(running.pid()).unwrap();
    let roots = program.dwarf().unwrap().variable("main.roots").unwrap();
    let roots = roots.addr + program.bias();
    for with_dwarf in [true, false] {
        let found = walk(&program, roots, with_dwarf);
        let mut wanted = vec![BOTH];
        wanted.extend(with_dwarf.then_some(NAMED));
        wanted.extend((with_dwarf && minor >= 23).then_some(CAPTURED));
        let missing: Vec<_> = wanted
            .concat()
            .into_iter()
            .filter(|&(path, ty)| !found.contains(&(path.to_owned(), ty.to_owned())))
            .collect();
        assert!(
            missing.is_empty(),
            "{name}, with debug information: {with_dwarf}: missing {missing:#?} in {found:#?}"
        );
        // Names of the compiler's and the linker's own never show.
        for inner in [
            "go.shape",
            "noalg",
            "hash<",
            "bucket<",
            "group<",
            "interface {}",
        ] {
            let shown = found.iter().find(|(_, ty)| ty.contains(inner));
            assert_eq!(shown, None, "{name}, with debug information: {with_dwarf}");
        }
    }
}

#[test]
fn every_kind_of_slot_is_followed_in_a_live_program() {
    for release in all_releases() {
        check(&release, "normal", &[], "");
        check(&release, "pie", &["-buildmode=pie"], "");
    }
}

#[test]
#[ignore = "builds the standard library once more for each: run with the soak"]
fn other_layouts_of_maps_are_followed() {
    for release in all_releases() {
        match release.minor {
            24 | 25 => check(&release, "old-maps", &[], "noswissmap"),
            27 => check(&release, "split-groups", &[], "mapsplitgroup"),
            _ => {}
        }
    }
}
