//! Holders as a profile: a stack is the way from a holder into the heap, so that any flame graph shows the tree.

use std::collections::HashMap;

use inspect::holders::{Path, Report};
use model::UnixMs;
use profile::{FunctionRef, LocationRef, Profile, ProfileBuilder};

const SAMPLE_TYPES: [(&str, &str); 2] =
    [("retained_objects", "count"), ("retained_space", "bytes")];

/// What a report does not tell, of one holder or of all.
const OTHERS: &str = "(others)";

/// The profile of a report: each step's own bytes, those of its children apart. All that is reached is in it: what the
/// report leaves out is [`OTHERS`].
pub(super) fn profile(report: &Report, at: UnixMs) -> anyhow::Result<Profile> {
    let mut builder = ProfileBuilder::new(&SAMPLE_TYPES);
    builder.time(at.0.saturating_mul(1_000_000), 0);
    let mut made = Made {
        builder,
        places: HashMap::new(),
    };
    let mut left = Size {
        objects: report.reached_objects,
        bytes: report.reached_bytes,
    };
    for holder in &report.holders {
        let mut name = holder.name.clone();
        if !holder.ty.is_empty() {
            name = format!("{name} ({})", holder.ty);
        }
        let mut own = Size {
            objects: holder.retained_objects,
            bytes: holder.retained_bytes,
        };
        left.take(own);
        let mut stack = vec![made.place(&name)];
        for path in &holder.paths {
            own.take(made.path(&mut stack, path));
        }
        // A holder is no object itself.
        stack.push(made.place(OTHERS));
        made.sample(&stack, own);
    }
    let others = made.place(OTHERS);
    made.sample(&[others], left);
    made.builder.default_sample_type("retained_space");
    Ok(made.builder.build()?)
}

/// How much a stack stands for.
#[derive(Debug, Clone, Copy)]
struct Size {
    objects: u64,
    bytes: u64,
}

impl Size {
    /// Of a running program the parts may be more than the whole.
    fn take(&mut self, part: Self) {
        self.objects = self.objects.saturating_sub(part.objects);
        self.bytes = self.bytes.saturating_sub(part.bytes);
    }
}

struct Made {
    builder: ProfileBuilder,
    places: HashMap<String, LocationRef>,
}

impl Made {
    fn place(&mut self, name: &str) -> LocationRef {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let function: FunctionRef = self.builder.function(name, "", 0);
        let place = self.builder.location(0, &[(function, 0)]);
        self.places.insert(name.to_owned(), place);
        place
    }

    /// Adds what hangs at `path`, and returns how much of that is told.
    fn path(&mut self, stack: &mut Vec<LocationRef>, path: &Path) -> Size {
        let name = match (path.path.trim(), path.ty.as_str()) {
            ("", "") => "?".to_owned(),
            (step, "") => step.to_owned(),
            ("", ty) => ty.to_owned(),
            (step, ty) => format!("{step} {ty}"),
        };
        stack.push(self.place(&name));
        let mut own = Size {
            objects: path.count,
            bytes: path.bytes,
        };
        let mut told = own;
        for child in &path.children {
            let below = self.path(stack, child);
            own.bytes = own.bytes.saturating_sub(below.bytes);
            // The count is that of the step alone.
            told.objects = told.objects.saturating_add(below.objects);
        }
        self.sample(stack, own);
        stack.pop();
        told
    }

    fn sample(&mut self, stack: &[LocationRef], size: Size) {
        if size.bytes == 0 && size.objects == 0 {
            return;
        }
        // Innermost first.
        let stack: Vec<LocationRef> = stack.iter().rev().copied().collect();
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.builder
            .sample(&stack, &[signed(size.objects), signed(size.bytes)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two holders of 900 and 60 bytes, and 40 bytes of others.
    fn report() -> Report {
        let path = |path: &str, bytes: u64, count: u64, children: serde_json::Value| {
            serde_json::json!({
                "path": path, "type": "", "bytes": bytes, "count": count, "children": children
            })
        };
        let holder = |name: &str, bytes: u64, objects: u64, paths: serde_json::Value| {
            serde_json::json!({
                "name": name, "kind": "global", "type": "", "count": 1, "retained_bytes": bytes,
                "retained_objects": objects, "paths": paths, "allocated_at": []
            })
        };
        let below = serde_json::json!([path("[*]", 500, 5, serde_json::json!([]))]);
        let json = serde_json::json!({
            "go_version": "go1.27.3", "layout": "table",
            "heap": {"spans": 0, "span_bytes": 0, "scannable_bytes": 0, "objects": 0, "object_bytes": 0},
            "reached_bytes": 1000, "reached_objects": 100, "approximate": false, "blurred": 0,
            "holders": [
                holder("main.sessions", 900, 80, serde_json::json!([path(".entries", 800, 1, below)])),
                holder("main.cut", 60, 10, serde_json::json!([])),
            ],
            "left_out": {"holders": 3, "bytes": 40}, "cost": {"calls": 0, "bytes": 0},
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn all_that_is_reached_is_in_it() {
        let profile = profile(&report(), UnixMs(0)).unwrap();
        let samples = profile.samples().map(|sample| {
            let mut frames: Vec<String> =
                sample.frames().map(|frame| frame.name().into()).collect();
            frames.reverse();
            (frames.join(" > "), sample.values().to_vec())
        });
        let samples: Vec<(String, Vec<i64>)> = samples.collect();
        let want = [
            ("main.sessions > .entries > [*]", [5, 500]),
            ("main.sessions > .entries", [1, 300]),
            ("main.sessions > (others)", [74, 100]),
            ("main.cut > (others)", [10, 60]),
            ("(others)", [10, 40]),
        ];
        let want = want.map(|(stack, values)| (stack.to_owned(), values.to_vec()));
        assert_eq!(samples, want);
    }
}
