//! Prints what the executables named as arguments are: `cargo run -p inspect --example look -- /proc/*/exe`.

use std::fs::File;
use std::time::Instant;

use inspect::{Executable, InspectError, handlers};

fn look(path: &str) -> Result<String, InspectError> {
    let open = |source| InspectError::Read {
        what: "the file",
        offset: 0,
        source,
    };
    let file = File::open(path).map_err(open)?;
    let started = Instant::now();
    let executable = Executable::read(&file)?;
    let read = started.elapsed();
    let handlers = handlers(&file, &executable)?;
    let searched = started.elapsed() - read;
    let Executable {
        arch,
        is_pie,
        has_dwarf,
        has_symtab,
        gnu_build_id,
        go_build_id,
        build,
        ..
    } = executable;
    Ok(format!(
        "{} {}@{} {arch:?} pie={is_pie} dwarf={has_dwarf} symtab={has_symtab} gnu={} go={} deps={} settings={} {handlers:?} in {read:?} + {searched:?}",
        build.go_version,
        build.module_path,
        build.module_version,
        gnu_build_id.as_deref().unwrap_or("-"),
        go_build_id.map_or(0, |id| id.len()),
        build.deps.len(),
        build.settings.len(),
    ))
}

fn main() {
    for path in std::env::args().skip(1) {
        let started = Instant::now();
        match look(&path) {
            Ok(text) => println!("{path}: {text}"),
            Err(error) => println!("{path}: {error} in {:?}", started.elapsed()),
        }
    }
}
