//! A tree of calls for a flame graph, before and after, bounded in nodes and depth.

use crate::stacks::{Side, StackSums};
use crate::table::Slices;
use crate::{Change, Diff, Profile, ProfileError};

/// How large a tree may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlameLimits {
    /// Nodes, the root included.
    pub nodes_max: usize,
    /// Levels below the root; at most 512 whatever is asked, since the tree is nested.
    pub depth_max: usize,
}

impl Default for FlameLimits {
    fn default() -> Self {
        Self {
            nodes_max: 10_000,
            depth_max: 256,
        }
    }
}

/// A call tree from the root to the leaves.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Flame {
    /// What is measured.
    pub unit: String,
    /// The node of everything; its name is `root`.
    pub root: FlameNode,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many stacks lost their leaf side to a limit; their values stay in the nodes above.
    pub stacks_cut: usize,
}

/// A function called by its parent, with what it and its callees hold. What the children do not
/// account for is the node's own.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FlameNode {
    /// The function.
    pub name: String,
    /// The value before; 0 for the tree of one profile.
    pub before: i64,
    /// The value after.
    pub after: i64,
    /// Callees, sorted by name, so that two trees can be laid side by side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<FlameNode>,
}

/// The call tree of one profile by a sample type; the values are in `after`.
///
/// # Errors
/// [`ProfileError::UnknownSampleType`], [`ProfileError::NoSampleTypes`].
pub fn flame(
    profile: &Profile,
    sample_type: &str,
    limits: &FlameLimits,
) -> Result<Flame, ProfileError> {
    let index = profile.sample_type_index(sample_type)?;
    let sums = StackSums::new(&[(profile, Side::After, index)]);
    Ok(tree(&sums, profile.sample_type(index).unit, limits))
}

/// The call tree of two profiles.
pub fn flame_diff(diff: &Diff, limits: &FlameLimits) -> Flame {
    tree(&diff.sums, diff.unit(), limits)
}

/// Nodes as they are collected: parent, name and value of each.
struct Nodes {
    keys: Slices,
    values: Vec<Change>,
}

/// The largest stacks go in first, so what the limits cut is the smallest.
fn tree(sums: &StackSums, unit: &str, limits: &FlameLimits) -> Flame {
    let depth_max = limits.depth_max.min(512);
    let names = function_names(sums);
    let size = |value: &Change| value.before.unsigned_abs().max(value.after.unsigned_abs());
    let mut nodes = Nodes {
        keys: Slices::default(),
        values: vec![Change::default()],
    };
    nodes.keys.intern(&[u32::MAX, u32::MAX]);
    let mut stacks_cut = 0;
    for stack in sums.sorted_by_key(|stack| size(&sums.values[stack as usize])) {
        let value = sums.values[stack as usize];
        let (mut parent, mut is_cut) = (0, false);
        nodes.values[0].add_change(value);
        for (depth, &frame) in sums.frame_ids(stack).iter().rev().enumerate() {
            let full = nodes.values.len() >= limits.nodes_max;
            let name = names.of_frame[frame as usize];
            let node = if depth < depth_max {
                nodes.child(parent, name, full)
            } else {
                None
            };
            let Some(node) = node else {
                is_cut = true;
                break;
            };
            nodes.values[node as usize].add_change(value);
            parent = node;
        }
        stacks_cut += usize::from(is_cut);
    }
    let count = nodes.values.len();
    Flame {
        unit: unit.to_owned(),
        root: nodes.nest(&names),
        nodes: count,
        stacks_cut,
    }
}

struct Names {
    texts: Vec<String>,
    of_frame: Vec<u32>,
}

fn function_names(sums: &StackSums) -> Names {
    let mut numbers = std::collections::HashMap::new();
    let mut names = Names {
        texts: Vec::new(),
        of_frame: Vec::new(),
    };
    for frame in 0..sums.frames_len() as u32 {
        let name = sums.frame(frame).name().into_owned();
        let number = *numbers.entry(name.clone()).or_insert_with(|| {
            names.texts.push(name);
            names.texts.len() as u32 - 1
        });
        names.of_frame.push(number);
    }
    names
}

