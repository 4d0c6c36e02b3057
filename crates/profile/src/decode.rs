//! profile.proto bytes to a [`Profile`], in two passes: the tables first (Go writes them after the
//! samples), then the samples, whose ids resolve at once and are never stored.

use crate::data::*;
use crate::table::StringsBuilder;
use crate::wire::Reader;
use crate::{Profile, ProfileError};
use std::io::Read;
use std::mem::size_of;

/// What a profile may cost. The defaults let a 200,000-sample profile of a large service pass many
/// times over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes after decompression.
    pub decompressed_bytes_max: usize,
    /// Bytes of the decoded arrays, the decompressed bytes not counted.
    pub memory_bytes_max: usize,
    /// Samples.
    pub samples_max: usize,
    /// Frames of all samples' stacks together, inlined ones counted: what every aggregation walks,
    /// and what an inlined location can multiply far beyond the input's size.
    pub frames_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decompressed_bytes_max: 512 << 20,
            memory_bytes_max: 1 << 30,
            samples_max: 8_000_000,
            frames_max: 128_000_000,
        }
    }
}

impl Limits {
    /// The same limits with at most this many decompressed bytes, and twice as much for the arrays.
    pub fn with_decompressed_bytes_max(mut self, bytes: usize) -> Self {
        self.decompressed_bytes_max = bytes;
        self.memory_bytes_max = bytes.saturating_mul(2);
        self
    }
}

impl Profile {
    /// Reads a profile: gzip (also of several members) or plain profile.proto. Text that is not
    /// UTF-8 gets replacement characters. Unknown fields are skipped.
    ///
    /// Cost: about a third of a second for 200,000 samples in 50 MB, most of it decompression;
    /// memory of the decompressed bytes while reading, and of the arrays.
    ///
    /// # Errors
    /// Every [`ProfileError`] but those of comparing; none leaves anything behind.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ProfileError> {
        match bytes {
            [] => Err(ProfileError::Empty),
            [0x1f, 0x8b, ..] => decode(&decompress(bytes, limits)?, limits),
            _ if bytes.len() > limits.decompressed_bytes_max => Err(too_many_bytes(limits)),
            _ => decode(bytes, limits),
        }
    }
}

fn too_many_bytes(limits: &Limits) -> ProfileError {
    ProfileError::TooLarge {
        what: "decompressed bytes",
        limit: limits.decompressed_bytes_max,
    }
}

