//! Package variables: which there are, and which of their words are pointers.

use std::sync::Arc;

use super::{Collector, RootKind, statics};
use crate::dwarf::TypeRef;
use crate::elf::Elf;
use crate::mapping::MappedElf;
use crate::memory::le64;
use crate::symbols::data_symbols;
use crate::{InspectError, Program, ReadAt, limits};

/// One variable, or what can be said of a stripped one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// `main.sessions`; of a variable without a name its section and place, as `bss+0x490`.
    pub name: Arc<str>,
    /// Where it lies.
    pub addr: u64,
    /// Its length; 8 where unknown.
    pub bytes: u64,
    /// Its type in the debug information.
    pub ty: Option<TypeRef>,
    /// Whether a symbol or debug information names it.
    pub is_named: bool,
}

/// The variables that hold pointers into the heap, in no order; a root's `at` is a place in here.
#[derive(Debug, Default)]
pub struct Globals {
    /// The variables.
    pub all: Vec<Global>,
}

/// Symbols that are no variables but tables of the linker.
const NOT_VARIABLES: [&str; 4] = ["go:", "type:", "runtime.gcbss", "runtime.gcdata"];

/// Collects every variable of every module that points into the heap.
pub(super) fn read(program: &Program, roots: &mut Collector<'_>) -> Result<Globals, InspectError> {
    let mut known = program.named(known_variables).to_vec();
    statics::add(program, &mut known);
    let mut globals = Globals::default();
    for (number, module) in program.modules().iter().enumerate() {
        let sections = [
            ("data", module.data, module.data_mask),
            ("bss", module.bss, module.bss_mask),
        ];
        for (section, (start, end), (mask, bits)) in sections {
            let len = end - start;
            let bytes =
                program
                    .memory()
                    .bytes("variables", start, len, limits::VARIABLES_BYTES_MAX)?;
            let mask =
                program
                    .memory()
                    .bytes("variables' mask", mask, bits.div_ceil(8), len / 64 + 8)?;
            let prefix = match number {
                0 => section.to_owned(),
                _ => format!("plugin {number} {section}"),
            };
            let section = Section {
                start,
                bytes: &bytes,
                mask: &mask,
                prefix: &prefix,
            };
            section.walk(&known, roots, &mut globals);
        }
    }
    for root in roots
        .roots
        .iter_mut()
        .filter(|root| root.kind == RootKind::Global)
    {
        let ty = globals.all[root.at as usize].ty;
        let name = ty.and_then(|ty| program.dwarf_of(ty)?.name_of(ty));
        root.is_pool = name.as_deref() == Some("sync.Pool");
    }
    Ok(globals)
}

/// The variables in which `addrs` lie, among them those that hold no pointers.
pub(crate) fn variables_at(program: &Program, addrs: &[u64]) -> Vec<Option<Global>> {
    if addrs.is_empty() {
        return Vec::new();
    }
    let mut known = program.named(known_variables).to_vec();
    statics::add(program, &mut known);
    let variable = |addr: u64| {
        let at = known.partition_point(|global| global.addr <= addr);
        let found = &known[at.checked_sub(1)?];
        (addr < found.addr + found.bytes).then(|| found.clone())
    };
    addrs.iter().map(|&addr| variable(addr)).collect()
}

/// One section with pointers.
struct Section<'a> {
    start: u64,
    bytes: &'a [u8],
    mask: &'a [u8],
    prefix: &'a str,
}

