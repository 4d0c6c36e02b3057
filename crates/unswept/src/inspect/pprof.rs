//! Locations and mappings of a process in a profile.

use std::collections::HashMap;

use inspect::{Location, Program};
use profile::{FunctionRef, LocationRef, Mapping, ProfileBuilder};

/// Adds all of `locations`, with the process's mappings of code.
///
/// As in Go's own files a function is known by its name, and has the file where it was met first.
pub(crate) fn add_locations(
    builder: &mut ProfileBuilder,
    program: &Program,
    locations: &[Location],
) -> Vec<LocationRef> {
    let mappings = program.mappings();
    let made: Vec<_> = mappings
        .iter()
        .map(|of| {
            builder.mapping(Mapping {
                file: &of.file,
                build_id: &of.build_id,
                memory_start: of.start,
                memory_limit: of.end,
                file_offset: of.offset,
            })
        })
        .collect();
    let mut functions: HashMap<&str, FunctionRef> = HashMap::new();
    let mut places = Vec::with_capacity(locations.len());
    for location in locations {
        let lines: Vec<(FunctionRef, i64)> = location
            .lines
            .iter()
            .map(|line| {
                let function = *functions.entry(&line.function).or_insert_with(|| {
                    builder.function(&line.function, &line.file, line.start_line.into())
                });
                (function, line.line.into())
            })
            .collect();
        let place = builder.location(location.address, &lines);
        let holds = |of: &inspect::Mapping| (of.start..of.end).contains(&location.address);
        if let Some(at) = mappings.iter().position(holds) {
            builder.in_mapping(place, made[at]);
        }
        places.push(place);
    }
    places
}
