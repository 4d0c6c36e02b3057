//! From an address to the span that it lies in: one number a page, kept only for arenas that are used.

use super::span::{PAGE, Span};

/// Bytes that one block of the map covers: as the runtime's own arenas on most machines.
const BLOCK: u64 = 64 << 20;
const PAGES: usize = (BLOCK / PAGE) as usize;
const NONE: u32 = u32::MAX;

/// The map. Addresses of 47 bits at most, so that the list of blocks stays below 16 MiB.
#[derive(Debug, Default)]
pub(crate) struct PageMap {
    first: u64,
    blocks: Vec<u32>,
    pages: Vec<u32>,
}

impl PageMap {
    /// The map of `spans`, which are sorted, apart and below 2^47.
    pub(crate) fn new(spans: &[Span]) -> Self {
        let (Some(low), Some(high)) = (spans.first(), spans.last()) else {
            return Self::default();
        };
        let first = low.base / BLOCK;
        let last = (high.base + high.bytes() - 1) / BLOCK;
        let mut map = Self {
            first,
            blocks: vec![NONE; (last - first + 1) as usize],
            pages: Vec::new(),
        };
        for (number, span) in spans.iter().enumerate() {
            for page in 0..span.bytes() / PAGE {
                let addr = span.base + page * PAGE;
                let block = &mut map.blocks[(addr / BLOCK - first) as usize];
                if *block == NONE {
                    *block = (map.pages.len() / PAGES) as u32;
                    map.pages.resize(map.pages.len() + PAGES, NONE);
                }
                let at = *block as usize * PAGES + (addr % BLOCK / PAGE) as usize;
                map.pages[at] = number as u32;
            }
        }
        map
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        4 * (self.blocks.capacity() + self.pages.capacity()) as u64
    }

    /// The number of the span that `addr` lies in.
    #[inline]
    pub(crate) fn find(&self, addr: u64) -> Option<usize> {
        let block = (addr / BLOCK).wrapping_sub(self.first);
        let block = *self.blocks.get(usize::try_from(block).ok()?)?;
        if block == NONE {
            return None;
        }
        let span = self.pages[block as usize * PAGES + (addr % BLOCK / PAGE) as usize];
        (span != NONE).then_some(span as usize)
    }
}
