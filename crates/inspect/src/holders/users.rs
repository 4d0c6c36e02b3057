//! Who uses a variable whose name was stripped: the functions whose code mentions its address, that of the structure
//! that it is in, or that of a variable that was made to point at it.

use std::collections::{BTreeMap, HashMap};

use super::groups::Numbered;
use super::mentions::{self, AFTER, BEFORE, Wanted};
use super::names::Named;
use super::sites::rank;
use crate::Program;
use crate::memory::le64;

/// Functions told of one variable.
const USERS_TOLD: usize = 4;
/// Code, or initial values of variables, read at a time.
const STEP: u64 = 1 << 20;
/// Looked through at most, of each.
const BYTES_MAX: u64 = 512 << 20;
/// How far behind its beginning a structure may have the pointer that holds something.
const STRUCTURE_BYTES_MAX: u64 = 512;

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
        let near = |&(addr, before): &(u64, u64)| {
            addr.saturating_sub(before.max(STRUCTURE_BYTES_MAX))..addr.saturating_add(1)
        };
        let wanted = Wanted::new(variables.iter().map(near));
        let mut users = Self {
            mentioned: mentions(program, &wanted),
            through: HashMap::new(),
        };
        users.look_through(program, variables, &wanted);
        users
    }

    /// Finds the users of those variables whose own address no code mentions.
    fn look_through(&mut self, program: &Program, variables: &[(u64, u64)], wanted: &Wanted) {
        let unknown = variables.iter().map(|&(addr, _)| addr);
        let unknown: Vec<u64> = unknown.filter(|&addr| !self.has(addr)).collect();
        let pointed = pointed(program, wanted);
        // The beginning of what a variable is in: everything alive is named by code, or by a value from the beginning.
        let beginning = |addr: u64| {
            let by_code = nearest(&self.mentioned, addr);
            let by_value = nearest(&pointed, addr);
            (by_code.map(|found| found.0), by_value)
        };
        let (mut inside, mut held) = (Vec::new(), Vec::new());
        for &addr in &unknown {
            match beginning(addr) {
                (Some(code), Some((value, _))) if code >= value => inside.push((addr, code)),
                (Some(code), None) => inside.push((addr, code)),
                (_, Some((_, &holder))) => held.push((addr, holder)),
                (None, None) => {}
            }
        }
        for (addr, code) in inside {
            let users = self.mentioned.get(&code).cloned();
            self.through.insert(addr, users.unwrap_or_default());
        }
        let near = |&(_, holder): &(u64, u64)| {
            holder.saturating_sub(STRUCTURE_BYTES_MAX)..holder.saturating_add(1)
        };
        let holders = Wanted::new(held.iter().map(near));
        let mentioned = mentions(program, &holders);
        for (addr, holder) in held {
            if let Some((_, users)) = nearest(&mentioned, holder) {
                self.through.insert(addr, users.clone());
            }
        }
    }

    /// Whether any code mentions the address.
    pub(super) fn has(&self, addr: u64) -> bool {
        self.mentioned.contains_key(&addr)
    }

    /// Fills in the users of unnamed variables among `holders`.
    pub(super) fn add(&self, program: &Program, named: &Named, holders: &mut [Numbered]) {
        for numbered in holders {
            let addr = named.tops[numbered.top as usize].unnamed_at;
            let users = addr.and_then(|addr| {
                let own = self.mentioned.get(&addr);
                own.or_else(|| self.through.get(&addr))
            });
            let told = &mut numbered.holder.used_by;
            let places = users.into_iter().flatten();
            for place in places.filter_map(|user| place(program, user.at)) {
                // One function may be part of several that use the variable.
                if !told.contains(&place) {
                    told.push(place);
                }
            }
        }
    }
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
        each_step(program, "code", code, |start, bytes| {
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
        each_step(program, "variables", values, |start, bytes| {
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
fn each_step(
    program: &Program,
    what: &'static str,
    range: std::ops::Range<u64>,
    mut visit: impl FnMut(u64, &[u8]),
) {
    let end = range.end.min(range.start.saturating_add(BYTES_MAX));
    let around = (BEFORE + AFTER) as u64 / 8 * 8 + 8;
    let mut at = range.start;
    while at < end {
        let len = (STEP + around).min(end - at);
        if let Ok(bytes) = program.memory().bytes(what, at, len, STEP + around) {
            visit(at, &bytes);
        }
        at += STEP;
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
