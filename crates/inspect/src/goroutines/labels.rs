//! The labels that `runtime/pprof.Do` put on a goroutine.
//!
//! `g.labels` points to a `runtime/pprof.labelMap`. From Go 1.24 on that is a list of keys and values
//! (`runtime/pprof.LabelSet`); before, a `map[string]string`, whose form (`hmap` and `bmap` of `runtime/map.go`)
//! was the same in Go 1.21 to 1.23.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits;
use crate::memory::{Memory, Range, le64};

/// Keys and values, sorted by key.
pub type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// Which of the two forms a program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    List,
    Map,
}

/// Key and value of one label: two strings.
const PAIR_BYTES: usize = 32;
/// Entries of a map's bucket.
const SLOTS: usize = 8;
/// A bucket: eight bytes on top, keys, values, the next bucket.
const BUCKET_BYTES: usize = 8 + SLOTS * PAIR_BYTES + 8;
/// Below it a slot is empty, or its entry has moved.
const TOP_MIN: u8 = 5;

/// Reads labels; goroutines that share a set are answered from memory.
pub(super) struct LabelReader<'a> {
    memory: &'a dyn Memory,
    form: Form,
    known: HashMap<u64, Labels>,
    bytes_left: u64,
}

impl<'a> LabelReader<'a> {
    pub(super) fn new(memory: &'a dyn Memory, form: Form) -> Self {
        Self {
            memory,
            form,
            known: HashMap::new(),
            bytes_left: limits::LABELS_KEPT_BYTES_MAX,
        }
    }

    /// The labels at `addr`; none where they cannot be read.
    pub(super) fn labels(&mut self, addr: u64) -> Labels {
        if addr == 0 {
            return Arc::default();
        }
        if let Some(labels) = self.known.get(&addr) {
            return Arc::clone(labels);
        }
        if self.bytes_left == 0 {
            return Arc::default();
        }
        let pairs = match self.form {
            Form::List => self.list(addr),
            Form::Map => self.map(addr),
        };
        let mut labels = self.texts(&pairs.unwrap_or_default());
        labels.sort();
        let labels: Labels = labels.into();
        self.known.insert(addr, Arc::clone(&labels));
        labels
    }

    /// Headers of keys and values: address and length, twice.
    fn list(&self, addr: u64) -> Option<Vec<[u64; 4]>> {
        let (pairs, count) = self.memory.slice_header(addr).ok()?;
        let count = usize::try_from(count).ok()?.min(limits::LABELS_MAX);
        let mut bytes = vec![0; count * PAIR_BYTES];
        self.memory.read(pairs, &mut bytes).ok()?;
        let pairs = bytes.chunks_exact(PAIR_BYTES);
        Some(
            pairs
                .map(|pair| [0, 8, 16, 24].map(|at| le64(pair, at)))
                .collect(),
        )
    }

    fn map(&self, addr: u64) -> Option<Vec<[u64; 4]>> {
        let map = self.memory.u64(addr).ok().filter(|&map| map != 0)?;
        let mut head = [0; 32];
        self.memory.read(map, &mut head).ok()?;
        let log2 = u32::from(head[9]);
        // Eight labels a bucket, and as many buckets again for what did not fit.
        let buckets_max = limits::LABELS_MAX as u64;
        let count = 1_u64.checked_shl(log2)?.min(buckets_max);
        let (new, old) = (le64(&head, 16), le64(&head, 24));
        let mut pairs = Vec::new();
        // While a map grows, its entries lie in the old buckets until they have moved; those are half as
        // many, or as many in a growth to the same size.
        let old_count = if head[8] & 8 != 0 {
            count
        } else {
            count.div_ceil(2)
        };
        for (buckets, count) in [(new, count), (old, old_count)] {
            for at in 0..count {
                if buckets != 0 {
                    let bucket = buckets.checked_add(at * BUCKET_BYTES as u64)?;
                    self.bucket_chain(bucket, &mut pairs);
                }
            }
        }
        Some(pairs)
    }

    fn bucket_chain(&self, mut bucket: u64, pairs: &mut Vec<[u64; 4]>) {
        let mut bytes = [0; BUCKET_BYTES];
        for _ in 0..limits::LABELS_MAX / SLOTS {
            if bucket == 0 || self.memory.read(bucket, &mut bytes).is_err() {
                return;
            }
            for slot in (0..SLOTS).filter(|&slot| bytes[slot] >= TOP_MIN) {
                if pairs.len() >= limits::LABELS_MAX {
                    return;
                }
                let key = 8 + slot * 16;
                let value = key + SLOTS * 16;
                pairs.push([key, key + 8, value, value + 8].map(|at| le64(&bytes, at)));
            }
            bucket = le64(&bytes, BUCKET_BYTES - 8);
        }
    }

