//! Which words of an object are pointers: by the bitmap at its span's end, by the type beside it, or by the
//! arenas' bitmaps of older versions. Types of variables never decide this.

use std::sync::{Arc, PoisonError};

use super::on_demand::Pieces;
use super::span::{HEADER_ABOVE, Span};
use super::types::TypeMask;
use super::{Bytes, Heap};
use crate::memory::le64;

/// Bytes of the type's address before an object that has it beside it.
const HEADER: u64 = 8;

/// The type that was asked for last. Objects of one type lie side by side, so most are found here.
#[derive(Debug, Default)]
pub(crate) struct LastType {
    addr: u64,
    mask: Option<Arc<TypeMask>>,
}

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
        let last = &mut LastType::default();
        match &self.bytes {
            Bytes::Copied(copied) => {
                self.each_word_at(copied.of(span)?, span, index, (from, last), visit)
            }
            Bytes::OnDemand(from_memory) => {
                let object = u64::from(index) * span.elem;
                let window = from_memory.around(span, object)?;
                if window.addr == span.base && window.bytes.len() as u64 == span.bytes() {
                    return self.each_word_at(&window.bytes, span, index, (from, last), visit);
                }
                let mut pieces = Pieces::new(from_memory, span, index);
                let first = pieces.word(0);
                let words = Words {
                    word: |word| pieces.word(word),
                    bytes: span.elem,
                    from,
                    visit,
                };
                // Of small objects the bitmap would be needed too; the runtime's spans of them are not as long.
                self.by_bits_or_type(words, span, index, first, last, || None)
            }
        }
    }

    /// As [`Self::each_word`], with the bytes of the whole span.
    #[inline]
    pub(super) fn each_word_at(
        &self,
        bytes: &[u8],
        span: &Span,
        index: u32,
        (from, last): (u32, &mut LastType),
        visit: impl FnMut(u32, u64) -> bool,
    ) -> Option<u32> {
        let bytes = self.split(bytes, span, index)?;
        self.each_word_in(bytes, span, index, (from, last), visit)
    }

    /// Of a span's bytes those of an object, and those from the span's bitmap on.
    #[inline]
    pub(super) fn split<'b>(
        &self,
        bytes: &'b [u8],
        span: &Span,
        index: u32,
    ) -> Option<(&'b [u8], &'b [u8])> {
        let object = bytes.get((u64::from(index) * span.elem) as usize..)?;
        let object = object.get(..span.elem as usize)?;
        Some((object, bytes.get(self.bitmap_at(span)..)?))
    }

    /// As [`Self::each_word`], with what [`Self::split`] gives.
    #[inline]
    pub(super) fn each_word_in(
        &self,
        (object, bitmap): (&[u8], &[u8]),
        span: &Span,
        index: u32,
        (from, last): (u32, &mut LastType),
        visit: impl FnMut(u32, u64) -> bool,
    ) -> Option<u32> {
        let words = Words {
            word: |word| le64(object, word as usize * 8),
            bytes: span.elem,
            from,
            visit,
        };
        let first = le64(object, 0);
        self.by_bits_or_type(words, span, index, first, last, || {
            Some(small_mask(span, bitmap, index))
        })
    }

    /// The walk by whatever tells the pointers of this object, whose `first` word may be its type.
    #[inline]
    fn by_bits_or_type<W: FnMut(u32) -> u64, F: FnMut(u32, u64) -> bool>(
        &self,
        words: Words<W, F>,
        span: &Span,
        index: u32,
        first: u64,
        last: &mut LastType,
        small_mask: impl FnOnce() -> Option<u64>,
    ) -> Option<u32> {
        if let Some(arenas) = &self.arena_bits {
            let addr = span.base + u64::from(index) * span.elem;
            return words.by_chunks(|word| arenas.at(addr + u64::from(word) * 8));
        }
        if span.elem <= HEADER_ABOVE {
            return words.by_mask(small_mask()?);
        }
        let (addr, start) = match span.is_large() {
            true => (span.large_type, 0),
            false => (first, HEADER),
        };
        if last.addr != addr {
            *last = LastType {
                addr,
                mask: self.type_mask(addr),
            };
        }
        let mask = last.mask.as_deref()?;
        words.by_type(start, mask.bytes, &mask.words)
    }

    /// The pointers of the type at `addr`.
    fn type_mask(&self, addr: u64) -> Option<Arc<TypeMask>> {
        if addr == 0 {
            return None;
        }
        let known = self.types.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(addr) {
            return known;
        }
        drop(known);
        // Of memory that stands still a type is read when the first object of it is.
        let Bytes::OnDemand(from) = &self.bytes else {
            return None;
        };
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        types.load(&*from.memory, addr);
        types.get(addr).flatten()
    }

    /// Where the bitmap of a span of small objects begins.
    #[inline]
    pub(super) fn bitmap_at(&self, span: &Span) -> usize {
        let bitmap = (span.bytes() - span.bytes() / 64) as usize;
        match self.has_inline_marks(span) {
            true => bitmap.saturating_sub(self.inline_mark_bytes as usize),
            false => bitmap,
        }
    }

    /// Whether pointers are told by bitmaps apart from the heap, as in Go 1.21 and older.
    pub(super) fn has_arena_bits(&self) -> bool {
        self.arena_bits.is_some()
    }

    /// The type whose address lies beside an object, and where the object's data begin, in bytes.
    pub(crate) fn exact_type(&self, span: &Span, index: u32) -> Option<(u64, u64)> {
        self.exact_type_by(span, index, None)
    }

    /// As [`Self::exact_type`], where the object's `first` word may be known.
    pub(super) fn exact_type_by(
        &self,
        span: &Span,
        index: u32,
        first: Option<u64>,
    ) -> Option<(u64, u64)> {
        if self.arena_bits.is_some() || span.is_pointer_free() || span.elem <= HEADER_ABOVE {
            return None;
        }
        if span.is_large() {
            return (span.large_type != 0).then_some((span.large_type, 0));
        }
        let read = || self.word_at(span.base + u64::from(index) * span.elem);
        let addr = first.or_else(read)?;
        (addr != 0).then_some((addr, HEADER))
    }
}

