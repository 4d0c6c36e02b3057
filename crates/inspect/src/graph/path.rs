//! A way down through a graph, in a byte a step.

/// In place of where to go on: in the list of what a byte does not hold.
const WIDE: u8 = u8::MAX - 1;
/// In place of where to go on: nothing is left among the node's children.
const END: u8 = u8::MAX;
/// It grows by so many steps and an eighth: doubling could take as much again as all else.
const STEP: usize = 1 << 12;

/// Of each node on a way down: where to go on among its children.
#[derive(Default)]
pub(super) struct Path {
    steps: Vec<u8>,
    /// Of those steps that are [`WIDE`], in order: where to go on.
    wide: Vec<u32>,
}

impl Path {
    /// One node further down, which begins with its first child.
    pub(super) fn enter(&mut self) {
        if self.steps.len() == self.steps.capacity() {
            self.steps.reserve_exact(self.steps.len() / 8 + STEP);
        }
        self.steps.push(0);
    }

    /// Where to go on among the last node's children, `Some(None)` when none is left; `None` when there is no node.
    pub(super) fn next(&self) -> Option<Option<u32>> {
        let &step = self.steps.last()?;
        Some(match step {
            END => None,
            WIDE => self.wide.last().copied(),
            from => Some(from.into()),
        })
    }

    /// Where to go on later with the last node, if there is more of it.
    pub(super) fn go_on_from(&mut self, from: Option<u32>) {
        let Some(step) = self.steps.last_mut() else {
            return;
        };
        if *step == WIDE {
            self.wide.pop();
        }
        *step = match (from, from.map(u8::try_from)) {
            (Some(_), Some(Ok(narrow @ 0..WIDE))) => narrow,
            (Some(from), _) => {
                self.wide.push(from);
                WIDE
            }
            (None, _) => END,
        };
    }

    /// Back from the last node.
    pub(super) fn leave(&mut self) {
        if self.steps.pop() == Some(WIDE) {
            self.wide.pop();
        }
    }

    pub(super) fn held(&self) -> u64 {
        (self.steps.capacity() + 4 * self.wide.capacity()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn places_come_back_however_far_they_are() {
        let places = [3, 253, 254, 255, 256, 7, u32::MAX - 1];
        let mut path = Path::default();
        for (at, &place) in places.iter().enumerate() {
            path.enter();
            assert_eq!(path.next(), Some(Some(0)));
            // The last of several is the one that counts.
            for before in [1000, at as u32, place] {
                path.go_on_from(Some(before));
            }
        }
        for &place in places.iter().rev() {
            assert_eq!(path.next(), Some(Some(place)));
            path.go_on_from(None);
            assert_eq!(path.next(), Some(None));
            path.leave();
        }
        assert_eq!(path.next(), None);
        assert!(path.wide.is_empty() && path.held() < 5000);
    }
}
