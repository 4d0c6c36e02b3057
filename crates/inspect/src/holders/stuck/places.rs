//! Which goroutines are of one group.

use std::collections::HashMap;
use std::sync::Arc;

use super::{GoroutineGroup, Place};
use crate::goroutines::{Frame, Goroutine, Goroutines, Stack, Status};
use crate::holders::Taken;
use crate::holders::sums::NONE;
use crate::roots::RootKind;

/// The groups, and the group of each goroutine.
#[derive(Default)]
pub(super) struct Places {
    /// By goroutine of the dump; [`NONE`] for the runtime's own.
    pub(super) group_of: Vec<u32>,
    pub(super) groups: Vec<Key>,
}

/// What goroutines of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    entry: Arc<str>,
    state: String,
    at: Option<Source>,
    created_by: Option<Source>,
}

/// Function, file and line.
type Source = (Arc<str>, Arc<str>, u32);

impl Places {
    pub(super) fn new(dump: &Goroutines) -> Self {
        // Stacks differ in much that does not matter here; each is looked at once.
        let stacks: Vec<(Arc<str>, Option<Source>)> = dump.stacks.iter().map(of_stack).collect();
        let mut sources = Numbers::default();
        let ats: Vec<u32> = stacks
            .iter()
            .map(|stack| sources.number(stack.clone()))
            .collect();
        let mut creators = Numbers::default();
        let creator_of: Vec<u32> = dump
            .creators
            .iter()
            .map(|frame| creators.number(source(frame)))
            .collect();
        let mut states = Numbers::default();
        let mut groups = Vec::new();
        let mut known: HashMap<(u32, u32, u32), u32> = HashMap::new();
        let mut group_of = Vec::with_capacity(dump.goroutines.len());
        for goroutine in &dump.goroutines {
            if goroutine.system {
                group_of.push(NONE);
                continue;
            }
            let of = |numbers: &[u32], at: Option<usize>| {
                at.and_then(|at| numbers.get(at).copied()).unwrap_or(NONE)
            };
            let (at, by) = (
                of(&ats, goroutine.stack),
                of(&creator_of, goroutine.creator),
            );
            let state = states.number(state(goroutine));
            let number = *known.entry((at, by, state)).or_insert_with(|| {
                groups.push(key(dump, &stacks, goroutine));
                groups.len() as u32 - 1
            });
            group_of.push(number);
        }
        Self { group_of, groups }
    }

    /// The group of each root; [`NONE`] for those that are no goroutines of the program's own.
    pub(super) fn group_of_root(&self, taken: &Taken) -> Vec<u32> {
        let of = |root: &crate::roots::Root| match root.kind {
            RootKind::Goroutine => self.group_of.get(root.at as usize).copied(),
            _ => None,
        };
        let roots = taken.roots.roots.iter();
        roots.map(|root| of(root).unwrap_or(NONE)).collect()
    }

    /// The groups as they are told, before anything is counted.
    pub(super) fn empty_groups(&self) -> Vec<GoroutineGroup> {
        let place = |source: &Source| Place {
            function: source.0.to_string(),
            file: source.1.to_string(),
            line: source.2,
        };
        let group = |key: &Key| GoroutineGroup {
            entry: key.entry.to_string(),
            state: key.state.clone(),
            at: key.at.as_ref().map(place),
            created_by: key.created_by.as_ref().map(place),
            count: 0,
            retained_bytes: 0,
            retained_objects: 0,
            stack_bytes: 0,
            average_bytes: 0,
            waited: None,
            judged: 0,
            proven_leaked: 0,
            seem_leaked: 0,
            leaked: Vec::new(),
            kept_by: Vec::new(),
        };
        self.groups.iter().map(group).collect()
    }
}

/// Numbers equal things alike.
struct Numbers<T>(HashMap<T, u32>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: std::hash::Hash + Eq> Numbers<T> {
    fn number(&mut self, thing: T) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(thing).or_insert(next)
    }
}

fn key(dump: &Goroutines, stacks: &[(Arc<str>, Option<Source>)], goroutine: &Goroutine) -> Key {
    let stack = goroutine.stack.and_then(|stack| stacks.get(stack));
    let creator = goroutine
        .creator
        .and_then(|creator| dump.creators.get(creator));
    let (entry, at) = match (stack, creator) {
        (Some((entry, at)), _) if !entry.is_empty() => (entry.clone(), at.clone()),
        _ if let Some(entry) = &goroutine.entry => (entry.clone(), None),
        (_, Some(creator)) => (
            format!("goroutine begun by {}", creator.function).into(),
            None,
        ),
        _ => ("a goroutine that runs".into(), None),
    };
    Key {
        entry,
        state: state(goroutine),
        at,
        created_by: creator.map(source),
    }
}

