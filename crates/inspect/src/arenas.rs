//! Which addresses are Go's, by the runtime's own tables: for whoever tells a process's mappings apart.

use std::ops::Range;

use crate::memory::{self, Memory, le64};
use crate::places::Places;
use crate::{InspectError, limits};

/// Bytes that one arena covers (`heapArenaBytes`), on 64-bit Linux.
const ARENA: u64 = 64 << 20;
/// Bytes of the map from arenas to what the runtime knows of them: 4 Mi pointers.
const ARENA_MAP: u64 = 32 << 20;
/// User space ends here.
const ADDRESS_MAX: u64 = 1 << 47;
/// Arenas whose own structures are looked up: a terabyte of heap.
const LOOKED_UP_MAX: usize = 1 << 14;

/// Address ranges of the runtime, each ascending and without overlaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoRanges {
    /// The heap: objects and goroutines' stacks, used or reserved.
    pub heap: Vec<Range<u64>>,
    /// Tables that belong to it: the map of arenas, and one structure an arena. Not all of the runtime's memory.
    pub runtime: Vec<Range<u64>>,
}

impl Places {
    /// Reads which arenas there are: four calls of the kernel, eight bytes for each 64 MiB of heap.
    ///
    /// # Errors
    /// When the process has ended, or its list of arenas cannot be one.
    pub fn go_ranges(&self, memory: &dyn Memory) -> Result<GoRanges, InspectError> {
        let layout = self.layout();
        let list = layout
            .find("mheap.allArenas")
            .or_else(|| layout.find("mheap.heapArenas"));
        let list = list.ok_or_else(|| InspectError::Missing {
            what: "list of arenas".to_owned(),
        })?;
        let header = self.heap.wrapping_add(list.offset);
        let (array, count) = memory.slice_header(header)?;
        let bytes = memory.bytes(
            "the list of arenas",
            array,
            count.saturating_mul(8),
            8 * limits::ARENAS_MAX,
        )?;
        let indexes: Vec<u64> = bytes.chunks_exact(8).map(|word| le64(word, 0)).collect();
        let start = |&index: &u64| index.wrapping_mul(ARENA).wrapping_add(self.arena_base);
        let heap: Vec<Range<u64>> = indexes
            .iter()
            .map(start)
            .map(|at| span(at, ARENA))
            .collect();
        if heap
            .iter()
            .any(|arena| arena.end > ADDRESS_MAX || arena.start == 0)
        {
            return Err(InspectError::Contradiction {
                what: "the list of arenas",
                addr: header,
            });
        }
        let at = self.heap.wrapping_add(layout.field("mheap.arenas")?.offset);
        let map = memory.u64(at)?;
        let mut runtime = vec![span(map, ARENA_MAP)];
        runtime.extend(self.structures(memory, map, &indexes)?);
        runtime.retain(|range| range.start > 0 && range.end <= ADDRESS_MAX);
        Ok(GoRanges {
            heap: merged(heap),
            runtime: merged(runtime),
        })
    }

    /// Where the arenas' own structures lie.
    fn structures(
        &self,
        memory: &dyn Memory,
        map: u64,
        indexes: &[u64],
    ) -> Result<Vec<Range<u64>>, InspectError> {
        let bytes = self.layout().size("heapArena")?;
        let places: Vec<memory::Range> = indexes
            .iter()
            .take(LOOKED_UP_MAX)
            .map(|index| memory::Range {
                addr: map.wrapping_add(index.wrapping_mul(8)),
                len: 8,
            })
            .collect();
        let mut pointers = vec![0; places.len() * 8];
        // One that cannot be read is left as zero, and a range from zero is none.
        memory.read_many(&places, &mut pointers);
        let pointers = pointers.chunks_exact(8).map(|word| le64(word, 0));
        Ok(pointers.map(|addr| span(addr, bytes)).collect())
    }
}

fn span(start: u64, bytes: u64) -> Range<u64> {
    start..start.saturating_add(bytes)
}

/// Ascending, with neighbours and overlaps joined.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut all: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_overlaps_are_joined() {
        type Pairs = &'static [(u64, u64)];
        let rows: [(&str, Pairs, Pairs); 4] = [
            ("neighbours", &[(4, 8), (0, 4)], &[(0, 8)]),
            ("a gap", &[(0, 4), (5, 6)], &[(0, 4), (5, 6)]),
            ("overlaps", &[(0, 9), (2, 3), (4, 12)], &[(0, 12)]),
            ("none", &[], &[]),
        ];
        let ranges = |pairs: Pairs| pairs.iter().map(|&(start, end)| start..end).collect();
        for (why, given, want) in rows {
            let want: Vec<Range<u64>> = ranges(want);
            assert_eq!(merged(ranges(given)), want, "{why}");
        }
    }
}
