//! The heap of a program: its spans, a copy of those whose objects have pointers, and which words are pointers.
//!
//! Pointer-free memory (byte slices, strings, numbers) is never read. Objects are numbered span by span, so that a
//! number is four bytes and nothing has to be looked up in a hash map.

mod bits;
mod pages;
mod pointers;
mod span;
mod types;

use crate::graph::{Edges, NODES_MAX};
use crate::layout::Layout;
use crate::memory::{Memory, Range, le64};
use crate::{InspectError, Program, limits};

use bits::ArenaBits;
use pages::PageMap;
pub(crate) use span::Span;
use span::{HEADER_ABOVE, PAGE};
use types::TypeMasks;

/// Object numbers that share one entry of the table from numbers to spans.
const BLOCK: u32 = 32;
/// One range of a copy: small enough that two threads share a single large span.
const PIECE: usize = 4 << 20;

/// A heap as it was when it was read.
#[derive(Debug)]
pub struct Heap {
    spans: Vec<Span>,
    pages: PageMap,
    /// The span of every 32nd object.
    blocks: Vec<u32>,
    objects: u32,
    /// One bit for each object: handed out.
    allocated: Vec<u64>,
    /// Spans with pointers, one behind the other.
    copy: Vec<u8>,
    /// For each span, where its copy begins; `usize::MAX` for those that are not copied.
    copies: Vec<usize>,
    arena_bits: Option<ArenaBits>,
    types: TypeMasks,
    inline_mark_bytes: u64,
    /// One bit for each object: its pointers are not followed. Empty when there are none.
    cut: Vec<u64>,
    /// Ranges of the copy that could not be read: freed while we read.
    missing: usize,
}

/// How much of a heap there is, and of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeapSize {
    /// Spans in use.
    pub spans: u64,
    /// Their bytes.
    pub span_bytes: u64,
    /// Of those, in spans whose objects have pointers: what was copied.
    pub scannable_bytes: u64,
    /// Objects handed out, dead ones that were not swept yet among them.
    pub objects: u64,
    /// Their bytes, by the size of their class.
    pub object_bytes: u64,
}

impl Heap {
    /// Reads the spans and copies those with pointers, at most `max_bytes`. Neither stops nor changes the program;
    /// of a running one the copy is blurred.
    ///
    /// # Errors
    /// [`InspectError::TooBig`] above `max_bytes` or two thousand million objects; when the program has ended.
    pub fn read(program: &Program, max_bytes: u64) -> Result<Self, InspectError> {
        Self::read_into(program, max_bytes, Vec::new())
    }

