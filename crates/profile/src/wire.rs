//! The protocol-buffer wire format, both ways: fields, varints, lengths.
//! Source: <https://protobuf.dev/programming-guides/encoding/>. Groups are refused: no profile has
//! them.

use crate::ProfileError;

/// Reads the fields of one message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` starts in the whole input; for errors only.
    base: usize,
}

/// One field: its number, and what it holds.
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    pub(crate) offset: usize,
    pub(crate) value: Value<'a>,
}

pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(Reader<'a>),
    /// Fixed 32 or 64 bits, with the wire type: no field of a profile is of this kind.
    Fixed(u8),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            base: 0,
        }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn offset(&self) -> usize {
        self.base + self.at
    }

    /// The next varint.
    pub(crate) fn varint(&mut self) -> Result<u64, ProfileError> {
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, ProfileError> {
        let rest = &self.bytes[self.at..];
        let mut value = 0;
        for (position, &byte) in rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                if position == 9 && byte > 1 {
                    break;
                }
                self.at += position + 1;
                return Ok(value);
            }
        }
        Err(ProfileError::Varint {
            offset: self.offset(),
        })
    }

    /// The next `len` bytes. `len` may come from the input: it's compared, never added.
    fn take(&mut self, len: u64) -> Result<Self, ProfileError> {
        let rest = &self.bytes[self.at..]; // at <= bytes.len(): only varint and take move it.
        let fits = usize::try_from(len).ok().filter(|&len| len <= rest.len());
        let Some(len) = fits else {
            let (offset, found) = (self.offset(), rest.len());
            return Err(ProfileError::Truncated {
                offset,
                expected: len,
                found,
            });
        };
        let taken = Self {
            bytes: &rest[..len],
            at: 0,
            base: self.offset(),
        };
        self.at += len;
        Ok(taken)
    }

    /// The next field, `None` at the end of the message.
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, ProfileError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let offset = self.offset();
        let key = self.varint()?;
        let (number, wire_type) = (key >> 3, (key & 7) as u8);
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            1 => self.take(8).map(|_| Value::Fixed(1))?,
            5 => self.take(4).map(|_| Value::Fixed(5))?,
            _ => {
                return Err(ProfileError::WireType {
                    offset,
                    field: number,
                    wire_type,
                });
            }
        };
        if number == 0 {
            return Err(ProfileError::WireType {
                offset,
                field: 0,
                wire_type,
            });
        }
        Ok(Some(Field {
            number,
            offset,
            value,
        }))
    }
}

impl<'a> Field<'a> {
    fn wrong(&self) -> ProfileError {
        let wire_type = match self.value {
            Value::Varint(_) => 0,
            Value::Bytes(_) => 2,
            Value::Fixed(wire_type) => wire_type,
        };
        ProfileError::WireType {
            offset: self.offset,
            field: self.number,
            wire_type,
        }
    }

    pub(crate) fn u64(&self) -> Result<u64, ProfileError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.wrong()),
        }
    }

    pub(crate) fn i64(&self) -> Result<i64, ProfileError> {
        self.u64().map(|value| value as i64)
    }

    pub(crate) fn message(&self) -> Result<Reader<'a>, ProfileError> {
        match self.value {
            Value::Bytes(reader) => Ok(reader),
            _ => Err(self.wrong()),
        }
    }

    /// Every number of a repeated field: one of the unpacked form, or all of the packed one.
    pub(crate) fn each(
        &self,
        mut on_value: impl FnMut(u64) -> Result<(), ProfileError>,
    ) -> Result<(), ProfileError> {
        match self.value {
            Value::Varint(value) => on_value(value),
            Value::Bytes(mut packed) => {
                while !packed.is_at_end() {
                    on_value(packed.varint()?)?;
                }
                Ok(())
            }
            Value::Fixed(_) => Err(self.wrong()),
        }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number field, unless it is 0, the default.
pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_varint(out, number << 3);
        put_varint(out, value);
    }
}

/// Appends a field of bytes: a message, a string or packed numbers.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_at_most_64_bits() {
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let rows: [(&str, &[u8], Option<u64>); 7] = [
            ("one byte", &[0x7f], Some(127)),
            ("two bytes", &[0x80, 0x01], Some(128)),
            ("padded zero", &[0x80, 0x00], Some(0)),
            ("the largest", &max, Some(u64::MAX)),
            (
                "65 bits",
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                None,
            ),
            ("no end", &[0x80; 11], None),
            ("nothing", &[], None),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(Reader::new(bytes).varint().ok(), expected, "{name}");
        }
    }

    #[test]
    fn lengths_are_compared() {
        let mut huge = vec![0x0a];
        put_varint(&mut huge, 1 << 63);
        let rows: [(&str, &[u8], bool); 7] = [
            ("bytes", &[0x0a, 0x01, 0x00], true),
            ("fixed64", &[0x09, 0, 0, 0, 0, 0, 0, 0, 0], true),
            ("cut fixed32", &[0x0d, 0, 0, 0], false),
            ("one byte short", &[0x0a, 0x02, 0x00], false),
            ("2^63 bytes", &huge, false),
            ("a group", &[0x0b], false),
            ("field 0", &[0x00, 0x00], false),
        ];
        for (name, bytes, ok) in rows {
            assert_eq!(Reader::new(bytes).field().is_ok(), ok, "{name}");
        }
    }
}
