//! Who uses a variable whose name was stripped: the functions whose code mentions its address, that of the structure
//! that it is in, or that of a variable that was made to point at it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::groups::Numbered;
use super::mentions::{self, AFTER, BEFORE, Wanted};
use super::names::Named;
use super::sites::rank;
use crate::Program;
use crate::memory::le64;

/// Functions told of one variable.
const USERS_TOLD: usize = 4;
/// Code, or initial values of variables, read at a time: what a processor keeps near.
const STEP: u64 = 128 << 10;
/// Looked through at most, of each.
const BYTES_MAX: u64 = 512 << 20;
/// How far behind its beginning a structure may have the pointer that holds something.
const STRUCTURE_BYTES_MAX: u64 = 512;
/// Variables from one to the next that a user is looked for at: each step reads the code again.
const STEPS_MAX: usize = 4;

/// Where code uses variables without a name, by address: a place of each function. Those of the runtime count and are
/// not told.
#[derive(Default)]
pub(super) struct Users {
    mentioned: BTreeMap<u64, Vec<User>>,
    /// Of variables whose own address no code mentions.
    through: HashMap<u64, Vec<User>>,
}

/// A function that uses a variable, and where it does so first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    entry: u64,
    at: u64,
}

impl Users {
    /// Who uses the `variables`, and what lies up to `before` bytes before one of them. Reads the program's code once,
    /// and again for what is only reached through another variable.
    pub(super) fn find(program: &Program, variables: &[(u64, u64)]) -> Self {
        // Other machines than amd64 mention addresses in other ways.
        if variables.is_empty() || !program.machine().call_pushes {
            return Self::default();
        }
        let near = |&(addr, before): &(u64, u64)| around(addr, before.max(STRUCTURE_BYTES_MAX));
        let wanted = Wanted::new(variables.iter().map(near));
        let mut users = Self {
            mentioned: mentions(program, &wanted),
            through: HashMap::new(),
        };
        users.look_through(program, variables, &wanted);
        users
    }

    /// Finds the users of those variables whose own address no code mentions: those of what they are in. Everything
    /// alive is named by code or by the value of another variable, whose users are told then.
    fn look_through(&mut self, program: &Program, variables: &[(u64, u64)], wanted: &Wanted) {
        // The variable, and what lies in the thing whose beginning is looked for.
        let mut open: Vec<(u64, u64)> = variables
            .iter()
            .filter(|(addr, _)| !self.has(*addr))
            .map(|&(addr, _)| (addr, addr))
            .collect();
        let mut found = HashMap::new();
        settle(
            &mut open,
            &self.mentioned,
            &pointed(program, wanted),
            &mut found,
        );
        for _ in 1..STEPS_MAX {
            if open.is_empty() {
                break;
            }
            let near = open.iter().map(|&(_, at)| around(at, STRUCTURE_BYTES_MAX));
            let wanted = Wanted::new(near);
            let mentioned = mentions(program, &wanted);
            settle(
                &mut open,
                &mentioned,
                &pointed(program, &wanted),
                &mut found,
            );
        }
        self.through = found;
    }

    /// Whether any code mentions the address.
    pub(super) fn has(&self, addr: u64) -> bool {
        self.mentioned.contains_key(&addr)
    }

    /// Fills in the users of unnamed variables among `holders`.
    pub(super) fn add(&self, program: &Program, named: &Named, holders: &mut [Numbered]) {
        for numbered in holders {
            numbered.holder.used_by = self.of(program, named, numbered.top);
        }
    }

    /// The users of the variable that a line of the report stands for, if it has no name.
    pub(super) fn of(&self, program: &Program, named: &Named, top: u32) -> Vec<String> {
        let addr = named.tops[top as usize].unnamed_at;
        let users = addr.and_then(|addr| {
            let own = self.mentioned.get(&addr);
            own.or_else(|| self.through.get(&addr))
        });
        let mut told = Vec::new();
        let places = users.into_iter().flatten();
        for place in places.filter_map(|user| place(program, user.at)) {
            // One function may be part of several that use the variable.
            if !told.contains(&place) {
                told.push(place);
            }
        }
        told
    }
}

/// `before` bytes before an address, and itself.
fn around(addr: u64, before: u64) -> Range<u64> {
    addr.saturating_sub(before)..addr.saturating_add(1)
}

/// Moves what begins where code says so to `found`, and what begins where a variable points to one step on: to that
/// variable. What begins nowhere is dropped.
fn settle(
    open: &mut Vec<(u64, u64)>,
    mentioned: &BTreeMap<u64, Vec<User>>,
    pointed: &BTreeMap<u64, u64>,
    found: &mut HashMap<u64, Vec<User>>,
) {
    open.retain_mut(|(variable, at)| {
        let by_code = nearest(mentioned, *at);
        let by_value = nearest(pointed, *at);
        match (by_code, by_value) {
            (Some((code, users)), value) if value.is_none_or(|(value, _)| code >= value) => {
                found.insert(*variable, users.clone());
                false
            }
            (_, Some((_, &holder))) => {
                *at = holder;
                true
            }
            _ => false,
        }
    });
}

