//! A table that tells a value for each instruction of a function: stack depth, file, line, stack map.
//!
//! Format: pairs of variable-length numbers, value step (zigzag) and length of the code that the new value holds
//! for, in quanta. The value before the first pair is -1; a value step of zero ends the table, except in the
//! first pair. The comment above `funcpctab` in `cmd/internal/obj/pcln.go` has it.

/// The value of the table at `offset` of `pctab` for the instruction `from_entry` bytes into the function.
/// `-1` without a table (offset zero), outside it, where it is cut, and where it has more than `pairs_max` pairs.
pub(super) fn pc_value(
    pctab: &[u8],
    offset: u32,
    quantum: u8,
    from_entry: u64,
    pairs_max: usize,
) -> i32 {
    if offset == 0 {
        return -1;
    }
    let mut rest = pctab.get(offset as usize..).unwrap_or(&[]);
    let (mut value, mut end) = (-1_i32, 0_u64);
    for pair in 0..pairs_max {
        let Some(step) = number(&mut rest).filter(|&step| step != 0 || pair == 0) else {
            break;
        };
        value = value.wrapping_add((step >> 1) as i32 ^ -((step & 1) as i32));
        let Some(length) = number(&mut rest) else {
            break;
        };
        end = end.saturating_add(u64::from(length) * u64::from(quantum));
        if from_entry < end {
            return value;
        }
    }
    -1
}

/// The next number: seven bits a byte, the lowest first, the top bit on all but the last.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let (&first, tail) = rest.split_first()?;
    *rest = tail;
    if first < 0x80 {
        return Some(first.into());
    }
    let mut value = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_for_their_code_and_a_broken_table_holds_none() {
        // From -1: +1 for 3 quanta, +8 for 200, -9 for 1, then the end.
        let table = [0xff, 2, 3, 16, 0xc8, 1, 17, 1, 0, 9, 9];
        let rows = [
            ("the first value", 1, 1, 0, 0),
            ("its last byte", 1, 1, 2, 0),
            ("the second", 1, 1, 3, 8),
            ("a length of two bytes", 1, 1, 202, 8),
            ("the third", 1, 1, 203, -1),
            ("behind the table", 1, 1, 204, -1),
            ("far behind", 1, 1, u64::MAX, -1),
            ("quanta of four bytes", 1, 4, 12, 8),
            ("quanta of four bytes, before", 1, 4, 11, 0),
            ("no table", 0, 1, 0, -1),
            ("an offset past all tables", 99, 1, 0, -1),
            ("cut in a number", 5, 1, 300, -1),
        ];
        for (name, offset, quantum, from_entry, want) in rows {
            assert_eq!(
                pc_value(&table, offset, quantum, from_entry, 9),
                want,
                "{name}"
            );
        }
        // A first step of zero is a value of -1 for a while, not the end.
        assert_eq!(pc_value(&[0, 0, 2, 4, 5], 1, 1, 3, 9), 1);
        assert_eq!(number(&mut &[0xff; 8][..]), None, "longer than any number");
        assert_eq!(
            number(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]),
            Some(u32::MAX)
        );
    }

    #[test]
    fn a_table_that_never_advances_ends() {
        let table = [&[0], [2, 0].repeat(50).as_slice(), &[2, 9]].concat();
        assert_eq!(pc_value(&table, 1, 1, 0, 50), -1);
        assert_eq!(pc_value(&table, 1, 1, 0, 51), 50);
    }
}
