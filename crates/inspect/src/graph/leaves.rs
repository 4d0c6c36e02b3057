//! Who holds the objects without pointers: the nearest node that dominates all that point at them.

use super::huge::Huge;
use super::preorder::{TOP, UNREACHED};
use super::semi_nca::{STEPS_PER_NODE, Shortcuts};

/// From here on, the number of a leaf means [`TOP`], reached in the class that is added.
const TOPS: u32 = u32::MAX - 256;

/// Looks for the dominators of leaves, pointer by pointer.
pub(crate) struct Leaves<'a> {
    idom: &'a [u32],
    class_starts: &'a [u32],
    /// Steps that may be taken before long chains get shortcuts.
    budget: u64,
    shortcuts: Option<Shortcuts>,
}

impl<'a> Leaves<'a> {
    pub(crate) fn new(idom: &'a [u32], class_starts: &'a [u32]) -> Self {
        Self {
            idom,
            class_starts,
            budget: idom.len() as u64 * STEPS_PER_NODE,
            shortcuts: None,
        }
    }

    /// The number of a leaf that is also pointed at from `from`, when `number` was its number so far: that of the
    /// node that holds it, or [`UNREACHED`].
    #[inline]
    pub(crate) fn held(&mut self, number: u32, from: u32) -> u32 {
        if number == UNREACHED || number == from {
            return from;
        }
        if let [_] = self.class_starts {
            // The nearest of TOP and any other is TOP.
            return if number == TOP {
                TOP
            } else {
                self.nearest(number, from)
            };
        }
        self.held_by_class(number, from)
    }

    fn held_by_class(&mut self, number: u32, from: u32) -> u32 {
        let now = self.class(number);
        let class = self.class(from);
        if class != now {
            // What a class has claimed, no later class shares.
            return if class < now { from } else { number };
        }
        if number >= TOPS {
            return number;
        }
        match self.nearest(number, from) {
            TOP => TOPS + now,
            nearest => nearest,
        }
    }

    #[inline]
    fn class(&self, number: u32) -> u32 {
        if number >= TOPS {
            return number - TOPS;
        }
        let later = self.class_starts.iter().skip(1);
        later.take_while(|&&start| start <= number).count() as u32
    }

    /// The nearest node that dominates both, or is one of them.
    #[inline]
    fn nearest(&mut self, mut one: u32, mut other: u32) -> u32 {
        while one != other {
            // Dominators have lower numbers.
            if one > other {
                one = self.idom[one as usize];
            } else {
                other = self.idom[other as usize];
            }
            self.budget = self.budget.saturating_sub(1);
            if self.budget == 0 {
                let shortcuts = || Shortcuts::new(self.idom, self.idom.len());
                let shortcuts = self.shortcuts.get_or_insert_with(shortcuts);
                return shortcuts.nearest(self.idom, one, other);
            }
        }
        one
    }

    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.shortcuts.as_ref().map_or(0, Shortcuts::held)
    }
}

/// Whether `number` is one, and neither [`UNREACHED`] nor what a leaf has for now.
#[inline]
pub(crate) fn is_number(number: u32) -> bool {
    number < TOPS
}

/// The number as the result has it.
#[inline]
pub(crate) fn settled(number: u32) -> u32 {
    if number >= TOPS && number != UNREACHED {
        TOP
    } else {
        number
    }
}

/// Settles all `numbers`.
pub(crate) fn settle(numbers: &mut Huge<u32>) {
    for number in &mut numbers[..] {
        *number = settled(*number);
    }
}
