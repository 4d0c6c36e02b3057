//! Spans: runs of pages that the runtime cuts into objects of one size.

use crate::InspectError;
use crate::layout::{Field, Layout};
use crate::memory::{Memory, Range, le64};
use crate::{Program, limits};

/// The runtime's page, in bytes, on every machine.
pub(crate) const PAGE: u64 = 8192;
/// Larger objects have their type beside them; smaller ones a bitmap at their span's end.
pub(crate) const HEADER_ABOVE: u64 = 512;
/// Size classes times two: whether objects have pointers is the lowest bit.
const CLASSES: u64 = 136;
/// Spans of objects of a size class; the runtime's longest have ten pages.
const SMALL_BYTES_MAX: u64 = 64 * PAGE;
const IN_USE: u64 = 1;

/// One span in use. There may be a million, and each pointer is looked up in one: nothing is here that is not needed
/// for that.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Its first address.
    pub(crate) base: u64,
    /// The size of its objects.
    pub(crate) elem: u64,
    /// The type of the one object of a large span; zero while it is being made, or before Go 1.22.
    pub(crate) large_type: u64,
    /// Its length in pages.
    pages: u32,
    /// How many there is room for.
    pub(crate) count: u32,
    /// Its place in the list of spans.
    pub(crate) number: u32,
    /// The number of its first object.
    pub(crate) first: u32,
    /// Size class and whether its objects have no pointers.
    pub(crate) class: u8,
}

impl Span {
    /// Its length in bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE
    }

    /// Whether its objects have no pointers.
    pub(crate) fn is_pointer_free(&self) -> bool {
        self.class & 1 == 1
    }

    /// Whether it is one object, larger than any size class.
    pub(crate) fn is_large(&self) -> bool {
        self.class >> 1 == 0
    }

    /// The object that `addr`, which lies in the span, belongs to.
    #[inline]
    pub(crate) fn index_of(&self, addr: u64) -> Option<u32> {
        let offset = addr - self.base;
        let index = if self.count == 1 {
            0
        } else {
            offset / self.elem
        };
        (index < u64::from(self.count)).then_some(index as u32)
    }
}

/// A span as it was read, with what is needed once.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) span: Span,
    /// The first of the records about its objects.
    pub(crate) specials: u64,
    /// Objects below were handed out, whatever the bits say.
    free_index: u32,
    /// Where its bits of handed-out objects lie.
    alloc_bits: u64,
}

/// The fields of a span structure.
struct Fields {
    base: Field,
    pages: Field,
    elem: Field,
    count: Field,
    class: Field,
    state: Field,
    free_index: Field,
    alloc_bits: Field,
    specials: Field,
    large_type: Option<Field>,
}

impl Fields {
    fn of(layout: &Layout) -> Result<Self, InspectError> {
        Ok(Self {
            base: layout.field("mspan.startAddr")?,
            pages: layout.field("mspan.npages")?,
            elem: layout.field("mspan.elemsize")?,
            count: layout.field("mspan.nelems")?,
            class: layout.field("mspan.spanclass")?,
            state: layout.field("mspan.state.s.value")?,
            free_index: layout.field("mspan.freeindex")?,
            alloc_bits: layout.field("mspan.allocBits")?,
            specials: layout.field("mspan.specials")?,
            large_type: layout.find("mspan.largeType"),
        })
    }

    /// The span that these bytes describe, if it is in use and its figures agree.
    fn span(&self, bytes: &[u8]) -> Option<Read> {
        let (base, pages) = (self.base.get(bytes), self.pages.get(bytes));
        let (elem, count) = (self.elem.get(bytes), self.count.get(bytes));
        let length = pages.checked_mul(PAGE)?;
        let fits = elem
            .checked_mul(count)
            .is_some_and(|taken| taken > 0 && taken <= length);
        let in_range = base % PAGE == 0 && base != 0 && base.checked_add(length)? < 1 << 47;
        let class = self.class.get(bytes);
        // Objects take memory of ours: figures that do not belong together must not make millions of them.
        let of_class = match class >> 1 {
            0 => count == 1,
            _ => length <= SMALL_BYTES_MAX,
        };
        if self.state.get(bytes) != IN_USE
            || !fits
            || !of_class
            || !in_range
            || class >= CLASSES
            || elem % 8 != 0
        {
            return None;
        }
        let optional = |field: Option<Field>| field.map_or(0, |field| field.get(bytes));
        let span = Span {
            base,
            elem,
            large_type: optional(self.large_type),
            pages: u32::try_from(pages).ok()?,
            count: u32::try_from(count).ok()?,
            number: 0,
            first: 0,
            class: class as u8,
        };
        Some(Read {
            span,
            specials: self.specials.get(bytes),
            free_index: self.free_index.get(bytes).min(count) as u32,
            alloc_bits: self.alloc_bits.get(bytes),
        })
    }
}

