//! What a mapping is, judged by its shape and its neighbours: what is left when neither the runtime's own
//! structures nor names tell.
//!
//! Seen on Linux 6.18 with glibc 2.36 and Go 1.21, 1.24, 1.26 and 1.27, amd64; the shapes come from the sources
//! named at each rule. Linux merges neighbours of equal permissions and flags, so one mapping can hold what two
//! owners made: each rule asks for a shape that such a merger breaks, and what fits none stays unclaimed.

use crate::parse::Mapping;

/// HEAP_MAX_SIZE of glibc (malloc/arena.c), and heapArenaBytes of Go (runtime/malloc.go), on 64-bit Linux.
const ARENA_BYTES: u64 = 64 << 20;
/// pallocChunkBytes of Go: its heap grows by multiples of it.
const GO_CHUNK_BYTES: u64 = 4 << 20;
/// Address space on both sides of Go's heap that holds nothing else: the runtime asks for a base far from all.
const GO_HEAP_DISTANCE: u64 = 4 << 30;
/// Guards of thread stacks: one page by default, and pages are at most 64 KiB.
const GUARD_BYTES_MAX: u64 = 64 << 10;
/// PTHREAD_STACK_MIN.
const STACK_BYTES_MIN: u64 = 16 << 10;
const STACK_BYTES_MAX: u64 = 1 << 30;
/// Smaller reservations than this are not told from guards of unusual size.
const GO_RESERVATION_BYTES_MIN: u64 = 256 << 10;
/// The second level of Go's arena map: 4 Mi pointers; and of its page allocator's chunks: 8,192 of 128 bytes
/// (runtime/mpagealloc.go). Both are mapped with huge pages off, and may be merged.
const GO_ARENA_MAP_BYTES: u64 = 32 << 20;
const GO_CHUNK_MAP_BYTES: u64 = 1 << 20;

/// The mappings from `first` on that lie directly one after the other and are plain anonymous memory of the same
/// `MAP_NORESERVE` kind: returns the index after the last.
fn run_end(list: &[Mapping], first: usize) -> usize {
    let no_reserve = |mapping: &Mapping| mapping.has_flag(|flags| flags.no_reserve);
    let mut end = first + 1;
    while end < list.len()
        && list[end].start == list[end - 1].end
        && list[end].is_plain_anonymous()
        && no_reserve(&list[end]) == no_reserve(&list[first])
    {
        end += 1;
    }
    end
}

/// Indexes of the mappings that form Go's heap: a run of anonymous memory from one arena border to another, far
/// from everything else, whose written parts begin and end at the steps in which the heap grows.
pub(crate) fn go_heap(list: &[Mapping]) -> Vec<std::ops::Range<usize>> {
    let mut heaps = Vec::new();
    let mut first = 0;
    while first < list.len() {
        if !list[first].is_plain_anonymous() {
            first += 1;
            continue;
        }
        let end = run_end(list, first);
        let run = &list[first..end];
        let far_below =
            first == 0 || run[0].start.saturating_sub(list[first - 1].end) >= GO_HEAP_DISTANCE;
        let last_end = run[run.len() - 1].end;
        let far_above =
            end == list.len() || list[end].start.saturating_sub(last_end) >= GO_HEAP_DISTANCE;
        let whole_arenas =
            run[0].start.is_multiple_of(ARENA_BYTES) && last_end.is_multiple_of(ARENA_BYTES);
        let in_chunks = run.windows(2).all(|pair| {
            let border = pair[0].is_reserved_anonymous() != pair[1].is_reserved_anonymous();
            !border || pair[1].start.is_multiple_of(GO_CHUNK_BYTES)
        });
        let written = run.iter().any(Mapping::is_writable_anonymous);
        let reserved = run[0].has_flag(|flags| flags.no_reserve);
        if far_below && far_above && whole_arenas && in_chunks && written && !reserved {
            heaps.push(first..end);
        }
        first = end;
    }
    heaps
}

/// The `---p` mapping directly after `at`, if there is one.
fn reservation_after(list: &[Mapping], at: usize) -> Option<&Mapping> {
    list.get(at + 1)
        .filter(|next| next.start == list[at].end && next.is_reserved_anonymous())
}

/// The `---p` mapping directly before `at`, if there is one.
fn reservation_before(list: &[Mapping], at: usize) -> Option<&Mapping> {
    let before = list.get(at.checked_sub(1)?)?;
    (before.end == list[at].start && before.is_reserved_anonymous()).then_some(before)
}

