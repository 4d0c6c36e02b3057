//! Real programs, built with nothing but its standard library.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{FORMS, Source, newest};
use inspect::{Evidence, Executable, InspectError, handlers};

const PLAIN: &str =
    "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\\n\") }\n";
const WEB: &str = "package main

import (
\t\"os\"

\t\"github.com/prometheus/client_golang/prometheus/promhttp\"
\t_ \"net/http/pprof\"
)

func main() { os.Stdout.WriteString(promhttp.Handler()) }
";
const WEB_MODULE: &str = "module example.com/web

go 1.21

require github.com/prometheus/client_golang v1.20.5

replace github.com/prometheus/client_golang => ./client
";
const CLIENT_MODULE: &str = "module github.com/prometheus/client_golang\n\ngo 1.21\n";
/// Stands in for the real module: only its name and the name of its function matter here.
const PROMHTTP: &str = "package promhttp\n\n//go:noinline\nfunc Handler() string { return os() }\n\n//go:noinline\nfunc os() string { return \"x\" }\n";

const PLAIN_SOURCE: Source = Source::new("plain", &[("main.go", PLAIN)]);
const WEB_SOURCE: Source = Source::new(
    "web",
    &[
        ("go.mod", WEB_MODULE),
        ("main.go", WEB),
        ("client/go.mod", CLIENT_MODULE),
        ("client/prometheus/promhttp/promhttp.go", PROMHTTP),
    ],
);

/// The plain program in its four forms.
fn plain() -> [(&'static str, PathBuf); 4] {
    FORMS.map(|(form, flags)| (form, PLAIN_SOURCE.build(&newest(), flags)))
}

fn plain_bytes(form: &str) -> Vec<u8> {
    let built = plain();
    let (_, path) = built.iter().find(|(name, _)| *name == form).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn every_form_tells_the_same_story() {
    let release = newest();
    let want_version = format!("go{}", release.version);
    for (form, path) in plain() {
        let file = fs::File::open(&path).unwrap();
        let executable = Executable::read(&file).unwrap();
        let build = &executable.build;
        assert_eq!(build.go_version, want_version, "{form}");
        assert_eq!(build.path, "example.com/plain", "{form}");
        assert_eq!(build.module_path, "example.com/plain", "{form}");
        assert_eq!(build.module_version, "(devel)", "{form}");
        assert_eq!(build.setting("CGO_ENABLED"), Some("0"), "{form}");
        let stripped = form.ends_with("stripped");
        assert_eq!(
            build.setting("-ldflags"),
            stripped.then_some("-s -w"),
            "{form}"
        );
        assert_eq!(executable.has_dwarf, !stripped, "{form}");
        assert_eq!(executable.has_symtab, !stripped, "{form}");
        assert_eq!(executable.is_pie, form.starts_with("pie"), "{form}");
        let id = release.run(
            &["tool", "buildid", path.to_str().unwrap()],
            Path::new("/"),
            &[],
        );
        let id = String::from_utf8(id).unwrap();
        assert_eq!(executable.go_build_id.as_deref(), Some(id.trim()), "{form}");
        let found = handlers(&file, &executable).unwrap();
        assert_eq!(found.evidence, Evidence::FunctionNames, "{form}");
        assert!(
            !found.pprof && !found.metrics && !found.expvar,
            "{form}: {found:?}"
        );
    }
}

#[test]
fn without_section_headers_the_answer_stays() {
    for (form, _) in plain() {
        let mut bytes = plain_bytes(form);
        let with = Executable::read(&bytes[..]).unwrap();
        bytes[40..48].fill(0); // e_shoff
        bytes[60..64].fill(0); // e_shnum, e_shstrndx
        let without = Executable::read(&bytes[..]).unwrap();
        assert_eq!(without.build, with.build, "{form}");
        assert_eq!(without.go_build_id, with.go_build_id, "{form}");
        let found = handlers(&bytes[..], &without).unwrap();
        assert_eq!(found.evidence, Evidence::FunctionNames, "{form}");
    }
}

#[test]
fn linked_handlers_are_found() {
    let program = WEB_SOURCE.build(&newest(), &["-ldflags=-s -w"]);
    let file = fs::File::open(program).unwrap();
    let executable = Executable::read(&file).unwrap();
    let found = handlers(&file, &executable).unwrap();
    assert_eq!(found.evidence, Evidence::FunctionNames);
    assert!(found.pprof && found.metrics && !found.expvar, "{found:?}");
    let [client] = &executable.build.deps[..] else {
        panic!("{:?}", executable.build.deps)
    };
    assert_eq!(
        (client.path.as_str(), client.version.as_str()),
        ("github.com/prometheus/client_golang", "v1.20.5")
    );
    assert_eq!(client.replaced_by.as_ref().unwrap().0, "./client");
}

#[test]
fn other_files_are_told_apart() {
    let go = plain_bytes("normal");
    let mut other_class = go.clone();
    other_class[4] = 9;
    let mut big_endian = go.clone();
    big_endian[5] = 2;
    let mut many_segments = go.clone();
    many_segments[56..58].fill(0xff);
    let rows: &[(&str, &[u8], &str)] = &[
        (
            "empty",
            b"",
            "not an ELF executable: it begins with [00, 00, 00, 00], not 7f 45 4c 46",
        ),
        (
            "a script",
            b"#!/bin/sh\necho",
            "not an ELF executable: it begins with [23, 21, 2f, 62], not 7f 45 4c 46",
        ),
        (
            "a cut header",
            &go[..9],
            "the file is cut: ELF identification needs 16 bytes at offset 0x0",
        ),
        (
            "cut program headers",
            &go[..100],
            "the file is cut: program headers needs",
        ),
        (
            "other class",
            &other_class,
            "unsupported ELF file: class is 9",
        ),
        (
            "big endian",
            &big_endian,
            "unsupported ELF file: byte order is 2",
        ),
        (
            "many segments",
            &many_segments,
            "program headers at offset 0x40 has size 65535, above the limit of 256",
        ),
    ];
    for (name, bytes, want) in rows {
        let error = Executable::read(*bytes).unwrap_err();
        assert!(error.to_string().starts_with(want), "{name}: {error}");
    }
    // This test itself is an ELF program and none of Go's.
    let file = fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let error = Executable::read(&file).unwrap_err();
    assert!(
        matches!(error, InspectError::NotGo) && error.is_not_go(),
        "{error}"
    );
}

/// Counts what is read: discovery asks every process of the host.
struct Counting<'a>(&'a fs::File, std::cell::Cell<(usize, usize)>);

impl inspect::ReadAt for Counting<'_> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let (reads, bytes) = self.1.get();
        self.1.set((reads + 1, bytes + buf.len()));
        inspect::ReadAt::read_exact_at(self.0, offset, buf)
    }
}

