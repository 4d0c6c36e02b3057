//! Which words of a value are pointers, by its type descriptor (`abi.Type`) in the target.

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits;
use crate::memory::{Memory, le64};

/// Bytes of `abi.Type`, the same in Go 1.21 to 1.27.
const TYPE_BYTES: u64 = 48;
/// `abi.TFlagGCMaskOnDemand`: the mask is made when it is first needed, and `GCData` points to its address.
const MASK_ON_DEMAND: u8 = 1 << 4;
/// Bit of the kind, up to Go 1.23: `GCData` is a program that makes the mask.
const MASK_BY_PROGRAM: u8 = 1 << 6;
/// Kinds, as `reflect.Kind`.
const ARRAY: u8 = 17;
const STRUCT: u8 = 25;
/// How deep arrays and structs may lie in one another.
const DEPTH_MAX: u32 = 64;

/// The pointers of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeMask {
    /// The size of a value.
    pub(crate) bytes: u64,
    /// One bit a word, up to the last pointer.
    pub(crate) words: Vec<u64>,
}

/// Masks by the address of their type; each is read once.
#[derive(Debug, Default)]
pub(crate) struct TypeMasks {
    masks: HashMap<u64, Option<Arc<TypeMask>>>,
    bytes: u64,
}

impl TypeMasks {
    /// The mask of the type at `addr`, `Some(None)` if it could not be read; `None` if that was not tried.
    pub(crate) fn get(&self, addr: u64) -> Option<Option<Arc<TypeMask>>> {
        self.masks.get(&addr).cloned()
    }

    /// Types that could not be read or contradict themselves.
    pub(crate) fn unknown(&self) -> usize {
        self.masks.values().filter(|mask| mask.is_none()).count()
    }

    /// Reads the type at `addr`, if it hasn't been.
    pub(crate) fn load(&mut self, memory: &dyn Memory, addr: u64) {
        if addr == 0 || self.masks.contains_key(&addr) || self.masks.len() >= limits::HEAP_TYPES_MAX
        {
            return;
        }
        let mask = self.read(memory, addr);
        self.bytes += mask.as_ref().map_or(0, |mask| 8 * mask.words.len() as u64);
        self.masks.insert(addr, mask.map(Arc::new));
    }

    fn read(&self, memory: &dyn Memory, addr: u64) -> Option<TypeMask> {
        let descriptor = memory.bytes("type", addr, TYPE_BYTES, TYPE_BYTES).ok()?;
        let (bytes, pointer_bytes) = (le64(&descriptor, 0), le64(&descriptor, 8));
        let good =
            bytes > 0 && pointer_bytes > 0 && pointer_bytes <= bytes && pointer_bytes % 8 == 0;
        let words = pointer_bytes / 8;
        let left = limits::TYPE_MASKS_BYTES_MAX.saturating_sub(self.bytes);
        if !good || words.div_ceil(8) > left {
            return None;
        }
        let data = le64(&descriptor, 32);
        let data = match descriptor[20] & MASK_ON_DEMAND != 0 {
            true => memory.u64(data).ok()?,
            false => data,
        };
        if data == 0 || descriptor[23] & MASK_BY_PROGRAM != 0 {
            // Not made yet, as no cycle has needed it, or made anew each time. The type's parts say the same.
            let mut mask = vec![0; words.div_ceil(64) as usize];
            compose(memory, addr, 0, &mut mask, DEPTH_MAX)?;
            return Some(TypeMask { bytes, words: mask });
        }
        let raw = memory
            .bytes("type mask", data, words.div_ceil(8), left)
            .ok()?;
        let mut mask: Vec<u64> = raw
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_le_bytes(word)
            })
            .collect();
        if let (Some(last), extra @ 1..) = (mask.last_mut(), words % 64) {
            *last &= (1 << extra) - 1;
        }
        Some(TypeMask { bytes, words: mask })
    }
}

