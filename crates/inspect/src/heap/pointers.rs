//! Which words of an object are pointers: by the bitmap at its span's end, by the type beside it, or by the
//! arenas' bitmaps of older versions. Types of variables never decide this.

use super::Heap;
use super::span::{HEADER_ABOVE, Span};
use crate::memory::le64;

/// Bytes of the type's address before an object that has it beside it.
const HEADER: u64 = 8;

impl Heap {
    /// Calls `visit` with the place (in words from its start) and the value of each pointer word of an object that
    /// is not nil, from word `from` on, until it answers false. Returns the word to go on from in that case.
    #[inline]
    pub(crate) fn each_word(
        &self,
        span: &Span,
        index: u32,
        from: u32,
        visit: impl FnMut(u32, u64) -> bool,
    ) -> Option<u32> {
        let copy = self.copy_of(span)?;
        let object = copy.get((u64::from(index) * span.elem) as usize..)?;
        let object = object.get(..span.elem as usize)?;
        let words = Words {
            object,
            from,
            visit,
        };
        if let Some(arenas) = &self.arena_bits {
            let addr = span.base + u64::from(index) * span.elem;
            return words.by_chunks(|word| arenas.at(addr + u64::from(word) * 8));
        }
        if span.elem <= HEADER_ABOVE {
            return words.by_mask(self.small_mask(span, copy, index));
        }
        let (addr, start) = match span.is_large() {
            true => (span.large_type, 0),
            false => (le64(object, 0), HEADER),
        };
        let mask = self.types.get(addr)?;
        words.by_type(start, mask.bytes, &mask.words)
    }

    /// The mask of a small object, at most 64 words, from the end of its span.
    #[inline]
    fn small_mask(&self, span: &Span, copy: &[u8], index: u32) -> u64 {
        let words = (span.elem / 8) as usize;
        let mut bitmap = (span.bytes - span.bytes / 64) as usize;
        if self.has_inline_marks(span) {
            bitmap -= self.inline_mark_bytes as usize;
        }
        let bit = index as usize * words;
        let at = bitmap + bit / 64 * 8;
        let mut mask = le64(copy, at) >> (bit % 64);
        if bit % 64 + words > 64 {
            mask |= le64(copy, at + 8) << (64 - bit % 64);
        }
        if words < 64 {
            mask & ((1 << words) - 1)
        } else {
            mask
        }
    }

    /// The type whose address lies beside an object, and where the object's data begin, in bytes.
    pub(crate) fn exact_type(&self, span: &Span, index: u32) -> Option<(u64, u64)> {
        if self.arena_bits.is_some() || span.is_pointer_free() || span.elem <= HEADER_ABOVE {
            return None;
        }
        if span.is_large() {
            return (span.large_type != 0).then_some((span.large_type, 0));
        }
        let copy = self.copy_of(span)?;
        let addr = le64(copy, (u64::from(index) * span.elem) as usize);
        (addr != 0).then_some((addr, HEADER))
    }
}

/// The walk over one object's words.
struct Words<'a, F> {
    object: &'a [u8],
    from: u32,
    visit: F,
}

impl<F: FnMut(u32, u64) -> bool> Words<'_, F> {
    /// Visits the word if it is not nil; false ends the walk.
    #[inline]
    fn one(&mut self, word: u32) -> bool {
        let value = le64(self.object, word as usize * 8);
        value == 0 || (self.visit)(word, value)
    }

    /// The words of `mask`, which is that of words `at` and following.
    #[inline]
    fn mask_at(&mut self, mut mask: u64, at: u32) -> Option<u32> {
        if at < self.from {
            let passed = self.from - at;
            if passed >= 64 {
                return None;
            }
            mask &= u64::MAX << passed;
        }
        while mask != 0 {
            let word = at + mask.trailing_zeros();
            mask &= mask - 1;
            if !self.one(word) {
                return Some(word + 1);
            }
        }
        None
    }

    #[inline]
    fn by_mask(mut self, mask: u64) -> Option<u32> {
        self.mask_at(mask, 0)
    }

    /// By chunks of up to 64 words: their bits, how many, and whether more may follow.
    fn by_chunks(mut self, chunk: impl Fn(u32) -> Option<(u64, u64, bool)>) -> Option<u32> {
        let words = (self.object.len() / 8) as u32;
        let mut at = 0;
        while at < words {
            let (mut bits, count, more) = chunk(at)?;
            let count = count.min(u64::from(words - at));
            if count < 64 {
                bits &= (1 << count) - 1;
            }
            if let Some(next) = self.mask_at(bits, at) {
                return Some(next);
            }
            if !more {
                return None;
            }
            at += count as u32;
        }
        None
    }

    /// The mask of a type of `bytes`, again and again from byte `start` to the object's end: an array has its
    /// element's type beside it.
    fn by_type(mut self, start: u64, bytes: u64, mask: &[u64]) -> Option<u32> {
        let len = self.object.len() as u64;
        let mut at = start;
        // Whole values before the word to go on from have been seen.
        let from = u64::from(self.from) * 8;
        if from > start {
            at += (from - start) / bytes * bytes;
        }
        while at + 8 <= len {
            for (chunk, &bits) in mask.iter().enumerate() {
                let first = at / 8 + 64 * chunk as u64;
                let left = (len / 8).saturating_sub(first);
                if left == 0 {
                    break;
                }
                let bits = if left < 64 {
                    bits & ((1 << left) - 1)
                } else {
                    bits
                };
                if bits != 0
                    && let Some(next) = self.mask_at(bits, first as u32)
                {
                    return Some(next);
                }
            }
            at = at.checked_add(bytes)?;
        }
        None
    }
}
