//! Objects that are still to be walked, in bounded memory.

use super::bits::Bits;

/// The list holds up to one in this many objects.
const SHARE: usize = 16;
/// And at least this many.
const LIST_MIN: usize = 1 << 12;

/// A set of objects to be walked: one bit each, and a bounded list of the latest.
///
/// When the list overflows, the bits alone say what waits, and a sweep over them finds it. Overflowing takes as
/// many additions as the list is long, so sweeps are few.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bits: Bits,
    list: Vec<u32>,
    list_max: usize,
    overflowed: bool,
    /// Where the sweep is, in words of the bits, while there is one.
    sweep: Option<usize>,
}

impl Waiting {
    pub(crate) fn new(objects: u32) -> Self {
        Self {
            bits: Bits::new(objects as usize),
            list_max: (objects as usize / SHARE).max(LIST_MIN),
            ..Self::default()
        }
    }

    /// Adds `object`, unless it waits already.
    #[inline]
    pub(crate) fn add(&mut self, object: u32) {
        if self.bits.set(object) {
            if self.list.len() < self.list_max {
                self.list.push(object);
            } else {
                self.overflowed = true;
            }
        }
    }

    /// Takes an object.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        while let Some(object) = self.list.pop() {
            if self.bits.clear(object) {
                return Some(object);
            }
        }
        self.take_by_sweep()
    }

    #[cold]
    fn take_by_sweep(&mut self) -> Option<u32> {
        loop {
            let from = match self.sweep {
                Some(at) => at,
                None if self.overflowed => {
                    self.overflowed = false;
                    0
                }
                None => return None,
            };
            let words = self.bits.words();
            let found = (from..words.len()).find(|&at| words[at] != 0);
            self.sweep = found;
            if let Some(at) = found {
                let object = at as u32 * 64 + words[at].trailing_zeros();
                self.bits.clear(object);
                return Some(object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LIST_MIN, Waiting};

    #[test]
    fn what_does_not_fit_into_the_list_is_found_by_sweeping() {
        let objects = LIST_MIN as u32 * 3;
        let mut waiting = Waiting::new(objects);
        let mut taken = vec![0; objects as usize];
        for object in (0..objects).rev().chain(0..objects) {
            waiting.add(object);
        }
        assert!(waiting.list.len() <= LIST_MIN);
        while let Some(object) = waiting.take() {
            taken[object as usize] += 1;
            if object == 5 {
                // Behind the sweep, while the list is empty.
                waiting.add(1);
            }
        }
        taken[1] -= 1;
        assert!(taken.iter().all(|&times| times == 1));
    }
}
