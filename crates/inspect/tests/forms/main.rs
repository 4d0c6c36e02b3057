//! Programs that are more than one Go executable: with C in them, with a plugin, and Go inside a program of C.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use common::{FORMS, Release, Running, Source, releases};
use inspect::goroutines::{Options as DumpOptions, goroutines};
use inspect::heap::Reading;
use inspect::holders::{Holder, HolderKind, Options, Report, Taken};
use inspect::{HeapProfile, Locations, MemStats, MemStatsReader, Program};

const ALLOW: (&str, &str) = (
    "allow/allow.go",
    include_str!("../../../../tests/targets/allow/allow.go"),
);
const CGO: Source = Source {
    name: "targets",
    files: &[
        ALLOW,
        (
            "cgoheap/main.go",
            include_str!("../../../../tests/targets/cgoheap/main.go"),
        ),
    ],
    with_c: true,
};
const PLUGIN: Source = Source {
    name: "targets",
    files: &[
        ALLOW,
        (
            "plug/main.go",
            include_str!("../../../../tests/targets/plug/main.go"),
        ),
        (
            "plug/part/part.go",
            include_str!("../../../../tests/targets/plug/part/part.go"),
        ),
    ],
    with_c: true,
};

const MIB: u64 = 1 << 20;

fn report_of(program: &Program) -> Report {
    let options = Options::default();
    let taken = Taken::read(program, &options, Reading::Copy(Vec::new()), None).unwrap();
    taken.report(program, &options).unwrap()
}

fn stats_of(program: &Program) -> MemStats {
    MemStatsReader::new(program).unwrap().read().unwrap()
}

/// What the first two holders keep: by name, where names are left.
#[track_caller]
fn planted<const N: usize>(report: &Report, form: &str, names: [&str; N]) -> [u64; N] {
    let found = std::array::from_fn(|at| &report.holders[at]);
    if !form.ends_with("stripped") {
        assert_eq!(found.map(|of: &Holder| &*of.name), names, "{form}");
    }
    found.map(|of| of.retained_bytes)
}

#[track_caller]
fn is_within_a_hundredth(case: &str, found: u64, planted: u64) {
    assert!(
        found.abs_diff(planted) * 100 <= planted,
        "{case}: {found} bytes, {planted} were planted"
    );
}

/// Functions of every goroutine, the innermost first.
fn stacks(program: &Program) -> Vec<String> {
    let dump = goroutines(program, &DumpOptions::default()).unwrap();
    let one = |stack: Option<usize>| {
        let frames = stack.map(|stack| &dump.stacks[stack].frames[..]);
        let names = frames.unwrap_or_default().iter().map(|of| &*of.function);
        names.collect::<Vec<&str>>().join(" ")
    };
    dump.goroutines.iter().map(|of| one(of.stack)).collect()
}

fn calling(stacks: &[String], function: &str) -> usize {
    let calls = |stack: &&String| stack.split(' ').any(|name| name == function);
    stacks.iter().filter(calls).count()
}

/// Bytes in use that the profile tells of this function.
fn profiled(program: &Program, function: &str) -> u64 {
    let profile = HeapProfile::read(program).unwrap();
    let mut locations = Locations::new(program);
    let mut bytes = 0;
    for bucket in &profile.buckets {
        let sample = profile.sample(bucket, &mut locations);
        let list = locations.list();
        let mut lines = sample.locations.iter().flat_map(|&at| &list[at].lines);
        if lines.any(|line| line.function == function) {
            bytes += u64::try_from(sample.values[3]).unwrap();
        }
    }
    bytes
}

fn attach(running: &Running) -> Program {
    Program::attach(running.pid()).unwrap()
}

#[test]
fn a_program_with_c_in_it_is_looked_into() {
    for release in releases() {
        for (form, flags) in FORMS {
            let case = format!("go{} cgo {form}", release.version);
            let path = CGO.build_package("./cgoheap", &release, flags, "");
            let mut running = Running::start(&path, &[]);
            let program = attach(&running);
            running.tell("memstats");
            let own = running.line();
            let stats = stats_of(&program);
            let own: serde_json::Value = serde_json::from_str(&own).unwrap();
            let own = own["heap_alloc"].as_u64().unwrap();
            assert!(
                stats.heap_alloc.abs_diff(own) < 64 << 10,
                "{case}: {own}, {stats:?}"
            );

            let stacks = stacks(&program);
            assert_eq!(calling(&stacks, "main.fromC"), 8, "{case}: {stacks:#?}");
            assert_eq!(
                calling(&stacks, "main._Cfunc_sit"),
                1,
                "{case}: {stacks:#?}"
            );
            assert_eq!(stats.num_goroutine, stacks.len() as u64, "{case}");

            let profiled = profiled(&program, "main.main");
            assert!(
                (MIB / 2..16 * MIB).contains(&profiled),
                "{case}: {profiled}"
            );

            let report = report_of(&program);
            let [handles, pinned] = planted(&report, form, ["runtime/cgo.handles", "main.pinner"]);
            is_within_a_hundredth(&case, handles, 128 * (16 << 10) + 4 * (256 << 10));
            is_within_a_hundredth(&case, pinned, 128 * (16 << 10));
            // Those that C began have called nothing else of the program's.
            let began = |entry: &str| {
                let mut groups = report.goroutines.iter();
                groups
                    .find(|group| group.entry == entry)
                    .map(|group| group.count)
            };
            assert_eq!(
                began("main.fromC"),
                Some(4),
                "{case}: {:#?}",
                report.goroutines
            );
            // `go C.sit()` keeps nothing; the thread that it has is the runtime's.
            let threads = report
                .holders
                .iter()
                .filter(|of| of.kind == HolderKind::Goroutine);
            let mut threads = threads.flat_map(|of| &of.paths).map(|path| &*path.ty);
            assert!(
                !threads.any(|ty| ty.starts_with("runtime.")),
                "{case}: {:#?}",
                report.holders
            );
            // 16 MiB of C's are nobody's here.
            let is_gos = report.reached_bytes.abs_diff(stats.heap_alloc) < MIB / 2;
            assert!(is_gos, "{case}: {} {stats:?}", report.reached_bytes);
        }
    }
}