fn decompress(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, ProfileError> {
    // The last four bytes say how long the last member is, modulo 2^32, unless they lie; deflate
    // cannot do better than 1032 to 1.
    let said = bytes
        .last_chunk()
        .map_or(0, |&last| u32::from_le_bytes(last) as usize);
    let room = said
        .min(limits.decompressed_bytes_max)
        .min(bytes.len().saturating_mul(1032));
    let mut out = Vec::with_capacity(room.saturating_add(64));
    let cap = limits.decompressed_bytes_max.saturating_add(1) as u64;
    let mut reader = flate2::bufread::MultiGzDecoder::new(bytes).take(cap);
    reader
        .read_to_end(&mut out)
        .map_err(|source| ProfileError::Gzip { source })?;
    if out.len() > limits.decompressed_bytes_max {
        return Err(too_many_bytes(limits));
    }
    Ok(out)
}

fn decode(raw: &[u8], limits: &Limits) -> Result<Profile, ProfileError> {
    if raw.is_empty() {
        return Err(ProfileError::Empty);
    }
    let mut decoder = Decoder::new(limits);
    match decoder.tables(raw).and_then(|()| decoder.resolve_strings()) {
        Ok(()) => {}
        Err(error) => return Err(text_form(raw).unwrap_or(error)),
    }
    decoder.samples(raw)?;
    Ok(decoder.profile)
}

/// Says so if the bytes that could not be read are text: Go's `debug=1` form, or an error page.
fn text_form(raw: &[u8]) -> Option<ProfileError> {
    let start = &raw[..raw.len().min(40)];
    let is_text = start
        .iter()
        .all(|&byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
    let starts = std::str::from_utf8(start).ok()?.lines().next()?.to_owned();
    is_text.then_some(ProfileError::Text { starts })
}

struct Decoder<'l> {
    limits: &'l Limits,
    profile: Profile,
    strings: StringsBuilder,
    /// The file's string indices to ours.
    string_ids: Vec<u32>,
    samples_len: usize,
    memory_left: usize,
    frames_left: usize,
    functions: Ids,
    mappings: Ids,
    locations: Ids,
}

impl<'l> Decoder<'l> {
    fn new(limits: &'l Limits) -> Self {
        let strings = StringsBuilder::new();
        Self {
            limits,
            profile: Profile::empty(strings.strings.clone()),
            strings,
            string_ids: Vec::new(),
            samples_len: 0,
            memory_left: limits.memory_bytes_max,
            frames_left: limits.frames_max,
            functions: Ids::default(),
            mappings: Ids::default(),
            locations: Ids::default(),
        }
    }

    /// Counts what is about to be kept against the limit.
    fn charge(&mut self, bytes: usize) -> Result<(), ProfileError> {
        let limit = self.limits.memory_bytes_max;
        let left = self.memory_left.checked_sub(bytes);
        self.memory_left = left.ok_or(ProfileError::TooLarge {
            what: "bytes of decoded tables",
            limit,
        })?;
        Ok(())
    }

    /// Everything but the samples, which are counted. Texts and ids are still the file's own.
    fn tables(&mut self, raw: &[u8]) -> Result<(), ProfileError> {
        let mut reader = Reader::new(raw);
        let mut has_time = false;
        while let Some(field) = reader.field()? {
            match field.number {
                1 => {
                    self.charge(size_of::<ValueType>())?;
                    self.profile
                        .sample_types
                        .push(value_type(field.message()?)?);
                }
                2 => {
                    field.message()?;
                    self.samples_len += 1;
                    if self.samples_len > self.limits.samples_max {
                        let limit = self.limits.samples_max;
                        return Err(ProfileError::TooLarge {
                            what: "samples",
                            limit,
                        });
                    }
                }
                3 => self.mapping(field.message()?)?,
                4 => self.location(field.message()?)?,
                5 => self.function(field.message()?)?,
                6 => self.string(field.message()?.bytes())?,
                7 => self.profile.drop_frames = index(field.u64()?)?,
                8 => self.profile.keep_frames = index(field.u64()?)?,
                9 if std::mem::replace(&mut has_time, true) => {
                    return Err(ProfileError::Concatenated {
                        offset: field.offset,
                    });
                }
                9 => self.profile.time_nanos = field.i64()?,
                10 => self.profile.duration_nanos = field.i64()?,
                11 => self.profile.period_type = Some(value_type(field.message()?)?),
                12 => self.profile.period = field.i64()?,
                13 => field.each(|value| {
                    self.charge(size_of::<u32>())?;
                    self.profile.comments.push(index(value)?);
                    Ok(())
                })?,
                14 => self.profile.default_sample_type = index(field.u64()?)?,
                15 => self.profile.doc_url = index(field.u64()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), ProfileError> {
        let text = String::from_utf8_lossy(bytes);
        if self.string_ids.is_empty() && !text.is_empty() {
            let found = text.chars().take(40).collect();
            return Err(ProfileError::FirstString { found });
        }
        // The number, the end, and the hash table's entry and up to four slots.
        self.charge(text.len() + 48)?;
        let id = self.strings.try_intern(&text);
        let too_large = ProfileError::TooLarge {
            what: "bytes of text",
            limit: u32::MAX as usize,
        };
        self.string_ids.push(id.ok_or(too_large)?);
        Ok(())
    }

    fn mapping(&mut self, mut reader: Reader<'_>) -> Result<(), ProfileError> {
        let mut mapping = MappingData::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => mapping.id = field.u64()?,
                2 => mapping.memory_start = field.u64()?,
                3 => mapping.memory_limit = field.u64()?,
                4 => mapping.file_offset = field.u64()?,
                5 => mapping.filename = index(field.u64()?)?,
                6 => mapping.build_id = index(field.u64()?)?,
                number @ 7..=10 => mapping.has[number as usize - 7] = field.u64()? != 0,
                _ => {}
            }
        }
        self.charge(size_of::<MappingData>() + ID_BYTES)?;
        self.profile.mappings.push(mapping);
        Ok(())
    }

    fn function(&mut self, mut reader: Reader<'_>) -> Result<(), ProfileError> {
        let mut function = FunctionData::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => function.id = field.u64()?,
                2 => function.name = index(field.u64()?)?,
                3 => function.system_name = index(field.u64()?)?,
                4 => function.filename = index(field.u64()?)?,
                5 => function.start_line = field.i64()?,
                _ => {}
            }
        }
        self.charge(size_of::<FunctionData>() + ID_BYTES)?;
        self.profile.functions.push(function);
        Ok(())
    }

    /// Locations come before functions in Go's files, so the ids they refer to wait in
    /// [`Ids::pending`] until [`Self::resolve_ids`].
    fn location(&mut self, mut reader: Reader<'_>) -> Result<(), ProfileError> {
        let lines_start = self.profile.lines.len() as u32;
        let (mut id, mut mapping_id, mut address, mut is_folded) = (0, 0, 0, false);
        while let Some(field) = reader.field()? {
            match field.number {
                1 => id = field.u64()?,
                2 => mapping_id = field.u64()?,
                3 => address = field.u64()?,
                4 => {
                    self.charge(size_of::<LineData>() + size_of::<u64>())?;
                    let (line, function_id) = line(field.message()?)?;
                    self.profile.lines.push(line);
                    self.functions.pending.push(function_id);
                }
                5 => is_folded = field.u64()? != 0,
                _ => {}
            }
        }
        self.charge(size_of::<LocationData>() + ID_BYTES + size_of::<u64>())?;
        let lines_end = self.profile.lines.len() as u32;
        let mapping = NO_MAPPING;
        let location = LocationData {
            id,
            address,
            mapping,
            lines_start,
            lines_end,
            is_folded,
        };
        self.profile.locations.push(location);
        self.mappings.pending.push(mapping_id);
        Ok(())
    }

    /// Puts our numbers in place of the file's string indices and of function and mapping ids.
    fn resolve_strings(&mut self) -> Result<(), ProfileError> {
        let profile = &mut self.profile;
        let ids = &self.string_ids;
        let text = |from: &'static str, index: &mut u32| match ids.get(*index as usize) {
            Some(&id) => {
                *index = id;
                Ok(())
            }
            // Without any string table there is still the empty string.
            None if *index == 0 => Ok(()),
            None => Err(ProfileError::UnknownId {
                from,
                what: "string",
                id: u64::from(*index),
            }),
        };
        for of in profile
            .sample_types
            .iter_mut()
            .chain(&mut profile.period_type)
        {
            text("a sample type", &mut of.name)?;
            text("a sample type", &mut of.unit)?;
        }
        for function in &mut profile.functions {
            text("a function", &mut function.name)?;
            text("a function", &mut function.system_name)?;
            text("a function", &mut function.filename)?;
        }
        for mapping in &mut profile.mappings {
            text("a mapping", &mut mapping.filename)?;
            text("a mapping", &mut mapping.build_id)?;
        }
        for comment in &mut profile.comments {
            text("a comment", comment)?;
        }
        text("`drop_frames`", &mut profile.drop_frames)?;
        text("`keep_frames`", &mut profile.keep_frames)?;
        text("`default_sample_type`", &mut profile.default_sample_type)?;
        text("`doc_url`", &mut profile.doc_url)?;
        profile.strings = std::mem::replace(&mut self.strings, StringsBuilder::new()).strings;
        self.resolve_ids()
    }

    fn resolve_ids(&mut self) -> Result<(), ProfileError> {
        let profile = &mut self.profile;
        self.functions
            .fill("function", profile.functions.iter().map(|of| of.id))?;
        self.mappings
            .fill("mapping", profile.mappings.iter().map(|of| of.id))?;
        self.locations
            .fill("location", profile.locations.iter().map(|of| of.id))?;
        for (line, &id) in profile.lines.iter_mut().zip(&self.functions.pending) {
            line.function = self.functions.get("a location", "function", id)?;
        }
        for (location, &id) in profile.locations.iter_mut().zip(&self.mappings.pending) {
            if id != 0 {
                location.mapping = self.mappings.get("a location", "mapping", id)?;
            }
        }
        (self.functions.pending, self.mappings.pending) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// The second pass.
    fn samples(&mut self, raw: &[u8]) -> Result<(), ProfileError> {
        let width = self.profile.sample_types.len();
        if width == 0 && self.samples_len > 0 {
            return Err(ProfileError::NoSampleTypes);
        }
        let per_sample = width.saturating_mul(size_of::<i64>()).saturating_add(8);
        self.charge(per_sample.saturating_mul(self.samples_len))?;
        self.profile.values.reserve_exact(width * self.samples_len);
        self.profile.stack_ends.reserve_exact(self.samples_len);
        self.profile.label_ends.reserve_exact(self.samples_len);
        let mut reader = Reader::new(raw);
        while let Some(field) = reader.field()? {
            if field.number == 2 {
                self.sample(field.message()?, width)?;
            }
        }
        Ok(())
    }

    fn sample(&mut self, mut reader: Reader<'_>, width: usize) -> Result<(), ProfileError> {
        let mut values_found = 0;
        let (stack_start, label_start) = (
            self.profile.stack_locations.len(),
            self.profile.labels.len(),
        );
        while let Some(field) = reader.field()? {
            match field.number {
                1 => {
                    let (locations, stacks) = (&self.locations, &mut self.profile.stack_locations);
                    field.each(|id| {
                        stacks.push(locations.get("a sample", "location", id)?);
                        Ok(())
                    })?;
                }
                2 => {
                    let values = &mut self.profile.values;
                    field.each(|value| {
                        values_found += 1;
                        if values_found <= width {
                            values.push(value as i64);
                        }
                        Ok(())
                    })?;
                }
                3 => {
                    let label = self.label(field.message()?)?;
                    self.profile.labels.push(label);
                }
                _ => {}
            }
        }
        if values_found != width {
            let sample = self.profile.stack_ends.len();
            return Err(ProfileError::ValueCount {
                sample,
                expected: width,
                found: values_found,
            });
        }
        let stack_len = self.profile.stack_locations.len() - stack_start;
        let labels_len = self.profile.labels.len() - label_start;
        self.charge(stack_len * size_of::<u32>() + labels_len * size_of::<LabelData>())?;
        self.count_frames(stack_start)?;
        // Within u32: a location costs a byte of the input, a label two, and frames are bounded.
        let ends = (
            self.profile.stack_locations.len(),
            self.profile.labels.len(),
        );
        let (Ok(stack_end), Ok(label_end)) = (u32::try_from(ends.0), u32::try_from(ends.1)) else {
            let limit = u32::MAX as usize;
            return Err(ProfileError::TooLarge {
                what: "frames or labels",
                limit,
            });
        };
        self.profile.stack_ends.push(stack_end);
        self.profile.label_ends.push(label_end);
        Ok(())
    }

    fn count_frames(&mut self, stack_start: usize) -> Result<(), ProfileError> {
        let frames: usize = self.profile.stack_locations[stack_start..]
            .iter()
            .map(|&location| self.profile.location_lines(location as usize).len().max(1))
            .sum();
        let limit = self.limits.frames_max;
        let left = self.frames_left.checked_sub(frames);
        self.frames_left = left.ok_or(ProfileError::TooLarge {
            what: "frames",
            limit,
        })?;
        Ok(())
    }

    fn label(&self, mut reader: Reader<'_>) -> Result<LabelData, ProfileError> {
        let text = |id: u64| match usize::try_from(id)
            .ok()
            .and_then(|id| self.string_ids.get(id))
        {
            Some(&id) => Ok(id),
            None if id == 0 => Ok(0),
            None => Err(ProfileError::UnknownId {
                from: "a label",
                what: "string",
                id,
            }),
        };
        let mut label = LabelData::default();
        while let Some(field) = reader.field()? {
            match field.number {
                1 => label.key = text(field.u64()?)?,
                2 => label.str = text(field.u64()?)?,
                3 => label.num = field.i64()?,
                4 => label.num_unit = text(field.u64()?)?,
                _ => {}
            }
        }
        Ok(label)
    }
}

