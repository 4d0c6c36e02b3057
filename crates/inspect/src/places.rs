//! Where one program's runtime keeps its own figures: what is left of a [`Program`] for somebody who reads them again
//! and again and keeps thousands of programs.
//!
//! A few kilobytes instead of symbol tables, tables of functions and debug information; and it can be written down,
//! so that a process of its own may look into a hostile executable and hand over nothing but this.

use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::{InspectError, Program};

/// Structures whose fields are kept.
const KEPT: [&str; 10] = [
    "consistentHeapStats",
    "fixalloc",
    "gcControllerState",
    "heapArena",
    "heapStatsDelta",
    "mcache",
    "mheap",
    "mspan",
    "mstats",
    "schedt",
];
/// And these fields of `p`.
const KEPT_FIELDS: [&str; 3] = ["p.gFree.n", "p.gFree.size", "p.mcache"];
/// Lines of a written layout; ours have about a hundred.
const LINES_MAX: usize = 1000;

/// Addresses of variables, and the layout of what lies there. Holds for one process from its `exec` to its end:
/// whoever keeps it has to notice both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Places {
    pub(crate) stats: u64,
    pub(crate) controller: u64,
    pub(crate) heap: u64,
    pub(crate) allp: u64,
    pub(crate) allgs: u64,
    pub(crate) sched: u64,
    /// What the index of a heap arena counts from.
    pub(crate) arena_base: u64,
    layout: Layout,
}

impl Places {
    /// The places of a program that was opened.
    ///
    /// # Errors
    /// [`InspectError::Missing`] when a variable could not be found in a stripped program.
    pub fn of(program: &Program) -> Result<Self, InspectError> {
        Ok(Self {
            stats: program.symbol("runtime.memstats")?,
            controller: program.symbol("runtime.gcController")?,
            heap: program.symbol("runtime.mheap_")?,
            allp: program.symbol("runtime.allp")?,
            allgs: program.symbol("runtime.allgs")?,
            sched: program.symbol("runtime.sched")?,
            arena_base: program.machine().arena_base,
            layout: program.layout().only(|name| {
                let structure = name.split('.').next().unwrap_or(name);
                KEPT_FIELDS.contains(&name) || KEPT.contains(&structure)
            }),
        })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    stats: u64,
    controller: u64,
    heap: u64,
    allp: u64,
    allgs: u64,
    sched: u64,
    arena_base: u64,
    layout: Vec<String>,
}

impl From<Places> for Written {
    fn from(places: Places) -> Self {
        Self {
            stats: places.stats,
            controller: places.controller,
            heap: places.heap,
            allp: places.allp,
            allgs: places.allgs,
            sched: places.sched,
            arena_base: places.arena_base,
            layout: places.layout.lines(),
        }
    }
}

impl TryFrom<Written> for Places {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        if written.layout.len() > LINES_MAX {
            return Err(format!("a layout of {} lines", written.layout.len()));
        }
        let mut layout = Layout::default();
        for line in &written.layout {
            let taken = layout.take_line(line);
            taken.ok_or_else(|| format!("no line of a layout: `{}`", line.escape_debug()))?;
        }
        Ok(Self {
            stats: written.stats,
            controller: written.controller,
            heap: written.heap,
            allp: written.allp,
            allgs: written.allgs,
            sched: written.sched,
            arena_base: written.arena_base,
            layout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Field;

    #[test]
    fn places_are_read_back_as_they_were_written_and_bad_ones_refused() {
        let mut layout = Layout::default();
        let field = |offset| Field { offset, bytes: 8 };
        layout.set_field("mstats.numgc", field(7777));
        layout.set_field(KEPT_FIELDS[2], field(80));
        layout.set_size("mcache", 1200);
        let places = Places {
            stats: 1,
            controller: 2,
            heap: 3,
            allp: u64::MAX,
            allgs: 6,
            sched: 7,
            arena_base: 5,
            layout,
        };
        let text = serde_json::to_string(&places).unwrap();
        assert_eq!(serde_json::from_str::<Places>(&text).unwrap(), places);
        for (why, from, to) in [
            ("a number missing", "7777", ""),
            ("another kind of line", "field", "fold"),
            ("a number too large", "1200", "99999999999999999999"),
        ] {
            let bad = text.replacen(from, to, 1);
            assert!(
                serde_json::from_str::<Places>(&bad).is_err(),
                "{why}: {bad}"
            );
        }
        let many = format!("\"size x 1\",{}", "\"size x 1\",".repeat(LINES_MAX));
        let bad = text.replacen("[", &format!("[{many}"), 1);
        assert!(serde_json::from_str::<Places>(&bad).is_err());
    }
}