    /// As [`Self::read`], with the copy's memory prepared by [`Self::reserve`]: what counts while a program is
    /// stopped is reading, not the making of our own pages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_into(
        program: &Program,
        max_bytes: u64,
        reserved: Vec<u8>,
    ) -> Result<Self, InspectError> {
        let layout = program.layout();
        let mut spans = span::read_spans(program)?;
        let bytes: u64 = spans.iter().map(|span| span.bytes).sum();
        if bytes > limits::HEAP_BYTES_MAX {
            return Err(too_big("the heap", bytes, limits::HEAP_BYTES_MAX));
        }
        let mut objects = 0u64;
        for (number, span) in spans.iter_mut().enumerate() {
            span.number = number as u32;
            span.first = u32::try_from(objects).unwrap_or(u32::MAX);
            objects += u64::from(span.count);
        }
        if objects > NODES_MAX.into() {
            return Err(too_big("the number of objects", objects, NODES_MAX.into()));
        }
        let (copies, copy_bytes) = places(&spans);
        if copy_bytes as u64 > max_bytes {
            return Err(too_big(
                "the heap's memory with pointers",
                copy_bytes as u64,
                max_bytes,
            ));
        }
        let objects = objects as u32;
        let allocated = span::read_allocated(program.memory(), &spans, objects);
        let (copy, missing) = copy(program.memory(), &spans, &copies, copy_bytes, reserved);
        let arena_bits = match ArenaBits::fields(layout) {
            Some(fields) => Some(ArenaBits::read(program, fields)?),
            None => None,
        };
        let mut heap = Self {
            pages: PageMap::new(&spans),
            blocks: blocks(&spans, objects),
            spans,
            objects,
            allocated,
            copy,
            copies,
            arena_bits,
            types: TypeMasks::default(),
            inline_mark_bytes: inline_mark_bytes(layout),
            cut: Vec::new(),
            missing,
        };
        heap.load_types(program.memory());
        Ok(heap)
    }

    /// Memory for a copy of this program's heap as it is now and a little more, with its pages made.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn reserve(program: &Program, max_bytes: u64) -> Result<Vec<u8>, InspectError> {
        let (_, bytes) = places(&span::read_spans(program)?);
        let bytes =
            (bytes + bytes / 8 + (1 << 20)).min(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        let mut buf = vec![0u8; bytes];
        // A zeroed vector has no pages yet; writing anything but zero makes them.
        for page in buf.chunks_mut(4096) {
            page[0] = std::hint::black_box(1);
        }
        Ok(buf)
    }

    /// Reads the types that lie beside objects.
    fn load_types(&mut self, memory: &dyn Memory) {
        let mut types = std::mem::take(&mut self.types);
        for span in self.spans.iter().filter(|span| span.elem > HEADER_ABOVE) {
            let mut last = 0;
            for index in 0..span.count {
                let exact = self.exact_type(span, index);
                if let Some((addr, _)) = exact.filter(|&(addr, _)| addr != last)
                    && self.is_allocated(span.first + index)
                {
                    last = addr;
                    types.load(memory, addr);
                }
            }
        }
        self.types = types;
    }

    /// How many numbers there are for objects; some stand for free slots.
    pub fn slots(&self) -> u32 {
        self.objects
    }

    /// Totals.
    pub fn size(&self) -> HeapSize {
        let mut size = HeapSize {
            spans: self.spans.len() as u64,
            scannable_bytes: self.copy.len() as u64,
            ..HeapSize::default()
        };
        for span in &self.spans {
            size.span_bytes += span.bytes;
            let taken =
                (span.first..span.first + span.count).filter(|&object| self.is_allocated(object));
            let taken = taken.count() as u64;
            size.objects += taken;
            size.object_bytes += taken * span.elem;
        }
        size
    }

    /// Pieces of the heap that could not be copied, and types beside objects that could not be read: zero for a
    /// program that was stopped.
    pub fn blurred(&self) -> usize {
        self.missing + self.types.unknown()
    }

    /// The object that an address, which may lie inside it, belongs to; `None` outside the heap and for free slots.
    #[inline]
    pub fn object_at(&self, addr: u64) -> Option<u32> {
        let span = &self.spans[self.pages.find(addr)?];
        let object = span.first + span.index_of(addr)?;
        self.is_allocated(object).then_some(object)
    }

    /// Where an object begins.
    pub fn address(&self, object: u32) -> u64 {
        let span = self.span_of(object);
        span.base + u64::from(object - span.first) * span.elem
    }

    /// Whether the object was handed out.
    #[inline]
    pub(crate) fn is_allocated(&self, object: u32) -> bool {
        self.allocated[object as usize / 64] >> (object % 64) & 1 == 1
    }

    /// The pointers of these objects are not followed from now on.
    pub(crate) fn cut(&mut self, objects: &[u32]) {
        self.cut = vec![0; (self.objects as usize).div_ceil(64)];
        for &object in objects {
            self.cut[object as usize / 64] |= 1 << (object % 64);
        }
    }

    /// Whether [`Self::cut`] was asked for this object.
    #[inline]
    pub(crate) fn is_cut(&self, object: u32) -> bool {
        let word = self.cut.get(object as usize / 64);
        word.is_some_and(|word| word >> (object % 64) & 1 == 1)
    }

    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The span of an object.
    #[inline]
    pub(crate) fn span_of(&self, object: u32) -> &Span {
        let mut at = self.blocks[(object / BLOCK) as usize] as usize;
        while self.spans[at].first + self.spans[at].count <= object {
            at += 1;
        }
        &self.spans[at]
    }

    /// The bytes of an object with pointers; `None` of one without, which was not copied.
    pub(crate) fn bytes_of(&self, object: u32) -> Option<&[u8]> {
        let span = self.span_of(object);
        let at = (u64::from(object - span.first) * span.elem) as usize;
        self.copy_of(span)?.get(at..at + span.elem as usize)
    }

    /// The objects with pointers of the size class that holds `bytes`, with their bytes.
    pub(crate) fn of_size(&self, bytes: u64) -> impl Iterator<Item = (u32, &[u8])> {
        // Classes for small sizes are 16 bytes apart at most.
        let fits = move |span: &&Span| (bytes..bytes + 16).contains(&span.elem);
        let spans = self.spans.iter().filter(fits);
        let copied = spans.filter_map(|span| Some((span, self.copy_of(span)?)));
        copied.flat_map(|(span, copy)| {
            let objects = copy.chunks_exact(span.elem as usize);
            let numbered = (span.first..span.first + span.count).zip(objects);
            numbered.filter(|&(object, _)| self.is_allocated(object))
        })
    }

    /// The word at an address that was copied.
    pub(crate) fn word_at(&self, addr: u64) -> Option<u64> {
        let span = &self.spans[self.pages.find(addr)?];
        let bytes = self.copy_of(span)?.get((addr - span.base) as usize..)?;
        (bytes.len() >= 8).then(|| le64(bytes, 0))
    }

    /// The copy of a span.
    #[inline]
    fn copy_of(&self, span: &Span) -> Option<&[u8]> {
        let at = self.copies[span.number as usize];
        self.copy.get(at..)?.get(..span.bytes as usize)
    }

    /// Go 1.26 and newer keep mark bits at the end of small one-page spans, above the bitmap.
    #[inline]
    fn has_inline_marks(&self, span: &Span) -> bool {
        self.inline_mark_bytes > 0 && span.bytes == PAGE && (16..=HEADER_ABOVE).contains(&span.elem)
    }
}

