//! The container ledger: lines that add up to the usage that the kernel charges, the rest in
//! `unexplained`.
//!
//! | line | v2 | v1 |
//! |---|---|---|
//! | total | `memory.current` | `memory.usage_in_bytes` |
//! | `anon` | `anon` | `total_rss` |
//! | `shmem` | `shmem` | `total_shmem` |
//! | `file` | `file` less `shmem` | `total_cache` less `total_shmem` |
//! | `kernel` | `kernel`, or its parts | `memory.kmem.usage_in_bytes` |
//! | `sockets` | `sock` | not charged to the usage |
//!
//! What the kernel charges in advance (up to 64 pages a processor) is in `unexplained`. Beside the
//! sum: `swap`, and `processes`, the RSS of its processes. That is never added to anything: pages of
//! files are charged to whoever read them first, which need not be this container.

use model::{ContainerMemory, Ledger, LedgerBasis};

use crate::process::Sheet;

/// The ledger of one container at one time.
///
/// `total_bytes` is exactly the sum of the components and `unexplained_bytes`, for any input. What
/// its kernel does not tell is no line.
#[must_use]
pub fn container_ledger(container: &ContainerMemory) -> Ledger {
    let mut sheet = Sheet::default();
    let shmem = container.shmem_bytes;
    let file = container.file_bytes;
    // Without shmem apart, it is in the file line, as the kernel counts it.
    let file = file.map(|file| file.saturating_sub(shmem.unwrap_or(0)));
    for (name, bytes) in [
        ("anon", container.anon_bytes),
        ("shmem", shmem),
        ("file", file),
        ("kernel", container.kernel_bytes),
        ("sockets", container.sockets_bytes),
    ] {
        if let Some(bytes) = bytes {
            sheet.line(name, bytes, container.at);
        }
    }
    for (name, bytes) in [
        ("swap", container.swap_bytes),
        ("processes", container.processes_rss_bytes),
    ] {
        sheet.outside(name, bytes.unwrap_or(0), container.at);
    }
    Ledger {
        basis: LedgerBasis::Cgroup,
        ..sheet.close(container.at, container.usage_bytes)
    }
}

#[cfg(test)]
mod tests {
    use model::UnixMs;
    use proptest::prelude::*;

    use super::*;

    fn lines(ledger: &Ledger) -> Vec<(&str, i64)> {
        let all = ledger.components.iter().chain(&ledger.outside);
        all.map(|line| (line.name.as_str(), line.bytes)).collect()
    }

    #[test]
    fn shared_memory_is_told_from_files_and_processes_are_not_added() {
        let whole = ContainerMemory {
            at: UnixMs(5),
            usage_bytes: 300,
            anon_bytes: Some(200),
            file_bytes: Some(80),
            shmem_bytes: Some(30),
            kernel_bytes: Some(9),
            sockets_bytes: Some(2),
            swap_bytes: Some(7),
            processes_rss_bytes: Some(240),
            ..ContainerMemory::default()
        };
        let ledger = container_ledger(&whole);
        let want = [
            ("anon", 200),
            ("shmem", 30),
            ("file", 50),
            ("kernel", 9),
            ("sockets", 2),
            ("swap", 7),
            ("processes", 240),
        ];
        assert_eq!(lines(&ledger), want);
        assert_eq!((ledger.total_bytes, ledger.unexplained_bytes), (300, 9));
        assert!(
            ledger
                .components
                .iter()
                .all(|line| line.at == Some(UnixMs(5)))
        );
        let usage_alone = ContainerMemory {
            usage_bytes: 300,
            ..ContainerMemory::default()
        };
        let ledger = container_ledger(&usage_alone);
        assert_eq!((lines(&ledger), ledger.unexplained_bytes), (vec![], 300));
    }

    proptest! {
        #[test]
        fn lines_and_unexplained_add_up_to_the_usage(
            usage_bytes in 0u64..1 << 50,
            parts in proptest::array::uniform5(proptest::option::of(any::<u64>())),
        ) {
            let container = ContainerMemory {
                usage_bytes,
                anon_bytes: parts[0],
                file_bytes: parts[1],
                shmem_bytes: parts[2],
                kernel_bytes: parts[3],
                sockets_bytes: parts[4],
                ..ContainerMemory::default()
            };
            let ledger = container_ledger(&container);
            let inside: i128 = ledger.components.iter().map(|line| i128::from(line.bytes)).sum();
            prop_assert_eq!(inside + i128::from(ledger.unexplained_bytes), i128::from(usage_bytes));
        }
    }
}
