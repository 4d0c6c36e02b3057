//! Profiles made by hand: by tests, and by whoever writes profiles.

use crate::data::*;
use crate::table::{Strings, StringsBuilder};
use crate::{Label, Mapping, Profile, ProfileError};

/// Collects a profile piece by piece; equal texts are stored once, ids are numbered from 1.
#[derive(Clone, Debug)]
pub struct ProfileBuilder {
    profile: Profile,
    strings: StringsBuilder,
    bad: Option<(usize, usize)>,
}

/// A function of one [`ProfileBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRef(u32);

/// A location of one [`ProfileBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocationRef(u32);

/// A mapping of one [`ProfileBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingRef(u32);

impl Profile {
    pub(crate) fn empty(strings: Strings) -> Self {
        Self {
            strings,
            sample_types: Vec::new(),
            default_sample_type: 0,
            values: Vec::new(),
            stack_ends: Vec::new(),
            label_ends: Vec::new(),
            stack_locations: Vec::new(),
            labels: Vec::new(),
            locations: Vec::new(),
            lines: Vec::new(),
            functions: Vec::new(),
            mappings: Vec::new(),
            drop_frames: 0,
            keep_frames: 0,
            time_nanos: 0,
            duration_nanos: 0,
            period_type: None,
            period: 0,
            comments: Vec::new(),
            doc_url: 0,
        }
    }
}

impl ProfileBuilder {
    /// A profile with these sample types, each a name and a unit.
    pub fn new(sample_types: &[(&str, &str)]) -> Self {
        let mut strings = StringsBuilder::new();
        let mut profile = Profile::empty(strings.strings.clone());
        profile.sample_types = sample_types
            .iter()
            .map(|(name, unit)| ValueType {
                name: strings.intern(name),
                unit: strings.intern(unit),
            })
            .collect();
        Self {
            profile,
            strings,
            bad: None,
        }
    }

    /// Sets when the profile was taken and how long it lasted, in nanoseconds.
    pub fn time(&mut self, time_nanos: i64, duration_nanos: i64) -> &mut Self {
        (self.profile.time_nanos, self.profile.duration_nanos) = (time_nanos, duration_nanos);
        self
    }

    /// Sets what one sample stands for.
    pub fn period(&mut self, name: &str, unit: &str, period: i64) -> &mut Self {
        let of = ValueType {
            name: self.strings.intern(name),
            unit: self.strings.intern(unit),
        };
        (self.profile.period_type, self.profile.period) = (Some(of), period);
        self
    }

    /// Sets the sample type that is shown when none is asked for.
    pub fn default_sample_type(&mut self, name: &str) -> &mut Self {
        self.profile.default_sample_type = self.strings.intern(name);
        self
    }

    /// Adds a comment.
    pub fn comment(&mut self, text: &str) -> &mut Self {
        let id = self.strings.intern(text);
        self.profile.comments.push(id);
        self
    }

    /// Adds a mapped binary; the first is the program.
    pub fn mapping(&mut self, mapping: Mapping<'_>) -> MappingRef {
        let (filename, build_id) = (
            self.strings.intern(mapping.file),
            self.strings.intern(mapping.build_id),
        );
        let index = self.profile.mappings.len();
        self.profile.mappings.push(MappingData {
            id: index as u64 + 1,
            memory_start: mapping.memory_start,
            memory_limit: mapping.memory_limit,
            file_offset: mapping.file_offset,
            filename,
            build_id,
            has: [true; 4],
        });
        MappingRef(index as u32)
    }

    /// Adds a function: its name, file and first line.
    pub fn function(&mut self, name: &str, file: &str, start_line: i64) -> FunctionRef {
        let (name, filename) = (self.strings.intern(name), self.strings.intern(file));
        let index = self.profile.functions.len();
        let id = index as u64 + 1;
        let function = FunctionData {
            id,
            name,
            system_name: name,
            filename,
            start_line,
        };
        self.profile.functions.push(function);
        FunctionRef(index as u32)
    }

    /// Adds a location: its address, and per function from the leaf, inlined ones first, the line.
    pub fn location(&mut self, address: u64, lines: &[(FunctionRef, i64)]) -> LocationRef {
        let index = self.profile.locations.len();
        let lines_start = self.profile.lines.len() as u32;
        self.profile
            .lines
            .extend(lines.iter().map(|&(function, line)| LineData {
                function: function.0,
                line,
                column: 0,
            }));
        self.profile.locations.push(LocationData {
            id: index as u64 + 1,
            address,
            mapping: NO_MAPPING,
            lines_start,
            lines_end: self.profile.lines.len() as u32,
            is_folded: false,
        });
        LocationRef(index as u32)
    }

    /// Says in which binary a location lies.
    pub fn in_mapping(&mut self, location: LocationRef, mapping: MappingRef) -> &mut Self {
        if let Some(location) = self.profile.locations.get_mut(location.0 as usize) {
            location.mapping = mapping.0;
        }
        self
    }

    /// Adds a sample: its stack, leaf first, and one value per sample type.
    pub fn sample(&mut self, stack: &[LocationRef], values: &[i64]) -> &mut Self {
        self.labelled_sample(stack, values, &[])
    }

    /// As [`Self::sample`], with labels.
    pub fn labelled_sample(
        &mut self,
        stack: &[LocationRef],
        values: &[i64],
        labels: &[Label<'_>],
    ) -> &mut Self {
        if values.len() != self.profile.sample_types.len() {
            self.bad
                .get_or_insert((self.profile.stack_ends.len(), values.len()));
            return self;
        }
        for label in labels {
            let label = LabelData {
                key: self.strings.intern(label.key),
                str: self.strings.intern(label.str),
                num: label.num,
                num_unit: self.strings.intern(label.num_unit),
            };
            self.profile.labels.push(label);
        }
        self.profile.values.extend_from_slice(values);
        self.profile
            .stack_locations
            .extend(stack.iter().map(|location| location.0));
        self.profile
            .stack_ends
            .push(self.profile.stack_locations.len() as u32);
        self.profile
            .label_ends
            .push(self.profile.labels.len() as u32);
        self
    }

    /// The profile.
    ///
    /// # Errors
    /// [`ProfileError::ValueCount`] if a sample had not one value per sample type;
    /// [`ProfileError::UnknownId`] if a reference came from another builder.
    pub fn build(self) -> Result<Profile, ProfileError> {
        let Self {
            mut profile,
            strings,
            bad,
        } = self;
        if let Some((sample, found)) = bad {
            let expected = profile.sample_types.len();
            return Err(ProfileError::ValueCount {
                sample,
                expected,
                found,
            });
        }
        let Profile {
            locations,
            functions,
            mappings,
            lines,
            stack_locations,
            ..
        } = &profile;
        let of_stacks = stack_locations.iter().copied();
        check("a sample", "location", locations.len(), of_stacks)?;
        check(
            "a location",
            "function",
            functions.len(),
            lines.iter().map(|of| of.function),
        )?;
        let of_locations = locations
            .iter()
            .map(|of| of.mapping)
            .filter(|&id| id != NO_MAPPING);
        check("a location", "mapping", mappings.len(), of_locations)?;
        profile.strings = strings.strings;
        Ok(profile)
    }
}

fn check(
    from: &'static str,
    what: &'static str,
    len: usize,
    mut ids: impl Iterator<Item = u32>,
) -> Result<(), ProfileError> {
    match ids.find(|&id| id as usize >= len) {
        Some(id) => Err(ProfileError::UnknownId {
            from,
            what,
            id: u64::from(id) + 1,
        }),
        None => Ok(()),
    }
}
