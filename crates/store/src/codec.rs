//! The chunk: up to 240 samples of one series, as small as their kind allows.
//!
//! Layout in `docs/format/store.md`. Every round trip is exact to the bit, NaN payloads and the
//! sign of zero included.

use model::{Sample, UnixMs};

use crate::bits::{BitReader, BitWriter, pack, unpack};
use crate::bytes::{Malformed, Reader, put_varint, unzigzag, zigzag};

/// A chunk is sealed when it holds this many samples.
pub(crate) const CHUNK_SAMPLES: usize = 240;

/// The high nibble of a chunk's first byte.
const VERSION: u8 = 1;

/// The bit of the first byte that says "all time steps are equal".
const REGULAR: u8 = 0b1000;

/// How the values are written: the low three bits of the first byte.
const CONSTANT: u8 = 0;
const INTEGER: u8 = 1;
const DECIMAL: u8 = 2;
const XOR: u8 = 3;

/// Decimal places that are tried: CPU seconds have two, durations three, six or nine.
const DECIMALS: [u8; 5] = [1, 2, 3, 6, 9];

/// What a chunk's front tells without decoding the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) count: usize,
    pub(crate) first: UnixMs,
}

/// Encodes 1 to 256 samples in strictly increasing order of time.
pub(crate) fn encode(samples: &[Sample]) -> Vec<u8> {
    debug_assert!((1..=256).contains(&samples.len()));
    let mut out = vec![0, (samples.len() - 1) as u8];
    put_varint(&mut out, zigzag(samples[0].t.0));
    let regular = put_times(samples, &mut out);
    let kind = put_values(samples, &mut out);
    out[0] = VERSION << 4 | if regular { REGULAR } else { 0 } | kind;
    out
}

/// Decodes a chunk.
///
/// # Errors
/// [`Malformed`], whatever the bytes are; never a panic.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Sample>, Malformed> {
    let (mut reader, first_byte, header) = open(bytes)?;
    let times = take_times(&mut reader, first_byte & REGULAR != 0, header)?;
    let values = take_values(reader, first_byte & 0b111, header.count)?;
    let samples = times.into_iter().zip(values);
    Ok(samples.map(|(t, v)| Sample { t, v }).collect())
}

/// How many samples a chunk has and where it begins.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Malformed> {
    open(bytes).map(|(_, _, header)| header)
}

fn open(bytes: &[u8]) -> Result<(Reader<'_>, u8, Header), Malformed> {
    let mut reader = Reader::new(bytes);
    let first_byte = reader.byte()?;
    if first_byte >> 4 != VERSION {
        return Err(Malformed("chunk version unknown"));
    }
    let count = usize::from(reader.byte()?) + 1;
    let first = UnixMs(reader.zigzag()?);
    Ok((reader, first_byte, Header { count, first }))
}

/// True when one step says it all.
fn put_times(samples: &[Sample], out: &mut Vec<u8>) -> bool {
    // The difference of two ordered i64 always fits u64.
    let steps: Vec<u64> = samples
        .windows(2)
        .map(|pair| pair[1].t.0.wrapping_sub(pair[0].t.0) as u64)
        .collect();
    let least = steps.iter().min().copied().unwrap_or(1);
    put_varint(out, least);
    let regular = steps.iter().all(|&step| step == least);
    if !regular {
        let above: Vec<u64> = steps.iter().map(|step| step - least).collect();
        pack(&above, out);
    }
    regular
}

fn take_times(
    reader: &mut Reader<'_>,
    regular: bool,
    header: Header,
) -> Result<Vec<UnixMs>, Malformed> {
    let least = reader.varint()?;
    let above = if regular {
        vec![0; header.count - 1]
    } else {
        unpack(reader, header.count - 1)?
    };
    let mut times = Vec::with_capacity(header.count);
    let mut t = header.first.0;
    times.push(header.first);
    for above in above {
        let step = least
            .checked_add(above)
            .ok_or(Malformed("step overflows"))?;
        let next = t.checked_add_unsigned(step);
        let next = next.filter(|&next| next > t);
        t = next.ok_or(Malformed("times not increasing"))?;
        times.push(UnixMs(t));
    }
    Ok(times)
}

fn put_values(samples: &[Sample], out: &mut Vec<u8>) -> u8 {
    let first = samples[0].v.to_bits();
    if samples.iter().all(|sample| sample.v.to_bits() == first) {
        out.extend_from_slice(&first.to_le_bytes());
        return CONSTANT;
    }
    if let Some(integers) = all_integers(samples) {
        put_integers(&integers, out);
        return INTEGER;
    }
    for places in DECIMALS {
        if let Some(integers) = all_decimals(samples, places) {
            out.push(places);
            put_integers(&integers, out);
            return DECIMAL;
        }
    }
    put_xor(samples, out);
    XOR
}