/// The mask of a small object, at most 64 words, from the bitmap at the end of its span.
#[inline]
fn small_mask(span: &Span, bitmap: &[u8], index: u32) -> u64 {
    let words = (span.elem / 8) as usize;
    let bit = index as usize * words;
    let at = bit / 64 * 8;
    let mut mask = le64(bitmap, at) >> (bit % 64);
    if bit % 64 + words > 64 {
        mask |= le64(bitmap, at + 8) << (64 - bit % 64);
    }
    if words < 64 {
        mask & ((1 << words) - 1)
    } else {
        mask
    }
}

/// The walk over one object's words.
struct Words<W, F> {
    /// The word at a place.
    word: W,
    /// The object's size.
    bytes: u64,
    from: u32,
    visit: F,
}

impl<W: FnMut(u32) -> u64, F: FnMut(u32, u64) -> bool> Words<W, F> {
    /// Visits the word if it is not nil; false ends the walk.
    #[inline]
    fn one(&mut self, word: u32) -> bool {
        let value = (self.word)(word);
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
        let words = (self.bytes / 8) as u32;
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
        let len = self.bytes;
        let mut at = start;
        // Whole values before the word to go on from have been seen.
        let from = u64::from(self.from) * 8;
        if from > start {
            at += (from - start) / bytes * bytes;
        }
        // A damaged type may be nearly as long as a number can say.
        while at.saturating_add(8) <= len {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_repeated_to_the_end_of_the_object_whatever_its_length_says() {
        let rows: &[(&str, u64, &[u32])] = &[
            ("two words", 16, &[1, 3, 5]),
            ("all of the object", 48, &[1]),
            ("longer", 4096, &[1]),
            (
                "as long as fits a number behind the header",
                u64::MAX - 8,
                &[1],
            ),
            ("a word less", u64::MAX - 16, &[1]),
            ("longer than that", u64::MAX, &[1]),
        ];
        for (name, bytes, want) in rows {
            let mut seen = Vec::new();
            let words = Words {
                word: |word: u32| u64::from(word),
                bytes: 56,
                from: 0,
                visit: |word: u32, _: u64| {
                    seen.push(word);
                    true
                },
            };
            assert_eq!(words.by_type(HEADER, *bytes, &[1]), None, "{name}");
            assert_eq!(seen, *want, "{name}");
        }
    }
}
