//! The heap of a program: its spans, the bytes of those whose objects have pointers, and which words are pointers.
//!
//! Memory that changes is copied; of memory that stands still, a clone's or a core's, a large heap is read as it is
//! needed ([`Reading`]). Pointer-free memory (byte slices, strings, numbers) is never read. Objects are numbered span by span, so that a
//! number is four bytes and nothing has to be looked up in a hash map.

mod bits;
mod copied;
mod listed;
mod on_demand;
mod pages;
mod pointers;
mod span;
mod types;

use std::sync::{PoisonError, RwLock};

use crate::graph::{Edges, NODES_MAX};
use crate::layout::Layout;
use crate::memory::{Memory, le64};
use crate::{InspectError, Program, limits};

use bits::ArenaBits;
use copied::Copied;
pub(crate) use listed::Listed;
use on_demand::OnDemand;
use pages::PageMap;
pub(crate) use pointers::LastType;
pub(crate) use span::Span;
use span::{HEADER_ABOVE, PAGE};
use types::TypeMasks;

/// Object numbers that share one entry of the table from numbers to spans.
const BLOCK: u32 = 32;

/// How the bytes of a heap are had.
#[derive(Debug)]
pub enum Reading {
    /// Copied at once, since they change or go away: into this memory if it is large enough ([`Heap::reserve`]).
    Copy(Vec<u8>),
    /// They stand still as long as the heap is asked anything: copied up to so many bytes, above that read as they
    /// are needed.
    Still {
        /// The most bytes copied.
        copy_max: u64,
    },
}

/// Where the bytes of spans with pointers are.
#[derive(Debug)]
enum Bytes {
    Copied(Copied),
    OnDemand(OnDemand),
}

/// A heap as it was when it was read.
#[derive(Debug)]
pub struct Heap {
    spans: Vec<Span>,
    /// By number of the span, in order: the first of the records about its objects. Most spans have none.
    specials: Vec<(u32, u64)>,
    pages: PageMap,
    /// The span of every 32nd object.
    blocks: Vec<u32>,
    objects: u32,
    /// One bit for each object: handed out.
    allocated: Vec<u64>,
    bytes: Bytes,
    arena_bits: Option<ArenaBits>,
    types: RwLock<TypeMasks>,
    inline_mark_bytes: u64,
    /// One bit for each object: its pointers are not followed. Empty when there are none.
    cut: Vec<u64>,
}

/// How much of a heap there is, and of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeapSize {
    /// Spans in use.
    pub spans: u64,
    /// Their bytes.
    pub span_bytes: u64,
    /// Of those, in spans whose objects have pointers: what is read.
    pub scannable_bytes: u64,
    /// Objects handed out, dead ones that were not swept yet among them.
    pub objects: u64,
    /// Their bytes, by the size of their class.
    pub object_bytes: u64,
}

impl Heap {
    /// Reads the spans, and copies those with pointers as `reading` says, at most `max_bytes`. Neither stops nor changes
    /// the program; of a running one the copy is blurred.
    ///
    /// # Errors
    /// [`InspectError::HeapTooLarge`] for a copy above `max_bytes`, [`InspectError::TooBig`] above two thousand million
    /// objects; when the program has ended.
    pub fn read(program: &Program, max_bytes: u64, reading: Reading) -> Result<Self, InspectError> {
        let layout = program.layout();
        let mut read = span::read_spans(program)?;
        let bytes: u64 = read.iter().map(|read| read.span.bytes()).sum();
        if bytes > limits::HEAP_BYTES_MAX {
            return Err(too_big("the heap", bytes, limits::HEAP_BYTES_MAX));
        }
        let mut objects = 0u64;
        for (number, span::Read { span, .. }) in read.iter_mut().enumerate() {
            span.number = number as u32;
            span.first = u32::try_from(objects).unwrap_or(u32::MAX);
            objects += u64::from(span.count);
        }
        if objects > NODES_MAX.into() {
            return Err(too_big("the number of objects", objects, NODES_MAX.into()));
        }
        let objects = objects as u32;
        let allocated = span::read_allocated(program.memory(), &read, objects);
        let specials = specials(&read);
        let spans = only_spans(read);
        let scannable = scannable_bytes(&spans);
        let reserved = match reading {
            Reading::Copy(reserved) => Some(reserved),
            Reading::Still { copy_max } => (scannable <= copy_max).then(Vec::new),
        };
        if reserved.is_some() && scannable > max_bytes {
            return Err(InspectError::HeapTooLarge {
                bytes: scannable,
                max: max_bytes,
            });
        }
        let bytes = match reserved {
            Some(reserved) => Bytes::Copied(Copied::read(program.memory(), &spans, reserved)),
            None => Bytes::OnDemand(OnDemand::new(program.share_memory())),
        };
        let arena_bits = match ArenaBits::fields(layout) {
            Some(fields) => Some(ArenaBits::read(program, fields)?),
            None => None,
        };
        let mut heap = Self {
            pages: PageMap::new(&spans),
            blocks: blocks(&spans, objects),
            spans,
            specials,
            objects,
            allocated,
            bytes,
            arena_bits,
            types: RwLock::default(),
            inline_mark_bytes: inline_mark_bytes(layout),
            cut: Vec::new(),
        };
        if heap.is_copied() {
            heap.load_types(program.memory());
        }
        Ok(heap)
    }

