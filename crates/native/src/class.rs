//! What each mapping is for, and the sums by class.

use std::ops::Range;

use crate::layout;
use crate::parse::{Mapping, Mappings};

/// What a mapping is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// The Go heap: objects and goroutine stacks.
    GoHeap,
    /// The Go runtime's tables. By layout only those with a shape of their own.
    GoRuntime,
    /// The C heap that grows by brk: glibc's main arena.
    BrkHeap,
    /// A glibc arena of threads other than the first.
    GlibcArena,
    /// A C heap block large enough for a mapping of its own, where the kernel names it; else [`Class::AnonOther`].
    GlibcMmap,
    /// A thread's stack with its guard, so two mappings a thread. Threads of Go programs with cgo, and of C; goroutines' stacks are in the
    /// Go heap.
    ThreadStack,
    /// Zero-initialised data of the program or a library, directly behind its file mapping.
    Bss,
    /// Anonymous memory of nobody known: mappings made by the program or by C (malloc above 128 KiB), and the Go
    /// runtime's bookkeeping of no particular shape (a few MiB, and about 2 % of the Go heap; the `Sys` values of
    /// the runtime's own numbers, less [`Class::GoRuntime`], say how much).
    AnonOther,
    /// A file, mapped privately or shared: code, constants, data, databases. Its changed private pages are
    /// `anonymous` in the totals.
    File,
    /// Shared memory: shared anonymous mappings, memfd, /dev/shm, System V. Files in other tmpfs mounts can't be
    /// told from files on disk here.
    Shmem,
    /// The kernel's own pages in every process: vdso, vvar, vsyscall, uprobes.
    Special,
}

impl Class {
    /// Every class, in the order of the totals.
    pub const ALL: [Self; 11] = [
        Self::GoHeap,
        Self::GoRuntime,
        Self::BrkHeap,
        Self::GlibcArena,
        Self::GlibcMmap,
        Self::ThreadStack,
        Self::Bss,
        Self::AnonOther,
        Self::File,
        Self::Shmem,
        Self::Special,
    ];

    /// For people: `glibc arena`.
    pub fn label(self) -> &'static str {
        match self {
            Self::GoHeap => "Go heap",
            Self::GoRuntime => "Go runtime table",
            Self::BrkHeap => "C heap (brk)",
            Self::GlibcArena => "glibc arena",
            Self::GlibcMmap => "large C heap block",
            Self::ThreadStack => "thread stack",
            Self::Bss => "zero-initialised data",
            Self::AnonOther => "anonymous mapping",
            Self::File => "file mapping",
            Self::Shmem => "shared memory",
            Self::Special => "kernel page",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How a class was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The caller knew the addresses from the runtime's own structures.
    Runtime,
    /// The kernel names it: a path, `[heap]`, `[anon: Go: heap]`.
    Name,
    /// Shape and neighbours: a rule of thumb. For [`Class::AnonOther`]: no rule fitted.
    Layout,
}

/// A mapping's class and how it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What it is for.
    pub class: Class,
    /// How that was told.
    pub basis: Basis,
}

/// What the caller knows beforehand.
#[derive(Debug, Clone)]
pub struct Hints {
    /// The Go heap's address ranges, ascending. When given, nothing is taken for Go's heap by layout.
    pub go_heap: Vec<Range<u64>>,
    /// The Go runtime's other address ranges, ascending.
    pub go_runtime: Vec<Range<u64>>,
    /// Size of a thread's stack unless the program asks for another: RLIMIT_STACK of the process.
    pub thread_stack_bytes: u64,
    /// False for a process known to be none of Go's: then no layout is taken for Go's.
    pub is_go: bool,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            go_heap: Vec::new(),
            go_runtime: Vec::new(),
            thread_stack_bytes: 8 << 20,
            is_go: true,
        }
    }
}

/// Sums over some mappings, in bytes. See [`Mapping`] for the meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// How many.
    pub count: u64,
    /// Address space.
    pub size: u64,
    /// Resident.
    pub rss: u64,
    /// Resident, shared pages divided by their users.
    pub pss: u64,
    /// Resident and of this process only.
    pub private: u64,
    /// Resident without a file behind it.
    pub anonymous: u64,
    /// Part of it freed lazily.
    pub lazy_free: u64,
    /// Part of it in huge pages.
    pub anon_huge: u64,
    /// Swapped out.
    pub swap: u64,
}

impl Totals {
    fn add(&mut self, mapping: &Mapping) {
        self.count += 1;
        for (sum, value) in [
            (&mut self.size, mapping.size()),
            (&mut self.rss, mapping.rss),
            (&mut self.pss, mapping.pss),
            (&mut self.private, mapping.private()),
            (&mut self.anonymous, mapping.anonymous),
            (&mut self.lazy_free, mapping.lazy_free),
            (&mut self.anon_huge, mapping.anon_huge),
            (&mut self.swap, mapping.swap),
        ] {
            *sum = sum.saturating_add(value);
        }
    }
}

/// The sums of each class. Together they are the sums of all mappings: no mapping is in two classes or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassTotals([Totals; Class::ALL.len()]);

impl ClassTotals {
    /// One class's sums.
    pub fn of(&self, class: Class) -> &Totals {
        &self.0[class.index()]
    }

    /// Every class with its sums.
    pub fn iter(&self) -> impl Iterator<Item = (Class, &Totals)> {
        Class::ALL.into_iter().zip(&self.0)
    }
}

