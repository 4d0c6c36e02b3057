//! A copy of the spans that have pointers, made at once: for memory that changes or goes away.

use super::span::Span;
use crate::memory::{Memory, Range};

/// One range of a copy: small enough that two threads share a single large span.
const PIECE: usize = 4 << 20;
/// Less is copied by one thread: to start another takes longer.
const ALONE_BYTES: usize = 256 << 10;
/// The place of a span that is not copied.
const NOWHERE: usize = usize::MAX;

/// Spans with pointers, one behind the other.
#[derive(Debug)]
pub(super) struct Copied {
    bytes: Vec<u8>,
    /// For each span, where its copy begins.
    places: Vec<usize>,
    /// Ranges that could not be read: freed while we read. They are zeros here.
    pub(super) missing: usize,
}

impl Copied {
    /// Copies the spans that have pointers, by two threads where they are many, into `reserved` if that is large enough.
    pub(super) fn read(memory: &dyn Memory, spans: &[Span], reserved: Vec<u8>) -> Self {
        let (places, len) = places(spans);
        let mut bytes = reserved;
        bytes.resize(len, 0);
        let ranges = ranges(spans.iter().filter(|span| !span.is_pointer_free()));
        // Halves of equal length, not of equal count.
        let mut half = 0;
        let middle = ranges.iter().take_while(|range| {
            half += range.len;
            half <= len / 2
        });
        let (first, second) = ranges.split_at(middle.count());
        let (left, right) = bytes.split_at_mut(first.iter().map(|range| range.len).sum());
        let missing = match len {
            0..ALONE_BYTES => read_ranges(memory, first, left) + read_ranges(memory, second, right),
            _ => std::thread::scope(|scope| {
                let other = scope.spawn(|| read_ranges(memory, second, right));
                read_ranges(memory, first, left) + other.join().unwrap_or(second.len())
            }),
        };
        Self {
            bytes,
            places,
            missing,
        }
    }

    /// The copy of a span; `None` of one without pointers.
    #[inline]
    pub(super) fn of(&self, span: &Span) -> Option<&[u8]> {
        let at = self.places[span.number as usize];
        self.bytes.get(at..)?.get(..span.bytes() as usize)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> u64 {
        (self.bytes.capacity() + self.places.capacity() * size_of::<usize>()) as u64
    }
}

/// Memory for a copy of as much as these spans have and a little more, at most `max_bytes`, with its pages made.
pub(super) fn reserve(spans: &[Span], max_bytes: u64) -> Vec<u8> {
    let (_, bytes) = places(spans);
    let bytes =
        (bytes + bytes / 8 + (1 << 20)).min(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let mut buf = vec![0u8; bytes];
    // A zeroed vector has no pages yet; writing anything but zero makes them.
    for page in buf.chunks_mut(4096) {
        page[0] = std::hint::black_box(1);
    }
    buf
}

/// Where each span's copy goes, and how long the whole is.
fn places(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut len = 0;
    let mut place = |span: &Span| {
        if span.is_pointer_free() {
            return NOWHERE;
        }
        let at = len;
        len += span.bytes() as usize;
        at
    };
    let places = spans.iter().map(&mut place).collect();
    (places, len)
}

/// The memory of `spans` in pieces: neighbours in one, large ones in several.
fn ranges<'a>(spans: impl Iterator<Item = &'a Span>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for span in spans {
        let mut at = span.base;
        while at < span.base + span.bytes() {
            let left = (span.base + span.bytes() - at) as usize;
            let piece = match ranges.last_mut() {
                Some(last) if last.addr + last.len as u64 == at && last.len < PIECE => {
                    let piece = left.min(PIECE - last.len);
                    last.len += piece;
                    piece
                }
                _ => {
                    let len = left.min(PIECE);
                    ranges.push(Range { addr: at, len });
                    len
                }
            };
            at += piece as u64;
        }
    }
    ranges
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