/// A string index, which is checked once the table is known.
fn index(value: u64) -> Result<u32, ProfileError> {
    u32::try_from(value).map_err(|_| ProfileError::UnknownId {
        from: "the profile",
        what: "string",
        id: value,
    })
}

fn value_type(mut reader: Reader<'_>) -> Result<ValueType, ProfileError> {
    let mut of = ValueType::default();
    while let Some(field) = reader.field()? {
        match field.number {
            1 => of.name = index(field.u64()?)?,
            2 => of.unit = index(field.u64()?)?,
            _ => {}
        }
    }
    Ok(of)
}

/// A line, its function not yet resolved, and the function's id.
fn line(mut reader: Reader<'_>) -> Result<(LineData, u64), ProfileError> {
    let (mut data, mut function_id) = (
        LineData {
            function: 0,
            line: 0,
            column: 0,
        },
        0,
    );
    while let Some(field) = reader.field()? {
        match field.number {
            1 => function_id = field.u64()?,
            2 => data.line = field.i64()?,
            3 => data.column = field.i64()?,
            _ => {}
        }
    }
    Ok((data, function_id))
}

/// What [`Ids`] keeps per entry.
const ID_BYTES: usize = size_of::<(u64, u32)>();

/// The file's ids of one kind to indices.
#[derive(Default)]
struct Ids {
    /// Index + 1 by id, when ids are as dense as writers make them.
    dense: Vec<u32>,
    /// Else sorted by id.
    sparse: Vec<(u64, u32)>,
    /// Ids that were referred to before the entries were known.
    pending: Vec<u64>,
}