/// A glibc arena other than the main one: begins at a 64 MiB border, and what is not yet used of the 64 MiB
/// follows as `---p`. With the kernel's flags known, `MAP_NORESERVE` tells a full arena (nothing follows) from
/// any other mapping that happens to begin there.
pub(crate) fn is_glibc_arena(list: &[Mapping], at: usize) -> bool {
    let mapping = &list[at];
    let anonymous = mapping.is_writable_anonymous() || mapping.is_reserved_anonymous();
    if !anonymous {
        return false;
    }
    let no_reserve = mapping.flags.map(|flags| flags.no_reserve);
    if mapping.is_reserved_anonymous() {
        // The unused rest belongs to the arena; it holds no memory, but a table of mappings reads better.
        return no_reserve != Some(false)
            && mapping.end.is_multiple_of(ARENA_BYTES)
            && at > 0
            && list[at - 1].end == mapping.start
            && list[at - 1].is_writable_anonymous()
            && is_glibc_arena(list, at - 1);
    }
    if !mapping.start.is_multiple_of(ARENA_BYTES) {
        return false;
    }
    let rest_follows =
        reservation_after(list, at).is_some_and(|rest| rest.end.is_multiple_of(ARENA_BYTES));
    let full = mapping.end.is_multiple_of(ARENA_BYTES);
    match no_reserve {
        Some(true) => rest_follows || full,
        // Where the kernel never overcommits it drops the flag; Go's heap has the shape, but grows in chunks.
        Some(false) | None => rest_follows && !mapping.end.is_multiple_of(GO_CHUNK_BYTES),
    }
}

/// A thread's stack as pthread_create makes it: writable memory directly above a small guard. Without the flag
/// that newer kernels put on stacks, only sizes up to `stack_bytes` are believed: a larger one is merged with a
/// stranger above it.
pub(crate) fn is_thread_stack(list: &[Mapping], at: usize, stack_bytes: u64) -> bool {
    let mapping = &list[at];
    if mapping.is_reserved_anonymous() {
        // The guard itself, for the table.
        return mapping.size() <= GUARD_BYTES_MAX
            && list
                .get(at + 1)
                .is_some_and(|next| next.start == mapping.end)
            && list[at + 1].is_writable_anonymous()
            && is_thread_stack(list, at + 1, stack_bytes);
    }
    let Some(guard) = reservation_before(list, at) else {
        return false;
    };
    let marked = mapping.has_flag(|flags| flags.no_huge_pages);
    let size_max = if marked { STACK_BYTES_MAX } else { stack_bytes };
    mapping.is_writable_anonymous()
        && guard.size() <= GUARD_BYTES_MAX
        && (STACK_BYTES_MIN..=size_max).contains(&mapping.size())
}

/// The Go runtime's tables that have a shape of their own: islands in the page allocator's large reservations,
/// the second level of the arena map below such a reservation, the chunk map, and the reservations themselves.
pub(crate) fn is_go_table(list: &[Mapping], at: usize) -> bool {
    let mapping = &list[at];
    if mapping.has_flag(|flags| flags.no_reserve) {
        return false;
    }
    if mapping.is_reserved_anonymous() {
        return mapping.size() >= GO_RESERVATION_BYTES_MIN;
    }
    if !mapping.is_writable_anonymous() {
        return false;
    }
    let large = |reservation: &Mapping, min: u64| {
        !reservation.has_flag(|flags| flags.no_reserve) && reservation.size() >= min
    };
    let (before, after) = (reservation_before(list, at), reservation_after(list, at));
    if let (Some(before), Some(after)) = (before, after) {
        let both = large(before, GUARD_BYTES_MAX + 1) && large(after, GUARD_BYTES_MAX + 1);
        if both
            && (large(before, GO_RESERVATION_BYTES_MIN) || large(after, GO_RESERVATION_BYTES_MIN))
        {
            return true;
        }
    }
    let marked = mapping.has_flag(|flags| flags.no_huge_pages);
    let arena_map = [GO_ARENA_MAP_BYTES, GO_ARENA_MAP_BYTES + GO_CHUNK_MAP_BYTES]
        .contains(&mapping.size())
        && after.is_some_and(|reservation| large(reservation, ARENA_BYTES));
    arena_map || (marked && mapping.size() == GO_CHUNK_MAP_BYTES && before.is_none())
}

/// Zero-initialised data of a program or library: anonymous memory directly after its writable file mapping.
pub(crate) fn is_bss(list: &[Mapping], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &list[before]) else {
        return false;
    };
    list[at].is_writable_anonymous()
        && before.end == list[at].start
        && before.inode != 0
        && !before.permissions.shared
        && before.permissions.write
}
