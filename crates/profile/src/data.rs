//! A decoded profile: flat arrays, and the views that hand them out.
//!
//! Nothing is allocated per sample: a sample is a range of `stack_locations` and of `labels`, and a
//! row of `values`; a location is a range of `lines`; every text is a number in one arena, equal
//! texts having equal numbers.

use crate::table::Strings;
use crate::{Frame, ProfileError};

/// `NO_MAPPING` as a location's mapping: it has none.
pub(crate) const NO_MAPPING: u32 = u32::MAX;

/// A profile, decoded and cross-checked: every id resolves, every sample has one value per sample
/// type. Read by [`Profile::parse`], made by [`crate::ProfileBuilder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub(crate) strings: Strings,
    pub(crate) sample_types: Vec<ValueType>,
    pub(crate) default_sample_type: u32,
    /// `sample_types.len()` values per sample.
    pub(crate) values: Vec<i64>,
    /// Per sample, where its part of `stack_locations` and of `labels` ends.
    pub(crate) stack_ends: Vec<u32>,
    pub(crate) label_ends: Vec<u32>,
    /// Indices into `locations`, leaf first.
    pub(crate) stack_locations: Vec<u32>,
    pub(crate) labels: Vec<LabelData>,
    pub(crate) locations: Vec<LocationData>,
    /// Per location leaf first: what was inlined comes before what it was inlined into.
    pub(crate) lines: Vec<LineData>,
    pub(crate) functions: Vec<FunctionData>,
    pub(crate) mappings: Vec<MappingData>,
    pub(crate) drop_frames: u32,
    pub(crate) keep_frames: u32,
    pub(crate) time_nanos: i64,
    pub(crate) duration_nanos: i64,
    pub(crate) period_type: Option<ValueType>,
    pub(crate) period: i64,
    pub(crate) comments: Vec<u32>,
    pub(crate) doc_url: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) name: u32,
    pub(crate) unit: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelData {
    pub(crate) key: u32,
    pub(crate) str: u32,
    pub(crate) num: i64,
    pub(crate) num_unit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocationData {
    pub(crate) id: u64,
    pub(crate) address: u64,
    /// Index into `mappings` or [`NO_MAPPING`].
    pub(crate) mapping: u32,
    pub(crate) lines_start: u32,
    pub(crate) lines_end: u32,
    pub(crate) is_folded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineData {
    /// Index into `functions`.
    pub(crate) function: u32,
    pub(crate) line: i64,
    pub(crate) column: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FunctionData {
    pub(crate) id: u64,
    pub(crate) name: u32,
    pub(crate) system_name: u32,
    pub(crate) filename: u32,
    pub(crate) start_line: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MappingData {
    pub(crate) id: u64,
    pub(crate) memory_start: u64,
    pub(crate) memory_limit: u64,
    pub(crate) file_offset: u64,
    pub(crate) filename: u32,
    pub(crate) build_id: u32,
    /// `has_functions`, `has_filenames`, `has_line_numbers`, `has_inline_frames`.
    pub(crate) has: [bool; 4],
}

/// A kind of value that every sample has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SampleType<'a> {
    /// `inuse_space`, `alloc_objects`, `goroutine`, ...
    pub name: &'a str,
    /// `bytes`, `count`, `nanoseconds`, ...
    pub unit: &'a str,
}

/// A mapped binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mapping<'a> {
    /// The binary's path.
    pub file: &'a str,
    /// Its build id, which Go also writes.
    pub build_id: &'a str,
    /// First address.
    pub memory_start: u64,
    /// The address after the last.
    pub memory_limit: u64,
    /// Where in the file the mapping starts.
    pub file_offset: u64,
}

/// A sample's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Label<'a> {
    /// Its name: `bytes` in heap profiles, else what the program called it.
    pub key: &'a str,
    /// The text of a text label, else empty.
    pub str: &'a str,
    /// The number of a number label.
    pub num: i64,
    /// The number's unit, if given.
    pub num_unit: &'a str,
}

/// One sample: a stack and a value per sample type.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    profile: &'a Profile,
    index: usize,
}

