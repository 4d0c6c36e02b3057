//! What people are told of the store: what it could not read, and which samples are missing.

use store::{Stats, Store};

/// Problems that are told one by one; the others are counted.
const TOLD_MAX: usize = 3;

/// What could not be read when the store was opened.
pub(crate) fn problems(store: &Store) -> Option<String> {
    let problems = store.problems();
    let told = problems.iter().take(TOLD_MAX);
    let told = told.map(|problem| format!("{}: {}", problem.path.display(), problem.reason));
    let mut lines: Vec<String> = told.collect();
    match problems.len().checked_sub(TOLD_MAX) {
        None if problems.is_empty() => return None,
        None | Some(0) => {}
        Some(more) => lines.push(format!("and {more} more")),
    }
    Some(format!("damaged data: {}", lines.join("; ")))
}

/// Gaps in the stored series, since the start.
pub(crate) fn gaps(stats: &Stats) -> Vec<String> {
    let rows = [
        (
            stats.samples_lost,
            "samples were lost while the disk could not be written",
        ),
        (
            stats.chunks_unreadable,
            "times a damaged chunk of samples was met and left out",
        ),
        (
            stats.records_malformed,
            "records of series were damaged and left out",
        ),
    ];
    let gaps = rows.into_iter().filter(|(count, _)| *count > 0);
    gaps.map(|(count, what)| format!("{count} {what}"))
        .collect()
}