/// All spans in use, by address; of two that overlap (one was freed and made anew while we read) the first stays.
pub(crate) fn read_spans(program: &Program) -> Result<Vec<Read>, InspectError> {
    let (memory, layout) = (program.memory(), program.layout());
    let list = program.symbol("runtime.mheap_")? + layout.field("mheap.allspans")?.offset;
    let (array, count) = memory.slice_header(list)?;
    let len = count.saturating_mul(8);
    let pointers = memory.bytes("the list of spans", array, len, 8 * limits::SPANS_MAX)?;
    let mut pointers: Vec<u64> = pointers.chunks_exact(8).map(|word| le64(word, 0)).collect();
    pointers.sort_unstable();
    pointers.dedup();
    let fields = Fields::of(layout)?;
    let bytes = layout.size("mspan")? as usize;
    let mut spans = Vec::new();
    for pointers in pointers.chunks(16 << 10) {
        let structures = read_structures(memory, pointers, bytes);
        spans.extend(
            structures
                .chunks_exact(bytes)
                .filter_map(|bytes| fields.span(bytes)),
        );
    }
    spans.sort_unstable_by_key(|read: &Read| read.span.base);
    let mut end = 0;
    spans.retain(|Read { span, .. }| {
        let is_apart = span.base >= end;
        if is_apart {
            end = span.base + span.bytes();
        }
        is_apart
    });
    Ok(spans)
}

/// Structures at ascending `pointers`: neighbours, which come from one chunk of the runtime, in one range.
fn read_structures(memory: &dyn Memory, pointers: &[u64], bytes: usize) -> Vec<u8> {
    let mut ranges: Vec<Range> = Vec::new();
    for &addr in pointers {
        match ranges.last_mut() {
            Some(last) if last.addr.checked_add(last.len as u64) == Some(addr) => last.len += bytes,
            _ => ranges.push(Range { addr, len: bytes }),
        }
    }
    let mut buf = vec![0; pointers.len() * bytes];
    memory.read_many(&ranges, &mut buf);
    buf
}

/// One bit for each object number: handed out, by the bits of its span.
pub(crate) fn read_allocated(memory: &dyn Memory, spans: &[Read], objects: u32) -> Vec<u64> {
    let mut all = vec![0u64; (objects as usize).div_ceil(64)];
    for spans in spans.chunks(16 << 10) {
        let range = |read: &Read| Range {
            addr: read.alloc_bits,
            len: (read.span.count as usize).div_ceil(64) * 8,
        };
        let ranges: Vec<Range> = spans.iter().map(range).collect();
        let mut bits = vec![0; ranges.iter().map(|range| range.len).sum()];
        memory.read_many(&ranges, &mut bits);
        let mut rest = &bits[..];
        for (
            Read {
                span, free_index, ..
            },
            range,
        ) in spans.iter().zip(&ranges)
        {
            let (bits, next) = rest.split_at(range.len);
            rest = next;
            for index in 0..span.count {
                let by_bit = bits[index as usize / 8] >> (index % 8) & 1 == 1;
                if index < *free_index || by_bit {
                    let object = (span.first + index) as usize;
                    all[object / 64] |= 1 << (object % 64);
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure of nothing but words, in the order of the fields.
    fn fields() -> Fields {
        let word = |at: u64| Field {
            offset: at * 8,
            bytes: 8,
        };
        Fields {
            base: word(0),
            pages: word(1),
            elem: word(2),
            count: word(3),
            class: word(4),
            state: word(5),
            free_index: word(6),
            alloc_bits: word(7),
            specials: word(8),
            large_type: None,
        }
    }

    #[test]
    fn figures_that_do_not_belong_together_make_no_span() {
        const BASE: u64 = 0xc0_0000_0000;
        // (what, [base, pages, size, count, class, state], is one)
        let table = [
            ("small objects", [BASE, 1, 8, 1024, 4, 1], true),
            ("ten pages", [BASE, 10, 27264, 3, 130, 1], true),
            ("one large object", [BASE, 1 << 16, 1 << 29, 1, 0, 1], true),
            (
                "large, free of pointers",
                [BASE, 100, 1 << 19, 1, 1, 1],
                true,
            ),
            ("free", [BASE, 1, 8, 1024, 4, 0], false),
            ("no place", [0, 1, 8, 1024, 4, 1], false),
            (
                "in the middle of a page",
                [BASE + 8, 1, 8, 1024, 4, 1],
                false,
            ),
            (
                "at the end of all",
                [u64::MAX - 8191, 1, 8, 1024, 4, 1],
                false,
            ),
            ("no such class", [BASE, 1, 8, 1024, 136, 1], false),
            ("more than fits", [BASE, 1, 8, 1025, 4, 1], false),
            (
                "a product above 64 bits",
                [BASE, 1, 1 << 62, 8, 4, 1],
                false,
            ),
            ("nothing", [BASE, 1, 8, 0, 4, 1], false),
            ("two large objects", [BASE, 100, 1 << 14, 2, 0, 1], false),
            (
                "millions of small ones",
                [BASE, 1 << 20, 8, 1 << 30, 4, 1],
                false,
            ),
            ("no multiple of a word", [BASE, 1, 12, 10, 4, 1], false),
        ];
        for (what, words, is_one) in table {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(fields().span(&bytes).is_some(), is_one, "{what}");
        }
    }
}
