//! Samples summed by stack: what [`crate::diff`], [`groups`] and the flame graph stand on.

use crate::table::{Slices, Strings, StringsBuilder};
use crate::{Change, Frame, Profile, ProfileError};

/// Stacks of one or two profiles, each distinct one once, with its values before and after. Frames
/// and texts are numbered over both profiles, so addresses and string tables do not matter.
#[derive(Clone, Debug)]
pub(crate) struct StackSums {
    strings: Strings,
    /// Four numbers per frame: function, file, line, start line.
    frames: Vec<FrameData>,
    stacks: Slices,
    pub(crate) values: Vec<Change>,
    /// The companion counts (`inuse_objects` of `inuse_space`); empty if there are none.
    pub(crate) counts: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
struct FrameData {
    function: u32,
    file: u32,
    line: i64,
    start_line: i64,
}

/// Where a profile's values go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// The sample type that counts what `name` measures.
pub(crate) fn companion(name: &str) -> Option<&'static str> {
    Some(match name {
        "inuse_space" => "inuse_objects",
        "alloc_space" => "alloc_objects",
        "space" => "objects",
        "delay" => "contentions",
        "cpu" => "samples",
        _ => return None,
    })
}

impl StackSums {
    /// Sums profiles, each into its side by the sample type at its index. Counts come along if
    /// all profiles have them.
    pub(crate) fn new(profiles: &[(&Profile, Side, usize)]) -> Self {
        let counts_of = |profile: &Profile, index| {
            let counts = companion(profile.sample_type(index).name)?;
            profile.sample_types().position(|of| of.name == counts)
        };
        let has_counts = profiles
            .iter()
            .all(|&(profile, _, index)| counts_of(profile, index).is_some());
        let mut builder = Builder::default();
        for &(profile, side, index) in profiles {
            builder.add(
                profile,
                side,
                index,
                counts_of(profile, index).filter(|_| has_counts),
            );
        }
        let Builder {
            strings,
            frames,
            stacks,
            values,
            counts,
            ..
        } = builder;
        Self {
            strings: strings.strings,
            frames,
            stacks,
            values,
            counts,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.stacks.len()
    }

    /// A stack's frames by number, leaf first.
    pub(crate) fn frame_ids(&self, stack: u32) -> &[u32] {
        self.stacks.get(stack)
    }

    pub(crate) fn frames_len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn frame(&self, id: u32) -> Frame<'_> {
        let frame = &self.frames[id as usize];
        Frame {
            function: self.strings.get(frame.function),
            file: self.strings.get(frame.file),
            line: frame.line,
            start_line: frame.start_line,
        }
    }

    pub(crate) fn stack(&self, stack: u32) -> Vec<Frame<'_>> {
        self.frame_ids(stack)
            .iter()
            .map(|&id| self.frame(id))
            .collect()
    }

    pub(crate) fn count(&self, stack: u32) -> Option<Change> {
        self.counts.get(stack as usize).copied()
    }

    /// Stack numbers, the largest `key` first; in order of first appearance where equal.
    pub(crate) fn sorted_by_key<K: Ord>(&self, key: impl Fn(u32) -> K) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by_cached_key(|&stack| std::cmp::Reverse(key(stack)));
        order
    }
}

struct Builder {
    strings: StringsBuilder,
    frames: Vec<FrameData>,
    frame_keys: Slices,
    stacks: Slices,
    values: Vec<Change>,
    counts: Vec<Change>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            strings: StringsBuilder::new(),
            frames: Vec::new(),
            frame_keys: Slices::default(),
            stacks: Slices::default(),
            values: Vec::new(),
            counts: Vec::new(),
        }
    }
}