#[test]
fn a_program_not_of_go_costs_few_reads() {
    let file = fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let counting = Counting(&file, std::cell::Cell::new((0, 0)));
    assert!(Executable::read(&counting).unwrap_err().is_not_go());
    let (reads, bytes) = counting.1.get();
    assert!(
        reads <= 5 && bytes <= 8 << 10,
        "{reads} reads of {bytes} bytes together"
    );
}

/// Splitmix64: enough randomness to damage files with, and the seed says it all.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// Damages what the parsers look at (headers, build information, function table) and asks for an answer, any
/// answer, soon. Boundaries (0, all ones) are likelier than other values.
#[test]
fn damaged_files_get_an_answer() {
    let started = std::time::Instant::now();
    for (form, _) in plain() {
        let whole = plain_bytes(form);
        let find = |needle: &[u8]| {
            whole
                .windows(needle.len())
                .position(|at| at == needle)
                .unwrap()
        };
        let sections = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
        let places = [
            0,
            64,
            sections,
            find(b"\xff Go buildinf:"),
            find(&[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]),
        ];
        for seed in 0..400 {
            let mut random = Random(seed);
            let mut bytes = whole.clone();
            for _ in 0..=random.next() % 4 {
                let place = places[random.next() as usize % places.len()];
                let at = (place + random.next() as usize % 512).min(bytes.len() - 8);
                let width = [1, 2, 4, 8][random.next() as usize % 4];
                let value =
                    [0, u64::MAX, random.next(), random.next() % 64][random.next() as usize % 4];
                bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            if random.next().is_multiple_of(8) {
                bytes.truncate(random.next() as usize % bytes.len());
            }
            let asked = std::time::Instant::now();
            inspect::fuzz::executable(&bytes);
            inspect::fuzz::debug_information(&bytes);
            assert!(
                asked.elapsed().as_secs() < 5,
                "{form}, seed {seed}: {:?}",
                asked.elapsed()
            );
        }
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
