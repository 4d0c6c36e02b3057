//! Some objects, in order, with their bytes: of memory that is read as it is needed, many with one call.
//!
//! A breadth-first walk takes objects level by level, so that each level can be in the order of addresses. Of a span in
//! which many are wanted all is read, of others the objects alone and the bitmap at the end.

use super::on_demand::{BATCH_BYTES, OnDemand, PIECE};
use super::pointers::LastType;
use super::span::{HEADER_ABOVE, Span};
use super::{Bytes, Heap};
use crate::memory::{Range, le64};

/// So many objects of one span cost more calls and ranges than the whole span does.
const WHOLE_MIN: usize = 6;
/// What a call of the kernel takes.
const RANGES_MAX: usize = 1024;
/// Objects of one span that are read at once.
const OBJECTS_MAX: usize = 256;

/// One of the objects that were asked for.
pub(crate) struct Listed<'a> {
    pub(crate) object: u32,
    pub(crate) span: &'a Span,
    /// Its bytes, and from where on its span's bitmap lies; `None` of one that is read piece by piece.
    bytes: Option<(&'a [u8], &'a [u8])>,
}

impl Listed<'_> {
    /// Its place in the span.
    pub(crate) fn index(&self) -> u32 {
        self.object - self.span.first
    }

    /// Where it begins.
    pub(crate) fn addr(&self) -> u64 {
        self.span.base + u64::from(self.index()) * self.span.elem
    }

    /// The word at an address, if it lies in the object and its bytes are here.
    pub(crate) fn word(&self, addr: u64) -> Option<u64> {
        let (bytes, _) = self.bytes?;
        let at = usize::try_from(addr.checked_sub(self.addr())?).ok()?;
        bytes
            .get(at..)?
            .first_chunk()
            .copied()
            .map(u64::from_le_bytes)
    }
}

impl Heap {
    /// Calls `visit` with each of `objects`, which are in order, that has pointers.
    pub(crate) fn each_listed(&self, objects: &[u32], mut visit: impl FnMut(&Listed<'_>)) {
        match &self.bytes {
            Bytes::Copied(copied) => {
                for &object in objects.iter().filter(|&&object| !self.is_cut(object)) {
                    let span = self.span_of(object);
                    let bytes = copied.of(span);
                    let bytes =
                        bytes.and_then(|bytes| self.split(bytes, span, object - span.first));
                    if bytes.is_some() {
                        visit(&Listed {
                            object,
                            span,
                            bytes,
                        });
                    }
                }
            }
            Bytes::OnDemand(from) => self.each_read(from, objects, visit),
        }
    }

    fn each_read(&self, from: &OnDemand, objects: &[u32], mut visit: impl FnMut(&Listed<'_>)) {
        let mut batch = Batch {
            heap: self,
            from,
            buf: vec![0; BATCH_BYTES as usize],
            len: 0,
            ranges: Vec::new(),
            places: Vec::new(),
        };
        let mut rest = objects;
        while let Some(&first) = rest.first() {
            let span = self.span_of(first);
            let len = rest.partition_point(|&object| object < span.first + span.count);
            let (of_span, next) = rest.split_at(len.max(1));
            rest = next;
            if span.is_pointer_free() {
                continue;
            }
            let is_whole = of_span.len() >= WHOLE_MIN && span.bytes() <= PIECE;
            let at_once = match is_whole {
                true => of_span.len(),
                false => ((BATCH_BYTES / span.elem.max(1)) as usize).clamp(2, OBJECTS_MAX) - 1,
            };
            for objects in of_span.chunks(at_once) {
                batch.add(span, objects, is_whole, &mut visit);
            }
        }
        batch.flush(&mut visit);
    }

    /// Calls `visit` with the place and value of each pointer of an object, as [`Self::each_word`].
    #[inline]
    pub(crate) fn each_word_of(
        &self,
        listed: &Listed<'_>,
        last: &mut LastType,
        mut visit: impl FnMut(u32, u64),
    ) {
        let visit = |word, value| {
            visit(word, value);
            true
        };
        match listed.bytes {
            Some(bytes) => self.each_word_in(bytes, listed.span, listed.index(), (0, last), visit),
            None => self.each_word(listed.span, listed.index(), 0, visit),
        };
    }

    /// As [`Self::exact_type`].
    pub(crate) fn exact_type_of(&self, listed: &Listed<'_>) -> Option<(u64, u64)> {
        let first = listed.bytes.map(|(bytes, _)| le64(bytes, 0));
        self.exact_type_by(listed.span, listed.index(), first)
    }
}

/// Objects that are read together.
struct Batch<'a> {
    heap: &'a Heap,
    from: &'a OnDemand,
    buf: Vec<u8>,
    /// Bytes of `buf` that are asked for.
    len: usize,
    ranges: Vec<Range>,
    places: Vec<Place<'a>>,
}

/// Where an object's bytes will be in the buffer, and where the bitmap.
struct Place<'a> {
    object: u32,
    span: &'a Span,
    bytes: usize,
    bitmap: usize,
}

impl<'a> Batch<'a> {
    /// Adds `objects` of a span; what there was before is read and visited when there is no room.
    fn add(
        &mut self,
        span: &'a Span,
        objects: &[u32],
        is_whole: bool,
        visit: &mut impl FnMut(&Listed<'_>),
    ) {
        if span.elem > PIECE {
            self.flush(visit);
            for &object in objects.iter().filter(|&&object| !self.heap.is_cut(object)) {
                visit(&Listed {
                    object,
                    span,
                    bytes: None,
                });
            }
            return;
        }
        let has_bitmap = span.elem <= HEADER_ABOVE && !self.heap.has_arena_bits();
        let bitmap_at = self.heap.bitmap_at(span);
        let need = match is_whole {
            true => span.bytes() as usize,
            false => objects.len() * span.elem as usize + (span.bytes() as usize - bitmap_at),
        };
        let is_full = self.ranges.len() + objects.len() + 1 > RANGES_MAX;
        if is_full || self.len + need > self.buf.len() {
            self.flush(visit);
        }
        let whole = is_whole.then(|| self.ask(span.base, span.bytes() as usize));
        let bitmap = match whole {
            Some(whole) => whole + bitmap_at,
            None if has_bitmap => self.ask(
                span.base + bitmap_at as u64,
                span.bytes() as usize - bitmap_at,
            ),
            None => 0,
        };
        for &object in objects.iter().filter(|&&object| !self.heap.is_cut(object)) {
            let at = u64::from(object - span.first) * span.elem;
            let bytes = match whole {
                Some(whole) => whole + at as usize,
                None => self.ask(span.base + at, span.elem as usize),
            };
            self.places.push(Place {
                object,
                span,
                bytes,
                bitmap,
            });
        }
    }

    /// Asks for so many bytes, and tells where they will be.
    fn ask(&mut self, addr: u64, len: usize) -> usize {
        let at = self.len;
        self.len += len;
        match self.ranges.last_mut() {
            Some(last) if last.addr + last.len as u64 == addr => last.len += len,
            _ => self.ranges.push(Range { addr, len }),
        }
        at
    }

    fn flush(&mut self, visit: &mut impl FnMut(&Listed<'_>)) {
        let bytes = &mut self.buf[..self.len];
        self.from.read_many(&self.ranges, bytes);
        for place in self.places.drain(..) {
            let object = bytes.get(place.bytes..place.bytes + place.span.elem as usize);
            visit(&Listed {
                object: place.object,
                span: place.span,
                bytes: object.zip(bytes.get(place.bitmap..)),
            });
        }
        self.ranges.clear();
        self.len = 0;
    }
}