/// A process's mappings with the class of each.
#[derive(Debug, Clone, Default)]
pub struct MemoryMap {
    mappings: Mappings,
    kinds: Vec<Kind>,
}

impl MemoryMap {
    /// Classes every mapping: by the caller's ranges, else by name, else by layout.
    pub fn new(mappings: Mappings, hints: &Hints) -> Self {
        let list = mappings.list();
        let mut kinds: Vec<_> = (0..list.len())
            .map(|at| classify(list, at, hints))
            .collect();
        if hints.is_go && hints.go_heap.is_empty() {
            for heap in layout::go_heap(list) {
                // A name or a range of the runtime's is better than a guess.
                for kind in kinds[heap]
                    .iter_mut()
                    .filter(|kind| kind.basis == Basis::Layout)
                {
                    kind.class = Class::GoHeap;
                }
            }
        }
        Self { mappings, kinds }
    }

    /// The mappings as they were read.
    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Every mapping with its class, ascending by address.
    pub fn iter(&self) -> impl Iterator<Item = (&Mapping, Kind)> {
        self.mappings.list().iter().zip(self.kinds.iter().copied())
    }

    /// The sums by class.
    pub fn totals(&self) -> ClassTotals {
        let mut totals = ClassTotals::default();
        for (mapping, kind) in self.iter() {
            totals.0[kind.class.index()].add(mapping);
        }
        totals
    }

    /// How Go's heap was told; `None` when it was not found.
    pub fn go_heap_basis(&self) -> Option<Basis> {
        self.kinds
            .iter()
            .find(|kind| kind.class == Class::GoHeap)
            .map(|kind| kind.basis)
    }
}

fn classify(list: &[Mapping], at: usize, hints: &Hints) -> Kind {
    let mapping = &list[at];
    if let Some(class) = by_ranges(mapping, hints) {
        return Kind {
            class,
            basis: Basis::Runtime,
        };
    }
    if let Some(class) = by_name(mapping) {
        return Kind {
            class,
            basis: Basis::Name,
        };
    }
    // The order matters: an arena's unused rest and a stack's guard are reservations too.
    let class = if layout::is_bss(list, at) {
        Class::Bss
    } else if layout::is_glibc_arena(list, at) {
        Class::GlibcArena
    } else if layout::is_thread_stack(list, at, hints.thread_stack_bytes) {
        Class::ThreadStack
    } else if hints.is_go && layout::is_go_table(list, at) {
        Class::GoRuntime
    } else {
        Class::AnonOther
    };
    Kind {
        class,
        basis: Basis::Layout,
    }
}

/// The caller's ranges count if they cover at least half of a mapping: Linux may have merged a small stranger
/// with it, and how much of the stranger is resident can't be told.
fn by_ranges(mapping: &Mapping, hints: &Hints) -> Option<Class> {
    let covered = |ranges: &[Range<u64>]| {
        let first = ranges.partition_point(|range| range.end <= mapping.start);
        let touching = ranges[first..]
            .iter()
            .take_while(|range| range.start < mapping.end);
        touching.fold(0u64, |sum, range| {
            sum.saturating_add(mapping.overlap(range))
        })
    };
    let half = mapping.size().div_ceil(2);
    let (heap, runtime) = (covered(&hints.go_heap), covered(&hints.go_runtime));
    match () {
        () if heap >= half => Some(Class::GoHeap),
        () if runtime >= half => Some(Class::GoRuntime),
        () => None,
    }
}

/// By what the kernel says: a file, a part of the process it names itself, or a name that Go (1.25) or glibc
/// (2.39) gave to anonymous memory, on kernels with CONFIG_ANON_VMA_NAME.
fn by_name(mapping: &Mapping) -> Option<Class> {
    let name = mapping.name.as_str();
    let inside = |open: &str| name.strip_prefix(open)?.strip_suffix(']').map(str::trim);
    if let Some(given) = inside("[anon:") {
        return if given == "Go: heap" || given.starts_with("Go: heap ") {
            Some(Class::GoHeap)
        } else if given.starts_with("Go:") {
            Some(Class::GoRuntime)
        } else if given.starts_with("glibc: malloc arena") {
            Some(Class::GlibcArena)
        } else if given.starts_with("glibc: malloc") {
            Some(Class::GlibcMmap)
        } else if given.starts_with("glibc: pthread") {
            Some(Class::ThreadStack)
        } else {
            Some(Class::AnonOther)
        };
    }
    if inside("[anon_shmem:").is_some() {
        return Some(Class::Shmem);
    }
    match name {
        "" if mapping.inode == 0 && !mapping.permissions.shared => None,
        "" => Some(Class::Shmem),
        "[heap]" => Some(Class::BrkHeap),
        "[stack]" => Some(Class::ThreadStack),
        _ if name.starts_with("[stack:") => Some(Class::ThreadStack),
        _ if name.starts_with('[') => Some(Class::Special),
        _ => {
            const SHARED: [&str; 4] = ["/memfd:", "/dev/zero", "/dev/shm/", "/SYSV"];
            let shmem = SHARED.iter().any(|shared| name.starts_with(shared));
            // A private mapping of /dev/zero is anonymous memory, of which the kernel keeps the name.
            let private_zero = name.starts_with("/dev/zero") && !mapping.permissions.shared;
            match (private_zero, shmem) {
                (true, _) => Some(Class::AnonOther),
                (_, true) => Some(Class::Shmem),
                (_, false) => Some(Class::File),
            }
        }
    }
}
