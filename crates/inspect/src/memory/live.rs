//! The memory of a live process, through `process_vm_readv(2)`. Reading neither stops nor changes the process.

use std::io::IoSliceMut;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::{Counter, Memory, Range, ReadCost};
use crate::InspectError;

/// The kernel takes so many ranges in one call (`UIO_MAXIOV`).
const RANGES_PER_CALL: usize = 1024;

/// Memory of the process with this pid.
///
/// A pid may be used again when its process has ended; callers that live longer than a process hold it against the
/// process's start time around a look.
#[derive(Debug)]
pub struct LiveMemory {
    pid: Pid,
    counter: Counter,
}

impl LiveMemory {
    /// Memory of the process `pid`; asks nothing of the kernel yet.
    pub fn new(pid: u32) -> Self {
        Self {
            pid: Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)),
            counter: Counter::default(),
        }
    }

    /// Bytes copied by one call; short when a range ends in memory that is not there.
    fn call(&self, ranges: &[RemoteIoVec], buf: &mut [u8]) -> nix::Result<usize> {
        self.counter.add(buf.len());
        process_vm_readv(self.pid, &mut [IoSliceMut::new(buf)], ranges)
    }
}

impl Memory for LiveMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError> {
        let (len, mut done) = (buf.len(), 0);
        while done < len {
            let base = addr
                .checked_add(done as u64)
                .ok_or(InspectError::Unreadable { addr, len })?;
            let remote = RemoteIoVec {
                base: base as usize,
                len: len - done,
            };
            // One call copies at most 2 GiB, and a page that is not there ends it early: then the next call says why.
            match self.call(&[remote], &mut buf[done..]) {
                Ok(0) => return Err(InspectError::Unreadable { addr, len }),
                Ok(n) => done += n,
                Err(errno) => return Err(refusal(self.pid, addr, len, errno)),
            }
        }
        Ok(())
    }

    fn read_many(&self, ranges: &[Range], buf: &mut [u8]) -> usize {
        let (mut ranges, mut rest, mut missing) = (ranges, buf, 0);
        while !ranges.is_empty() {
            let (done, bytes) = self.call_many(ranges, rest);
            (ranges, rest) = (&ranges[done..], &mut rest[bytes..]);
            let Some((range, behind)) = ranges.split_first().filter(|_| done < RANGES_PER_CALL)
            else {
                continue;
            };
            // The call ended at this range: asked for alone, it says why.
            let (piece, next) = rest.split_at_mut(range.len);
            match self.read(range.addr, piece) {
                Ok(()) => {}
                Err(InspectError::Unreadable { .. }) => {
                    piece.fill(0);
                    missing += 1;
                }
                Err(_) => {
                    piece.fill(0);
                    next.fill(0);
                    return missing + ranges.len();
                }
            }
            (ranges, rest) = (behind, next);
        }
        missing
    }

    fn cost(&self) -> ReadCost {
        self.counter.cost()
    }
}

impl LiveMemory {
    /// Reads the first of `ranges` in one call: how many of them it read whole, and their bytes.
    fn call_many(&self, ranges: &[Range], buf: &mut [u8]) -> (usize, usize) {
        let ranges = &ranges[..ranges.len().min(RANGES_PER_CALL)];
        let remote: Vec<RemoteIoVec> = ranges
            .iter()
            .map(|range| RemoteIoVec {
                base: range.addr as usize,
                len: range.len,
            })
            .collect();
        let asked = ranges.iter().map(|range| range.len).sum();
        let read = self.call(&remote, &mut buf[..asked]).unwrap_or(0);
        let (mut done, mut bytes) = (0, 0);
        for range in ranges {
            if bytes + range.len > read {
                break;
            }
            (done, bytes) = (done + 1, bytes + range.len);
        }
        (done, bytes)
    }
}

fn refusal(pid: Pid, addr: u64, len: usize, errno: nix::Error) -> InspectError {
    let pid = pid.as_raw().unsigned_abs();
    match errno {
        nix::Error::ESRCH => InspectError::NoProcess { pid },
        nix::Error::EPERM | nix::Error::EACCES => InspectError::Refused {
            pid,
            what: "its memory",
        },
        _ => InspectError::Unreadable { addr, len },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_among_many_ranges_costs_two_calls_more() {
        let memory = LiveMemory::new(std::process::id());
        let text = *b"swept";
        let addr = std::ptr::from_ref(&text).addr() as u64;
        let mut ranges = vec![Range { addr, len: 5 }; 10_000];
        for hole in [0, 1, 1023, 1024, 5000, 9999] {
            ranges[hole].addr = 8;
        }
        let mut buf = vec![1; 50_000];
        assert_eq!(memory.read_many(&ranges, &mut buf), 6);
        for (range, piece) in ranges.iter().zip(buf.chunks_exact(5)) {
            let want = if range.addr == 8 { [0; 5] } else { text };
            assert_eq!(piece, want);
        }
        let calls = memory.cost().calls;
        assert!(calls <= 10 + 2 * 6, "{calls}");

        let gone = LiveMemory::new(u32::MAX);
        assert_eq!(gone.read_many(&ranges, &mut buf), 10_000);
        assert_eq!(gone.cost().calls, 2, "nobody is asked again and again");
        assert!(buf.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn our_own_memory_is_read_and_what_is_not_there_is_said() {
        let memory = LiveMemory::new(std::process::id());
        let text = *b"what stays unswept";
        let mut buf = [0; 18];
        let addr = std::ptr::from_ref(&text).addr() as u64;
        memory.read(addr, &mut buf).unwrap();
        assert_eq!(buf, text);

        let hole = Range { addr: 8, len: 3 };
        let there = Range { addr, len: 4 };
        let mut buf = [1; 11];
        assert_eq!(memory.read_many(&[there, hole, there], &mut buf), 1);
        assert_eq!(&buf, b"what\0\0\0what");
        assert!(matches!(
            memory.read(8, &mut [0; 4]),
            Err(InspectError::Unreadable { addr: 8, len: 4 })
        ));
        assert!(memory.read(u64::MAX - 2, &mut [0; 8]).is_err());
        assert!(matches!(
            LiveMemory::new(u32::MAX).read(addr, &mut [0; 4]),
            Err(InspectError::NoProcess { .. })
        ));
    }
}
