//! The goroutines of a process by their stacks, read from outside: what a goroutine profile tells, of a process that
//! would stand still for too long if it had to make one itself.

use std::collections::HashMap;

use inspect::goroutines::{Frame, Goroutines, Options};
use inspect::{InspectError, Program};
use model::UnixMs;
use serde::{Deserialize, Serialize};

use super::HoldersCost;

/// Calls of one stack: as many as Go's own profiles have.
const FRAMES_MAX: usize = 128;
/// Stacks told; a program has some hundred.
const STACKS_MAX: usize = 4096;

/// The goroutines of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoroutinesLook {
    /// When they were read.
    pub at: UnixMs,
    /// What it cost.
    pub cost: HoldersCost,
    /// How many there were, without the runtime's own.
    pub count: u64,
    /// Those of them that moved while they were read: their stacks may be of no one moment.
    pub moved: u64,
    /// Those of them whose stack is not among the stacks: they ran, could not be read, or the answer had no room.
    pub without_stack: u64,
    /// Distinct stacks, the most frequent first.
    pub stacks: Vec<GoroutineStack>,
}

/// Goroutines with one stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoroutineStack {
    /// How many.
    pub count: u64,
    /// The calls, innermost first, as Go's own profiles have them.
    pub calls: Vec<Call>,
}

/// One call of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The function.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line; zero where unknown.
    pub line: u32,
}

/// Reads the goroutines of `program`, which runs on. The cost is the caller's to fill in.
pub(super) fn read(program: &Program, at: UnixMs) -> Result<GoroutinesLook, InspectError> {
    let options = Options {
        no_labels: true,
        ..Options::default()
    };
    let dump = inspect::goroutines::goroutines(program, &options)?;
    let moved = dump.goroutines.iter().filter(|one| one.approximate).count();
    let count = dump.goroutines.len() as u64 + dump.unreadable;
    let stacks = stacks(&dump);
    let told: u64 = stacks.iter().map(|stack| stack.count).sum();
    Ok(GoroutinesLook {
        at,
        cost: HoldersCost::default(),
        count,
        moved: moved as u64,
        without_stack: count.saturating_sub(told),
        stacks,
    })
}

fn stacks(dump: &Goroutines) -> Vec<GoroutineStack> {
    let mut counts: HashMap<Vec<Call>, u64> = HashMap::new();
    for sample in dump.samples() {
        if let Some(stack) = dump.stacks.get(sample.stack) {
            *counts.entry(calls(&stack.frames)).or_default() += sample.count;
        }
    }
    let stacks = counts.into_iter();
    let mut stacks: Vec<GoroutineStack> = stacks
        .map(|(calls, count)| GoroutineStack { count, calls })
        .collect();
    let innermost = |stack: &GoroutineStack| stack.calls.first().map(|call| call.function.clone());
    stacks.sort_by(|left, right| {
        let most = right.count.cmp(&left.count);
        most.then_with(|| innermost(left).cmp(&innermost(right)))
    });
    stacks.truncate(STACKS_MAX);
    stacks
}

/// Profiles have neither the compiler's wrappers nor the outermost function of every goroutine.
fn calls(frames: &[Frame]) -> Vec<Call> {
    let is_shown = |frame: &&Frame| !frame.wrapper && &*frame.function != "runtime.goexit";
    let call = |frame: &Frame| Call {
        function: frame.function.to_string(),
        file: frame.file.to_string(),
        line: frame.line,
    };
    let shown = frames.iter().filter(is_shown).take(FRAMES_MAX);
    shown.map(call).collect()
}

/// Makes an answer shorter: half of the stacks, those of fewest goroutines, go.
pub(super) fn shorten(look: &mut GoroutinesLook) {
    let gone = look.stacks.split_off(look.stacks.len().div_ceil(2));
    look.without_stack += gone.iter().map(|stack| stack.count).sum::<u64>();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_room_loses_the_rarest_stacks_and_says_how_many_goroutines_that_were() {
        let stack = |count| GoroutineStack {
            count,
            calls: Vec::new(),
        };
        let mut look = GoroutinesLook {
            at: UnixMs(0),
            cost: HoldersCost::default(),
            count: 106,
            moved: 0,
            without_stack: 0,
            stacks: vec![stack(100), stack(4), stack(2)],
        };
        shorten(&mut look);
        assert_eq!((look.stacks.len(), look.without_stack), (2, 2));
        shorten(&mut look);
        assert_eq!((look.stacks.len(), look.without_stack), (1, 6));
    }
}
