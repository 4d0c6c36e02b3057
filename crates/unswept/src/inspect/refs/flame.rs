//! Holders as a profile: a stack is the way from a holder into the heap, so that any flame graph shows the tree.

use std::collections::HashMap;

use inspect::holders::{Path, Report};
use model::UnixMs;
use profile::{FunctionRef, LocationRef, Profile, ProfileBuilder};

const SAMPLE_TYPES: [(&str, &str); 2] =
    [("retained_objects", "count"), ("retained_space", "bytes")];

/// The profile of a report: each step's own bytes, those of its children apart.
pub(super) fn profile(report: &Report, at: UnixMs) -> anyhow::Result<Profile> {
    let mut builder = ProfileBuilder::new(&SAMPLE_TYPES);
    builder.time(at.0.saturating_mul(1_000_000), 0);
    let mut made = Made {
        builder,
        places: HashMap::new(),
    };
    for holder in &report.holders {
        let mut name = holder.name.clone();
        if !holder.ty.is_empty() {
            name = format!("{name} ({})", holder.ty);
        }
        let mut stack = vec![made.place(&name)];
        let below: u64 = holder.paths.iter().map(|path| path.bytes).sum();
        let counted: u64 = holder.paths.iter().map(|path| path.count).sum();
        made.sample(
            &stack,
            holder.retained_objects.saturating_sub(counted),
            holder.retained_bytes.saturating_sub(below),
        );
        for path in &holder.paths {
            made.path(&mut stack, path);
        }
    }
    made.builder.default_sample_type("retained_space");
    Ok(made.builder.build()?)
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

    fn path(&mut self, stack: &mut Vec<LocationRef>, path: &Path) {
        let name = match (path.path.trim(), path.ty.as_str()) {
            ("", "") => "?".to_owned(),
            (step, "") => step.to_owned(),
            ("", ty) => ty.to_owned(),
            (step, ty) => format!("{step} {ty}"),
        };
        stack.push(self.place(&name));
        let below: u64 = path.children.iter().map(|child| child.bytes).sum();
        self.sample(stack, path.count, path.bytes.saturating_sub(below));
        for child in &path.children {
            self.path(stack, child);
        }
        stack.pop();
    }

    fn sample(&mut self, stack: &[LocationRef], objects: u64, bytes: u64) {
        if bytes == 0 && objects == 0 {
            return;
        }
        // Innermost first.
        let stack: Vec<LocationRef> = stack.iter().rev().copied().collect();
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.builder
            .sample(&stack, &[signed(objects), signed(bytes)]);
    }
}
