//! Interning: equal strings and equal stacks get one number.
//!
//! Open addressing over dense indices; the keys live in the caller's arena. The hash is a folded
//! multiplication with a seed drawn per process, since keys come from files nobody vouches for.
//! No result depends on the seed: numbers are handed out in order of first insertion.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Maps hashes to dense indices `0..len`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Index + 1, or 0 for a free slot; above it the hash's upper half, so that a probe that fails
    /// reads nothing else. The length is 0 or a power of two.
    slots: Vec<u64>,
    hashes: Vec<u64>,
}

/// What [`Table::find_or_insert`] did.
pub(crate) enum Entry {
    Found(u32),
    New(u32),
}

impl Table {
    /// The index with this hash for which `equal` holds, or a new one, the next in order.
    pub(crate) fn find_or_insert(&mut self, hash: u64, equal: impl Fn(u32) -> bool) -> Entry {
        // At most half full: probes stay short, and there is always a free slot to stop at.
        if self.hashes.len() >= self.slots.len() / 2 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    let index = self.hashes.len() as u32;
                    self.slots[at] = slot(hash, index);
                    self.hashes.push(hash);
                    return Entry::New(index);
                }
                slot if slot >> 32 == hash >> 32 && equal(slot as u32 - 1) => {
                    return Entry::Found(slot as u32 - 1);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The index with this hash for which `equal` holds.
    pub(crate) fn find(&self, hash: u64, equal: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => return None,
                slot if slot >> 32 == hash >> 32 && equal(slot as u32 - 1) => {
                    return Some(slot as u32 - 1);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(16);
        self.slots.clear();
        self.slots.resize(len, 0);
        for (index, &hash) in self.hashes.iter().enumerate() {
            let mut at = hash as usize & (len - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (len - 1);
            }
            self.slots[at] = slot(hash, index as u32);
        }
    }
}

fn slot(hash: u64, index: u32) -> u64 {
    (hash >> 32) << 32 | u64::from(index + 1)
}

fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().hash_one(0u64) | 1)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

fn hash_words(len: usize, words: impl Iterator<Item = u64>) -> u64 {
    let seed = seed();
    let mut hash = seed ^ len as u64;
    for word in words {
        hash = fold(hash ^ word, seed ^ ODD).wrapping_add(word);
    }
    fold(hash ^ ODD, seed)
}

pub(crate) fn hash_slice(slice: &[u32]) -> u64 {
    let pair = |pair: &[u32]| match *pair {
        [low, high] => u64::from(low) | u64::from(high) << 32,
        _ => u64::from(pair[0]),
    };
    hash_words(slice.len(), slice.chunks(2).map(pair))
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Texts in one arena, numbered; number 0 is the empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strings {
    text: String,
    /// Where each text ends; it starts where the one before ends.
    ends: Vec<u32>,
}

impl Strings {
    /// The text with this number; numbers come only from this arena.
    pub(crate) fn get(&self, id: u32) -> &str {
        let id = id as usize;
        let start = if id == 0 {
            0
        } else {
            self.ends[id - 1] as usize
        };
        &self.text[start..self.ends[id] as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Texts while they are collected.
#[derive(Clone, Debug)]
pub(crate) struct StringsBuilder {
    pub(crate) strings: Strings,
    table: Table,
}

impl StringsBuilder {
    pub(crate) fn new() -> Self {
        let strings = Strings {
            text: String::new(),
            ends: Vec::new(),
        };
        let mut new = Self {
            strings,
            table: Table::default(),
        };
        new.intern("");
        new
    }

    /// The number of `text`. `None` if the arena would pass 4 GiB.
    pub(crate) fn try_intern(&mut self, text: &str) -> Option<u32> {
        let room = u32::MAX as usize - self.strings.text.len();
        if text.len() > room || self.strings.ends.len() >= u32::MAX as usize - 1 {
            return None;
        }
        let bytes = text.as_bytes();
        let hash = hash_words(bytes.len(), bytes.chunks(8).map(word));
        match self
            .table
            .find_or_insert(hash, |id| self.strings.get(id) == text)
        {
            Entry::Found(id) => Some(id),
            Entry::New(id) => {
                self.strings.text.push_str(text);
                self.strings.ends.push(self.strings.text.len() as u32);
                Some(id)
            }
        }
    }

    /// As [`Self::try_intern`]; past 4 GiB, which decoded profiles cannot reach, the empty text.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        self.try_intern(text).unwrap_or(0)
    }
}

/// Sequences of numbers in one arena, numbered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slices {
    items: Vec<u32>,
    ends: Vec<usize>,
    table: Table,
}

impl Slices {
    pub(crate) fn get(&self, id: u32) -> &[u32] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.items[start..self.ends[id]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number of `slice`, if it has one.
    pub(crate) fn find(&self, slice: &[u32]) -> Option<u32> {
        self.table
            .find(hash_slice(slice), |id| self.get(id) == slice)
    }

    /// The number of `slice`, and whether it is new.
    pub(crate) fn intern(&mut self, slice: &[u32]) -> (u32, bool) {
        let hash = hash_slice(slice);
        let Self { items, ends, table } = self;
        let get = |id: u32| {
            let id = id as usize;
            &items[if id == 0 { 0 } else { ends[id - 1] }..ends[id]]
        };
        match table.find_or_insert(hash, |id| get(id) == slice) {
            Entry::Found(id) => (id, false),
            Entry::New(id) => {
                items.extend_from_slice(slice);
                ends.push(items.len());
                (id, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_numbered_once_in_order_of_first_use() {
        let mut strings = StringsBuilder::new();
        let ids: Vec<u32> = [
            "a",
            "",
            "longer than eight bytes",
            "a",
            "longer than eight byteS",
        ]
        .iter()
        .map(|text| strings.intern(text))
        .collect();
        assert_eq!(ids, [1, 0, 2, 1, 3]);
        assert_eq!(strings.strings.get(2), "longer than eight bytes");
        assert_eq!(strings.strings.len(), 4);
    }

    #[test]
    fn slices_differ_by_length_and_order() {
        let mut slices = Slices::default();
        let mut number = |slice: &[u32]| slices.intern(slice).0;
        assert_eq!(
            [number(&[1]), number(&[1, 0]), number(&[0, 1]), number(&[])],
            [0, 1, 2, 3]
        );
        assert_eq!([number(&[]), number(&[0, 1]), number(&[1])], [3, 2, 0]);
        // Past several growths every number is still found.
        for round in 0..2 {
            for n in 0..5_000u32 {
                assert_eq!(slices.intern(&[n, n, n]), (n + 4, round == 0));
            }
        }
        assert_eq!(slices.get(4_999 + 4), [4_999; 3]);
    }
}