impl Section<'_> {
    /// Makes a root of each variable that has a pointer into the heap. Variables come in the order of their addresses,
    /// so the last one made is the only one that can go on.
    fn walk(&self, known: &[Global], roots: &mut Collector<'_>, globals: &mut Globals) {
        let mut current: Option<(u64, u64, u32)> = None;
        for word in (0..self.bytes.len() / 8).filter(|word| {
            self.mask
                .get(word / 8)
                .is_some_and(|bits| bits >> (word % 8) & 1 == 1)
        }) {
            let value = le64(self.bytes, word * 8);
            if value == 0 || roots.heap.object_at(value).is_none() {
                continue;
            }
            let addr = self.start + 8 * word as u64;
            let root = match current {
                Some((start, end, root)) if (start..end).contains(&addr) => root,
                _ => {
                    let global = self.at(known, addr);
                    let root = roots.add(RootKind::Global, globals.all.len() as u64);
                    if is_runtime(&global.name) {
                        roots.roots[root as usize].kind = RootKind::Runtime;
                        roots.roots[root as usize].is_variable = true;
                    }
                    current = Some((global.addr, global.addr + global.bytes, root));
                    globals.all.push(global);
                    root
                }
            };
            let start = current.map_or(addr, |current| current.0);
            roots.point(root, addr - start, value);
        }
    }

    fn at(&self, known: &[Global], addr: u64) -> Global {
        let at = known.partition_point(|global| global.addr <= addr);
        let found = at.checked_sub(1).map(|at| &known[at]);
        match found.filter(|global| addr < global.addr + global.bytes) {
            Some(global) => global.clone(),
            None => Global {
                name: format!("{}+{:#x}", self.prefix, addr - self.start).into(),
                addr,
                bytes: 8,
                ty: None,
                is_named: false,
            },
        }
    }
}

/// Whether a variable belongs to the runtime and its closest helpers, which people never leak through.
fn is_runtime(name: &str) -> bool {
    let rest = name;
    rest.starts_with("runtime.")
        || rest.starts_with("internal/runtime")
        || rest.starts_with("runtime/internal")
}

/// Every variable that debug information or the symbol table names, by address; of two at one address the one with a
/// type.
fn known_variables(program: &Program) -> Vec<Global> {
    let mut known: Vec<Global> = Vec::new();
    for (dwarf, bias) in program.dwarfs() {
        known.extend(dwarf.variables().map(|variable| {
            let size = variable.ty.and_then(|ty| dwarf.size_of(ty));
            Global {
                name: variable.name.into(),
                addr: variable.addr.wrapping_add(bias),
                bytes: size.unwrap_or(8).max(8),
                ty: variable.ty,
                is_named: true,
            }
        }));
    }
    add_symbols(program.file(), program.elf(), program.bias(), &mut known);
    for plugin in program.plugins() {
        let MappedElf { file, elf, bias } = &plugin.mapped;
        add_symbols(file, elf, *bias, &mut known);
    }
    known.sort_by_key(|global| (global.addr, global.ty.is_none()));
    known.dedup_by_key(|global| global.addr);
    add_runtime(program, &mut known);
    known
}

/// The runtime's variables of a stripped program, as far as they were found by its code: what waits in its lists is held
/// by whoever waits.
fn add_runtime(program: &Program, known: &mut Vec<Global>) {
    let is_known = |addr: u64| {
        let at = known.partition_point(|global| global.addr <= addr);
        at.checked_sub(1)
            .is_some_and(|at| addr < known[at].addr.saturating_add(known[at].bytes))
    };
    let found: Vec<(&str, u64)> = program
        .symbols()
        .filter(|&(_, addr)| !is_known(addr))
        .collect();
    for (name, addr) in found {
        known.push(Global {
            name: name.into(),
            addr,
            bytes: match name {
                // One root of waiters for each of `runtime.semTabSize`, in a cache line of its own.
                "runtime.semtable" => 251 * program.machine().cache_line,
                _ => 8,
            },
            ty: None,
            is_named: true,
        });
    }
    known.sort_by_key(|global| global.addr);
}

/// Every variable of a file's symbol table.
fn add_symbols(file: &(impl ReadAt + ?Sized), elf: &Elf, bias: u64, known: &mut Vec<Global>) {
    let keep = |name: &str| !NOT_VARIABLES.iter().any(|prefix| name.starts_with(prefix));
    let symbols = data_symbols(file, elf, keep).into_iter();
    let variables = symbols.filter(|symbol| symbol.bytes > 0);
    known.extend(variables.map(|symbol| Global {
        name: symbol.name.into(),
        addr: symbol.addr.wrapping_add(bias),
        bytes: symbol.bytes,
        ty: None,
        is_named: true,
    }));
}
