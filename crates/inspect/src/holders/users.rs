//! Who uses a variable whose name was stripped: the functions whose code mentions its address.

use std::collections::HashMap;

use super::groups::Numbered;
use super::names::Named;
use super::sites::rank;
use crate::Program;
use crate::memory::le32;

/// Functions told of one variable.
const USERS_TOLD: usize = 4;
/// Code read at a time.
const STEP: u64 = 1 << 20;
/// Code looked through at most.
const CODE_BYTES_MAX: u64 = 512 << 20;

/// Where code uses variables without a name, by the variable's address: a place of each function. Those of the runtime
/// count and are not told.
#[derive(Default)]
pub(super) struct Users(HashMap<u64, Vec<User>>);

/// A function that uses a variable, and where it does so first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    entry: u64,
    at: u64,
}

impl Users {
    /// Who uses what lies at `addrs`. Reads the program's code once, if there are any.
    pub(super) fn find(program: &Program, addrs: impl Iterator<Item = u64>) -> Self {
        let mut users: HashMap<u64, Option<Vec<User>>> = addrs.map(|addr| (addr, None)).collect();
        // Other machines than amd64 mention addresses in other ways.
        if users.is_empty() || !program.machine().call_pushes {
            return Self::default();
        }
        for module in program.modules() {
            let mut at = module.text;
            let end = module.etext.min(module.text.saturating_add(CODE_BYTES_MAX));
            while at < end {
                // Four bytes more, so that no mention is cut.
                let len = (STEP + 4).min(end - at);
                if let Ok(code) = program.memory().bytes("code", at, len, STEP + 4) {
                    mentions(program, at, &code, &mut users);
                }
                at += STEP;
            }
        }
        let used = users.into_iter();
        Self(used.filter_map(|(addr, of)| Some((addr, of?))).collect())
    }

    /// Whether any code mentions the address.
    pub(super) fn has(&self, addr: u64) -> bool {
        self.0.contains_key(&addr)
    }

    /// Fills in the users of unnamed variables among `holders`.
    pub(super) fn add(&self, program: &Program, named: &Named, holders: &mut [Numbered]) {
        for numbered in holders {
            let addr = named.tops[numbered.top as usize].unnamed_at;
            let users = addr.and_then(|addr| self.0.get(&addr));
            let told = users.into_iter().flatten();
            numbered.holder.used_by = told.filter_map(|user| place(program, user.at)).collect();
        }
    }
}

/// Instructions name an address by its distance from the next instruction, which mostly follows at once.
fn mentions(
    program: &Program,
    start: u64,
    code: &[u8],
    users: &mut HashMap<u64, Option<Vec<User>>>,
) {
    for at in 0..code.len().saturating_sub(4) {
        let place = start + at as u64;
        let target = (place + 4).wrapping_add_signed((le32(code, at) as i32).into());
        let Some(found) = users.get_mut(&target) else {
            continue;
        };
        let found = found.get_or_insert_default();
        if found.len() >= USERS_TOLD {
            continue;
        }
        let Some(functions) = program.functions_of(place) else {
            continue;
        };
        let Some(id) = functions.find(place) else {
            continue;
        };
        let entry = functions.entry(id);
        let is_known = found.iter().any(|known| known.entry == entry);
        if !is_known && !functions.name(id).starts_with("runtime.") {
            found.push(User { entry, at: place });
        }
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
