//! Spans read when they are asked for: for memory that stands still, as a clone's or a core's.
//!
//! A pass over all objects takes the spans in order, some at a time, into a buffer that is used again
//! ([`OnDemand::batches`]). Single objects come with what lies around them, and what came last is kept
//! ([`OnDemand::around`]). So a heap of any size takes some megabytes here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::span::{HEADER_ABOVE, Span};
use crate::memory::{Memory, Range, le64};

/// Bytes read at once by a pass over all objects: they stay in the cache until they are walked.
pub(super) const BATCH_BYTES: u64 = 512 << 10;
/// Spans above are read in pieces of it, and so are large objects.
pub(super) const PIECE: u64 = 64 << 10;
/// Places for what came last, a power of two: 16 MiB for spans of small objects, and at most 64 KiB each.
const KEPT: usize = 1 << KEPT_SHIFT;
const KEPT_SHIFT: u32 = 11;

/// Bytes from an address on, and that address.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) addr: u64,
    pub(super) bytes: Arc<Vec<u8>>,
}

/// The memory, and what of it was read last.
pub(super) struct OnDemand {
    pub(super) memory: Arc<dyn Memory>,
    kept: Mutex<Vec<Option<Window>>>,
    missing: AtomicUsize,
}

impl OnDemand {
    pub(super) fn new(memory: Arc<dyn Memory>) -> Self {
        Self {
            memory,
            kept: Mutex::new(vec![None; KEPT]),
            missing: AtomicUsize::new(0),
        }
    }

    /// Ranges that could not be read.
    pub(super) fn missing(&self) -> usize {
        self.missing.load(Ordering::Relaxed)
    }

    /// Bytes held at most.
    pub(super) fn held(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = kept.iter().flatten().map(|window| window.bytes.len());
        (windows.sum::<usize>() + KEPT * size_of::<Option<Window>>()) as u64 + 2 * BATCH_BYTES
    }

    /// The bytes that `offset`, counted from the beginning of the span, lies in: of small objects the span, at whose
    /// end their bitmap is, of others the object, of large ones a piece.
    pub(super) fn around(&self, span: &Span, offset: u64) -> Option<Window> {
        let (start, len) = match span.elem {
            elem if elem <= HEADER_ABOVE && span.bytes() <= PIECE => (0, span.bytes()),
            elem if elem <= PIECE => (offset / elem * elem, elem),
            _ => (offset / PIECE * PIECE, PIECE),
        };
        self.window(span.base + start, len.min(span.bytes().checked_sub(start)?))
    }

    fn window(&self, addr: u64, len: u64) -> Option<Window> {
        // Fibonacci hashing: neighbours are pages apart.
        let hash = (addr >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = (hash >> (64 - KEPT_SHIFT)) as usize;
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = lock()[slot].as_ref().filter(|window| window.addr == addr) {
            return Some(window.clone());
        }
        let mut bytes = vec![0; len as usize];
        if self.memory.read(addr, &mut bytes).is_err() {
            self.missing.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let window = Window {
            addr,
            bytes: Arc::new(bytes),
        };
        lock()[slot] = Some(window.clone());
        Some(window)
    }

    /// Calls `visit` with each of `spans` and its bytes, in order; with none for those that are read piece by piece.
    pub(super) fn batches<'a>(
        &self,
        spans: impl Iterator<Item = &'a Span>,
        mut visit: impl FnMut(&'a Span, Option<&[u8]>),
    ) {
        let mut buf = vec![0; BATCH_BYTES as usize];
        let mut batch: Vec<&Span> = Vec::new();
        let mut len = 0;
        for span in spans {
            let is_small = span.bytes() <= BATCH_BYTES;
            if !is_small || len + span.bytes() > BATCH_BYTES {
                self.batch(&batch, &mut buf, &mut visit);
                batch.clear();
                len = 0;
            }
            if is_small {
                batch.push(span);
                len += span.bytes();
            } else {
                visit(span, None);
            }
        }
        self.batch(&batch, &mut buf, &mut visit);
    }

    /// Fills `buf` with `ranges`, one behind the other; what can't be read is zeros.
    pub(super) fn read_many(&self, ranges: &[Range], buf: &mut [u8]) {
        let missing = self.memory.read_many(ranges, buf);
        self.missing.fetch_add(missing, Ordering::Relaxed);
    }

    fn batch<'a>(
        &self,
        batch: &[&'a Span],
        buf: &mut [u8],
        visit: &mut impl FnMut(&'a Span, Option<&[u8]>),
    ) {
        let mut ranges: Vec<Range> = Vec::new();
        for span in batch {
            match ranges.last_mut() {
                Some(last) if last.addr + last.len as u64 == span.base => {
                    last.len += span.bytes() as usize;
                }
                _ => ranges.push(Range {
                    addr: span.base,
                    len: span.bytes() as usize,
                }),
            }
        }
        let len = ranges.iter().map(|range| range.len).sum();
        self.read_many(&ranges, &mut buf[..len]);
        let mut rest = &buf[..len];
        for span in batch {
            let (bytes, next) = rest.split_at(span.bytes() as usize);
            rest = next;
            visit(span, Some(bytes));
        }
    }
}

/// The words of one object, piece by piece.
pub(super) struct Pieces<'a> {
    from: &'a OnDemand,
    span: &'a Span,
    /// Where the object begins.
    addr: u64,
    now: Option<Window>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(from: &'a OnDemand, span: &'a Span, index: u32) -> Self {
        Self {
            from,
            span,
            addr: span.base + u64::from(index) * span.elem,
            now: None,
        }
    }

    /// The word at this place of the object; zero where it cannot be read.
    pub(super) fn word(&mut self, word: u32) -> u64 {
        let addr = self.addr + u64::from(word) * 8;
        let inside = |window: &Window| {
            addr.checked_sub(window.addr)
                .filter(|at| at + 8 <= window.bytes.len() as u64)
        };
        if self.now.as_ref().and_then(inside).is_none() {
            self.now = self.from.around(self.span, addr - self.span.base);
        }
        let Some(window) = &self.now else {
            return 0;
        };
        inside(window).map_or(0, |at| le64(&window.bytes, at as usize))
    }
}

impl std::fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnDemand")
            .field("missing", &self.missing())
            .finish_non_exhaustive()
    }
}
