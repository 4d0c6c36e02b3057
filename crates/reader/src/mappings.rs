//! `native`'s classes of mappings, in the model's words.

use std::io::{BufReader, Read};

use inspect::GoRanges;
use model::memory::NativeMapping;
use model::{MappingBytes, UnixMs};
use native::{Basis, Class, Hints, Kind, Limits, Mapping, MapsError, MemoryMap};

/// Bytes read of `smaps` at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Mappings told one by one.
const NATIVE_MAPPINGS_MAX: usize = 64;

/// Reads and classifies the text of an `smaps`; `stack_bytes` is the size of a thread's stack where
/// the process has a limit for it, `go` which addresses are Go's, where its runtime could be asked.
///
/// # Errors
/// Those of reading it.
pub(crate) fn classify(
    smaps: impl Read,
    stack_bytes: Option<u64>,
    go: Option<GoRanges>,
    at: UnixMs,
) -> Result<MappingBytes, MapsError> {
    let text = BufReader::with_capacity(CHUNK_BYTES, smaps);
    let mappings = native::parse_smaps(text, &Limits::default())?;
    let mut hints = Hints::default();
    if let Some(bytes) = stack_bytes {
        hints.thread_stack_bytes = bytes;
    }
    if let Some(go) = go {
        (hints.go_heap, hints.go_runtime) = (go.heap, go.runtime);
    }
    let map = MemoryMap::new(mappings, &hints);
    Ok(summary(&map, at))
}

fn summary(map: &MemoryMap, at: UnixMs) -> MappingBytes {
    let mut sums = MappingBytes {
        at,
        go_basis: basis_word(map.go_heap_basis()).to_owned(),
        ..MappingBytes::default()
    };
    let mut native = Vec::new();
    for (mapping, kind) in map.iter() {
        add(&mut sums, mapping, kind);
        if let Some(class) = native_word(kind.class) {
            native.push(NativeMapping {
                start: mapping.start,
                class: class.to_owned(),
                rss_bytes: mapping.rss,
            });
        }
    }
    native.sort_by_key(|mapping| std::cmp::Reverse(mapping.rss_bytes));
    native.truncate(NATIVE_MAPPINGS_MAX);
    sums.native_mappings = native;
    sums
}

/// Adds one mapping where the kernel counts its pages: the changed private pages of a file mapping
/// are anonymous memory, as in `RssAnon`.
fn add(sums: &mut MappingBytes, mapping: &Mapping, kind: Kind) {
    let anonymous = mapping.anonymous.min(mapping.rss);
    let backed = mapping.rss - anonymous;
    let slot = match kind.class {
        Class::GoHeap | Class::GoRuntime => &mut sums.go_bytes,
        Class::BrkHeap => &mut sums.brk_bytes,
        Class::GlibcArena => &mut sums.arena_bytes,
        Class::ThreadStack => &mut sums.stack_bytes,
        Class::Bss | Class::File => &mut sums.data_bytes,
        _ => &mut sums.anon_other_bytes,
    };
    *slot = slot.saturating_add(anonymous);
    if kind.class == Class::GoRuntime {
        sums.go_tables_bytes = sums.go_tables_bytes.saturating_add(anonymous);
    }
    if matches!(kind.class, Class::GoHeap | Class::GoRuntime) {
        sums.go_lazy_free_bytes = sums.go_lazy_free_bytes.saturating_add(mapping.lazy_free);
    }
    // Where the kernel keeps names, Go gives one to each of its mappings.
    sums.go_tables_whole |= mapping.name.starts_with("[anon: Go:");
    let slot = match kind.class {
        Class::Shmem => &mut sums.shmem_bytes,
        _ => &mut sums.file_bytes,
    };
    *slot = slot.saturating_add(backed);
    sums.huge_bytes = sums.huge_bytes.saturating_add(mapping.anon_huge);
}

fn basis_word(basis: Option<Basis>) -> &'static str {
    match basis {
        Some(Basis::Runtime) => "runtime",
        Some(Basis::Name) => "name",
        Some(Basis::Layout) => "layout",
        None => "",
    }
}

/// The model's word for a class outside Go's; `None` for what is not native memory.
fn native_word(class: Class) -> Option<&'static str> {
    match class {
        Class::BrkHeap => Some("brk heap"),
        Class::GlibcArena => Some("glibc arena"),
        Class::ThreadStack => Some("thread stack"),
        Class::GlibcMmap | Class::AnonOther => Some("anonymous"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_mappings_add_up_to_the_kernels_own_sums() {
        let kib = |name: &str| {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            words[0].parse::<i64>().unwrap() * 1024
        };
        // A block that is certainly resident and anonymous.
        let block = vec![1_u8; 32 << 20];
        let smaps = std::fs::File::open("/proc/self/smaps").unwrap();
        let sums = classify(smaps, None, None, UnixMs(3)).unwrap();
        let anon = sums.go_bytes
            + sums.brk_bytes
            + sums.arena_bytes
            + sums.stack_bytes
            + sums.data_bytes
            + sums.anon_other_bytes;
        let near = |sum: u64, name: &str| {
            let of_kernel = kib(name);
            assert!(
                (sum as i64 - of_kernel).abs() < 4 << 20,
                "{name} {sum} {of_kernel}"
            );
        };
        near(anon, "RssAnon:");
        near(sums.file_bytes, "RssFile:");
        near(sums.shmem_bytes, "RssShmem:");
        let biggest = &sums.native_mappings[0];
        assert_eq!(biggest.class, "anonymous");
        assert!(biggest.rss_bytes >= block.len() as u64);
        assert!(sums.native_mappings.len() <= NATIVE_MAPPINGS_MAX);
        assert_eq!(sums.at, UnixMs(3));
    }

    #[test]
    fn what_is_no_smaps_is_refused() {
        assert!(classify(&b"hello\n"[..], None, None, UnixMs(0)).is_err());
    }
}
