//! `inspect heap` against the file that the program itself would give: every bucket is equal, and where
//! the linker has dropped the profile, it says so.

use std::time::Instant;

use e2e::targets::cases;
use e2e::targets::inspect::{inspect, is_written};
use e2e::targets::profile::Profile;
use e2e::{Program, Setting, Target, tell};

#[test]
fn every_bucket_equals_the_endpoints() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, theirs) = (
        folder.path().join("ours.pb.gz"),
        folder.path().join("theirs.pb.gz"),
    );
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        for rate in ["1", "4096", "524288"] {
            let mut running = target.start(&["profiled", "-rate", rate]);
            let pid = running.pid().to_string();
            let file = ours.to_str().expect("a path");
            // Ours first: what the program allocates for its own file must not be in the other.
            let _ = inspect(&setting, &["heap", &pid, "--output", file]).text(&target.name);
            std::fs::write(&theirs, running.dump("heap")).expect("a file");
            let (ours, theirs) = (
                Profile::read(&setting, &ours),
                Profile::read(&setting, &theirs),
            );
            if rate != "524288" {
                let stacks = theirs.samples.keys().map(|(stack, _)| stack.join("\n"));
                let all: Vec<String> = stacks.collect();
                for known in [
                    "main.inner ",
                    "main.recursive ",
                    "main.generic",
                    "main.direct ",
                ] {
                    assert!(
                        all.iter().any(|stack| stack.contains(known)),
                        "{target}: {known}: {all:#?}"
                    );
                }
            }
            let found = theirs.differences(&ours, 3, |_| false);
            assert!(
                found.is_empty(),
                "{target}, rate {rate}: theirs and ours: {}",
                found.join("\n")
            );
        }
        tell(story, &target);
    }
}

#[test]
fn a_profile_that_the_linker_dropped_is_said_to_be_missing() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::NoProf);
        let running = target.start(&[]);
        let file = folder.path().join("none.pb.gz");
        let pid = running.pid().to_string();
        let read = inspect(
            &setting,
            &["heap", &pid, "--output", file.to_str().expect("a path")],
        );
        assert_eq!(read.code, Some(1), "{target}: {}", read.said);
        assert!(
            read.said.contains("profile") && read.said.contains("hint"),
            "{target}: {}",
            read.said
        );
        assert!(!is_written(&file), "{target}: a file without a profile");
    }
}
