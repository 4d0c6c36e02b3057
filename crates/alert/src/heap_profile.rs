//! The heap profile of the moment in an annotation, as base64, where it is wanted and fits.
//!
//! It is read when an alert is sent, so that what waits in queues is small.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt as _;

use crate::Alert;

/// The annotation that holds it.
const ANNOTATION: &str = "heap_profile_base64";
/// The annotation that says why it is not there.
const LEFT_OUT: &str = "heap_profile";

/// A heap profile that belongs to an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapProfile {
    /// Where it lies: a `profile.proto`, compressed with gzip.
    pub path: PathBuf,
    /// The most that its base64 text may have.
    pub base64_bytes_max: u64,
}

impl Alert {
    /// The alert with its heap profile in an annotation, or with a word why not.
    pub(crate) async fn with_heap_profile(&self) -> Self {
        let mut alert = self.clone();
        if let Some(profile) = &self.heap_profile {
            let (name, text) = match profile.base64().await {
                Ok(text) => (ANNOTATION, text),
                Err(why) => (LEFT_OUT, format!("left out: {why}")),
            };
            alert.annotations.insert(name.into(), text);
        }
        alert
    }
}

impl HeapProfile {
    async fn base64(&self) -> Result<String, String> {
        let path = self.path.display();
        let unread = |error: std::io::Error| format!("failed to read {path}: {error}");
        let file = tokio::fs::File::open(&self.path).await.map_err(unread)?;
        let size = file.metadata().await.map_err(unread)?.len();
        let (needs, may) = (size.div_ceil(3).saturating_mul(4), self.base64_bytes_max);
        if needs > may {
            return Err(format!(
                "it has {needs} bytes as base64, and heap_profile_max allows {may}; the file is {path}"
            ));
        }
        let mut bytes = Vec::new();
        // It may have grown since.
        let mut file = file.take(size);
        file.read_to_end(&mut bytes).await.map_err(unread)?;
        Ok(STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    #[tokio::test]
    async fn it_fits_or_its_absence_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("after-heap.pb.gz");
        let incident = crate::message::tests::incident();
        let mut alert = Alert::of_incident(&incident, &Origin::default());
        let carry = |max| {
            Some(HeapProfile {
                path: path.clone(),
                base64_bytes_max: max,
            })
        };
        assert_eq!(alert.with_heap_profile().await, alert, "none is wanted");
        alert.heap_profile = carry(8);
        let said = alert.with_heap_profile().await.annotations;
        assert!(
            said["heap_profile"].contains("after-heap.pb.gz"),
            "{said:?}"
        );
        std::fs::write(&path, [1, 2, 3, 4]).unwrap();
        let said = alert.with_heap_profile().await.annotations;
        assert_eq!(said["heap_profile_base64"], "AQIDBA==");
        assert!(!said.contains_key("heap_profile"));
        alert.heap_profile = carry(7);
        let said = alert.with_heap_profile().await.annotations;
        assert!(said["heap_profile"].contains("8 bytes as base64, and heap_profile_max allows 7"));
        assert!(!said.contains_key("heap_profile_base64"));
    }
}