    /// Memory for a copy of this program's heap as it is now and a little more, with its pages made: what counts while
    /// a program is stopped is reading, not the making of our own pages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn reserve(program: &Program, max_bytes: u64) -> Result<Vec<u8>, InspectError> {
        let spans = only_spans(span::read_spans(program)?);
        Ok(copied::reserve(&spans, max_bytes))
    }

    /// Whether the program is not needed any more for what the heap is asked.
    pub fn is_copied(&self) -> bool {
        matches!(self.bytes, Bytes::Copied(_))
    }

    /// Bytes of ours that it holds.
    pub fn held(&self) -> u64 {
        let bytes = match &self.bytes {
            Bytes::Copied(copied) => copied.held(),
            Bytes::OnDemand(from) => from.held(),
        };
        let words = self.allocated.capacity() + self.cut.capacity();
        let spans = self.spans.capacity() * size_of::<Span>()
            + self.specials.capacity() * size_of::<(u32, u64)>();
        bytes + (8 * words + spans + 4 * self.blocks.capacity()) as u64 + self.pages.held()
    }

    /// Reads the types that lie beside objects.
    fn load_types(&mut self, memory: &dyn Memory) {
        let mut types = TypeMasks::default();
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
        self.types = RwLock::new(types);
    }

    /// How many numbers there are for objects; some stand for free slots.
    pub fn slots(&self) -> u32 {
        self.objects
    }

    /// Totals.
    pub fn size(&self) -> HeapSize {
        let mut size = HeapSize {
            spans: self.spans.len() as u64,
            scannable_bytes: scannable_bytes(&self.spans),
            ..HeapSize::default()
        };
        for span in &self.spans {
            size.span_bytes += span.bytes();
            let taken =
                (span.first..span.first + span.count).filter(|&object| self.is_allocated(object));
            let taken = taken.count() as u64;
            size.objects += taken;
            size.object_bytes += taken * span.elem;
        }
        size
    }

    /// Pieces of the heap that could not be read so far, and types beside objects that could not be read: zero for a
    /// program that was stopped.
    pub fn blurred(&self) -> usize {
        let missing = match &self.bytes {
            Bytes::Copied(copied) => copied.missing,
            Bytes::OnDemand(from) => from.missing(),
        };
        let types = self.types.read().unwrap_or_else(PoisonError::into_inner);
        missing + types.unknown()
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

    /// The first of the records about its objects of each span that has some, with the span's number.
    pub(crate) fn specials(&self) -> &[(u32, u64)] {
        &self.specials
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

    /// Calls `visit` with the objects with pointers of the size class that holds `bytes`, and their bytes.
    pub(crate) fn each_of_size(&self, bytes: u64, mut visit: impl FnMut(u32, &[u8])) {
        // Classes for small sizes are 16 bytes apart at most.
        let fits = |span: &&Span| (bytes..bytes + 16).contains(&span.elem);
        self.each_span(self.spans.iter().filter(fits), |span, bytes| {
            let objects = bytes.unwrap_or_default().chunks_exact(span.elem as usize);
            for (object, bytes) in (span.first..span.first + span.count).zip(objects) {
                if self.is_allocated(object) {
                    visit(object, bytes);
                }
            }
        });
    }

    /// The word at an address of a span with pointers.
    pub(crate) fn word_at(&self, addr: u64) -> Option<u64> {
        let span = &self.spans[self.pages.find(addr)?];
        if span.is_pointer_free() {
            return None;
        }
        let offset = addr - span.base;
        let word = |bytes: &[u8], at: u64| {
            let bytes = bytes.get(at as usize..)?;
            (bytes.len() >= 8).then(|| le64(bytes, 0))
        };
        match &self.bytes {
            Bytes::Copied(copied) => word(copied.of(span)?, offset),
            Bytes::OnDemand(from) => {
                let window = from.around(span, offset)?;
                word(&window.bytes, addr - window.addr)
            }
        }
    }

    /// What lies at an address of an object with pointers, as it was copied; `None` where it was not.
    pub(crate) fn copied_at(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let Bytes::Copied(copied) = &self.bytes else {
            return None;
        };
        self.object_at(addr)?;
        let span = &self.spans[self.pages.find(addr)?];
        let at = (addr - span.base) as usize;
        copied.of(span)?.get(at..)?.get(..len)
    }

    /// Calls `visit` with each of `spans` that has pointers, and its bytes; with none for those that are read piece by
    /// piece, through [`Self::each_word`].
    fn each_span<'a>(
        &'a self,
        spans: impl Iterator<Item = &'a Span>,
        mut visit: impl FnMut(&'a Span, Option<&[u8]>),
    ) {
        let spans = spans.filter(|span| !span.is_pointer_free());
        match &self.bytes {
            Bytes::Copied(copied) => {
                for span in spans {
                    visit(span, copied.of(span));
                }
            }
            Bytes::OnDemand(from) => from.batches(spans, visit),
        }
    }

    /// Go 1.26 and newer keep mark bits at the end of small one-page spans, above the bitmap.
    #[inline]
    fn has_inline_marks(&self, span: &Span) -> bool {
        self.inline_mark_bytes > 0
            && span.bytes() == PAGE
            && (16..=HEADER_ABOVE).contains(&span.elem)
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

/// What stays of spans. Collecting them could keep the larger memory that they come in.
fn only_spans(read: Vec<span::Read>) -> Vec<Span> {
    let mut spans = Vec::with_capacity(read.len());
    spans.extend(read.into_iter().map(|read| read.span));
    spans
}

/// By number: where the records about a span's objects begin, if it has some.
fn specials(read: &[span::Read]) -> Vec<(u32, u64)> {
    let with = read.iter().filter(|read| read.specials != 0);
    with.map(|read| (read.span.number, read.specials)).collect()
}

/// Bytes of the spans that have pointers.
fn scannable_bytes(spans: &[Span]) -> u64 {
    let scannable = spans.iter().filter(|span| !span.is_pointer_free());
    scannable.map(|span| span.bytes()).sum()
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
        let end = range.end.min(self.objects);
        if range.start >= end {
            return;
        }
        let spans = &self.spans[self.span_of(range.start).number as usize..];
        let spans = spans.iter().take_while(|span| span.first < end);
        let mut last = LastType::default();
        self.each_span(spans, |span, bytes| {
            let objects = span.first.max(range.start)..end.min(span.first + span.count);
            for object in objects.filter(|&at| self.is_allocated(at) && !self.is_cut(at)) {
                let index = object - span.first;
                let visit = |_, value| {
                    if let Some(target) = self.object_at(value) {
                        visit(object, target);
                    }
                    true
                };
                match bytes {
                    Some(bytes) => self.each_word_at(bytes, span, index, (0, &mut last), visit),
                    None => self.each_word(span, index, 0, visit),
                };
            }
        });
    }

    fn each_of(&self, objects: &[u32], mut visit: impl FnMut(u32, u32)) {
        let mut last = LastType::default();
        self.each_listed(objects, |listed| {
            self.each_word_of(listed, &mut last, |_, value| {
                if let Some(target) = self.object_at(value) {
                    visit(listed.object, target);
                }
            });
        });
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
        let span = self.span_of(object);
        let Bytes::Copied(copied) = &self.bytes else {
            return 0;
        };
        let at = (u64::from(object - span.first) * span.elem) as usize;
        copied.of(span).map_or(0, |bytes| le64(bytes, at) as u32)
    }
}
