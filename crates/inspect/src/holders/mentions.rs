//! Where amd64 code names an address: instructions that read, write or take the address of what lies so many bytes from
//! the next instruction.

use std::ops::Range;

/// What an instruction that names an address has before the distance: a prefix, an opcode of one or two bytes, and the
/// byte that says "so far from the next instruction".
pub(super) const BEFORE: usize = 3;
/// And with it: the distance, and a number at most.
pub(super) const AFTER: usize = 8;

/// Sorted stretches of addresses that are looked for.
#[derive(Debug, Default)]
pub(super) struct Wanted(Vec<Range<u64>>);

impl Wanted {
    /// All of `ranges`.
    pub(super) fn new(ranges: impl Iterator<Item = Range<u64>>) -> Self {
        let mut sorted: Vec<_> = ranges.collect();
        sorted.sort_unstable_by_key(|range| range.start);
        let mut all: Vec<Range<u64>> = Vec::new();
        for range in sorted {
            match all.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => all.push(range),
            }
        }
        Self(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn has(&self, addr: u64) -> bool {
        let at = self.0.partition_point(|range| range.end <= addr);
        self.0.get(at).is_some_and(|range| range.start <= addr)
    }

    /// From the lowest to the highest.
    fn hull(&self) -> Range<u64> {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }
}

/// Calls `visit` with the place and the address of each mention of something `wanted` in `code`, which begins at `start`.
/// Its first [`BEFORE`] and last [`AFTER`] bytes are only looked at for what lies between.
pub(super) fn find(start: u64, code: &[u8], wanted: &Wanted, mut visit: impl FnMut(u64, u64)) {
    let hull = wanted.hull();
    each_relative(code, |at, bytes| {
        let Some(number) = number_bytes(bytes[0], bytes[1], bytes[2]) else {
            return;
        };
        let distance = i32::from_le_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
        let place = start.wrapping_add((at + BEFORE) as u64);
        let target = place
            .wrapping_add(4 + number)
            .wrapping_add_signed(distance.into());
        if hull.contains(&target) && wanted.has(target) {
            visit(place, target);
        }
    });
}

/// Calls `visit` with each stretch of `code` whose last byte before the distance says "so far from the next
/// instruction": mod 0 and base 5. Eight bytes are looked at together, as one in thirty is such a byte.
fn each_relative(code: &[u8], mut visit: impl FnMut(usize, &[u8; BEFORE + AFTER])) {
    const LANES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7f * LANES;
    for (step, bytes) in code
        .get(BEFORE - 1..)
        .unwrap_or_default()
        .chunks(8)
        .enumerate()
    {
        // The last few are padded with what is no such byte.
        let mut lanes = [0; 8];
        lanes[..bytes.len()].copy_from_slice(bytes);
        let others = (u64::from_le_bytes(lanes) & (0xc7 * LANES)) ^ (0x05 * LANES);
        // The highest bit of each byte that is zero, and no other.
        let mut found = !(((others & LOW) + LOW) | others | LOW);
        while found != 0 {
            let at = 8 * step + found.trailing_zeros() as usize / 8;
            found &= found - 1;
            if let Some(bytes) = code.get(at..).and_then(|rest| rest.first_chunk()) {
                visit(at, bytes);
            }
        }
    }
}

/// The bytes of the number that follows the distance, for instructions that compilers write. `before` the opcode there
/// may be an escape to opcodes of two bytes.
fn number_bytes(before: u8, opcode: u8, mod_rm: u8) -> Option<u64> {
    const ESCAPE: u8 = 0x0f;
    if before == ESCAPE {
        return Some(0);
    }
    let register = mod_rm >> 3 & 7;
    match opcode {
        // Arithmetic, both ways; tests, exchanges, moves, addresses; moves of halves.
        0x00..=0x03 | 0x08..=0x0b | 0x10..=0x13 | 0x18..=0x1b | 0x20..=0x23 | 0x28..=0x2b => {
            Some(0)
        }
        0x30..=0x33 | 0x38..=0x3b | 0x63 | 0x84..=0x8b | 0x8d | 0xd0..=0xd3 | 0xfe | 0xff => {
            Some(0)
        }
        0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 | 0x6b => Some(1),
        0x81 | 0xc7 | 0x69 => Some(4),
        // A test has a number, what else these do has none.
        0xf6 => Some(u64::from(register < 2)),
        0xf7 => Some(if register < 2 { 4 } else { 0 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_name_addresses() {
        // Assembled by hand; each names 0x2000 from 0x1000 on.
        let rows: &[(&str, &[u8], u64)] = &[
            ("lea rax, [rip+d]", &[0x48, 0x8d, 0x05], 7),
            ("mov rcx, [rip+d]", &[0x48, 0x8b, 0x0d], 7),
            ("mov [rip+d], r9", &[0x4c, 0x89, 0x0d], 7),
            ("cmp dword [rip+d], 0", &[0x90, 0x83, 0x3d], 8),
            ("mov qword [rip+d], 0", &[0x48, 0xc7, 0x05], 11),
            ("movups xmm0, [rip+d]", &[0x0f, 0x10, 0x05], 7),
            ("test byte [rip+d], 1", &[0x90, 0xf6, 0x05], 8),
            ("not qword [rip+d]", &[0x48, 0xf7, 0x15], 7),
        ];
        let wanted = Wanted::new(std::iter::once(0x2000..0x2001));
        for (name, bytes, len) in rows {
            let mut code = bytes.to_vec();
            code.extend_from_slice(&(0x1000 - *len as i32).to_le_bytes());
            code.resize(BEFORE + AFTER, 0);
            let mut found = Vec::new();
            find(0x1000, &code, &wanted, |place, target| {
                found.push((place, target));
            });
            assert_eq!(found, [(0x1003, 0x2000)], "{name}");
        }
        let mut call = vec![0x90, 0x90, 0xe8];
        call.extend_from_slice(&0xff9u32.to_le_bytes());
        call.resize(BEFORE + AFTER, 0);
        find(0x1000, &call, &wanted, |_, _| panic!("a call"));
    }

    #[test]
    fn the_byte_of_a_distance_is_found_at_every_place() {
        // Bytes that look random, and runs of what differs from it in one bit.
        let mut state = 1u32;
        let mut code: Vec<u8> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        code.extend([0x05, 0x04, 0x3d, 0x3c, 0x85, 0x45, 0x0d, 0x05, 0x06, 0x05].repeat(9));
        for len in (0..40).chain([code.len() - 1, code.len()]) {
            let code = &code[code.len() - len..];
            let mut found = Vec::new();
            each_relative(code, |at, bytes| found.push((at, *bytes)));
            let windows = code.array_windows().copied().enumerate();
            let want = windows.filter(|(_, bytes)| bytes[BEFORE - 1] & 0xc7 == 0x05);
            assert_eq!(found, want.collect::<Vec<_>>(), "of {len} bytes");
        }
    }

    #[test]
    fn stretches_are_joined() {
        let wanted = Wanted::new([10..12, 30..40, 12..20, 35..36].into_iter());
        assert_eq!(wanted.0, [10..20, 30..40]);
        let has = |addr| wanted.has(addr);
        assert!(has(10) && has(19) && has(39) && !has(9) && !has(20) && !has(40));
        assert!(Wanted::default().is_empty() && !Wanted::default().has(0));
    }
}
