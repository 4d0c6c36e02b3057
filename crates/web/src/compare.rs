//! Two profiles from an incident's evidence, compared once and kept for the next who asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::{FleetRead, Incident};
use profile::{FlameLimits, Limits, Profile, frame_to_look_at, wait_reason};

use crate::error::ApiError;

/// Comparisons kept: about a megabyte each at most.
const KEPT_MAX: usize = 6;
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

/// The kept ones, the latest used last. The key has the files' checksums: evidence that is taken
/// again is compared again.
#[derive(Default)]
pub(crate) struct Comparisons(Mutex<VecDeque<(Key, Arc<Comparison>)>>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    incident: String,
    compared: Compared,
    checksums: [u32; 2],
}

impl Comparisons {
    /// Compares, on a blocking thread. `Ok(None)` when a file was not taken.
    pub(crate) fn get(
        &self,
        fleet: &dyn FleetRead,
        incident: &Incident,
        compared: Compared,
    ) -> Result<Option<Arc<Comparison>>, ApiError> {
        let checksum = |name: &str| {
            let taken = incident.evidence.iter().find(|file| file.name == name);
            taken.map(|file| file.crc32)
        };
        let [Some(before), Some(after)] = compared.files().map(checksum) else {
            return Ok(None);
        };
        let key = Key {
            incident: incident.id.0.clone(),
            compared,
            checksums: [before, after],
        };
        if let Some(kept) = self.kept(&key) {
            return Ok(Some(kept));
        }
        let [Some(before), Some(after)] = [
            read(fleet, incident, compared.files()[0])?,
            read(fleet, incident, compared.files()[1])?,
        ] else {
            return Ok(None);
        };
        let module = incident.verdict.target.module.as_deref();
        let made = Arc::new(compare(&before, &after, compared, module)?);
        self.keep(key, made.clone());
        Ok(Some(made))
    }

    fn kept(&self, key: &Key) -> Option<Arc<Comparison>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(have, _)| have == key)?;
        let entry = kept.remove(at)?;
        kept.push_back(entry.clone());
        Some(entry.1)
    }

    fn keep(&self, key: Key, made: Arc<Comparison>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(have, _)| *have != key);
        kept.push_back((key, made));
        while kept.len() > KEPT_MAX {
            kept.pop_front();
        }
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
    fn the_oldest_comparison_goes() {
        let kept = Comparisons::default();
        let key = |number: u32| Key {
            incident: "i".into(),
            compared: Compared::Heap,
            checksums: [number, 0],
        };
        let made = || {
            Arc::new(Comparison {
                flame_json: String::new(),
                total_before: 0,
                total_after: 0,
                rows: Vec::new(),
            })
        };
        for number in 0..=KEPT_MAX as u32 {
            kept.keep(key(number), made());
            assert!(
                kept.kept(&key(1)).is_some() || number == 0,
                "used again and again"
            );
        }
        assert!(kept.kept(&key(0)).is_none());
        assert!(kept.kept(&key(1)).is_some());
    }

    #[test]
    fn garbage_is_refused_in_words() {
        let error = compare(b"\x1f\x8bgarbage", b"", Compared::Heap, None).err();
        assert!(error.is_some_and(|error| error.text.starts_with("the profile cannot be read")));
    }
}
