//! What grew between two profiles, by stack and by the frame to look at.

use crate::stacks::{Side, StackSums, companion};
use crate::{Frame, Profile, ProfileError, frame_to_look_at};
use std::collections::HashMap;

/// A value before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// In the earlier profile.
    pub before: i64,
    /// In the later one.
    pub after: i64,
}

impl Change {
    /// After less before.
    pub fn growth(&self) -> i64 {
        self.after.saturating_sub(self.before)
    }

    pub(crate) fn add(&mut self, side: Side, value: i64) {
        let sum = if side == Side::Before {
            &mut self.before
        } else {
            &mut self.after
        };
        *sum = sum.saturating_add(value);
    }

    pub(crate) fn add_change(&mut self, other: Self) {
        self.add(Side::Before, other.before);
        self.add(Side::After, other.after);
    }
}

/// Two profiles compared, made by [`diff`].
#[derive(Clone, Debug)]
pub struct Diff {
    pub(crate) sums: StackSums,
    /// Stacks, the largest growth first.
    order: Vec<u32>,
    sample_type: String,
    unit: String,
}

/// One stack in both profiles.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Growth<'a> {
    /// The stack, leaf first.
    pub stack: Vec<Frame<'a>>,
    /// Its value before, in the sample type's unit.
    pub before: i64,
    /// Its value after.
    pub after: i64,
    /// The companion counts: `inuse_objects` where bytes of `inuse_space` were compared.
    pub count: Option<Change>,
}

impl Growth<'_> {
    /// After less before.
    pub fn growth(&self) -> i64 {
        self.after.saturating_sub(self.before)
    }
}

/// All stacks with the same frame to look at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FrameGrowth<'a> {
    /// The frame; `None` gathers the stacks that have none, of the runtime and the library only.
    pub frame: Option<Frame<'a>>,
    /// Their value before, in the sample type's unit.
    pub before: i64,
    /// Their value after.
    pub after: i64,
    /// The companion counts.
    pub count: Option<Change>,
    /// How many stacks there are.
    pub stacks: usize,
    /// The one that grew most, leaf first.
    pub stack: Vec<Frame<'a>>,
}

impl FrameGrowth<'_> {
    /// After less before.
    pub fn growth(&self) -> i64 {
        self.after.saturating_sub(self.before)
    }
}

/// Compares two profiles of the same kind by a sample type, e.g. `inuse_space` or `goroutine`; an
/// empty name takes the later profile's default. Two profiles of one GC cycle show the same heap:
/// their difference says nothing.
///
/// Cost: both profiles' frames once, and memory for the distinct stacks.
///
/// # Errors
/// [`ProfileError::UnknownSampleType`] if one of them lacks it;
/// [`ProfileError::UnitMismatch`] if they measure it in different units.
pub fn diff(before: &Profile, after: &Profile, sample_type: &str) -> Result<Diff, ProfileError> {
    let after_index = after.sample_type_index(sample_type)?;
    let of = after.sample_type(after_index);
    // The same place first: nothing forbids two sample types of one name.
    let before_index = match before.sample_types().nth(after_index) == Some(of) {
        true => after_index,
        false => before.sample_type_index(of.name)?,
    };
    let unit_before = before.sample_type(before_index).unit;
    if unit_before != of.unit {
        return Err(ProfileError::UnitMismatch {
            sample_type: of.name.to_owned(),
            before: unit_before.to_owned(),
            after: of.unit.to_owned(),
        });
    }
    let profiles = [
        (before, Side::Before, before_index),
        (after, Side::After, after_index),
    ];
    let sums = StackSums::new(&profiles);
    let order = sums.sorted_by_key(|stack| {
        let value = &sums.values[stack as usize];
        (value.growth(), value.after)
    });
    Ok(Diff {
        sums,
        order,
        sample_type: of.name.to_owned(),
        unit: of.unit.to_owned(),
    })
}

impl Diff {
    /// The sample type that was compared.
    pub fn sample_type(&self) -> &str {
        &self.sample_type
    }

