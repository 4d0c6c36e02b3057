//! The runtime's own words for what a goroutine waits for: `runtime.waitReasonStrings`. So that no table of
//! versions is needed.

use std::sync::Arc;

use crate::limits;
use crate::memory::{Memory, Range, le64};

/// The words by their numbers. Nobody tells the array's length: it ends where something else begins.
pub(super) fn wait_reasons(memory: &dyn Memory, addr: Option<u64>) -> Vec<Arc<str>> {
    const WORD_BYTES_MAX: u64 = 64;
    let Some(addr) = addr else {
        return Vec::new();
    };
    let mut headers = vec![0; limits::WAIT_REASONS_MAX * 16];
    // The array may end less than that before the segment does.
    while memory.read(addr, &mut headers).is_err() {
        headers.truncate(headers.len() / 2 / 16 * 16);
        if headers.is_empty() {
            return Vec::new();
        }
    }
    let headers = headers
        .chunks_exact(16)
        .map(|header| (le64(header, 0), le64(header, 8)));
    let ranges: Vec<Range> = headers
        .enumerate()
        .take_while(|&(at, (_, len))| len <= WORD_BYTES_MAX && (len > 0 || at == 0))
        .map(|(_, (addr, len))| Range {
            addr,
            len: len as usize,
        })
        .collect();
    let mut bytes = vec![0; ranges.iter().map(|range| range.len).sum()];
    memory.read_many(&ranges, &mut bytes);
    let mut rest = bytes.as_slice();
    let mut words = Vec::new();
    for range in &ranges {
        let (word, tail) = rest.split_at(range.len);
        rest = tail;
        words.push(String::from_utf8_lossy(word).into());
    }
    words
}
