//! Goroutines that stand at the same place, put together.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Frame, Goroutines, Labels};

/// Goroutines in a group whose numbers are kept.
const SAMPLE: usize = 10;

/// Goroutines with the same state, the same stack in the source, and the same creator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The state without times: `chan receive`.
    pub state: String,
    /// How many there are.
    pub count: u64,
    /// The place in [`Goroutines::stacks`] of one of them.
    pub stack: Option<usize>,
    /// The place in [`Goroutines::creators`] of one of them.
    pub creator: Option<usize>,
    /// How long they have waited at least; nothing if it is not known of any.
    pub waited: Option<WaitTimes>,
    /// Bytes of their stacks.
    pub stack_bytes: u64,
    /// How many of them are approximate.
    pub approximate: u64,
    /// The first of them, as places in [`Goroutines::goroutines`].
    pub sample: Vec<usize>,
}

/// Over those goroutines of a group whose wait time is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitTimes {
    /// Nanoseconds.
    pub shortest_ns: u64,
    /// Nanoseconds; of an even number the lower one in the middle.
    pub median_ns: u64,
    /// Nanoseconds.
    pub longest_ns: u64,
}

/// Goroutines with the same stack and labels: a sample of a goroutine profile.
///
/// A profile of Go's own has neither frames that are [`Frame::wrapper`]s nor the last one, `runtime.goexit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The place in [`Goroutines::stacks`].
    pub stack: usize,
    /// Their labels.
    pub labels: Labels,
    /// How many there are.
    pub count: u64,
}

impl Goroutines {
    /// The samples of a profile, in the order of their first goroutines. Goroutines without a stack are in none.
    pub fn samples(&self) -> Vec<Sample> {
        let mut numbers = HashMap::new();
        let mut samples: Vec<Sample> = Vec::new();
        for goroutine in &self.goroutines {
            let Some(stack) = goroutine.stack else {
                continue;
            };
            let labels = &goroutine.labels;
            let number = *numbers.entry((stack, labels)).or_insert_with(|| {
                let labels = labels.clone();
                samples.push(Sample {
                    stack,
                    labels,
                    count: 0,
                });
                samples.len() - 1
            });
            samples[number].count += 1;
        }
        samples
    }

    /// The groups, the largest first, then by state and first goroutine.
    pub fn groups(&self) -> Vec<Group> {
        let mut stacks = Same::default();
        let stack_class: Vec<usize> = self
            .stacks
            .iter()
            .map(|stack| stacks.class(stack.frames.iter().collect()))
            .collect();
        let mut creators = Same::default();
        let creator_class: Vec<usize> = self
            .creators
            .iter()
            .map(|frame| creators.class(vec![frame]))
            .collect();
        let class =
            |classes: &[usize], at: Option<usize>| at.and_then(|at| classes.get(at).copied());
        let mut numbers = HashMap::new();
        let mut groups: Vec<(Group, Vec<u64>)> = Vec::new();
        for (at, goroutine) in self.goroutines.iter().enumerate() {
            let state = goroutine.state_word();
            let stack = class(&stack_class, goroutine.stack);
            let key = (state, stack, class(&creator_class, goroutine.creator));
            let number = *numbers.entry(key).or_insert_with_key(|(state, _, _)| {
                let group = Group {
                    state: state.clone(),
                    count: 0,
                    stack: goroutine.stack,
                    creator: goroutine.creator,
                    waited: None,
                    stack_bytes: 0,
                    approximate: 0,
                    sample: Vec::new(),
                };
                groups.push((group, Vec::new()));
                groups.len() - 1
            });
            let (group, waited) = &mut groups[number];
            group.count += 1;
            let bytes = goroutine.stack_bytes.allocated;
            group.stack_bytes = group.stack_bytes.saturating_add(bytes);
            group.approximate += u64::from(goroutine.approximate);
            if group.sample.len() < SAMPLE {
                group.sample.push(at);
            }
            waited.extend(goroutine.waited_ns);
        }
        let mut groups: Vec<Group> = groups
            .into_iter()
            .map(|(group, waited)| Group {
                waited: WaitTimes::of(waited),
                ..group
            })
            .collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.state.cmp(&b.state)));
        groups
    }
}

impl WaitTimes {
    pub(crate) fn of(mut waited_ns: Vec<u64>) -> Option<Self> {
        waited_ns.sort_unstable();
        let (&shortest_ns, &longest_ns) = (waited_ns.first()?, waited_ns.last()?);
        Some(Self {
            shortest_ns,
            median_ns: waited_ns[(waited_ns.len() - 1) / 2],
            longest_ns,
        })
    }
}

/// Function, file and line of each call: where two stacks are the same in the source.
type Calls = Vec<(Arc<str>, Arc<str>, u32)>;

#[derive(Default)]
struct Same {
    classes: HashMap<Calls, usize>,
}

impl Same {
    fn class(&mut self, frames: Vec<&Frame>) -> usize {
        let call = |frame: &Frame| (frame.function.clone(), frame.file.clone(), frame.line);
        let calls: Calls = frames.into_iter().map(call).collect();
        let next = self.classes.len();
        *self.classes.entry(calls).or_insert(next)
    }
}
