//! Finds `runtime.firstmoduledata` in a stripped program: by its section (Go 1.26 and newer), else as the word in
//! writable data that points to the table of functions and is followed by what a moduledata holds.

use crate::InspectError;
use crate::elf::{Elf, PF_W};
use crate::layout::Layout;
use crate::limits;
use crate::memory::{Memory, le64};

const STEP: u64 = 1 << 20;

/// The address of the first moduledata in the running program, or nothing.
pub(crate) fn find_module(
    memory: &dyn Memory,
    elf: &Elf,
    layout: &Layout,
    bias: u64,
) -> Result<Option<u64>, InspectError> {
    if let Some(section) = elf.section(".go.module") {
        return Ok(Some(section.addr.wrapping_add(bias)));
    }
    let (text, minpc) = (
        layout.field("moduledata.text")?,
        layout.field("moduledata.minpc")?,
    );
    let len = layout.size("moduledata")?.min(limits::STRUCTURE_BYTES_MAX);
    let mut left = limits::PCLNTAB_SCAN_BYTES_MAX;
    for (start, bytes) in ranges(elf) {
        let start = start.wrapping_add(bias);
        let mut at = 0;
        while at < bytes && left > 0 {
            let step = STEP.min(bytes - at);
            left = left.saturating_sub(step);
            // A little more than a step, so that a moduledata across the border is seen whole.
            let want = (step + len).min(bytes - at);
            let from = start.wrapping_add(at);
            at += step;
            let Ok(chunk) = memory.bytes("data", from, want, STEP + len) else {
                continue;
            };
            let rows = (0..step as usize).step_by(8);
            for row in rows.take_while(|row| row + len as usize <= chunk.len()) {
                let bytes = &chunk[row..row + len as usize];
                let text = text.get(bytes);
                let is_like = text != 0 && minpc.get(bytes) == text;
                if is_like && is_function_table(memory, le64(bytes, 0), text) {
                    return Ok(Some(from + row as u64));
                }
            }
        }
    }
    Ok(None)
}

/// Where a moduledata may lie: sections by their usual names, then whatever is written to.
fn ranges(elf: &Elf) -> impl Iterator<Item = (u64, u64)> {
    let names = [".noptrdata", ".data", ".data.rel.ro"].into_iter();
    let sections = names.filter_map(|name| elf.section(name));
    let writable = elf
        .segments
        .iter()
        .filter(|segment| segment.is_load() && segment.flags & PF_W != 0);
    sections
        .map(|section| (section.addr, section.bytes))
        .chain(writable.map(|segment| (segment.addr, segment.file_bytes)))
        .filter(|&(addr, _)| addr != 0)
}

fn is_function_table(memory: &dyn Memory, addr: u64, text: u64) -> bool {
    let header = memory.bytes("function table", addr, 32, 32);
    header.is_ok_and(|header| {
        let functions = le64(&header, 8);
        // Before Go 1.26 the header says where the text starts; later it is zero there.
        let start = le64(&header, 24);
        header.starts_with(&[0xf1, 0xff, 0xff, 0xff, 0, 0])
            && header[7] == 8
            && (1..=limits::FUNCTIONS_MAX).contains(&functions)
            && (start == text || start == 0 || start < text)
    })
}