    /// The texts in one read.
    fn texts(&mut self, pairs: &[[u64; 4]]) -> Vec<(Arc<str>, Arc<str>)> {
        let headers = pairs
            .iter()
            .flat_map(|pair| [(pair[0], pair[1]), (pair[2], pair[3])]);
        let ranges: Vec<Range> = headers
            .map(|(addr, len)| Range {
                addr,
                len: len.min(limits::LABEL_BYTES_MAX) as usize,
            })
            .collect();
        let mut bytes = vec![0; ranges.iter().map(|range| range.len).sum()];
        // What a set costs besides its texts counts too, so that a million empty ones come to an end.
        self.bytes_left = self.bytes_left.saturating_sub(bytes.len() as u64 + 128);
        self.memory.read_many(&ranges, &mut bytes);
        let mut rest = bytes.as_slice();
        let mut texts = ranges.iter().map(|range| {
            let (text, tail) = rest.split_at(range.len);
            rest = tail;
            Arc::<str>::from(String::from_utf8_lossy(text))
        });
        let mut labels = Vec::with_capacity(pairs.len());
        while let (Some(key), Some(value)) = (texts.next(), texts.next()) {
            labels.push((key, value));
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pieces;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn texts() -> Pieces {
        let mut memory = Pieces::new();
        memory
            .put(0x100, *b"tenant")
            .put(0x110, *b"acme")
            .put(0x120, *b"path")
            .put(0x130, *b"/v1");
        memory
    }

    fn read(memory: &Pieces, form: Form, addr: u64) -> Vec<(String, String)> {
        let labels = LabelReader::new(memory, form).labels(addr);
        labels
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    fn both() -> Vec<(String, String)> {
        [("path", "/v1"), ("tenant", "acme")]
            .map(|(key, value)| (key.into(), value.into()))
            .into()
    }

    #[test]
    fn a_list_is_read() {
        let mut memory = texts();
        memory.put(0x200, words(&[0x300, 2, 2]));
        memory.put(0x300, words(&[0x100, 6, 0x110, 4, 0x120, 4, 0x130, 3]));
        assert_eq!(read(&memory, Form::List, 0x200), both());
        assert_eq!(read(&memory, Form::List, 0), []);
        assert_eq!(read(&memory, Form::List, 0x900), [], "not there");
        let mut memory = texts();
        memory.put(0x200, words(&[0x300, u64::MAX, 2]));
        assert_eq!(read(&memory, Form::List, 0x200), [], "more than there are");
    }

    /// A bucket with the labels in slots 0 and 7, tops as told.
    fn bucket(tops: [u8; 2], next: u64) -> Vec<u8> {
        let mut bytes = vec![0; BUCKET_BYTES];
        let mut put = |at: usize, word: u64| bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        for (slot, [key, key_len, value, value_len]) in
            [(0, [0x100, 6, 0x110, 4]), (7, [0x120, 4, 0x130, 3])]
        {
            put(8 + slot * 16, key);
            put(16 + slot * 16, key_len);
            put(136 + slot * 16, value);
            put(144 + slot * 16, value_len);
        }
        put(BUCKET_BYTES - 8, next);
        (bytes[0], bytes[7]) = (tops[0], tops[1]);
        bytes
    }

    #[test]
    fn a_map_is_read_and_a_circle_of_buckets_ends() {
        let mut memory = texts();
        memory.put(0x200, words(&[0x400]));
        memory.put(0x400, words(&[2, 0, 0x1000, 0]));
        memory.put(0x1000, bucket([5, 200], 0));
        assert_eq!(read(&memory, Form::Map, 0x200), both());

        let mut memory = texts();
        memory.put(0x200, words(&[0x400]));
        // Two new buckets, of which one holds a label and one is empty; the other label is in the old one.
        memory.put(0x400, words(&[2, 1 << 8, 0x1000, 0x2000]));
        memory
            .put(0x1000, bucket([5, 0], 0))
            .put(0x1000 + BUCKET_BYTES as u64, bucket([1, 0], 0));
        memory.put(0x2000, bucket([2, 200], 0));
        assert_eq!(read(&memory, Form::Map, 0x200), both());

        let mut memory = texts();
        memory.put(0x200, words(&[0x400]));
        memory.put(0x400, words(&[2, 0xff00, 0x1000, 0x1000]));
        memory.put(0x1000, bucket([5, 200], 0x1000));
        assert!(read(&memory, Form::Map, 0x200).len() <= limits::LABELS_MAX);
    }
}