/// The state without what changes from one moment to the next.
fn state(goroutine: &Goroutine) -> String {
    if goroutine.wait_reason.is_empty() && goroutine.status == Status::Runnable {
        // It will run at once: for people the same.
        return Status::Running.word().to_owned();
    }
    goroutine.state_word().replace(" (scan)", "")
}

/// The function that a stack began in, and the innermost call that is neither the runtime's nor of what the standard
/// library waits with.
fn of_stack(stack: &Stack) -> (Arc<str>, Option<Source>) {
    let calls = || stack.frames.iter().filter(|frame| !frame.wrapper);
    let at = calls()
        .find(|frame| !waits_inside(&frame.function))
        .or_else(|| calls().find(|frame| !frame.hidden))
        .or_else(|| calls().next());
    let entry = stack.entry().map(|frame| frame.function.clone());
    (entry.unwrap_or_else(|| "".into()), at.map(source))
}

/// Where everybody waits who waits for anything.
fn waits_inside(function: &str) -> bool {
    let prefixes = [
        "runtime.",
        "runtime/",
        "sync.",
        "internal/",
        "syscall.",
        "time.Sleep",
        "type:.",
    ];
    prefixes.iter().any(|prefix| function.starts_with(prefix)) || !function.contains('.')
}

fn source(frame: &Frame) -> Source {
    (frame.function.clone(), frame.file.clone(), frame.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goroutines::{End, StackSize};

    fn frame(function: &str, line: u32) -> Frame {
        Frame {
            function: function.into(),
            file: "f.go".into(),
            line,
            start_line: 1,
            pc: u64::from(line),
            offset: 0,
            inlined: false,
            hidden: function.starts_with("runtime."),
            wrapper: false,
        }
    }

    fn stack(frames: &[(&str, u32)]) -> Stack {
        let frames = frames.iter().map(|&(name, line)| frame(name, line));
        Stack {
            frames: frames.collect(),
            end: End::Top,
        }
    }

    fn goroutine(stack: Option<usize>, reason: &str) -> Goroutine {
        Goroutine {
            id: 9,
            addr: 0,
            status: Status::Waiting,
            scan: false,
            wait_reason: reason.into(),
            waited_ns: None,
            locked_to_thread: false,
            bubble: None,
            system: false,
            entry: None,
            stack,
            stack_bytes: StackSize::default(),
            approximate: false,
            creator: Some(0),
            parent: 1,
            labels: Arc::default(),
            waits: Vec::new(),
        }
    }

    #[test]
    fn goroutines_at_the_same_line_are_one_group() {
        let stacks = [
            stack(&[("runtime.gopark", 1), ("main.get", 20), ("main.work", 7)]),
            // Deeper in the runtime, the same for people.
            stack(&[
                ("runtime.gopark", 2),
                ("runtime.chanrecv", 3),
                ("main.get", 20),
                ("main.work", 7),
            ]),
            stack(&[("runtime.gopark", 1), ("main.get", 21), ("main.work", 7)]),
            stack(&[
                ("runtime.gopark", 1),
                ("sync.(*Mutex).Lock", 3),
                ("main.work", 8),
                ("runtime.goexit", 1),
            ]),
        ];
        let mut system = goroutine(Some(0), "chan receive");
        system.system = true;
        let dump = Goroutines {
            goroutines: vec![
                goroutine(Some(0), "chan receive"),
                goroutine(Some(1), "chan receive"),
                goroutine(Some(2), "chan receive"),
                goroutine(Some(0), "select"),
                system,
                goroutine(Some(3), "sync.Mutex.Lock"),
                goroutine(None, ""),
                goroutine(Some(77), ""),
            ],
            stacks: stacks.to_vec(),
            creators: vec![frame("main.main", 3)],
            ..Goroutines::default()
        };
        let places = Places::new(&dump);
        assert_eq!(places.group_of, [0, 0, 1, 2, NONE, 3, 4, 4]);
        let groups = places.empty_groups();
        let told: Vec<(&str, &str, Option<u32>)> = groups
            .iter()
            .map(|group| {
                let line = group.at.as_ref().map(|at| at.line);
                (&*group.entry, &*group.state, line)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("main.work", "chan receive", Some(20)),
                ("main.work", "chan receive", Some(21)),
                ("main.work", "select", Some(20)),
                ("main.work", "sync.Mutex.Lock", Some(8)),
                ("goroutine begun by main.main", "waiting", None),
            ]
        );
    }
}