/// Sets the bits of the type at `addr`, whose value begins at word `at` of the mask: arrays and structs by their
/// parts, everything else by its own mask.
fn compose(memory: &dyn Memory, addr: u64, at: u64, mask: &mut [u64], depth: u32) -> Option<()> {
    let descriptor = memory.bytes("type", addr, 80, 80).ok()?;
    let (pointer_bytes, kind) = (le64(&descriptor, 8), descriptor[23] & 31);
    let has_mask = descriptor[20] & MASK_ON_DEMAND == 0 && descriptor[23] & MASK_BY_PROGRAM == 0;
    if pointer_bytes == 0 {
        return Some(());
    }
    if has_mask {
        let words = pointer_bytes / 8;
        let raw = memory
            .bytes(
                "type mask",
                le64(&descriptor, 32),
                words.div_ceil(8),
                8 * mask.len() as u64,
            )
            .ok()?;
        for word in (0..words).filter(|word| raw[*word as usize / 8] >> (word % 8) & 1 == 1) {
            set(mask, at + word)?;
        }
        return Some(());
    }
    if depth == 0 {
        return None;
    }
    match kind {
        ARRAY => {
            let (elem, count) = (le64(&descriptor, 48), le64(&descriptor, 64));
            let stride = memory.u64(elem).ok()? / 8;
            for index in 0..count.min(64 * mask.len() as u64) {
                compose(
                    memory,
                    elem,
                    at.checked_add(index.checked_mul(stride)?)?,
                    mask,
                    depth - 1,
                )?;
            }
        }
        STRUCT => {
            let (fields, count) = (le64(&descriptor, 56), le64(&descriptor, 64));
            let fields = memory
                .bytes("fields", fields, count.checked_mul(24)?, 24 * 4096)
                .ok()?;
            for field in fields.chunks_exact(24) {
                compose(
                    memory,
                    le64(field, 8),
                    at.checked_add(le64(field, 16) / 8)?,
                    mask,
                    depth - 1,
                )?;
            }
        }
        _ => return None,
    }
    Some(())
}

fn set(mask: &mut [u64], word: u64) -> Option<()> {
    *mask.get_mut(usize::try_from(word / 64).ok()?)? |= 1 << (word % 64);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pieces;

    fn descriptor(bytes: u64, pointer_bytes: u64, flags: u8, kind: u8, data: u64) -> Vec<u8> {
        let mut out = vec![0; 80];
        out[..8].copy_from_slice(&bytes.to_le_bytes());
        out[8..16].copy_from_slice(&pointer_bytes.to_le_bytes());
        (out[20], out[23]) = (flags, kind);
        out[32..40].copy_from_slice(&data.to_le_bytes());
        out
    }

    #[test]
    fn masks_are_read_or_made_from_parts() {
        let mut memory = Pieces::new();
        memory.put(0x1000, descriptor(24, 16, 0, STRUCT, 0x5000));
        memory.put(0x5000, [0b1111_1110]); // Bits past the last pointer belong to others.
        // [3]T whose mask nobody has asked for yet.
        let mut array = descriptor(72, 64, MASK_ON_DEMAND, ARRAY, 0x6000);
        array[48..56].copy_from_slice(&0x1000u64.to_le_bytes());
        array[64..72].copy_from_slice(&3u64.to_le_bytes());
        memory.put(0x2000, array).put(0x6000, [0; 8]);
        memory.put(0x3000, descriptor(16, 24, 0, STRUCT, 0x5000)); // More pointers than bytes.

        let mut masks = TypeMasks::default();
        for addr in [0x1000, 0x2000, 0x3000, 0x4000, 0] {
            masks.load(&memory, addr);
        }
        let mask = |addr| {
            let mask = masks.get(addr).flatten();
            mask.map(|mask| (mask.bytes, mask.words.clone()))
        };
        assert_eq!(mask(0x1000), Some((24, vec![0b10])));
        assert_eq!(mask(0x2000), Some((72, vec![0b1001_0010])));
        assert_eq!((mask(0x3000), mask(0x4000)), (None, None));
        assert_eq!(masks.unknown(), 2);
    }
}