/// The bytes at the end of small spans, zero in versions and builds that have none.
fn inline_mark_bytes(layout: &Layout) -> u64 {
    let has = layout.find("heapArena.pageUseSpanInlineMarkBits").is_some();
    match has {
        true => layout.size("spanInlineMarkBits").unwrap_or(0),
        false => 0,
    }
}

fn too_big(what: &'static str, len: u64, max: u64) -> InspectError {
    InspectError::TooBig {
        what,
        offset: 0,
        len,
        max,
    }
}

/// Where each span's copy goes, and how long the whole is.
fn places(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut len = 0;
    let mut place = |span: &Span| {
        if span.is_pointer_free() {
            return usize::MAX;
        }
        let at = len;
        len += span.bytes as usize;
        at
    };
    let places = spans.iter().map(&mut place).collect();
    (places, len)
}

/// The span of every 32nd object.
fn blocks(spans: &[Span], objects: u32) -> Vec<u32> {
    let mut blocks = Vec::with_capacity((objects / BLOCK) as usize + 1);
    for (number, span) in spans.iter().enumerate() {
        while (blocks.len() as u64 * u64::from(BLOCK))
            < u64::from(span.first) + u64::from(span.count)
        {
            blocks.push(number as u32);
        }
    }
    blocks
}

/// Copies the spans that have pointers, by two threads; returns how many ranges could not be read.
fn copy(
    memory: &dyn Memory,
    spans: &[Span],
    places: &[usize],
    len: usize,
    reserved: Vec<u8>,
) -> (Vec<u8>, usize) {
    let mut buf = reserved;
    buf.resize(len, 0);
    let mut ranges: Vec<Range> = Vec::new();
    for (span, _) in spans
        .iter()
        .zip(places)
        .filter(|(_, place)| **place != usize::MAX)
    {
        let mut at = span.base;
        while at < span.base + span.bytes {
            let left = (span.base + span.bytes - at) as usize;
            match ranges.last_mut() {
                Some(last) if last.addr + last.len as u64 == at && last.len < PIECE => {
                    let piece = left.min(PIECE - last.len);
                    last.len += piece;
                    at += piece as u64;
                }
                _ => {
                    let piece = left.min(PIECE);
                    ranges.push(Range {
                        addr: at,
                        len: piece,
                    });
                    at += piece as u64;
                }
            }
        }
    }
    // Halves of equal length, not of equal count.
    let mut half = 0;
    let middle = ranges.iter().take_while(|range| {
        half += range.len;
        half <= len / 2
    });
    let (first, second) = ranges.split_at(middle.count());
    let (left, right) = buf.split_at_mut(first.iter().map(|range| range.len).sum());
    let missing = std::thread::scope(|scope| {
        let other = scope.spawn(|| read_ranges(memory, second, right));
        read_ranges(memory, first, left) + other.join().unwrap_or(second.len())
    });
    (buf, missing)
}

/// Some megabytes a call.
fn read_ranges(memory: &dyn Memory, ranges: &[Range], buf: &mut [u8]) -> usize {
    let (mut rest, mut missing, mut from) = (buf, 0, 0);
    while from < ranges.len() {
        let (mut to, mut len) = (from, 0);
        while to < ranges.len() && (to == from || len + ranges[to].len <= 2 * PIECE) {
            len += ranges[to].len;
            to += 1;
        }
        let (piece, next) = rest.split_at_mut(len);
        missing += memory.read_many(&ranges[from..to], piece);
        (rest, from) = (next, to);
    }
    missing
}

impl Edges for Heap {
    fn objects(&self) -> u32 {
        self.objects
    }

    #[inline]
    fn bytes(&self, object: u32) -> u64 {
        self.span_of(object).elem
    }

    #[inline]
    fn each_from(&self, object: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let span = self.span_of(object);
        if span.is_pointer_free() || self.is_cut(object) {
            return None;
        }
        self.each_word(span, object - span.first, from, |_, value| {
            self.object_at(value).is_none_or(&mut visit)
        })
    }

    fn each_in(&self, range: std::ops::Range<u32>, mut visit: impl FnMut(u32, u32)) {
        let mut object = range.start;
        while object < range.end.min(self.objects) {
            let span = self.span_of(object);
            let end = (span.first + span.count).min(range.end);
            if !span.is_pointer_free() {
                for object in (object..end)
                    .filter(|&object| self.is_allocated(object) && !self.is_cut(object))
                {
                    self.each_word(span, object - span.first, 0, |_, value| {
                        if let Some(target) = self.object_at(value) {
                            visit(object, target);
                        }
                        true
                    });
                }
            }
            object = end;
        }
    }

    fn bytes_in(&self, range: std::ops::Range<u32>, mut visit: impl FnMut(u32, u64)) {
        let mut object = range.start;
        while object < range.end.min(self.objects) {
            let span = self.span_of(object);
            let end = (span.first + span.count).min(range.end);
            (object..end).for_each(|object| visit(object, span.elem));
            object = end;
        }
    }

    #[inline]
    fn touch(&self, object: u32) -> u32 {
        self.bytes_of(object)
            .map_or(0, |bytes| le64(bytes, 0) as u32)
    }
}