impl Nodes {
    fn child(&mut self, parent: u32, name: u32, full: bool) -> Option<u32> {
        if full {
            return self.keys.find(&[parent, name]);
        }
        let (node, is_new) = self.keys.intern(&[parent, name]);
        if is_new {
            self.values.push(Change::default());
        }
        Some(node)
    }

    /// A child has a larger number than its parent, so going down the numbers each node is complete
    /// when it is handed to its parent.
    fn nest(&self, names: &Names) -> FlameNode {
        let mut waiting: Vec<Vec<FlameNode>> = Vec::new();
        waiting.resize_with(self.values.len(), Vec::new);
        for node in (1..self.values.len()).rev() {
            let key = self.keys.get(node as u32);
            let name = names.texts[key[1] as usize].clone();
            let done = self.node(node, name, std::mem::take(&mut waiting[node]));
            waiting[key[0] as usize].push(done);
        }
        self.node(0, "root".to_owned(), std::mem::take(&mut waiting[0]))
    }

    fn node(&self, node: usize, name: String, mut children: Vec<FlameNode>) -> FlameNode {
        children.sort_by(|a, b| a.name.cmp(&b.name));
        let Change { before, after } = self.values[node];
        FlameNode {
            name,
            before,
            after,
            children,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProfileBuilder, diff};

    /// Stacks as `root;callee;leaf` with a value.
    fn folded(rows: &[(&str, i64)]) -> Profile {
        let mut made = ProfileBuilder::new(&[("goroutine", "count")]);
        for (stack, value) in rows {
            let mut stack: Vec<_> = stack
                .split(';')
                .map(|name| {
                    let function = made.function(name, "", 0);
                    made.location(0, &[(function, 1)])
                })
                .collect();
            stack.reverse();
            made.sample(&stack, &[*value]);
        }
        made.build().unwrap()
    }

    fn lines(node: &FlameNode, depth: usize, out: &mut String) {
        let FlameNode {
            name,
            before,
            after,
            children,
        } = node;
        out.push_str(&format!("{:depth$}{name} {before} {after}\n", ""));
        children
            .iter()
            .for_each(|child| lines(child, depth + 1, out));
    }

    fn text(flame: &Flame) -> String {
        let mut out = String::new();
        lines(&flame.root, 0, &mut out);
        out
    }

    #[test]
    fn before_and_after_in_one_tree() {
        let before = folded(&[("main;a", 1), ("main;gone", 2)]);
        let after = folded(&[("main;b;c", 30), ("main;a", 4), ("main", 5), ("main;b", 6)]);
        let diff = diff(&before, &after, "goroutine").unwrap();
        let flame = flame_diff(&diff, &FlameLimits::default());
        assert_eq!(
            text(&flame),
            "root 3 45\n main 3 45\n  a 1 4\n  b 0 36\n   c 0 30\n  gone 2 0\n"
        );
        assert_eq!((flame.nodes, flame.stacks_cut), (6, 0));
    }

    #[test]
    fn limits_cut_the_smallest_and_keep_the_sums() {
        let profile = folded(&[
            ("main;small;x", 1),
            ("main;large;y", 9),
            ("main;large;z", 5),
        ]);
        let make = |nodes_max, depth_max| {
            flame(
                &profile,
                "",
                &FlameLimits {
                    nodes_max,
                    depth_max,
                },
            )
            .unwrap()
        };
        let cut = make(4, 9);
        assert_eq!(
            text(&cut),
            "root 0 15\n main 0 15\n  large 0 14\n   y 0 9\n"
        );
        assert_eq!((cut.nodes, cut.stacks_cut), (4, 2));
        let shallow = make(100, 1);
        assert_eq!(text(&shallow), "root 0 15\n main 0 15\n");
        assert_eq!((shallow.nodes, shallow.stacks_cut), (2, 3));
    }

    #[test]
    fn deep_recursion_stays_within_the_depth() {
        let deep = vec!["f"; 3_000].join(";");
        let profile = folded(&[(&deep, 1)]);
        let limits = FlameLimits {
            nodes_max: usize::MAX,
            depth_max: usize::MAX,
        };
        let flame = flame(&profile, "", &limits).unwrap();
        assert_eq!((flame.nodes, flame.stacks_cut), (513, 1));
    }
}
