//! Cores of real programs against the same programs alive: the same figures, profile and goroutines.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;
#[path = "core_files/make.rs"]
mod make;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{FORMS, Running, Source, newest};
use inspect::goroutines::{Options, goroutines};
use inspect::{HeapProfile, InspectError, MemStats, MemStatsReader, Program};

use make::Image;

const SOURCE: Source = Source::new("core", &[("main.go", include_str!("core_files/main.go"))]);

fn build(flags: &[&str]) -> PathBuf {
    SOURCE.build(&newest(), flags)
}

fn figures(program: &Program) -> MemStats {
    let mut stats = MemStatsReader::new(program).unwrap().read().unwrap();
    stats.cost = inspect::memory::ReadCost::default();
    // The scavenger gives pages back when it likes.
    (stats.heap_released, stats.sys) = (0, 0);
    stats
}

fn text(program: &Program) -> String {
    let dump = goroutines(program, &Options::default()).unwrap();
    dump.text(false).to_string()
}

#[test]
fn a_core_tells_what_the_process_told() {
    for (form, flags) in FORMS {
        let executable = build(flags);
        let running = Running::start(&executable, &[]);
        let live = Program::attach(running.pid()).unwrap();
        // It says that it is ready, and goes to wait then.
        while !text(&live).contains("main.main") || !text(&live).contains("os.(*File).Read") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let core = executable.with_file_name("core");
        // On a busy machine its runtime still has something to do: a core of a quiet moment is wanted.
        loop {
            let before = figures(&live);
            fs::write(&core, Image::of(running.pid()).core(false)).unwrap();
            if figures(&live) == before {
                break;
            }
        }
        let dead = Program::from_core(&core, None).unwrap();
        assert_eq!(dead.bias(), live.bias(), "{form}");
        assert_eq!(figures(&dead), figures(&live), "{form}");

        let (ours, theirs) = (
            HeapProfile::read(&dead).unwrap(),
            HeapProfile::read(&live).unwrap(),
        );
        assert!(
            theirs.steady && theirs.buckets.len() > 10,
            "{form}: {}",
            theirs.buckets.len()
        );
        assert_eq!(ours.buckets, theirs.buckets, "{form}");

        assert_eq!(text(&dead), text(&live), "{form}");
        assert!(
            text(&dead).matches("[chan send]").count() == 20,
            "{form}: {}",
            text(&dead)
        );

        let code = |program: &Program| {
            let mut all = program.mappings().into_iter();
            all.find(|of| of.file.ends_with("program")).unwrap()
        };
        assert_eq!(code(&dead), code(&live), "{form}");
    }
}

#[test]
fn another_executable_is_refused() {
    let executable = build(FORMS[1].1);
    let running = Running::start(&executable, &[]);
    let core = executable.with_file_name("core-of-another");
    fs::write(&core, Image::of(running.pid()).core(false)).unwrap();
    let others = [build(FORMS[0].1), build(FORMS[2].1)];
    for other in others {
        let refused = Program::from_core(&core, Some(&other));
        assert!(
            matches!(refused, Err(InspectError::OtherExecutable)),
            "{refused:?}"
        );
    }
    let refused = Program::from_core(&core, Some(Path::new("/no/such/file")));
    assert!(
        matches!(refused, Err(InspectError::NoExecutable { .. })),
        "{refused:?}"
    );
    let mut cut = fs::read(&core).unwrap();
    cut.truncate(cut.len() / 8);
    fs::write(&core, cut).unwrap();
    let refused = Program::from_core(&core, None);
    assert!(
        matches!(refused, Err(InspectError::CutCore { .. })),
        "{refused:?}"
    );
}