fn plugged(release: &Release, flags: &[&str]) -> Running {
    let part = PLUGIN.build_package(
        "./plug/part",
        release,
        &[&["-buildmode=plugin"], flags].concat(),
        "",
    );
    let path = PLUGIN.build_package("./plug", release, flags, "");
    Running::start(&path, &[part.to_str().unwrap()])
}

#[test]
fn a_program_with_a_plugin_is_looked_into() {
    for release in releases() {
        for (form, flags) in [FORMS[0], FORMS[1]] {
            let case = format!("go{} plugin {form}", release.version);
            let running = plugged(&release, flags);
            let program = attach(&running);
            assert_eq!(program.modules().len(), 2, "{case}");
            let stats = stats_of(&program);
            assert!(
                (12 * MIB..14 * MIB).contains(&stats.heap_alloc),
                "{case}: {stats:?}"
            );
            let stacks = stacks(&program);
            assert_eq!(stats.num_goroutine, 2, "{case}");
            assert_eq!(
                calling(&stacks, &format!("{PART}.wait")),
                1,
                "{case}: {stacks:#?}"
            );
            // The host's function, called by the plugin.
            let profiled = profiled(&program, &format!("{PART}.Fill"));
            assert!((MIB..24 * MIB).contains(&profiled), "{case}: {profiled}");
            let report = report_of(&program);
            let theirs = format!("{PART}.Theirs");
            let [theirs, ours] = planted(&report, form, [&theirs, "main.ours"]);
            is_within_a_hundredth(&case, theirs, 128 * (64 << 10));
            is_within_a_hundredth(&case, ours, 64 * (64 << 10));
            if !form.ends_with("stripped") {
                has_types_of_its_own(&report.holders[0], &case);
            }
        }
    }
}

/// What the plugin's own debug information tells of its list.
#[track_caller]
fn has_types_of_its_own(theirs: &Holder, case: &str) {
    let piece = format!("{PART}.piece");
    assert_eq!(theirs.ty, format!("*{piece}"), "{case}");
    let list = &theirs.paths[0];
    let told = (&*list.ty, list.count, &*list.again);
    assert_eq!(told, (&*piece, 128, ".next"), "{case}");
    let body = &list.children[0];
    let told = (&*body.path, &*body.ty, body.count);
    assert_eq!(told, (".body", "[]uint8", 128), "{case}");
}

/// The package of the plugin.
const PART: &str = "example.com/targets/plug/part";

const EMBEDDED: Source = Source {
    name: "embedded",
    files: &[("main.go", include_str!("embedded.go"))],
    with_c: true,
};

fn compile(source: &str, out: &Path, with: &[&OsStr]) {
    let file = out.with_extension("c");
    common::write(&file, source);
    let mut command = Command::new("cc");
    let command = command.arg("-o").arg(out).arg(&file).args(with);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

#[test]
fn go_inside_a_program_of_c_is_looked_into() {
    for release in releases() {
        for (form, flags) in [FORMS[0], FORMS[1]] {
            for mode in ["-buildmode=c-shared", "-buildmode=c-archive"] {
                let case = format!("go{} {mode} {form}", release.version);
                let library = EMBEDDED.build(&release, &[&[mode], flags].concat());
                let host = library.with_file_name("host");
                let running = if mode.ends_with("shared") {
                    compile(include_str!("loading.c"), &host, &["-ldl".as_ref()]);
                    Running::start(&host, &[library.to_str().unwrap()])
                } else {
                    // By what it ends in, the linker tells what it is.
                    let archive = library.with_extension("a");
                    std::fs::copy(&library, &archive).unwrap();
                    let with = [archive.as_os_str(), "-lpthread".as_ref()];
                    compile(include_str!("linked.c"), &host, &with);
                    Running::start(&host, &[])
                };
                let program = attach(&running);
                let stats = stats_of(&program);
                assert!(
                    (8 * MIB..9 * MIB).contains(&stats.heap_alloc),
                    "{case}: {stats:?}"
                );
                let stacks = stacks(&program);
                assert_eq!(calling(&stacks, "main.park"), 1, "{case}: {stacks:#?}");
                assert_eq!(
                    stats.num_goroutine,
                    stacks.len() as u64,
                    "{case}: {stacks:#?}"
                );
                // Of 8 MiB, about 16 pieces are sampled; 1 MiB would be five standard deviations off.
                let profiled = profiled(&program, "main.Begin");
                assert!((MIB..24 * MIB).contains(&profiled), "{case}: {profiled}");
                let report = report_of(&program);
                let [sessions] = planted(&report, form, ["main.sessions"]);
                is_within_a_hundredth(&case, sessions, 128 * (64 << 10));
            }
        }
    }
}
