//! A table of another Go release is always refused; the own one is taken, also where debug information would do.

use e2e::targets::cases;
use e2e::targets::inspect::inspect;
use e2e::{Program, Setting, Target};

/// Releases with a table.
const MINORS: std::ops::RangeInclusive<u32> = 21..=27;

#[test]
fn only_the_own_table_is_believed() {
    let Some(setting) = Setting::find() else {
        return;
    };
    for (release, form) in cases(&setting) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let running = target.start(&["planted"]);
        let pid = running.pid().to_string();
        for minor in MINORS {
            let as_if = minor.to_string();
            let words = ["memstats", &pid, "--json", "--layout-of", &as_if];
            let answer = inspect(&setting, &words);
            let is_own = minor == release.minor();
            assert_eq!(
                answer.code == Some(0),
                is_own,
                "{release:?} {form:?} with the table of 1.{minor}: {}",
                answer.said
            );
            if !is_own {
                let hint = "layout of this program's runtime";
                assert!(answer.said.contains(hint), "{}", answer.said);
            }
        }
    }
}
