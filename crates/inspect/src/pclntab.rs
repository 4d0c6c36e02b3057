//! Where the runtime's function table lies and where in it the function names are.
//!
//! Layout: `runtime.pcHeader` of the Go source: magic, two zero bytes, instruction quantum, pointer size, then
//! words. The table stays in stripped programs, since tracebacks need it. The linker names its section
//! `.gopclntab`, or `.data.rel.ro.gopclntab` in position-independent programs up to Go 1.25; a C linker may fold
//! the latter into `.data.rel.ro`, and then the magic is searched for.

use crate::InspectError;
use crate::elf::{Elf, PF_X, u32_at, word_at};
use crate::limits;
use crate::read::{ReadAt, take};

/// Longest header of any version: 8 bytes and eight words.
const HEADER_BYTES: u64 = 72;

/// A span of the file that holds NUL-terminated function names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionNames {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Finds the function names, or nothing if this version's table is not one we know.
pub(crate) fn function_names<R: ReadAt + ?Sized>(
    reader: &R,
    elf: &Elf,
) -> Result<Option<FunctionNames>, InspectError> {
    for name in [".gopclntab", ".data.rel.ro.gopclntab"] {
        if let Some(section) = elf.section(name) {
            let header = take(
                reader,
                "function table",
                section.offset,
                HEADER_BYTES,
                HEADER_BYTES,
            )?;
            if let Some(names) = parse_header(&header, elf.pointer_bytes(), section.offset) {
                return Ok(Some(names));
            }
        }
    }
    search(reader, elf)
}

/// Searches the data for a header: `.data.rel.ro` first, then every segment that holds no code, then the rest
/// (an old linker's single read-only segment holds code too).
fn search<R: ReadAt + ?Sized>(
    reader: &R,
    elf: &Elf,
) -> Result<Option<FunctionNames>, InspectError> {
    let relro = elf
        .section(".data.rel.ro")
        .map(|section| (section.offset, section.bytes));
    let loads = || elf.segments.iter().filter(|segment| segment.is_load());
    let is_code = |flags: u32| flags & PF_X != 0;
    let data = loads().filter(|segment| !is_code(segment.flags));
    let code = loads().filter(|segment| is_code(segment.flags));
    let segments = data
        .chain(code)
        .map(|segment| (segment.offset, segment.file_bytes));
    let mut left = limits::PCLNTAB_SCAN_BYTES_MAX;
    for (offset, bytes) in relro.into_iter().chain(segments) {
        if let Some(names) = search_range(reader, elf, offset, bytes, &mut left)? {
            return Ok(Some(names));
        }
    }
    Ok(None)
}