impl Ids {
    fn fill(
        &mut self,
        what: &'static str,
        ids: impl ExactSizeIterator<Item = u64> + Clone,
    ) -> Result<(), ProfileError> {
        let largest = ids.clone().max().unwrap_or(0);
        if ids.clone().any(|id| id == 0) {
            return Err(ProfileError::ReservedId { what });
        }
        if largest <= ids.len() as u64 * 2 {
            self.dense = vec![0; largest as usize + 1];
            for (index, id) in ids.enumerate() {
                if std::mem::replace(&mut self.dense[id as usize], index as u32 + 1) != 0 {
                    return Err(ProfileError::DuplicateId { what, id });
                }
            }
            return Ok(());
        }
        self.sparse = ids.zip(0..).collect();
        self.sparse.sort_unstable();
        match self.sparse.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(ProfileError::DuplicateId {
                what,
                id: pair[0].0,
            }),
            None => Ok(()),
        }
    }

    #[inline]
    fn get(&self, from: &'static str, what: &'static str, id: u64) -> Result<u32, ProfileError> {
        let slot = usize::try_from(id)
            .ok()
            .and_then(|id| self.dense.get(id).copied());
        match slot {
            Some(slot) if slot != 0 => Ok(slot - 1),
            _ => match self.sparse.binary_search_by_key(&id, |&(id, _)| id) {
                Ok(at) => Ok(self.sparse[at].1),
                Err(_) => Err(ProfileError::UnknownId { from, what, id }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_u64};

    /// A message from its parts.
    fn message(parts: &[(u64, Part<'_>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, part) in parts {
            match part {
                N(value) => put_u64(&mut out, *number, *value),
                B(bytes) => put_bytes(&mut out, *number, bytes),
            }
        }
        out
    }

    enum Part<'a> {
        N(u64),
        B(&'a [u8]),
    }
    use Part::{B, N};

    fn parse(bytes: &[u8]) -> Result<Profile, ProfileError> {
        Profile::parse(bytes, &Limits::default())
    }

    /// Strings 0 "", 1 "goroutine", 2 "count", 3 "main.f"; a sample type; ids of the caller.
    fn small(function_id: u64, location: &[u8], sample: &[u8]) -> Vec<u8> {
        let strings = ["", "goroutine", "count", "main.f"].map(|text| text.as_bytes());
        let mut bytes = message(&[
            (1, B(&message(&[(1, N(1)), (2, N(2))]))),
            (2, B(sample)),
            (4, B(location)),
            (5, B(&message(&[(1, N(function_id)), (2, N(3))]))),
        ]);
        strings
            .iter()
            .for_each(|text| put_bytes(&mut bytes, 6, text));
        bytes
    }

    fn names(profile: &Profile) -> Vec<&str> {
        profile
            .samples()
            .flat_map(|sample| sample.frames())
            .map(|frame| frame.function)
            .collect()
    }

    #[test]
    fn packed_unpacked_sparse_and_unknown_fields() {
        let wide = u64::MAX - 7;
        let location = |id| message(&[(1, N(id)), (4, B(&message(&[(1, N(9)), (2, N(41))])))]);
        let packed = message(&[(1, B(&[1, 1, 1])), (2, B(&[5]))]);
        let unpacked = message(&[(1, N(1)), (2, N(5)), (1, N(1)), (1, N(1))]);
        let unknown = message(&[
            (99, N(1)),
            (1, N(1)),
            (77, B(b"?")),
            (2, N(5)),
            (1, B(&[1, 1])),
        ]);
        for (name, sample) in [
            ("packed", packed),
            ("unpacked", unpacked),
            ("unknown", unknown),
        ] {
            let profile = parse(&small(9, &location(1), &sample)).unwrap();
            assert_eq!(names(&profile), ["main.f"; 3], "{name}");
            assert_eq!(profile.samples().next().unwrap().values(), [5], "{name}");
        }
        let sample = message(&[(1, N(wide)), (2, N(5))]);
        assert_eq!(
            names(&parse(&small(9, &location(wide), &sample)).unwrap()),
            ["main.f"]
        );
    }

    #[test]
    fn what_does_not_add_up_is_refused_with_its_reason() {
        let line = message(&[(1, N(9))]);
        let location = message(&[(1, N(1)), (4, B(&line))]);
        let sample = message(&[(1, N(1)), (2, N(5))]);
        let with = |tail: &[(u64, Part<'_>)]| {
            let mut bytes = small(9, &location, &sample);
            bytes.extend(message(tail));
            bytes
        };
        let no_line = message(&[(1, N(1)), (4, B(&[]))]);
        let bad_mapping = message(&[(1, N(1)), (2, N(3))]);
        let two_values = message(&[(1, N(1)), (2, B(&[5, 5]))]);
        let bad_label = message(&[(2, N(5)), (3, B(&message(&[(1, N(40))])))]);
        let rows: Vec<(&str, Vec<u8>, &str)> = vec![
            ("nothing", vec![], "the profile is empty"),
            (
                "no types",
                message(&[(2, B(&[]))]),
                "the profile has no sample types",
            ),
            (
                "unknown location",
                small(9, &location, &message(&[(1, N(2)), (2, N(5))])),
                "a sample refers to location 2, which the profile does not have",
            ),
            (
                "unknown function",
                small(8, &location, &sample),
                "a location refers to function 9, which the profile does not have",
            ),
            (
                "a line without a function",
                small(9, &no_line, &sample),
                "a location refers to function 0, which the profile does not have",
            ),
            (
                "unknown mapping",
                small(9, &bad_mapping, &sample),
                "a location refers to mapping 3, which the profile does not have",
            ),
            (
                "unknown string",
                with(&[(14, N(4))]),
                "`default_sample_type` refers to string 4, which the profile does not have",
            ),
            (
                "string past u32",
                with(&[(14, N(1 << 40))]),
                "the profile refers to string 1099511627776, which the profile does not have",
            ),
            (
                "unknown label key",
                small(9, &location, &bad_label),
                "a label refers to string 40, which the profile does not have",
            ),
            (
                "two values",
                small(9, &location, &two_values),
                "sample 0 has 2 values, expected 1: one for every sample type",
            ),
            (
                "no value",
                small(9, &location, &message(&[(1, N(1))])),
                "sample 0 has 0 values, expected 1: one for every sample type",
            ),
            (
                "twice the id",
                with(&[(4, B(&location))]),
                "two locations have the id 1",
            ),
            (
                "id 0",
                with(&[(4, B(&[]))]),
                "a location has the reserved id 0",
            ),
            (
                "two profiles",
                with(&[(9, N(1)), (9, N(1))]),
                "two profiles follow each other in one file (second `time_nanos` at offset 56)",
            ),
            (
                "first string",
                message(&[(6, B(b"x"))]),
                "expected string_table[0] to be empty, found \"x\"",
            ),
            (
                "a number as a message",
                with(&[(2, N(7))]),
                "field 2 has wire type 0 at offset 54",
            ),
            (
                "debug=1",
                b"heap profile: 1: 2 [3: 4] @ heap/524288\n".to_vec(),
                "expected a binary profile, found text that starts with \
                 \"heap profile: 1: 2 [3: 4] @ heap/524288\"",
            ),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(parse(&bytes).unwrap_err().to_string(), expected, "{name}");
        }
    }

    #[test]
    fn limits_hold_after_decompression_and_for_inlined_frames() {
        let line = message(&[(1, N(9))]);
        let lines = |n: usize| {
            let mut location = message(&[(1, N(1))]);
            (0..n).for_each(|_| put_bytes(&mut location, 4, &line));
            location
        };
        let sample = message(&[(1, B(&[1; 100])), (2, N(5))]);
        let bytes = small(9, &lines(100), &sample);
        let limits = Limits {
            frames_max: 9_999,
            ..Limits::default()
        };
        let error = Profile::parse(&bytes, &limits).unwrap_err();
        assert_eq!(error.to_string(), "the profile has more than 9999 frames");
        assert!(
            Profile::parse(
                &bytes,
                &Limits {
                    frames_max: 10_000,
                    ..limits
                }
            )
            .is_ok()
        );

        let gz = parse(&bytes).unwrap().to_gzip();
        let plain_len = parse(&bytes).unwrap().to_proto().len();
        let mut limits = Limits {
            decompressed_bytes_max: plain_len,
            ..Limits::default()
        };
        assert!(Profile::parse(&gz, &limits).is_ok());
        limits.decompressed_bytes_max = plain_len - 1;
        assert!(matches!(
            Profile::parse(&gz, &limits),
            Err(ProfileError::TooLarge {
                what: "decompressed bytes",
                ..
            })
        ));
        let limits = Limits {
            memory_bytes_max: 1_000,
            ..Limits::default()
        };
        assert!(matches!(
            Profile::parse(&gz, &limits),
            Err(ProfileError::TooLarge { .. })
        ));
        let limits = Limits {
            samples_max: 0,
            ..Limits::default()
        };
        assert!(matches!(
            Profile::parse(&gz, &limits),
            Err(ProfileError::TooLarge { .. })
        ));
        assert!(matches!(
            parse(&gz[..gz.len() - 9]),
            Err(ProfileError::Gzip { .. })
        ));
    }
}
