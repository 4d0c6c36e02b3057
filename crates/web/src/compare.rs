//! Two profiles from an incident's evidence, compared once and kept for the next who asks.

use std::sync::Arc;

use model::{FleetRead, Incident};
use profile::{FlameLimits, Limits, Profile, frame_to_look_at, wait_reason};

use crate::error::ApiError;
use crate::kept::Kept;

/// Nodes of a flame graph: more than a screen has columns for.
const NODES_MAX: usize = 5_000;
/// Stacks in the table.
const ROWS_MAX: usize = 12;
/// Frames of a stack in the table.
const FRAMES_MAX: usize = 24;

/// What may be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    Heap,
    Goroutines,
}

impl Compared {
    /// By the sample type's name.
    pub(crate) fn of_type(name: &str) -> Option<Self> {
        match name {
            "inuse_space" => Some(Self::Heap),
            "goroutine" => Some(Self::Goroutines),
            _ => None,
        }
    }

    pub(crate) fn sample_type(self) -> &'static str {
        match self {
            Self::Heap => "inuse_space",
            Self::Goroutines => "goroutine",
        }
    }

    pub(crate) fn files(self) -> [&'static str; 2] {
        match self {
            Self::Heap => ["before-heap.pb.gz", "after-heap.pb.gz"],
            Self::Goroutines => ["before-goroutine.pb.gz", "after-goroutine.pb.gz"],
        }
    }
}

/// Before and after.
pub(crate) struct Comparison {
    /// The tree as the API sends it.
    pub(crate) flame_json: String,
    pub(crate) total_before: i64,
    pub(crate) total_after: i64,
    /// The stacks that grew most, the largest first.
    pub(crate) rows: Vec<ComparedStack>,
}

/// One stack, before and after.
pub(crate) struct ComparedStack {
    pub(crate) before: i64,
    pub(crate) after: i64,
    /// The function to look at.
    pub(crate) function: String,
    /// Its file's last part and its line; empty where unknown.
    pub(crate) place: String,
    pub(crate) wait_reason: Option<&'static str>,
    /// Innermost first.
    pub(crate) stack: Vec<String>,
}

/// Those that were made. The key has the files' checksums: evidence that is taken again is compared
/// again.
#[derive(Default)]
pub(crate) struct Comparisons(Kept<Key, Comparison>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    incident: String,
    compared: Compared,
    checksums: [u32; 2],
}

impl Comparisons {
    /// Forgets all of them.
    pub(crate) fn empty(&self) {
        self.0.empty();
    }

    /// Compares, on a blocking thread. `Ok(None)` when a file was not taken.
    pub(crate) fn get(
        &self,
        fleet: &dyn FleetRead,
        incident: &Incident,
        compared: Compared,
    ) -> Result<Option<Arc<Comparison>>, ApiError> {
        let Some(files) = incident.evidence_of_one(compared.files()) else {
            return Ok(None);
        };
        let key = Key {
            incident: incident.id.0.clone(),
            compared,
            checksums: files.map(|file| file.crc32),
        };
        if let Some(kept) = self.0.get(&key) {
            return Ok(Some(kept));
        }
        let [Some(before), Some(after)] = [
            read(fleet, incident, &files[0].name)?,
            read(fleet, incident, &files[1].name)?,
        ] else {
            return Ok(None);
        };
        let module = incident.verdict.target.module.as_deref();
        let made = Arc::new(compare(&before, &after, compared, module)?);
        self.0.put(key, made.clone());
        Ok(Some(made))
    }
}

fn read(
    fleet: &dyn FleetRead,
    incident: &Incident,
    name: &str,
) -> Result<Option<Vec<u8>>, ApiError> {
    fleet
        .evidence(&incident.id, name)
        .map_err(|error| ApiError::internal("failed to read the evidence", &error))
}

fn compare(
    before: &[u8],
    after: &[u8],
    compared: Compared,
    module: Option<&str>,
) -> Result<Comparison, ApiError> {
    // Evidence comes from a target and is hostile until parsed.
    let limits = Limits::default().with_decompressed_bytes_max(64 << 20);
    let unreadable = |error: profile::ProfileError| {
        ApiError::execution(format!("the profile cannot be read: {error}"))
    };
    let before = Profile::parse(before, &limits).map_err(unreadable)?;
    let after = Profile::parse(after, &limits).map_err(unreadable)?;
    let diff = profile::diff(&before, &after, compared.sample_type()).map_err(unreadable)?;
    let flame_limits = FlameLimits {
        nodes_max: NODES_MAX,
        ..FlameLimits::default()
    };
    let flame = profile::flame_diff(&diff, &flame_limits);
    let flame_json = serde_json::to_string(&flame)
        .map_err(|error| ApiError::internal("failed to write the flame graph", &error))?;
    let rows = diff.growths().take(ROWS_MAX).map(|growth| ComparedStack {
        before: growth.before,
        after: growth.after,
        wait_reason: (compared == Compared::Goroutines)
            .then(|| wait_reason(&growth.stack))
            .flatten(),
        ..stack(&growth.stack, module)
    });
    Ok(Comparison {
        flame_json,
        total_before: diff.total().before,
        total_after: diff.total().after,
        rows: rows.collect(),
    })
}

fn stack(frames: &[profile::Frame<'_>], module: Option<&str>) -> ComparedStack {
    let look_at = frame_to_look_at(frames, module).or(frames.first().copied());
    let place = |frame: &profile::Frame<'_>| match frame.line {
        0 => String::new(),
        line => format!("{}:{line}", frame.file.rsplit('/').next().unwrap_or("")),
    };
    ComparedStack {
        before: 0,
        after: 0,
        function: look_at.map_or_else(String::new, |frame| frame.name().into_owned()),
        place: look_at.as_ref().map(place).unwrap_or_default(),
        wait_reason: None,
        stack: frames
            .iter()
            .take(FRAMES_MAX)
            .map(|frame| format!("{} {}", frame.name(), place(frame)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_refused_in_words() {
        let error = compare(b"\x1f\x8bgarbage", b"", Compared::Heap, None).err();
        assert!(error.is_some_and(|error| error.text.starts_with("the profile cannot be read")));
    }
}
