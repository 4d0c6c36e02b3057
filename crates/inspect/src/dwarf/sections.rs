//! The debug sections of an executable, whole and uncompressed.
//!
//! Go compresses them with zlib since 1.11 (`SHF_COMPRESSED`); C toolchains also write zstd and the older
//! `.zdebug_` names.

use object::read::{CompressedData, CompressionFormat};

use crate::InspectError;
use crate::elf::{Elf, u32_at, u64_at};
use crate::read::{ReadAt, take};

/// Bytes of one section, uncompressed. A service of 100 MB has about 30 MB of `.debug_info`.
const SECTION_BYTES_MAX: u64 = 1 << 30;
/// How far a section may grow when uncompressed, so that a small file cannot cost much memory. Go's grow 2 to 5 times.
const GROWTH_MAX: u64 = 64;

/// What is read of the debug information at once: neither line tables nor strings, since Go writes each name where it
/// is used; location lists when they are first asked for, see [`Frames`](super::Frames).
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) info: Vec<u8>,
    pub(super) abbrev: Vec<u8>,
    pub(super) addr: Vec<u8>,
}

impl Sections {
    /// `None` when the file has no debug information.
    pub(super) fn read<R: ReadAt + ?Sized>(
        reader: &R,
        elf: &Elf,
    ) -> Result<Option<Self>, InspectError> {
        let info = section(reader, elf, "info", ".debug_info")?;
        let abbrev = section(reader, elf, "abbrev", ".debug_abbrev")?;
        if info.is_empty() || abbrev.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            info,
            abbrev,
            addr: section(reader, elf, "addr", ".debug_addr")?,
        }))
    }
}

/// The section `.debug_NAME`, empty when there is none.
pub(super) fn section<R: ReadAt + ?Sized>(
    reader: &R,
    elf: &Elf,
    name: &str,
    what: &'static str,
) -> Result<Vec<u8>, InspectError> {
    let (found, is_old) = match elf.section(&format!(".debug_{name}")) {
        Some(found) => (found, false),
        None => match elf.section(&format!(".zdebug_{name}")) {
            Some(found) => (found, true),
            None => return Ok(Vec::new()),
        },
    };
    let offset = found.offset;
    let bytes = take(reader, what, offset, found.bytes, SECTION_BYTES_MAX)?;
    if is_old {
        uncompress_old(what, offset, &bytes)
    } else if found.is_compressed {
        uncompress(what, offset, &bytes, elf.is_64)
    } else {
        Ok(bytes)
    }
}

/// After a `Chdr` of the ELF specification: type, size, alignment.
fn uncompress(
    what: &'static str,
    offset: u64,
    bytes: &[u8],
    is_64: bool,
) -> Result<Vec<u8>, InspectError> {
    let header_bytes = if is_64 { 24 } else { 12 };
    let malformed = |expected| InspectError::Malformed {
        what,
        offset,
        expected,
    };
    if bytes.len() < header_bytes {
        return Err(malformed("a compression header"));
    }
    let format = match u32_at(bytes, 0) {
        1 => CompressionFormat::Zlib,
        2 => CompressionFormat::Zstandard,
        _ => return Err(malformed("zlib or zstd")),
    };
    let len = if is_64 {
        u64_at(bytes, 8)
    } else {
        u32_at(bytes, 4).into()
    };
    inflate(what, offset, format, &bytes[header_bytes..], len)
}

/// `ZLIB` and the size in big-endian before the stream.
fn uncompress_old(what: &'static str, offset: u64, bytes: &[u8]) -> Result<Vec<u8>, InspectError> {
    let size = bytes
        .strip_prefix(b"ZLIB")
        .and_then(|rest| rest.split_first_chunk::<8>());
    let (size, stream) = size.ok_or(InspectError::Malformed {
        what,
        offset,
        expected: "ZLIB and a size",
    })?;
    let len = u64::from_be_bytes(*size);
    inflate(what, offset, CompressionFormat::Zlib, stream, len)
}

fn inflate(
    what: &'static str,
    offset: u64,
    format: CompressionFormat,
    data: &[u8],
    len: u64,
) -> Result<Vec<u8>, InspectError> {
    let max = SECTION_BYTES_MAX.min((data.len() as u64 + 64).saturating_mul(GROWTH_MAX));
    if len > max {
        return Err(InspectError::TooBig {
            what,
            offset,
            len,
            max,
        });
    }
    let compressed = CompressedData {
        format,
        data,
        uncompressed_size: len,
    };
    let bytes = compressed
        .decompress()
        .map_err(|_| InspectError::Malformed {
            what,
            offset,
            expected: "a stream that can be uncompressed to its promised size",
        })?;
    Ok(bytes.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chdr(kind: u32, len: u64, stream: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(len.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(stream);
        bytes
    }

    #[test]
    fn compressed_sections_are_uncompressed_and_bombs_refused() {
        use std::io::Write;
        let text = b"what stays unswept what stays unswept".repeat(4);
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        let stream = encoder.finish().unwrap();
        let len = text.len() as u64;
        let run = |bytes: &[u8]| uncompress("section", 7, bytes, true);

        assert_eq!(run(&chdr(1, len, &stream)).unwrap(), text);
        assert!(matches!(
            run(&chdr(1, 1 << 40, &stream)),
            Err(InspectError::TooBig { offset: 7, .. })
        ));
        for (name, bytes) in [
            ("no header", vec![1, 0, 0]),
            ("a kind nobody knows", chdr(9, len, &stream)),
            ("a size too large", chdr(1, len + 1, &stream)),
            ("a cut stream", chdr(1, len, &stream[..9])),
            ("garbage", chdr(2, len, &text)),
        ] {
            let error = run(&bytes).expect_err(name);
            assert!(
                matches!(error, InspectError::Malformed { .. }),
                "{name}: {error}"
            );
        }

        let mut old = b"ZLIB".to_vec();
        old.extend(len.to_be_bytes());
        old.extend(&stream);
        assert_eq!(uncompress_old("section", 0, &old).unwrap(), text);
        assert!(uncompress_old("section", 0, &old[..8]).is_err());
    }
}
