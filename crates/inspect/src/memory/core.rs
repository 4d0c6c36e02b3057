//! The memory in a core file: what the kernel, or a debugger, wrote of a process when it stopped.
//!
//! A core has a segment for each mapping, and by default (`coredump_filter` in core(5)) not the bytes of those
//! that are unchanged copies of files: code, read-only data. Those are read from the executable.

use std::sync::Arc;

use super::{Counter, Memory, ReadCost};
use crate::{InspectError, ReadAt};

/// A file that bytes come from.
pub(crate) type Source = Arc<dyn ReadAt + Send + Sync>;

/// A part of the address space whose bytes lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) addr: u64,
    /// How long the mapping is.
    pub(crate) bytes: u64,
    pub(crate) offset: u64,
    /// How much of it is in the file; the rest was left out.
    pub(crate) file_bytes: u64,
}

/// Memory as a core has it. Reads are positioned and as small as asked, so a sparse core of terabytes costs what is
/// looked at.
pub struct CoreMemory {
    core: Source,
    /// Those that have bytes in the file, by ascending address.
    segments: Vec<Stored>,
    executable: Option<(Source, Vec<Stored>)>,
    counter: Counter,
}

impl CoreMemory {
    /// Memory of these segments of `core`.
    pub(crate) fn new(core: Source, mut segments: Vec<Stored>) -> Self {
        segments.retain(|of| of.file_bytes > 0);
        segments.sort_by_key(|of| of.addr);
        Self {
            core,
            segments,
            executable: None,
            counter: Counter::default(),
        }
    }

    /// Takes what the core leaves out from `executable`, whose `segments` are those of the running program.
    pub(crate) fn put_executable(&mut self, executable: Source, mut segments: Vec<Stored>) {
        segments.sort_by_key(|of| of.addr);
        self.executable = Some((executable, segments));
    }

    /// The file and the place in it where `at` is, and how many bytes follow there.
    fn find(&self, at: u64) -> Option<(&Source, u64, u64)> {
        // What a core should have, and lacks because it was cut, is not in the executable.
        if let Some((offset, rest)) = find(&self.segments, at) {
            return Some((&self.core, offset, rest));
        }
        let (file, segments) = self.executable.as_ref()?;
        let (offset, rest) = find(segments, at)?;
        // Where the core has bytes again, those count.
        let next = self.segments.partition_point(|of| of.addr <= at);
        let next = self.segments.get(next);
        let rest = next.map_or(rest, |next| rest.min(next.addr - at));
        Some((file, offset, rest))
    }
}

/// Where `at` lies in the file, and how many bytes follow.
fn find(segments: &[Stored], at: u64) -> Option<(u64, u64)> {
    let after = segments.partition_point(|of| of.addr <= at);
    let segment = segments.get(after.checked_sub(1)?)?;
    let inside = at - segment.addr;
    let rest = segment.file_bytes.min(segment.bytes).checked_sub(inside)?;
    let offset = segment.offset.checked_add(inside)?;
    (rest > 0).then_some((offset, rest))
}

impl Memory for CoreMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError> {
        let (len, mut done) = (buf.len(), 0);
        while done < len {
            let unreadable = || InspectError::Unreadable { addr, len };
            let at = addr.checked_add(done as u64).ok_or_else(unreadable)?;
            let (file, offset, rest) = self.find(at).ok_or_else(unreadable)?;
            let n = usize::try_from(rest).unwrap_or(usize::MAX).min(len - done);
            self.counter.add(n);
            let read = file.read_exact_at(offset, &mut buf[done..done + n]);
            read.map_err(|_| unreadable())?;
            done += n;
        }
        Ok(())
    }

    fn cost(&self) -> ReadCost {
        self.counter.cost()
    }
}

impl std::fmt::Debug for CoreMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoreMemory")
            .field("segments", &self.segments.len())
            .field("executable", &self.executable.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(addr: u64, bytes: u64, offset: u64, file_bytes: u64) -> Stored {
        Stored {
            addr,
            bytes,
            offset,
            file_bytes,
        }
    }

    fn memory() -> CoreMemory {
        let core: Vec<u8> = (0..100).collect();
        let segments = vec![
            stored(200, 10, 60, 10),
            stored(100, 20, 50, 4),  // The rest is left out.
            stored(120, 5, 90, 30),  // Cut: the file has 10 of its bytes, the mapping 5.
            stored(300, 40, 80, 40), // The core ends at 320.
        ];
        let mut memory = CoreMemory::new(Arc::new(core), segments);
        let executable: Vec<u8> = (100..200).collect();
        memory.put_executable(
            Arc::new(executable),
            vec![stored(90, 60, 0, 60), stored(310, 9, 0, 9)],
        );
        memory
    }

    #[test]
    fn the_core_comes_first_and_the_executable_fills_gaps() {
        let memory = memory();
        let read = |addr, len| {
            let mut buf = vec![0; len];
            memory.read(addr, &mut buf).map(|()| buf).ok()
        };
        let rows: &[(&str, u64, usize, Option<&[u8]>)] = &[
            ("of the core", 201, 3, Some(&[61, 62, 63])),
            (
                "before it, of the executable",
                98,
                4,
                Some(&[108, 109, 50, 51]),
            ),
            (
                "left out, so of the executable",
                103,
                3,
                Some(&[53, 114, 115]),
            ),
            (
                "from one to the other and back",
                119,
                7,
                Some(&[129, 90, 91, 92, 93, 94, 135]),
            ),
            ("nowhere", 180, 1, None),
            ("half of it nowhere", 208, 4, None),
            ("the core is cut there", 318, 4, None),
            ("cut, though the executable has it", 320, 1, None),
            ("past the address space", u64::MAX, 2, None),
        ];
        for (name, addr, len, want) in rows {
            assert_eq!(read(*addr, *len).as_deref(), *want, "{name}");
        }
    }
}
