//! The samples of one series that are in no sealed chunk yet.

use model::{Sample, UnixMs};

use crate::codec::{self, CHUNK_SAMPLES};
use crate::engine::partition_of;

/// So many samples are held as they came before they are packed: a quarter of a kilobyte a series
/// instead of four for a whole chunk.
const TAIL_SAMPLES: usize = 30;

/// An open chunk: packed pieces, then the newest samples as they came.
#[derive(Debug, Default)]
pub(crate) struct OpenChunk {
    packed: Vec<Box<[u8]>>,
    packed_samples: usize,
    tail: Vec<Sample>,
    first: Option<UnixMs>,
}

impl OpenChunk {
    pub(crate) fn push(&mut self, sample: Sample) {
        self.first.get_or_insert(sample.t);
        self.tail.push(sample);
        if self.tail.len() == TAIL_SAMPLES {
            self.packed.push(codec::encode(&self.tail).into());
            self.packed_samples += TAIL_SAMPLES;
            self.tail.clear();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.packed_samples + self.tail.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= CHUNK_SAMPLES
    }

    pub(crate) fn first(&self) -> Option<UnixMs> {
        self.first
    }

    /// Whether a sample at `t` belongs to another partition than those here.
    pub(crate) fn is_before_partition_of(&self, t: UnixMs) -> bool {
        self.first
            .is_some_and(|first| partition_of(first) != partition_of(t))
    }

    /// All samples, in the order of time.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(self.len());
        for packed in &self.packed {
            // We packed it ourselves a moment ago, in memory.
            samples.extend(codec::decode(packed).unwrap_or_default());
        }
        samples.extend_from_slice(&self.tail);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_whatever_is_packed() {
        let mut chunk = OpenChunk::default();
        let mut all = Vec::new();
        for at in 0..CHUNK_SAMPLES {
            assert!(!chunk.is_full(), "at {at}");
            let sample = Sample {
                t: UnixMs(at as i64 * 15_000),
                v: (at as f64).sqrt(),
            };
            chunk.push(sample);
            all.push(sample);
            assert_eq!(chunk.samples(), all);
        }
        assert!(chunk.is_full());
    }
}