/// The last entry at or before `addr` that a structure may have in common with it.
fn nearest<T>(all: &BTreeMap<u64, T>, addr: u64) -> Option<(u64, &T)> {
    let from = addr.saturating_sub(STRUCTURE_BYTES_MAX);
    let (found, value) = all.range(from..=addr).next_back()?;
    Some((*found, value))
}

/// What is mentioned of the `wanted` addresses, and where.
fn mentions(program: &Program, wanted: &Wanted) -> BTreeMap<u64, Vec<User>> {
    let mut all: BTreeMap<u64, Vec<User>> = BTreeMap::new();
    if wanted.is_empty() {
        return all;
    }
    for module in program.modules() {
        let code = module.text..module.etext;
        each_step(program, code, |start, bytes| {
            mentions::find(start, bytes, wanted, |place, target| {
                let found = all.entry(target).or_default();
                if let Some(user) = user(program, place)
                    && found.len() < USERS_TOLD
                    && found.iter().all(|known| known.entry != user.entry)
                {
                    found.push(user);
                }
            });
        });
    }
    all
}

/// The function of a mention, unless it is the runtime's.
fn user(program: &Program, place: u64) -> Option<User> {
    let functions = program.functions_of(place)?;
    let id = functions.find(place)?;
    let entry = functions.entry(id);
    let is_told = !functions.name(id).starts_with("runtime.");
    is_told.then_some(User { entry, at: place })
}

/// Which of the `wanted` addresses variables point at, and the first such variable. Those that the linker gave a value
/// are what matters: nothing else names what they point at.
fn pointed(program: &Program, wanted: &Wanted) -> BTreeMap<u64, u64> {
    let mut all = BTreeMap::new();
    for module in program.modules() {
        let values = module.data.0..module.data.1;
        each_step(program, values, |start, bytes| {
            for at in (0..bytes.len().saturating_sub(7)).step_by(8) {
                let target = le64(bytes, at);
                let at = start + at as u64;
                // The last words of a step come again with the next one.
                if wanted.has(target) && target != at {
                    all.entry(target).or_insert(at);
                }
            }
        });
    }
    all
}

/// Reads `range` in steps, each with a little of what lies around it.
fn each_step(program: &Program, range: Range<u64>, mut visit: impl FnMut(u64, &[u8])) {
    let end = range.end.min(range.start.saturating_add(BYTES_MAX));
    let around = (BEFORE + AFTER) as u64 / 8 * 8 + 8;
    let mut buf = vec![0; (STEP + around).min(end.saturating_sub(range.start)) as usize];
    let mut at = range.start;
    while at < end {
        let len = (STEP + around).min(end - at);
        let bytes = &mut buf[..len as usize]; // The first step is the longest.
        if program.memory().read(at, bytes).is_ok() {
            visit(at, bytes);
        }
        at = at.saturating_add(STEP);
    }
}

/// `main.main main.go:97`: the function and line of the source that an instruction is of; of calls inlined into one
/// another the innermost of the program's own.
fn place(program: &Program, at: u64) -> Option<String> {
    let functions = program.functions_of(at)?;
    let own = &program.executable().build.module_path;
    let source = functions
        .sources(program.memory(), functions.find(at)?, at)
        .min_by_key(|source| rank(source.function, own))?;
    let file = source.file.rsplit('/').next().unwrap_or_default();
    Some(format!("{} {file}:{}", source.function, source.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_used_by_who_uses_what_leads_to_it() {
        let user = |at| vec![User { entry: at, at }];
        let mentioned = BTreeMap::from([(0x1000, user(1)), (0x1800, user(2))]);
        let pointed = BTreeMap::from([(0x1040, 0x1808), (0x9000, 0x9008)]);
        // In a structure that code names, behind a variable that does not lead anywhere else, far from everything.
        let mut open = vec![(0x1010, 0x1010), (0x1048, 0x1048), (0x7000, 0x7000)];
        let mut found = HashMap::new();
        settle(&mut open, &mentioned, &pointed, &mut found);
        assert_eq!(found, HashMap::from([(0x1010, user(1))]));
        assert_eq!(open, [(0x1048, 0x1808)]);
        settle(&mut open, &mentioned, &pointed, &mut found);
        assert_eq!(found.get(&0x1048), Some(&user(2)));
        assert!(open.is_empty());
    }
}
