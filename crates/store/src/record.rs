//! What is written under the keys: labels of a series, the state of its head, journal records.
//!
//! Layouts in `docs/format/store.md`; each begins with a version byte.

use model::{Labels, Sample, UnixMs};

use crate::bytes::{Malformed, Reader, put_varint, zigzag};
use crate::codec;

const VERSION: u8 = 1;

/// The key of a series, everywhere.
pub(crate) type SeriesId = u32;

/// `id`, big-endian, so that keys sort by id.
pub(crate) fn series_key(id: SeriesId) -> [u8; 4] {
    id.to_be_bytes()
}

pub(crate) fn parse_series_key(key: &[u8]) -> Result<SeriesId, Malformed> {
    let key = key.try_into().map_err(|_| Malformed("series key"))?;
    Ok(SeriesId::from_be_bytes(key))
}

/// `id`, then the chunk's last time with its sign bit flipped: big-endian, so that keys sort by
/// series and time, and a read that begins at a time finds the chunk that still reaches it.
pub(crate) fn chunk_key(id: SeriesId, last: UnixMs) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&(last.0 as u64 ^ 1 << 63).to_be_bytes());
    key
}

/// The series of a chunk's key.
pub(crate) fn parse_chunk_key(key: &[u8]) -> Result<SeriesId, Malformed> {
    parse_series_key(key.get(..4).unwrap_or(key))
}

/// When a chunk ends, by its key.
pub(crate) fn parse_chunk_time(key: &[u8]) -> Result<UnixMs, Malformed> {
    let time = key.get(4..).and_then(|time| time.try_into().ok());
    let time = u64::from_be_bytes(time.ok_or(Malformed("chunk key"))?);
    Ok(UnixMs((time ^ 1 << 63) as i64))
}

fn versioned() -> Vec<u8> {
    vec![VERSION]
}

fn check_version<'a>(bytes: &'a [u8]) -> Result<Reader<'a>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != VERSION {
        return Err(Malformed("record version unknown"));
    }
    Ok(reader)
}

pub(crate) fn put_labels(labels: &Labels) -> Vec<u8> {
    let mut out = versioned();
    put_varint(&mut out, labels.len() as u64);
    for (name, value) in labels.iter() {
        for text in [name, value] {
            put_varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

pub(crate) fn take_labels(bytes: &[u8]) -> Result<Labels, Malformed> {
    let mut reader = check_version(bytes)?;
    let count = reader.varint()?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let mut text = || {
            let len = usize::try_from(reader.varint()?).map_err(|_| Malformed("text length"))?;
            let text = std::str::from_utf8(reader.take(len)?);
            text.map_err(|_| Malformed("text not UTF-8"))
        };
        pairs.push((text()?, text()?));
    }
    Ok(Labels::new(pairs))
}

/// The last time a series has, sealed or not, and its samples that are in no sealed chunk yet.
pub(crate) fn put_head(last: UnixMs, open: &[Sample]) -> Vec<u8> {
    let mut out = versioned();
    put_varint(&mut out, zigzag(last.0));
    if !open.is_empty() {
        out.extend_from_slice(&codec::encode(open));
    }
    out
}

pub(crate) fn take_head(bytes: &[u8]) -> Result<(UnixMs, Vec<Sample>), Malformed> {
    let mut reader = check_version(bytes)?;
    let last = UnixMs(reader.zigzag()?);
    if reader.is_empty() {
        return Ok((last, Vec::new()));
    }
    Ok((last, codec::decode(reader.rest())?))
}

/// One append batch: first sample's time, then per sample the id's step, the time's step, and the
/// value: small integers as a varint, all others as eight bytes.
pub(crate) fn put_batch(samples: &[(SeriesId, Sample)]) -> Vec<u8> {
    let mut out = versioned();
    let (mut last_id, mut last_t) = (0_i64, 0_i64);
    for (id, sample) in samples {
        let integer = sample.v as i64;
        let short =
            integer.unsigned_abs() < 1 << 47 && (integer as f64).to_bits() == sample.v.to_bits();
        let step = zigzag(i64::from(*id) - last_id);
        put_varint(&mut out, step << 1 | u64::from(short));
        put_varint(&mut out, zigzag(sample.t.0.wrapping_sub(last_t)));
        if short {
            put_varint(&mut out, zigzag(integer));
        } else {
            out.extend_from_slice(&sample.v.to_bits().to_le_bytes());
        }
        (last_id, last_t) = (i64::from(*id), sample.t.0);
    }
    out
}

pub(crate) fn take_batch(bytes: &[u8]) -> Result<Vec<(SeriesId, Sample)>, Malformed> {
    let mut reader = check_version(bytes)?;
    let mut samples = Vec::new();
    let (mut id, mut t) = (0_i64, 0_i64);
    while !reader.is_empty() {
        let step = reader.varint()?;
        id = id
            .checked_add(crate::bytes::unzigzag(step >> 1))
            .ok_or(Malformed("series id"))?;
        t = t.wrapping_add(reader.zigzag()?);
        let v = if step & 1 == 1 {
            reader.zigzag()? as f64
        } else {
            f64::from_bits(reader.u64_le()?)
        };
        let id = SeriesId::try_from(id).map_err(|_| Malformed("series id"))?;
        samples.push((id, Sample { t: UnixMs(t), v }));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(samples: &[(SeriesId, Sample)]) -> Vec<(SeriesId, i64, u64)> {
        let samples = samples.iter();
        samples.map(|(id, s)| (*id, s.t.0, s.v.to_bits())).collect()
    }

    proptest! {
        #[test]
        fn batches_come_back(
            rows in prop::collection::vec(
                (any::<u32>(), any::<i64>(), prop_oneof![any::<u64>(), Just(5_f64.to_bits())]),
                0..50),
        ) {
            let samples: Vec<_> = rows
                .into_iter()
                .map(|(id, t, v)| (id, Sample { t: UnixMs(t), v: f64::from_bits(v) }))
                .collect();
            prop_assert_eq!(bits(&take_batch(&put_batch(&samples)).unwrap()), bits(&samples));
        }

        #[test]
        fn labels_come_back(pairs in prop::collection::vec((".{1,9}", ".{0,9}"), 0..9)) {
            let labels = Labels::new(pairs);
            prop_assert_eq!(take_labels(&put_labels(&labels)), Ok(labels));
        }

        #[test]
        fn garbage_is_refused_or_read(mut bytes: Vec<u8>) {
            bytes.insert(0, VERSION);
            let _ = (take_batch(&bytes), take_labels(&bytes), take_head(&bytes));
        }

        #[test]
        fn chunk_keys_sort_by_series_and_time(
            a in (any::<u32>(), any::<i64>()), b in (any::<u32>(), any::<i64>()),
        ) {
            let key = |(id, t)| chunk_key(id, UnixMs(t));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }
    }

    #[test]
    fn a_newer_record_is_refused() {
        assert!(take_labels(&[VERSION + 1, 0]).is_err());
        assert!(take_head(&[]).is_err());
    }
}
