//! Makes a table from running programs that have debug information and a symbol table: for maintainers, through
//! `cargo xtask layouts`.

use super::{Layout, SYMBOLS, Signature};
use crate::dwarf::Dwarf;
use crate::functions::{FunctionId, Functions};
use crate::memory::{Memory, le32};
use crate::program::Program;
use crate::symbols::data_symbols;
use crate::{InspectError, LayoutSource};

/// Places kept of one variable: enough that changed code in a patch release leaves two.
const PLACES: usize = 8;
/// Bytes of one function that are looked through.
const FUNCTION_BYTES_MAX: u64 = 64 << 10;

/// A variable: its name, where it is in this process, its size.
struct Variable {
    name: String,
    addr: u64,
    bytes: u64,
}

/// The text of a table: the layout of `reference`, and the places in its code that mention the runtime's variables
/// and that every one of `others` (the same Go version, linked in other ways) agrees with.
///
/// # Errors
/// When a program's layout did not come from its debug information, or its code can't be read.
pub fn make_table(reference: &Program, others: &[Program]) -> Result<String, InspectError> {
    if reference.layout_source() != LayoutSource::Dwarf {
        return Err(InspectError::Missing {
            what: "debug information to make a table from".to_owned(),
        });
    }
    let mut signatures = signatures(reference)?;
    for other in others {
        let same = self::signatures(other)?;
        signatures.retain(|signature| same.contains(signature));
    }
    let mut lines = reference.layout().lines();
    for symbol in SYMBOLS {
        let of = signatures.iter().filter(|line| line.symbol == *symbol);
        // A mention of the variable's start first: its fields may move in a patch release.
        let mut of: Vec<&Signature> = of.collect();
        of.sort_by_key(|line| line.add != 0);
        lines.extend(spread(&of).map(Signature::line));
    }
    Ok(lines.join("\n") + "\n")
}

/// The lines of a table that debug information alone gives, of a program for any machine: its fields, sizes and
/// constants, sorted.
pub fn layout_lines(dwarf: &Dwarf) -> Vec<String> {
    Layout::from_dwarf(dwarf).lines()
}

/// The first places of different functions, then more of the same ones.
fn spread<'a>(places: &[&'a Signature]) -> impl Iterator<Item = &'a Signature> {
    let is_first = |at: &usize| {
        let earlier = &places[..*at];
        !earlier
            .iter()
            .any(|place| place.function == places[*at].function)
    };
    let (first, later): (Vec<usize>, Vec<usize>) = (0..places.len()).partition(is_first);
    let chosen: Vec<&Signature> = first
        .into_iter()
        .chain(later)
        .map(|at| places[at])
        .collect();
    chosen.into_iter().take(PLACES)
}

fn signatures(program: &Program) -> Result<Vec<Signature>, InspectError> {
    let memory = program.memory();
    let module = &program.modules()[0];
    let functions = module.functions(memory)?;
    let variables = variables(program);
    let mut found = Vec::new();
    for id in functions.ids() {
        let name = functions.name(id);
        if name.starts_with("runtime.") && !name.contains(' ') {
            places(memory, functions, id, &variables, &mut found);
        }
    }
    Ok(found)
}

fn variables(program: &Program) -> Vec<Variable> {
    let wanted = |name: &str| SYMBOLS.contains(&name);
    let symbols = data_symbols(program.file(), program.elf(), wanted);
    let variables = symbols.into_iter().map(|symbol| Variable {
        addr: symbol.addr.wrapping_add(program.bias()),
        name: symbol.name,
        bytes: symbol.bytes,
    });
    let mut variables: Vec<Variable> = variables.collect();
    variables.sort_by_key(|variable| variable.addr);
    variables
}

/// The places in one function whose distance leads to one of `variables`.
fn places(
    memory: &dyn Memory,
    functions: &Functions,
    id: FunctionId,
    variables: &[Variable],
    found: &mut Vec<Signature>,
) {
    let (entry, end) = (functions.entry(id), functions.end(id));
    let len = end.saturating_sub(entry).min(FUNCTION_BYTES_MAX);
    let Ok(code) = memory.bytes("code", entry, len, FUNCTION_BYTES_MAX) else {
        return;
    };
    for at in 2..code.len().saturating_sub(4) {
        let Some(tail) = tail(code[at - 2], code[at - 1]) else {
            continue;
        };
        let distance = le32(&code, at) as i32;
        let next = entry + at as u64 + 4 + u64::from(tail);
        let target = next.wrapping_add_signed(distance.into());
        let last = variables.partition_point(|variable| variable.addr <= target);
        let Some(variable) = last.checked_sub(1).map(|last| &variables[last]) else {
            continue;
        };
        let add = target - variable.addr;
        if add < variable.bytes.max(1) {
            found.push(Signature {
                symbol: variable.name.clone(),
                function: functions.name(id).to_owned(),
                offset: at as u32,
                tail,
                add: add as u32,
            });
        }
    }
}

/// Bytes between the distance and the next instruction, from the two bytes before the distance: the instruction's
/// own and the one that says "relative to the next instruction". `None` when it isn't that.
fn tail(opcode: u8, mode: u8) -> Option<u32> {
    if mode & 0xc7 != 0x05 {
        return None;
    }
    match opcode {
        // An immediate byte follows: compare and others, store.
        0x80 | 0x83 | 0xc6 | 0xc0 | 0xc1 | 0x6b => Some(1),
        // An immediate of four bytes.
        0x81 | 0xc7 | 0x69 => Some(4),
        // TEST takes one as well, of the operand's size; the table does without.
        0xf6 | 0xf7 => None,
        _ => Some(0),
    }
}
