//! Where the collector begins: globals, goroutines, timers and the rest, and what each points at.

use super::edges::NODES_MAX;

/// The roots of a heap, numbered from 0, with the objects that each points at and the class that it is in.
///
/// Classes say who may claim an object: what a root of class 0 reaches belongs to class 0 alone, and references from
/// later classes do not make it shared. A root of class 1 gets what nothing of class 0 reaches, and so on. With the
/// program's variables and goroutines in class 0 and `runtime.*` in class 1, a timer held by `main.sessions` counts
/// for `main.sessions`, although the runtime's own list of timers reaches it too.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    classes: Vec<u8>,
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Roots {
    /// Roots of `classes[i]` each, and their pointers as (root, object), in any order. Pointers of roots that do not
    /// exist are left out, and so is what does not fit into 32 bits.
    pub fn new(classes: &[u8], pointers: &[(u32, u32)]) -> Self {
        let classes = &classes[..classes.len().min(NODES_MAX as usize)];
        let known = |root: u32| (root as usize) < classes.len();
        let mut starts = vec![0u32; classes.len() + 1];
        for &(root, _) in pointers.iter().take(NODES_MAX as usize) {
            if known(root) {
                starts[root as usize + 1] += 1;
            }
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut targets = vec![0; starts[classes.len()] as usize];
        for &(root, object) in pointers.iter().take(NODES_MAX as usize) {
            if known(root) {
                targets[next[root as usize] as usize] = object;
                next[root as usize] += 1;
            }
        }
        Self {
            classes: classes.to_vec(),
            starts,
            targets,
        }
    }

    /// How many roots there are.
    pub fn count(&self) -> u32 {
        self.classes.len() as u32
    }

    /// The class of `root`, the last one when there is no such root.
    pub fn class(&self, root: u32) -> u8 {
        self.classes.get(root as usize).copied().unwrap_or(u8::MAX)
    }

    /// What `root` points at; nothing when there is no such root.
    pub fn targets(&self, root: u32) -> &[u32] {
        let root = root as usize;
        match (self.starts.get(root), self.starts.get(root + 1)) {
            (Some(&start), Some(&end)) => &self.targets[start as usize..end as usize],
            _ => &[],
        }
    }

    /// The classes in use, first to last.
    pub(crate) fn classes(&self) -> Vec<u8> {
        let mut used = [false; 256];
        for &class in &self.classes {
            used[usize::from(class)] = true;
        }
        (0..=u8::MAX)
            .filter(|&class| used[usize::from(class)])
            .collect()
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        (self.classes.capacity() + 4 * (self.starts.capacity() + self.targets.capacity())) as u64
    }
}
