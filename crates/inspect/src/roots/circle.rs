//! Lists in somebody else's memory may run in a circle.

/// Notices it when a list comes back to where it was, in three numbers: an element is remembered, and after twice as
/// many steps each time the one that is met then.
///
/// Source: R. P. Brent (1980), An improved Monte Carlo factorization algorithm, BIT 20:176–184.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Circle {
    remembered: u64,
    left: u64,
    power: u64,
}

impl Circle {
    /// A list that begins at `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            remembered: first,
            left: 1,
            power: 1,
        }
    }

    /// Whether `next`, the element behind the one before, has been met. Says so after at most three times as many
    /// steps as there are elements.
    pub(super) fn closes(&mut self, next: u64) -> bool {
        if next == self.remembered {
            return true;
        }
        self.left -= 1;
        if self.left == 0 {
            self.power = self.power.saturating_mul(2);
            (self.remembered, self.left) = (next, self.power);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many elements of a list with `tail` elements before a circle of `circle` are visited.
    fn visited(tail: u64, circle: u64) -> u64 {
        let next = |at: u64| match at + 1 {
            at if at == tail + circle => tail,
            at => at,
        };
        let (mut at, mut count, mut seen) = (0, 1, Circle::new(0));
        while count < 10_000 {
            at = next(at);
            if seen.closes(at) {
                break;
            }
            count += 1;
        }
        count
    }

    #[test]
    fn circles_are_noticed_and_lists_are_not_taken_for_some() {
        for (tail, circle) in [(0, 1), (0, 2), (5, 1), (3, 100), (100, 3), (1000, 1000)] {
            let count = visited(tail, circle);
            let all = tail + circle;
            assert!(
                (all..=3 * all + 3).contains(&count),
                "{tail}, {circle}: {count}"
            );
        }
        let mut straight = Circle::new(8);
        assert!((2..5_000u64).all(|at| !straight.closes(at * 8)));
    }
}
