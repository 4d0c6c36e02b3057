//! Memory that is not what it was: changed words, holes, and reads that are torn.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};

use super::Look;
use crate::InspectError;
use crate::memory::{CoreMemory, Memory, Range, ReadCost, le64};

/// Of one read, so many bytes at its beginning are where a structure's fields are.
const HEAD_BYTES: u64 = 512;
/// A read at least so long is of many things.
const LONG_BYTES: usize = 4096;
/// One of so many reads is torn.
const TORN_ONE_IN: u64 = 256;

/// What is wrong with a memory. Says it, word by word, when it is printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Words that hold something else, by address.
    words: BTreeMap<u64, u64>,
    /// What cannot be read.
    holes: Vec<Range>,
    /// Some reads give other bytes than the one before, as of a program that runs: this decides which.
    torn: Option<u64>,
    /// The program is opened anew with the damage in place; otherwise it was opened before.
    pub while_opening: bool,
    /// How its heap is looked at.
    pub look: Look,
}

impl Damage {
    pub(super) fn new(
        seen: &[Range],
        original: &dyn Fn(u64) -> u64,
        below: &mut dyn FnMut(u64) -> u64,
    ) -> Self {
        let mut damage = Self {
            while_opening: below(6) == 0,
            look: Look::new(below),
            torn: (below(4) == 0).then(|| below(u64::MAX)),
            ..Self::default()
        };
        // Two looks at what does not change come out the same.
        damage.look.twice &= damage.torn.is_some();
        if seen.is_empty() {
            return damage;
        }
        let count = match below(8) {
            0 => 200,
            1..3 => 20,
            _ => 3,
        };
        for _ in 0..=below(count) {
            let addr = place(seen, below);
            let value = value(original(addr), addr, seen, original, below);
            damage.words.insert(addr, value);
        }
        if below(8) == 0 {
            let addr = place(seen, below);
            let len = 1 << below(14);
            damage.holes.push(Range { addr, len });
        }
        damage
    }

    /// Whether one who read what was `seen` when all was whole might read something else now.
    pub(super) fn meets(&self, seen: &Stretches) -> bool {
        let mut holes = self.holes.iter();
        self.torn.is_some()
            || self.words.keys().any(|&addr| seen.meet(addr, 8))
            || holes.any(|hole| seen.meet(hole.addr, hole.len as u64))
    }

    /// Changes what was read from `addr` into `buf`.
    fn change(&self, addr: u64, buf: &mut [u8]) {
        let end = addr.saturating_add(buf.len() as u64);
        for (&at, value) in self.words.range(addr.saturating_sub(7)..end) {
            for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
                let offset = at.wrapping_add(i as u64).wrapping_sub(addr);
                if let Some(place) = usize::try_from(offset).ok().and_then(|at| buf.get_mut(at)) {
                    *place = byte;
                }
            }
        }
    }
}

/// The address of a word that something looked at.
fn place(seen: &[Range], below: &mut dyn FnMut(u64) -> u64) -> u64 {
    let mut range = seen[below(seen.len() as u64) as usize];
    // Long reads are few, and have most of what there is.
    for _ in 0..8 {
        if below(4) > 0 || range.len >= LONG_BYTES {
            break;
        }
        range = seen[below(seen.len() as u64) as usize];
    }
    let mut len = range.len as u64;
    if below(2) == 0 {
        len = len.min(HEAD_BYTES);
    }
    let words = len / 8;
    range.addr + if words > 1 { below(words) * 8 } else { 0 }
}

/// Another value for a word at `addr` that holds `old`.
fn value(
    old: u64,
    addr: u64,
    seen: &[Range],
    original: &dyn Fn(u64) -> u64,
    below: &mut dyn FnMut(u64) -> u64,
) -> u64 {
    match below(14) {
        0 | 1 => old ^ 1 << below(64),
        2 => 0,
        3 => u64::MAX >> below(64),
        // A count that is too big by a little, and by far.
        4 => old.wrapping_add(1 << below(40)),
        5 => old.wrapping_sub(below(16)),
        6 => below(64),
        // Pointers: to itself, to something that is read, past its end, and what such a place points to.
        7 => addr,
        8 => place(seen, below),
        9 => place(seen, below).wrapping_add(below(64)),
        10 | 11 => original(place(seen, below)),
        // Two halves, as the runtime packs numbers.
        12 => old & 0xffff_ffff | (below(u64::MAX) << 32),
        _ => below(u64::MAX),
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "while_opening {}", self.while_opening)?;
        writeln!(f, "{:?}", self.look)?;
        if let Some(seed) = self.torn {
            writeln!(f, "torn {seed}")?;
        }
        for (addr, value) in &self.words {
            writeln!(f, "word {addr:#x} {value:#x}")?;
        }
        for hole in &self.holes {
            writeln!(f, "hole {:#x} {}", hole.addr, hole.len)?;
        }
        Ok(())
    }
}

/// Sorted ranges that do not touch: begin and end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretches(Vec<(u64, u64)>);

impl Stretches {
    /// All of `ranges`, which are sorted.
    pub(super) fn new(ranges: &[Range]) -> Self {
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for range in ranges {
            let end = range.addr.saturating_add(range.len as u64);
            match joined.last_mut() {
                Some(last) if range.addr <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((range.addr, end)),
            }
        }
        Self(joined)
    }

    fn meet(&self, addr: u64, len: u64) -> bool {
        let at = self.0.partition_point(|&(_, end)| end <= addr);
        let next = self.0.get(at);
        next.is_some_and(|&(start, _)| start < addr.saturating_add(len))
    }
}

