//! Bit strings, least significant bit first, and packed integers with exceptions.

use crate::bytes::{Malformed, Reader, put_varint, varint_len};

/// Appends bits to a byte vector.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    held: u128,
    held_bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            held: 0,
            held_bits: 0,
        }
    }

    /// The low `width` bits of `value`; `width` is at most 64, higher bits must be zero.
    pub(crate) fn push(&mut self, value: u64, width: u32) {
        self.held |= u128::from(value) << self.held_bits;
        self.held_bits += width;
        while self.held_bits >= 8 {
            self.out.push(self.held as u8);
            self.held >>= 8;
            self.held_bits -= 8;
        }
    }

    /// Fills the last byte with zeros.
    pub(crate) fn finish(self) {
        if self.held_bits > 0 {
            self.out.push(self.held as u8);
        }
    }
}

/// Reads what [`BitWriter`] wrote.
pub(crate) struct BitReader<'a> {
    bytes: Reader<'a>,
    held: u128,
    held_bits: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: Reader<'a>) -> Self {
        Self {
            bytes,
            held: 0,
            held_bits: 0,
        }
    }

    /// The next `width` bits, at most 64.
    pub(crate) fn take(&mut self, width: u32) -> Result<u64, Malformed> {
        while self.held_bits < width {
            self.held |= u128::from(self.bytes.byte()?) << self.held_bits;
            self.held_bits += 8;
        }
        let value = (self.held & low_bits(width)) as u64;
        self.held >>= width;
        self.held_bits -= width;
        Ok(value)
    }
}

fn low_bits(width: u32) -> u128 {
    (1_u128 << width) - 1
}

fn significant_bits(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Writes `values` with the width that makes them smallest: a width byte, an exception count byte,
/// the low bits of all values, then for each value that is wider its position (a byte) and its
/// remaining high bits (a varint). At most 256 values, so that a position is a byte.
pub(crate) fn pack(values: &[u64], out: &mut Vec<u8>) {
    let width = best_width(values);
    let wide: Vec<usize> = (0..values.len())
        .filter(|&at| significant_bits(values[at]) > width)
        .collect();
    out.push(width as u8);
    out.push(wide.len() as u8);
    let mut bits = BitWriter::new(out);
    for &value in values {
        bits.push((u128::from(value) & low_bits(width)) as u64, width);
    }
    bits.finish();
    for at in wide {
        out.push(at as u8);
        put_varint(out, values[at] >> width);
    }
}

/// Reads `count` values that [`pack`] wrote.
pub(crate) fn unpack(bytes: &mut Reader<'_>, count: usize) -> Result<Vec<u64>, Malformed> {
    let width = u32::from(bytes.byte()?);
    if width > 64 {
        return Err(Malformed("width over 64 bits"));
    }
    let wide = bytes.byte()?;
    let packed = bytes.take((count * width as usize).div_ceil(8))?;
    let mut bits = BitReader::new(Reader::new(packed));
    let mut values = (0..count)
        .map(|_| bits.take(width))
        .collect::<Result<Vec<u64>, Malformed>>()?;
    for _ in 0..wide {
        let at = usize::from(bytes.byte()?);
        let high = bytes.varint()?;
        let value = values.get_mut(at).ok_or(Malformed("exception outside"))?;
        if width == 64 || significant_bits(high) + width > 64 {
            return Err(Malformed("exception over 64 bits"));
        }
        *value |= high << width;
    }
    Ok(values)
}

/// The width with the smallest result. An exception count is a byte, so at most 255 are allowed.
fn best_width(values: &[u64]) -> u32 {
    let mut of_bits = [0_u32; 65];
    for &value in values {
        of_bits[significant_bits(value) as usize] += 1;
    }
    let widest = (0..65).rev().find(|&bits| of_bits[bits] > 0).unwrap_or(0) as u32;
    let cost = |width: u32| {
        let mut bits = values.len() as u32 * width;
        let mut exceptions = 0;
        for wide in width + 1..=widest {
            exceptions += of_bits[wide as usize];
            bits += of_bits[wide as usize] * 8 * (1 + varint_len(wide - width));
        }
        (exceptions > 255, bits)
    };
    (0..=widest).min_by_key(|&width| cost(width)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_values_come_back(
            values in prop::collection::vec(
                prop_oneof![9 => 0..100_u64, 1 => any::<u64>()], 0..=240),
        ) {
            let mut out = Vec::new();
            pack(&values, &mut out);
            out.push(0xaa);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(unpack(&mut reader, values.len()), Ok(values));
            prop_assert_eq!(reader.byte(), Ok(0xaa), "reads exactly what was written");
        }

        #[test]
        fn garbage_is_refused_or_read(bytes: Vec<u8>, count in 0..=240_usize) {
            if let Ok(values) = unpack(&mut Reader::new(&bytes), count) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }

    #[test]
    fn one_outlier_does_not_widen_the_others() {
        let mut values = [1_u64; 240];
        values[7] = 1 << 40;
        let mut out = Vec::new();
        pack(&values, &mut out);
        assert!(out.len() < 2 + 30 + 8, "{} bytes", out.len());
    }
}
