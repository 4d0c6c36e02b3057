//! Histories that were judged before, a line of JSON each: hours of judging can be done in parts.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use corpus::Family;

use crate::run::Measured;

/// What is known, and where more is written.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    known: HashMap<(Family, u64), Measured>,
    file: Option<Mutex<File>>,
}

impl Kept {
    /// What the file at `path` has; one that is not there yet is begun. A line that was cut short is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let lines = text.lines().filter_map(|line| {
            let (seed, measured): (u64, Measured) = serde_json::from_str(line).ok()?;
            Some(((measured.family, seed), measured))
        });
        let known = lines.collect();
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // The last line may have been cut short.
        file.write_all(b"\n")?;
        let file = Some(Mutex::new(file));
        Ok(Self { known, file })
    }

    /// Whether anything is written down.
    pub(crate) fn is_in_a_file(&self) -> bool {
        self.file.is_some()
    }

    /// What came of this history: as it is known, or measured now and written down.
    pub(crate) fn measured(
        &self,
        family: Family,
        seed: u64,
        measure: impl FnOnce() -> Measured,
    ) -> Measured {
        if let Some(known) = self.known.get(&(family, seed)) {
            return known.clone();
        }
        let measured = measure();
        if let (Some(file), Ok(mut line)) = (&self.file, serde_json::to_string(&(seed, &measured)))
        {
            line.push('\n');
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // On a full disk it is measured once more another time.
            let _ = file.write_all(line.as_bytes());
        }
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_once_is_not_measured_again() {
        let path = std::env::temp_dir().join(format!("backtest-kept-{}", std::process::id()));
        let of = |seed| Measured {
            family: Family::Stairs,
            seed,
            scores: Default::default(),
            wrong: vec!["a: no leak".into()],
        };
        let kept = Kept::open(&path).unwrap();
        assert_eq!(kept.measured(Family::Stairs, 7, || of(7)), of(7));
        OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"[8, {\"family\""))
            .unwrap();
        let again = Kept::open(&path).unwrap();
        let known = again.measured(Family::Stairs, 7, || unreachable!("it is known"));
        assert_eq!(known, of(7));
        assert_eq!(again.measured(Family::Stairs, 8, || of(8)), of(8));
        let last = Kept::open(&path).unwrap();
        assert_eq!(last.known.len(), 2);
        std::fs::remove_file(&path).unwrap();
    }
}