impl Profile {
    /// The sample types, in the file's order.
    pub fn sample_types(&self) -> impl ExactSizeIterator<Item = SampleType<'_>> {
        self.sample_types.iter().map(|&of| self.sample_type_of(of))
    }

    /// The sample type at `index`; an empty one if there is none.
    pub fn sample_type(&self, index: usize) -> SampleType<'_> {
        self.sample_type_of(self.sample_types.get(index).copied().unwrap_or_default())
    }

    fn sample_type_of(&self, ValueType { name, unit }: ValueType) -> SampleType<'_> {
        SampleType {
            name: self.strings.get(name),
            unit: self.strings.get(unit),
        }
    }

    /// The index of the sample type with this name; of the default one if `name` is empty. As in
    /// pprof, `inuse_space` also finds the plain `space` of older writers.
    ///
    /// # Errors
    /// [`ProfileError::UnknownSampleType`] with the names there are, [`ProfileError::NoSampleTypes`].
    pub fn sample_type_index(&self, name: &str) -> Result<usize, ProfileError> {
        if name.is_empty() {
            return self
                .default_sample_type_index()
                .ok_or(ProfileError::NoSampleTypes);
        }
        let find = |name: &str| self.sample_types().position(|of| of.name == name);
        find(name)
            .or_else(|| find(name.strip_prefix("inuse_")?))
            .ok_or_else(|| {
                let known = self.sample_types().map(|of| of.name.to_owned()).collect();
                ProfileError::UnknownSampleType {
                    wanted: name.to_owned(),
                    known,
                }
            })
    }

    /// The sample type that `default_sample_type` names; the last one if it names none.
    pub fn default_sample_type_index(&self) -> Option<usize> {
        let named = self
            .sample_types
            .iter()
            .position(|of| of.name == self.default_sample_type);
        let named = named.filter(|_| self.default_sample_type != 0);
        named.or(self.sample_types.len().checked_sub(1))
    }

    /// How many samples there are.
    pub fn samples_len(&self) -> usize {
        self.stack_ends.len()
    }

    /// All samples, in the file's order.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample<'_>> {
        (0..self.samples_len()).map(|index| Sample {
            profile: self,
            index,
        })
    }

    /// All stacks, one per sample, each leaf first with inlined calls resolved. Stacks repeat where
    /// samples differ only in addresses or labels; [`crate::groups`] sums them.
    pub fn stacks(&self) -> impl Iterator<Item = impl Iterator<Item = Frame<'_>>> {
        self.samples().map(|sample| sample.frames())
    }

    /// The mapped binaries; the first is the program.
    pub fn mappings(&self) -> impl ExactSizeIterator<Item = Mapping<'_>> {
        self.mappings.iter().map(|mapping| Mapping {
            file: self.strings.get(mapping.filename),
            build_id: self.strings.get(mapping.build_id),
            memory_start: mapping.memory_start,
            memory_limit: mapping.memory_limit,
            file_offset: mapping.file_offset,
        })
    }

    /// When it was taken, in nanoseconds since 1970; 0 if not said.
    pub fn time_nanos(&self) -> i64 {
        self.time_nanos
    }

    /// How long it was recorded; 0 for a profile of a moment.
    pub fn duration_nanos(&self) -> i64 {
        self.duration_nanos
    }

    /// One sample stands for this many of [`Self::period_type`]: bytes allocated in a heap profile.
    pub fn period(&self) -> i64 {
        self.period
    }

    /// What [`Self::period`] counts, if said.
    pub fn period_type(&self) -> Option<SampleType<'_>> {
        self.period_type.map(|of| self.sample_type_of(of))
    }

    /// Free text that the writer added.
    pub fn comments(&self) -> impl Iterator<Item = &str> {
        self.comments.iter().map(|&id| self.strings.get(id))
    }

    /// Where the profile is documented, or empty.
    pub fn doc_url(&self) -> &str {
        self.strings.get(self.doc_url)
    }

    /// Regular expressions of functions to hide and to keep, as the writer wished; not applied here.
    pub fn drop_and_keep_frames(&self) -> (&str, &str) {
        (
            self.strings.get(self.drop_frames),
            self.strings.get(self.keep_frames),
        )
    }

    /// A sample's locations, leaf first.
    pub(crate) fn stack_locations(&self, sample: usize) -> &[u32] {
        &self.stack_locations[range(&self.stack_ends, sample)]
    }

    pub(crate) fn value(&self, sample: usize, sample_type: usize) -> i64 {
        self.values[sample * self.sample_types.len() + sample_type]
    }

    pub(crate) fn location_lines(&self, location: usize) -> &[LineData] {
        let LocationData {
            lines_start,
            lines_end,
            ..
        } = self.locations[location];
        &self.lines[lines_start as usize..lines_end as usize]
    }

    /// A location's frames, leaf first: one per line, and one without a function if it has none.
    pub(crate) fn location_frames(&self, location: usize) -> impl Iterator<Item = Frame<'_>> {
        let lines = self.location_lines(location);
        let bare = lines.is_empty().then(|| self.bare_frame(location));
        bare.into_iter().chain(lines.iter().map(|line| {
            let function = &self.functions[line.function as usize];
            Frame {
                function: self.strings.get(function.name),
                file: self.strings.get(function.filename),
                line: line.line,
                start_line: function.start_line,
            }
        }))
    }

    /// What is known of a location that nobody symbolised: its binary.
    fn bare_frame(&self, location: usize) -> Frame<'_> {
        let mapping = self.mappings.get(self.locations[location].mapping as usize);
        let file = mapping.map_or("", |mapping| self.strings.get(mapping.filename));
        Frame {
            function: "",
            file,
            line: 0,
            start_line: 0,
        }
    }
}

fn range(ends: &[u32], index: usize) -> std::ops::Range<usize> {
    let start = if index == 0 {
        0
    } else {
        ends[index - 1] as usize
    };
    start..ends[index] as usize
}

impl<'a> Sample<'a> {
    /// The values, one per sample type.
    pub fn values(&self) -> &'a [i64] {
        let width = self.profile.sample_types.len();
        &self.profile.values[self.index * width..][..width]
    }

    /// The stack, leaf first, inlined calls resolved. A location without a symbol gives a frame
    /// with an empty function, and its binary as the file.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'a>> + use<'a> {
        let profile = self.profile;
        let locations = profile.stack_locations(self.index).iter();
        locations.flat_map(move |&location| profile.location_frames(location as usize))
    }

    /// The addresses, leaf first, one per location: return addresses in Go's heap profiles.
    pub fn addresses(&self) -> impl Iterator<Item = u64> + use<'a> {
        let profile = self.profile;
        let locations = profile.stack_locations(self.index).iter();
        locations.map(move |&location| profile.locations[location as usize].address)
    }

    /// The labels.
    pub fn labels(&self) -> impl Iterator<Item = Label<'a>> + use<'a> {
        let profile = self.profile;
        let text = |id| profile.strings.get(id);
        profile.labels[range(&profile.label_ends, self.index)]
            .iter()
            .map(move |label| Label {
                key: text(label.key),
                str: text(label.str),
                num: label.num,
                num_unit: text(label.num_unit),
            })
    }
}