    /// Its unit.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// The sample type of the counts beside the values, if both profiles have it.
    pub fn count_type(&self) -> Option<&'static str> {
        companion(&self.sample_type).filter(|_| !self.sums.counts.is_empty())
    }

    /// How many distinct stacks there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The sum over all stacks.
    pub fn total(&self) -> Change {
        let mut total = Change::default();
        self.sums
            .values
            .iter()
            .for_each(|&value| total.add_change(value));
        total
    }

    /// All stacks, the largest growth first, what shrank last. Each item allocates its stack: take
    /// as many as are shown.
    pub fn growths(&self) -> impl ExactSizeIterator<Item = Growth<'_>> {
        self.order.iter().map(|&stack| {
            let Change { before, after } = self.sums.values[stack as usize];
            let count = self.sums.count(stack);
            Growth {
                stack: self.sums.stack(stack),
                before,
                after,
                count,
            }
        })
    }

    /// The growth per [frame to look at](frame_to_look_at), the largest first.
    pub fn by_frame(&self, main_module: Option<&str>) -> Vec<FrameGrowth<'_>> {
        let mut by_frame: Vec<FrameGrowth<'_>> = Vec::new();
        let mut indices: HashMap<Option<Frame<'_>>, usize> = HashMap::new();
        // The largest growth comes first, so the first stack of a frame is the one to show.
        for growth in self.growths() {
            let frame = frame_to_look_at(&growth.stack, main_module);
            let index = *indices.entry(frame).or_insert(by_frame.len());
            if index == by_frame.len() {
                let count = growth.count.map(|_| Change::default());
                let stack = growth.stack;
                by_frame.push(FrameGrowth {
                    frame,
                    before: 0,
                    after: 0,
                    count,
                    stacks: 0,
                    stack,
                });
            }
            let of = &mut by_frame[index];
            of.before = of.before.saturating_add(growth.before);
            of.after = of.after.saturating_add(growth.after);
            of.stacks += 1;
            if let (Some(sum), Some(count)) = (&mut of.count, growth.count) {
                sum.add_change(count);
            }
        }
        by_frame.sort_by_key(|of| std::cmp::Reverse((of.growth(), of.after)));
        by_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProfileBuilder;

    type Row = (&'static [(&'static str, i64)], u64, i64, i64);

    /// Stacks of (function, line), with an address, objects and bytes.
    fn heap(rows: &[Row]) -> Profile {
        let mut made = ProfileBuilder::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
        for (stack, address, objects, space) in rows {
            let stack: Vec<_> = stack
                .iter()
                .map(|(function, line)| {
                    let function = made.function(function, "f.go", 1);
                    made.location(*address, &[(function, *line)])
                })
                .collect();
            made.sample(&stack, &[*objects, *space]);
        }
        made.build().unwrap()
    }

    const PUT: &[(&str, i64)] = &[("bytes.Clone", 9), ("main.put", 41), ("main.main", 7)];
    const PUT_AGAIN: &[(&str, i64)] = &[("main.put", 41), ("main.main", 8)];
    const OTHER_LINE: &[(&str, i64)] = &[("main.put", 42), ("main.main", 7)];
    const LIBRARY: &[(&str, i64)] = &[("net/http.newBufioReader", 3)];

    #[test]
    fn stacks_are_compared_by_function_and_line_not_by_address() {
        let before = heap(&[(PUT, 1, 1, 100), (LIBRARY, 2, 1, 50), (OTHER_LINE, 3, 0, 0)]);
        let after = heap(&[(LIBRARY, 7, 1, 40), (PUT, 8, 4, 400), (PUT, 9, 1, 100)]);
        let diff = diff(&before, &after, "inuse_space").unwrap();
        let rows: Vec<_> = diff
            .growths()
            .map(|of| {
                (
                    of.stack[0].function,
                    of.before,
                    of.after,
                    of.growth(),
                    of.count.unwrap(),
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                (
                    "bytes.Clone",
                    100,
                    500,
                    400,
                    Change {
                        before: 1,
                        after: 5
                    }
                ),
                (
                    "net/http.newBufioReader",
                    50,
                    40,
                    -10,
                    Change {
                        before: 1,
                        after: 1
                    }
                ),
            ]
        );
        assert_eq!(
            diff.total(),
            Change {
                before: 150,
                after: 540
            }
        );
        assert_eq!(
            (diff.unit(), diff.count_type()),
            ("bytes", Some("inuse_objects"))
        );
    }

    #[test]
    fn growth_by_the_frame_to_look_at() {
        let before = heap(&[(PUT, 1, 1, 100)]);
        let after = heap(&[
            (PUT, 1, 2, 300),
            (PUT_AGAIN, 1, 1, 300),
            (OTHER_LINE, 1, 1, 50),
            (LIBRARY, 1, 1, 900),
        ]);
        let diff = diff(&before, &after, "inuse_space").unwrap();
        let rows: Vec<_> = diff
            .by_frame(None)
            .into_iter()
            .map(|of| {
                let frame = of.frame.map(|frame| (frame.function, frame.line));
                (
                    frame,
                    of.growth(),
                    of.stacks,
                    of.count.unwrap().growth(),
                    of.stack.len(),
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                (None, 900, 1, 1, 1),
                (Some(("main.put", 41)), 500, 2, 2, 2),
                (Some(("main.put", 42)), 50, 1, 1, 2),
            ]
        );
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let heap = heap(&[]);
        let goroutines = ProfileBuilder::new(&[("goroutine", "count")])
            .build()
            .unwrap();
        let kilobytes = ProfileBuilder::new(&[("inuse_space", "kilobytes")])
            .build()
            .unwrap();
        for (before, after, wanted, expected) in [
            (
                &heap,
                &heap,
                "alloc_space",
                "the profile has no sample type `alloc_space`, only inuse_objects, inuse_space",
            ),
            (
                &goroutines,
                &heap,
                "",
                "the profile has no sample type `inuse_space`, only goroutine",
            ),
            (
                &kilobytes,
                &heap,
                "inuse_space",
                "`inuse_space` is in kilobytes in one profile and in bytes in the other",
            ),
        ] {
            assert_eq!(
                diff(before, after, wanted).unwrap_err().to_string(),
                expected
            );
        }
        assert!(diff(&heap, &heap, "").unwrap().is_empty());
    }
}