fn take_values(mut reader: Reader<'_>, kind: u8, count: usize) -> Result<Vec<f64>, Malformed> {
    match kind {
        CONSTANT => Ok(vec![f64::from_bits(reader.u64_le()?); count]),
        INTEGER => {
            let integers = take_integers(&mut reader, count)?;
            Ok(integers.into_iter().map(|value| value as f64).collect())
        }
        DECIMAL => {
            let places = reader.byte()?;
            if !DECIMALS.contains(&places) {
                return Err(Malformed("decimal places unknown"));
            }
            let scale = 10_f64.powi(i32::from(places));
            let integers = take_integers(&mut reader, count)?;
            let values = integers.into_iter();
            Ok(values.map(|value| value as f64 / scale).collect())
        }
        XOR => take_xor(reader, count),
        _ => Err(Malformed("value encoding unknown")),
    }
}

/// The values as integers, if each is one that a double holds exactly and -0.0 is not among them.
fn all_integers(samples: &[Sample]) -> Option<Vec<i64>> {
    samples
        .iter()
        .map(|sample| exact_integer(sample.v))
        .collect()
}

fn exact_integer(value: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    let integer = value as i64;
    let same = value.abs() <= EXACT_MAX && (integer as f64).to_bits() == value.to_bits();
    same.then_some(integer)
}

/// The values times 10^places, if dividing those integers gives exactly the same doubles. It does
/// for every number that was parsed from a text with so few decimals: both are the double nearest
/// to the same decimal.
fn all_decimals(samples: &[Sample], places: u8) -> Option<Vec<i64>> {
    let scale = 10_f64.powi(i32::from(places));
    let scaled = |value: f64| {
        let integer = exact_integer((value * scale).round())?;
        let same = (integer as f64 / scale).to_bits() == value.to_bits();
        same.then_some(integer)
    };
    samples.iter().map(|sample| scaled(sample.v)).collect()
}

/// First value, greatest common divisor of the differences, packed zigzag differences. All values
/// are within 2^53, so differences fit.
fn put_integers(integers: &[i64], out: &mut Vec<u8>) {
    let deltas: Vec<i64> = integers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let divisor = deltas
        .iter()
        .fold(0, |divisor, delta| gcd(divisor, delta.unsigned_abs()));
    let divisor = divisor.max(1);
    put_varint(out, zigzag(integers[0]));
    put_varint(out, divisor);
    let quotients: Vec<u64> = deltas
        .iter()
        .map(|delta| zigzag(delta / divisor as i64))
        .collect();
    pack(&quotients, out);
}