impl Builder {
    fn add(&mut self, profile: &Profile, side: Side, value: usize, count: Option<usize>) {
        let (ends, ids) = self.location_frames(profile);
        let mut stack = Vec::new();
        for sample in 0..profile.samples_len() {
            let value = profile.value(sample, value);
            let count = count.map(|index| profile.value(sample, index));
            if value == 0 && count.unwrap_or(0) == 0 {
                continue; // Freed in a heap profile: nothing of it is in use.
            }
            stack.clear();
            for &location in profile.stack_locations(sample) {
                let location = location as usize;
                let start = if location == 0 { 0 } else { ends[location - 1] };
                stack.extend_from_slice(&ids[start..ends[location]]);
            }
            let (id, is_new) = self.stacks.intern(&stack);
            if is_new {
                self.values.push(Change::default());
                if count.is_some() {
                    self.counts.push(Change::default());
                }
            }
            self.values[id as usize].add(side, value);
            if let Some(count) = count {
                self.counts[id as usize].add(side, count);
            }
        }
    }

    /// Every location's frames by number, as ends and items.
    fn location_frames(&mut self, profile: &Profile) -> (Vec<usize>, Vec<u32>) {
        let (mut ends, mut ids) = (Vec::with_capacity(profile.locations.len()), Vec::new());
        // A text is hashed once per profile, not once per location.
        let mut texts = vec![u32::MAX; profile.strings.len()];
        let mut own_text = |strings: &mut StringsBuilder, id: u32| {
            let own = &mut texts[id as usize];
            if *own == u32::MAX {
                *own = strings.intern(profile.strings.get(id));
            }
            *own
        };
        for location in 0..profile.locations.len() {
            let lines = profile.location_lines(location);
            if lines.is_empty() {
                let mapping = profile
                    .mappings
                    .get(profile.locations[location].mapping as usize);
                let file =
                    mapping.map_or(0, |mapping| own_text(&mut self.strings, mapping.filename));
                ids.push(self.frame(FrameData {
                    function: 0,
                    file,
                    line: 0,
                    start_line: 0,
                }));
            }
            for line in lines {
                let function = &profile.functions[line.function as usize];
                let frame = FrameData {
                    function: own_text(&mut self.strings, function.name),
                    file: own_text(&mut self.strings, function.filename),
                    line: line.line,
                    start_line: function.start_line,
                };
                ids.push(self.frame(frame));
            }
            ends.push(ids.len());
        }
        (ends, ids)
    }

    fn frame(&mut self, frame: FrameData) -> u32 {
        let (line, start) = (frame.line as u64, frame.start_line as u64);
        let key = [
            frame.function,
            frame.file,
            line as u32,
            (line >> 32) as u32,
            start as u32,
            (start >> 32) as u32,
        ];
        let (id, is_new) = self.frame_keys.intern(&key);
        if is_new {
            self.frames.push(frame);
        }
        id
    }
}

/// A profile's samples, summed by stack.
#[derive(Clone, Debug)]
pub struct Groups {
    sums: StackSums,
    order: Vec<u32>,
}

/// Samples with the same stack: functions, files and lines are equal, addresses and labels need not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Group<'a> {
    /// The stack, leaf first.
    pub stack: Vec<Frame<'a>>,
    /// The sum of their values: how many goroutines in a goroutine profile.
    pub value: i64,
    /// The sum of the companion counts: `inuse_objects` for `inuse_space`.
    pub count: Option<i64>,
}

/// Sums a profile's samples by stack. For a goroutine profile the sample type is `goroutine`; an
/// empty name takes the default one.
///
/// # Errors
/// [`ProfileError::UnknownSampleType`], [`ProfileError::NoSampleTypes`].
pub fn groups(profile: &Profile, sample_type: &str) -> Result<Groups, ProfileError> {
    let index = profile.sample_type_index(sample_type)?;
    let sums = StackSums::new(&[(profile, Side::After, index)]);
    let order = sums.sorted_by_key(|stack| sums.values[stack as usize].after);
    Ok(Groups { sums, order })
}

impl Groups {
    /// How many distinct stacks there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The groups, the largest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Group<'_>> {
        self.order.iter().map(|&stack| Group {
            stack: self.sums.stack(stack),
            value: self.sums.values[stack as usize].after,
            count: self.sums.count(stack).map(|count| count.after),
        })
    }
}
