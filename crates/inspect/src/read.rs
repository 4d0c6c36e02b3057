//! Positioned reads: the one thing this crate asks of whatever holds the executable.

use std::fs::File;
use std::io;

use crate::InspectError;

/// Bytes that can be read at an offset.
pub trait ReadAt {
    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the bytes end before `buf` is full; any other error of the source.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..));
        match rest.and_then(|rest| rest.get(..buf.len())) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for std::sync::Arc<T> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }
}

/// Fills `buf` from `offset`; an early end says which part of the file was cut.
pub(crate) fn fill<R: ReadAt + ?Sized>(
    reader: &R,
    what: &'static str,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), InspectError> {
    let len = buf.len() as u64;
    reader
        .read_exact_at(offset, buf)
        .map_err(|source| match source.kind() {
            // /proc/PID/exe of a big offset answers EINVAL, since the kernel's offsets are signed.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
                InspectError::Truncated { what, offset, len }
            }
            _ => InspectError::Read {
                what,
                offset,
                source,
            },
        })
}

/// `len` bytes at `offset`, at most `max`. The buffer grows as bytes arrive, so a lying `len` costs a read, not memory.
pub(crate) fn take<R: ReadAt + ?Sized>(
    reader: &R,
    what: &'static str,
    offset: u64,
    len: u64,
    max: u64,
) -> Result<Vec<u8>, InspectError> {
    const STEP: usize = 64 << 10;
    if len > max {
        return Err(InspectError::TooBig {
            what,
            offset,
            len,
            max,
        });
    }
    let len = len as usize; // At most `max`, which fits every usize we run on.
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let start = bytes.len();
        bytes.resize(len.min(start + STEP), 0);
        let at = offset.checked_add(start as u64);
        let at = at.ok_or(InspectError::Truncated {
            what,
            offset,
            len: len as u64,
        })?;
        fill(reader, what, at, &mut bytes[start..])?;
    }
    Ok(bytes)
}