fn take_integers(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    let mut value = reader.zigzag()?;
    let divisor = reader.varint()? as i64;
    let mut integers = Vec::with_capacity(count);
    integers.push(value);
    for quotient in unpack(reader, count - 1)? {
        value = unzigzag(quotient)
            .checked_mul(divisor)
            .and_then(|delta| value.checked_add(delta))
            .ok_or(Malformed("integer overflows"))?;
        integers.push(value);
    }
    Ok(integers)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The first value, then each value's XOR with the one before: `0` same; `1 0` within the window
/// of the last; `1 1` a new window of 5 bits leading zeros and 6 bits length less one. The method
/// of T. Pelkonen et al., "Gorilla", VLDB 2015, with one difference: an old window that is much
/// too wide is given up.
fn put_xor(samples: &[Sample], out: &mut Vec<u8>) {
    /// What a new window costs: its two fields.
    const WINDOW_BITS: u32 = 11;
    let mut previous = samples[0].v.to_bits();
    out.extend_from_slice(&previous.to_le_bytes());
    let mut bits = BitWriter::new(out);
    let mut window: Option<(u32, u32)> = None;
    for sample in &samples[1..] {
        let xor = sample.v.to_bits() ^ previous;
        previous = sample.v.to_bits();
        if xor == 0 {
            bits.push(0, 1);
            continue;
        }
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        let length = 64 - leading - trailing;
        let old = window.filter(|&(old_leading, old_length)| {
            let old_trailing = 64 - old_leading - old_length;
            let inside = leading >= old_leading && trailing >= old_trailing;
            inside && old_length <= length + WINDOW_BITS
        });
        if let Some((old_leading, old_length)) = old {
            bits.push(0b01, 2);
            bits.push(xor >> (64 - old_leading - old_length), old_length);
        } else {
            bits.push(0b11, 2);
            bits.push(u64::from(leading), 5);
            bits.push(u64::from(length - 1), 6);
            bits.push(xor >> trailing, length);
            window = Some((leading, length));
        }
    }
    bits.finish();
}

fn take_xor(mut reader: Reader<'_>, count: usize) -> Result<Vec<f64>, Malformed> {
    let mut value = reader.u64_le()?;
    let mut bits = BitReader::new(reader);
    let mut window: Option<(u32, u32)> = None;
    let mut values = Vec::with_capacity(count);
    values.push(f64::from_bits(value));
    for _ in 1..count {
        if bits.take(1)? == 1 {
            if bits.take(1)? == 1 {
                let leading = bits.take(5)? as u32;
                let length = bits.take(6)? as u32 + 1;
                if leading + length > 64 {
                    return Err(Malformed("window over 64 bits"));
                }
                window = Some((leading, length));
            }
            let (leading, length) = window.ok_or(Malformed("no window yet"))?;
            value ^= bits.take(length)? << (64 - leading - length);
        }
        values.push(f64::from_bits(value));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use model::series::stale_marker;
    use proptest::prelude::*;

    use super::*;

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        samples.iter().map(|s| (s.t.0, s.v.to_bits())).collect()
    }

    fn of(values: impl IntoIterator<Item = f64>) -> Vec<Sample> {
        let values = values.into_iter().enumerate();
        values
            .map(|(at, v)| Sample {
                t: UnixMs(1_795_300_200_000 + at as i64 * 15_000),
                v,
            })
            .collect()
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_i64..1_000).prop_map(|v| v as f64),
            (0..1_u64 << 55).prop_map(|v| v as f64),
            (0..1_000_000_u32).prop_map(|v| f64::from(v) / 100.0),
            Just(stale_marker()),
            Just(-0.0),
        ]
    }

    fn any_values() -> impl Strategy<Value = Vec<f64>> {
        prop_oneof![
            prop::collection::vec(any_value(), 1..=240),
            prop::collection::vec((-50_i64..50).prop_map(|v| v as f64 * 8192.0), 1..=240),
            prop::collection::vec((0..9_999_u32).prop_map(|v| f64::from(v) / 1000.0), 1..=240),
            (any_value(), 1..=240_usize).prop_map(|(v, n)| vec![v; n]),
        ]
    }

    fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
        let step = prop_oneof![5 => Just(15_000_u64), 2 => 1..20_000_u64, 1 => 1..1_u64 << 54];
        let steps = prop_oneof![
            prop::collection::vec(step, 240),
            (1..1_u64 << 54).prop_map(|step| vec![step; 240]),
        ];
        (any_values(), steps, any::<i64>()).prop_map(|(values, steps, start)| {
            let mut t = start.min(i64::MAX / 2);
            let pairs = values.into_iter().zip(steps);
            pairs
                .map(|(v, step)| {
                    t = t.saturating_add_unsigned(step);
                    Sample { t: UnixMs(t), v }
                })
                .collect::<Vec<_>>()
        })
    }

    proptest! {
        #[test]
        fn samples_come_back_bit_for_bit(mut samples in any_samples()) {
            samples.dedup_by_key(|sample| sample.t);
            let bytes = encode(&samples);
            prop_assert_eq!(bits(&decode(&bytes).unwrap()), bits(&samples));
            let header = header(&bytes).unwrap();
            prop_assert_eq!((header.count, header.first), (samples.len(), samples[0].t));
        }

        #[test]
        fn garbage_is_refused_or_read(mut bytes: Vec<u8>, kind in 0..16_u8) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION << 4 | kind;
            }
            if let Ok(samples) = decode(&bytes) {
                prop_assert!(samples.is_sorted_by(|a, b| a.t < b.t));
            }
        }

        #[test]
        fn a_truncated_chunk_is_refused(mut samples in any_samples(), cut in 0.0..1.0_f64) {
            samples.dedup_by_key(|sample| sample.t);
            let bytes = encode(&samples);
            let cut = (bytes.len() as f64 * cut) as usize;
            prop_assert!(decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn each_kind_of_series_takes_the_bytes_it_deserves() {
        let rows: [(&str, Vec<f64>, u8, usize); 6] = [
            ("constant", vec![42.0; 240], CONSTANT, 18),
            ("constant NaN", vec![stale_marker(); 240], CONSTANT, 18),
            (
                "gauge of goroutines",
                (0..240).map(|i| f64::from(40 + i % 4)).collect(),
                INTEGER,
                110,
            ),
            (
                "heap in pages",
                (0..240).map(|i| f64::from(i * i % 7) * 8192.0).collect(),
                INTEGER,
                140,
            ),
            (
                "CPU seconds",
                (0..240).map(|i| f64::from(i * 13) / 100.0).collect(),
                DECIMAL,
                160,
            ),
            (
                "sines",
                (0..240).map(|i| f64::from(i).sin() + 9.0).collect(),
                XOR,
                1_800,
            ),
        ];
        for (name, values, kind, bytes_max) in rows {
            let bytes = encode(&of(values));
            assert_eq!(bytes[0] & 0b111, kind, "{name}");
            assert!(bytes.len() <= bytes_max, "{name}: {} bytes", bytes.len());
        }
    }

    #[test]
    fn the_format_is_what_the_page_says() {
        // Version 1, regular, integer; 3 samples; t = 1000; step 5; first 10, divisor 2, width 2,
        // no exception, quotients zigzag(1) = 2 and zigzag(-1) = 1.
        let samples = [(1000, 10.0), (1005, 12.0), (1010, 10.0)];
        let samples = samples.map(|(t, v)| Sample { t: UnixMs(t), v });
        let bytes = [0x19, 2, 0xd0, 0x0f, 5, 20, 2, 2, 0, 0b0110];
        assert_eq!(encode(&samples), bytes);
        assert_eq!(decode(&bytes), Ok(samples.to_vec()));
    }
}
