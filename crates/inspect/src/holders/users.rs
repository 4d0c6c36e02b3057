//! Who uses a variable whose name was stripped: the functions whose code mentions its address.

use std::collections::HashMap;

use super::groups::Numbered;
use super::names::Named;
use crate::Program;
use crate::memory::le32;

/// Functions told of one variable.
const USERS_TOLD: usize = 4;
/// Code read at a time.
const STEP: u64 = 1 << 20;
/// Code looked through at most.
const CODE_BYTES_MAX: u64 = 512 << 20;

/// Fills in the users of unnamed variables among `holders`.
pub(super) fn add(program: &Program, named: &Named, holders: &mut [Numbered]) {
    // Other machines than amd64 mention addresses in other ways.
    if !program.machine().call_pushes {
        return;
    }
    let unnamed = holders.iter().filter_map(|numbered| {
        let addr = named.tops[numbered.top as usize].unnamed_at?;
        Some((addr, Vec::new()))
    });
    let mut users: HashMap<u64, Vec<String>> = unnamed.collect();
    if users.is_empty() {
        return;
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
    for numbered in holders {
        if let Some(addr) = named.tops[numbered.top as usize].unnamed_at {
            numbered.holder.used_by = users.remove(&addr).unwrap_or_default();
        }
    }
}

/// Instructions name an address by its distance from the next instruction, which mostly follows at once.
fn mentions(program: &Program, start: u64, code: &[u8], users: &mut HashMap<u64, Vec<String>>) {
    for at in 0..code.len().saturating_sub(4) {
        let place = start + at as u64;
        let target = (place + 4).wrapping_add_signed((le32(code, at) as i32).into());
        let Some(found) = users
            .get_mut(&target)
            .filter(|found| found.len() < USERS_TOLD)
        else {
            continue;
        };
        let name = program
            .functions_of(place)
            .and_then(|functions| Some(functions.name(functions.find(place)?)));
        if let Some(name) = name.filter(|name| !name.starts_with("runtime."))
            && !found.iter().any(|known| known == name)
        {
            found.push(name.to_owned());
        }
    }
}