/// What is wrong now, and what has been read; shared with the memory in the program's hands.
#[derive(Debug, Default)]
pub(super) struct Dial {
    damage: RwLock<Damage>,
    /// What was read, while that is noted.
    seen: Mutex<Option<Vec<Range>>>,
    /// How often an address was read with torn reads on.
    reads: Mutex<HashMap<u64, u64>>,
}

impl Dial {
    pub(super) fn tracing() -> Self {
        Self {
            seen: Mutex::new(Some(Vec::new())),
            ..Self::default()
        }
    }

    /// What was read since this was last asked, sorted.
    pub(super) fn take_seen(&self) -> Vec<Range> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = seen.as_mut().map(std::mem::take).unwrap_or_default();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    /// Notes nothing from now on.
    pub(super) fn trace_no_more(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn set(&self, damage: Damage) {
        *self.damage.write().unwrap_or_else(PoisonError::into_inner) = damage;
        self.reads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn note(&self, addr: u64, len: usize) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = &mut *seen
            && len > 0
        {
            seen.push(Range { addr, len });
        }
    }

    /// A number that looks random, for this read and no other; the same in each run.
    fn chance(&self, seed: u64, addr: u64) -> u64 {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let count = reads.entry(addr).or_insert(0);
        *count += 1;
        // The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
        let mut z = seed ^ addr.rotate_left(17) ^ count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A core's memory with the damage that the dial says.
#[derive(Debug)]
pub(super) struct Damaged {
    inner: CoreMemory,
    dial: std::sync::Arc<Dial>,
}

impl Damaged {
    pub(super) fn new(inner: CoreMemory, dial: std::sync::Arc<Dial>) -> Self {
        Self { inner, dial }
    }
}

impl Memory for Damaged {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError> {
        self.inner.read(addr, buf)?;
        self.dial.note(addr, buf.len());
        let damage = self.dial.damage.read();
        let damage = damage.unwrap_or_else(PoisonError::into_inner);
        let len = buf.len();
        let unreadable = InspectError::Unreadable { addr, len };
        let end = addr.saturating_add(len as u64);
        let meets =
            |hole: &Range| hole.addr < end && addr < hole.addr.saturating_add(hole.len as u64);
        if damage.holes.iter().any(meets) {
            return Err(unreadable);
        }
        damage.change(addr, buf);
        let Some(seed) = damage.torn else {
            return Ok(());
        };
        let chance = self.dial.chance(seed, addr);
        match chance % TORN_ONE_IN {
            0 => Err(unreadable),
            1 if len >= 8 => {
                let at = (chance >> 32) as usize % (len / 8) * 8;
                let torn = le64(buf, at).rotate_left((chance >> 20) as u32 % 64);
                buf[at..at + 8].copy_from_slice(&torn.to_le_bytes());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn cost(&self) -> ReadCost {
        self.inner.cost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_whatever_part_of_them_is_read() {
        let damage = Damage {
            words: [(100, 0x0807_0605_0403_0201)].into(),
            ..Damage::default()
        };
        let rows: &[(&str, u64, &[u8])] = &[
            ("all of it", 100, &[1, 2, 3, 4, 5, 6, 7, 8]),
            ("its end and more", 106, &[7, 8, 0, 0]),
            ("its beginning, behind others", 98, &[0, 0, 1, 2]),
            ("within it", 103, &[4, 5]),
            ("before it", 96, &[0, 0, 0, 0]),
            ("behind it", 108, &[0, 0]),
        ];
        for (name, addr, want) in rows {
            let mut buf = vec![0; want.len()];
            damage.change(*addr, &mut buf);
            assert_eq!(buf, *want, "{name}");
        }
    }

    #[test]
    fn damage_is_met_by_who_read_any_of_its_bytes() {
        let range = |addr, len| Range { addr, len };
        let seen = Stretches::new(&[range(100, 8), range(104, 12), range(116, 4), range(200, 1)]);
        assert_eq!(seen, Stretches(vec![(100, 120), (200, 201)]));
        let rows = [
            ("a word that ends before", 92, None, false),
            ("its last byte", 93, None, true),
            ("a word at the end", 119, None, true),
            ("a word between", 120, None, false),
            ("behind all", 201, None, false),
            ("a hole between", 0, Some(range(120, 80)), false),
            ("a hole over all", 0, Some(range(50, 4096)), true),
        ];
        for (name, word, hole, want) in rows {
            let damage = Damage {
                words: [(word, 0)].into(),
                holes: hole.into_iter().collect(),
                ..Damage::default()
            };
            assert_eq!(damage.meets(&seen), want, "{name}");
        }
        let torn = Damage {
            torn: Some(1),
            ..Damage::default()
        };
        assert!(torn.meets(&seen), "any read may be torn");
    }

    #[test]
    fn the_same_numbers_make_the_same_damage_and_only_to_what_was_seen() {
        let seen = [
            Range { addr: 64, len: 4 },
            Range {
                addr: 4096,
                len: 8192,
            },
        ];
        let made = |seed: u64| {
            let mut state = seed;
            let mut below = |limit: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % limit
            };
            Damage::new(&seen, &|addr| addr, &mut below)
        };
        for seed in 0..500 {
            let damage = made(seed);
            assert_eq!(damage, made(seed), "seed {seed}");
            for addr in damage.words.keys() {
                let is_seen = *addr == 64 || (4096..4096 + 8192).contains(addr);
                assert!(is_seen, "seed {seed}: {addr}");
            }
        }
        assert_ne!(made(1), made(2));
    }
}