fn search_range<R: ReadAt + ?Sized>(
    reader: &R,
    elf: &Elf,
    offset: u64,
    bytes: u64,
    left: &mut u64,
) -> Result<Option<FunctionNames>, InspectError> {
    const STEP: u64 = 256 << 10;
    let end = offset.saturating_add(bytes);
    let mut at = offset.saturating_add(offset.wrapping_neg() % 8);
    while at.checked_add(HEADER_BYTES).is_some_and(|next| next <= end) && *left > 0 {
        let len = STEP.min(end - at);
        let chunk = match take(reader, "data", at, len, STEP) {
            Ok(chunk) => chunk,
            Err(InspectError::Truncated { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for row in (0..chunk.len().saturating_sub(HEADER_BYTES as usize - 1)).step_by(8) {
            // The magics differ in their first byte only; the rest is enough to pass over nearly everything.
            if chunk[row + 1..row + 6] != [0xff, 0xff, 0xff, 0, 0] {
                continue;
            }
            let header = &chunk[row..row + HEADER_BYTES as usize];
            let names = parse_header(header, elf.pointer_bytes(), at + row as u64);
            if names.is_some() {
                return Ok(names);
            }
        }
        // Step back by a header, so that one across the border is seen whole.
        at = at.saturating_add(len.saturating_sub(HEADER_BYTES).max(8).next_multiple_of(8));
        *left = left.saturating_sub(len);
    }
    Ok(None)
}

/// The names' span from a header of Go 1.16 or newer that lies at `table_offset` of the file.
fn parse_header(header: &[u8], word: usize, table_offset: u64) -> Option<FunctionNames> {
    if header.len() < HEADER_BYTES as usize {
        return None;
    }
    // Go 1.18 put the text's start before the offsets.
    let offsets_at = match u32_at(header, 0) {
        0xffff_fff1 | 0xffff_fff0 => 3,
        0xffff_fffa => 2,
        _ => return None,
    };
    let (quantum, pointer_bytes) = (header[6], usize::from(header[7]));
    if header[4..6] != [0, 0] || ![1, 2, 4].contains(&quantum) || pointer_bytes != word {
        return None;
    }
    let field = |index: usize| word_at(header, 8 + index * word, word);
    // Names first, then compilation units, files, counters, functions: five ascending offsets.
    let offsets: Vec<u64> = (0..5).map(|index| field(offsets_at + index)).collect();
    let functions = field(0);
    let header_bytes = (8 + (offsets_at + 5) * word) as u64;
    if functions == 0 || !offsets.is_sorted() || offsets[0] < header_bytes {
        return None;
    }
    let bytes = offsets[1] - offsets[0];
    if bytes == 0 || bytes > limits::FUNCTION_NAMES_BYTES_MAX || functions > bytes {
        return None;
    }
    Some(FunctionNames {
        offset: table_offset.checked_add(offsets[0])?,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit header with five functions and the given offsets.
    fn header(magic: u32, offsets: [u64; 5]) -> Vec<u8> {
        let mut bytes = magic.to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        let text_start: &[u64] = if magic == 0xffff_fffa { &[] } else { &[0] };
        let words = [&[5, 2], text_start, &offsets].concat();
        bytes.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
        bytes.resize(HEADER_BYTES as usize, 0);
        bytes
    }

    #[test]
    fn headers_of_known_shape_are_taken_and_no_others() {
        let good = [72, 172, 200, 300, 400];
        let mut odd_quantum = header(0xffff_fff1, good);
        odd_quantum[6] = 3;
        let mut narrow = header(0xffff_fff1, good);
        narrow[7] = 4;
        let names = |offset, bytes| Some(FunctionNames { offset, bytes });
        let rows = [
            (
                "go1.20 and newer",
                header(0xffff_fff1, good),
                names(1072, 100),
            ),
            ("go1.18", header(0xffff_fff0, good), names(1072, 100)),
            ("go1.16", header(0xffff_fffa, good), names(1072, 100)),
            ("go1.2: names elsewhere", header(0xffff_fffb, good), None),
            (
                "offsets not ascending",
                header(0xffff_fff1, [72, 172, 100, 300, 400]),
                None,
            ),
            (
                "names inside the header",
                header(0xffff_fff1, [64, 172, 200, 300, 400]),
                None,
            ),
            (
                "no names",
                header(0xffff_fff1, [72, 72, 200, 300, 400]),
                None,
            ),
            (
                "fewer bytes than functions",
                header(0xffff_fff1, [72, 75, 200, 300, 400]),
                None,
            ),
            (
                "huge",
                header(0xffff_fff1, [72, u64::MAX, u64::MAX, u64::MAX, u64::MAX]),
                None,
            ),
            ("odd quantum", odd_quantum, None),
            ("other pointer size", narrow, None),
            ("cut", header(0xffff_fff1, good)[..40].to_vec(), None),
        ];
        for (name, bytes, want) in rows {
            assert_eq!(parse_header(&bytes, 8, 1000), want, "{name}");
        }
        assert_eq!(
            parse_header(&header(0xffff_fff1, good), 8, u64::MAX),
            None,
            "past any file"
        );
    }
}
