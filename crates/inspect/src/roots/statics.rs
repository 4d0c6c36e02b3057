//! Values that the linker laid out: `var app = &App{cache: &Cache{}}` puts both structures into variables of the
//! compiler's, which neither debug information nor symbols name. They are called after what leads to them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::globals::Global;
use crate::dwarf::{Dwarf, TypeRef, TypeTag};
use crate::memory::le64;
use crate::types::Kind;
use crate::{Program, limits};

/// Values that get a name.
const STATICS_MAX: usize = 1 << 16;
/// Elements of one array or slice that are followed.
const ELEMENTS_MAX: u64 = 4096;
/// Words of one variable that are looked at: a damaged size costs no more.
const WORDS_MAX: u64 = 1 << 13;
/// Pointers of one type that are followed, and structures inside structures.
const POINTERS_MAX: usize = 1024;
const DEPTH_MAX: usize = 16;
/// Bytes of a name; what lies deeper is called after what holds it.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of a value of which only the beginning is known.
const UNTYPED_BYTES_MAX: u64 = 512;

/// A place in a type that may lead to a static value.
#[derive(Debug, Clone)]
struct Way {
    offset: u64,
    /// `.reg`, `[*].cache`.
    path: String,
    to: To,
}

/// What a way leads to.
#[derive(Debug, Clone, Copy)]
enum To {
    One(TypeRef),
    Elements(TypeRef),
    /// What an interface with methods, or without, has in it.
    Inside {
        is_empty: bool,
    },
}

/// Adds what the known variables lead to. `known` is sorted by address, and is so again.
pub(super) fn add(program: &Program, known: &mut Vec<Global>) {
    let mut statics = Statics {
        program,
        data: data(program),
        known,
        types: HashMap::new(),
        made: Vec::new(),
        seen: HashSet::new(),
    };
    statics.all();
    let made = statics.made;
    known.extend(made);
    known.sort_by_key(|global| (global.addr, global.ty.is_none()));
    known.dedup_by_key(|global| global.addr);
}

/// The initialised variables of every module: only they can lead to a static value from the beginning on.
fn data(program: &Program) -> Vec<(u64, Vec<u8>)> {
    let read = |(start, end): (u64, u64)| {
        let len = end.saturating_sub(start);
        let bytes = program
            .memory()
            .bytes("variables", start, len, limits::VARIABLES_BYTES_MAX);
        Some((start, bytes.ok()?))
    };
    let modules = program.modules().iter();
    modules.filter_map(|module| read(module.data)).collect()
}

struct Statics<'a> {
    program: &'a Program,
    data: Vec<(u64, Vec<u8>)>,
    known: &'a [Global],
    types: HashMap<TypeRef, Rc<[Way]>>,
    made: Vec<Global>,
    seen: HashSet<u64>,
}

impl Statics<'_> {
    fn all(&mut self) {
        let mut queue: VecDeque<Global> = self.known.iter().cloned().collect();
        let mut untyped = Vec::new();
        while let Some(global) = queue.pop_front() {
            if self.made.len() >= STATICS_MAX {
                break;
            }
            if !self.leads_on(&global) {
                continue;
            }
            let Some(ty) = global.ty else {
                untyped.push(global);
                continue;
            };
            let before = self.made.len();
            for way in self.ways(ty).iter() {
                self.follow(&global, way);
            }
            queue.extend(self.made[before..].iter().cloned());
        }
        if !untyped.is_empty() {
            self.untyped(untyped);
        }
    }

    /// Whether any word of it points at a variable.
    fn leads_on(&self, global: &Global) -> bool {
        let words = words_of(global).map(|addr| self.word(addr));
        let mut words = words.take_while(Option::is_some).flatten();
        words.any(|value| self.is_variable(value))
    }

    fn word(&self, addr: u64) -> Option<u64> {
        let (start, bytes) = self.data.iter().find(|(start, bytes)| {
            let inside = addr.checked_sub(*start);
            inside.is_some_and(|at| at < (bytes.len() as u64).saturating_sub(7))
        })?;
        Some(le64(bytes, (addr - start) as usize))
    }

    fn is_variable(&self, addr: u64) -> bool {
        let inside = |range: (u64, u64)| (range.0..range.1).contains(&addr);
        let mut modules = self.program.modules().iter();
        modules.any(|module| inside(module.data) || inside(module.bss))
    }

    /// Names what lies at the end of a way from `global`.
    fn follow(&mut self, global: &Global, way: &Way) {
        let at = global.addr.saturating_add(way.offset);
        let Some(target) = self.word(match way.to {
            To::Inside { .. } => at.saturating_add(8),
            _ => at,
        }) else {
            return;
        };
        if !self.is_variable(target) {
            return;
        }
        let name: Arc<str> = match global.name.len() + way.path.len() < NAME_BYTES_MAX {
            true => format!("{}{}", global.name, way.path).into(),
            false => Arc::clone(&global.name),
        };
        match way.to {
            To::One(ty) => self.make(&name, target, ty),
            To::Inside { is_empty } => {
                if let Some(ty) = self.inside(global, at, is_empty) {
                    self.make(&name, target, ty);
                }
            }
            To::Elements(ty) => {
                let size = self.size(ty);
                let len = self.word(at.saturating_add(8)).unwrap_or(0);
                let name: Arc<str> = format!("{name}[*]").into();
                for element in 0..len.min(ELEMENTS_MAX) {
                    self.make(
                        &name,
                        target.saturating_add(element.saturating_mul(size)),
                        ty,
                    );
                }
            }
        }
    }

    /// The type of what an interface in `global` points at.
    fn inside(&self, global: &Global, at: u64, is_empty: bool) -> Option<TypeRef> {
        let dwarf = self.program.dwarf_of(global.ty?)?;
        let first = self.word(at).filter(|&first| first != 0)?;
        // A table of methods begins with the interface's type; the value's follows.
        let descriptor = match is_empty {
            true => first,
            false => {
                let (word, _) = self
                    .program
                    .memory()
                    .records([first.checked_add(8)?].into_iter(), 8);
                le64(word.get(..8)?, 0)
            }
        };
        let mut modules = self.program.modules().iter();
        let module = modules.find(|module| module.has_type(descriptor))?;
        let ty = dwarf.type_of_descriptor(descriptor - module.types)?;
        // A pointer lies in the interface itself, everything else behind it.
        Some(pointee(dwarf, ty).unwrap_or(ty))
    }

    fn size(&self, ty: TypeRef) -> u64 {
        let size = self
            .program
            .dwarf_of(ty)
            .and_then(|dwarf| dwarf.size_of(ty));
        size.unwrap_or(8).max(8)
    }

    /// Names a value, unless it has a name and a type.
    fn make(&mut self, name: &Arc<str>, addr: u64, ty: TypeRef) {
        if self.made.len() >= STATICS_MAX || !self.is_variable(addr) || !self.seen.insert(addr) {
            return;
        }
        if self.known_at(addr).is_some_and(|other| other.ty.is_some()) {
            return;
        }
        self.made.push(Global {
            name: Arc::clone(name),
            addr,
            bytes: self.size(ty),
            ty: Some(ty),
            is_named: true,
        });
    }

    fn known_at(&self, addr: u64) -> Option<&Global> {
        let at = self.known.partition_point(|other| other.addr <= addr);
        let other = &self.known[at.checked_sub(1)?];
        (addr < other.addr.saturating_add(other.bytes)).then_some(other)
    }

    /// What variables without a type lead to, and that in turn: each is called as the variable is, and ends where the
    /// next thing begins that is known or that anything points at.
    fn untyped(&mut self, variables: Vec<Global>) {
        let starts = self.starts();
        let mut queue = VecDeque::from(variables);
        while let Some(global) = queue.pop_front() {
            for addr in words_of(&global) {
                let Some(target) = self.word(addr) else {
                    break;
                };
                let Ok(at) = starts.binary_search(&target) else {
                    continue;
                };
                if self.made.len() >= STATICS_MAX || !self.seen.insert(target) {
                    continue;
                }
                let end = starts.get(at + 1).map_or(u64::MAX, |next| *next);
                let known = self.known.partition_point(|other| other.addr <= target);
                let end = self
                    .known
                    .get(known)
                    .map_or(end, |other| end.min(other.addr));
                let made = Global {
                    name: Arc::clone(&global.name),
                    addr: target,
                    bytes: (end - target).clamp(8, UNTYPED_BYTES_MAX),
                    ty: None,
                    is_named: true,
                };
                self.made.push(made.clone());
                queue.push_back(made);
            }
        }
    }

    /// What any variable points at among the variables and has no name so far, in order.
    fn starts(&self) -> Vec<u64> {
        let words = self
            .data
            .iter()
            .flat_map(|(_, bytes)| bytes.chunks_exact(8));
        let mut starts: Vec<u64> = words
            .map(|word| le64(word, 0))
            .filter(|&value| self.is_variable(value) && self.known_at(value).is_none())
            .collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// The ways out of a type, each type looked at once.
    fn ways(&mut self, ty: TypeRef) -> Rc<[Way]> {
        if let Some(known) = self.types.get(&ty) {
            return Rc::clone(known);
        }
        let mut ways = Vec::new();
        if let Some(dwarf) = self.program.dwarf_of(ty) {
            collect(dwarf, ty, 0, "", DEPTH_MAX, &mut ways);
        }
        let ways: Rc<[Way]> = ways.into();
        self.types.insert(ty, Rc::clone(&ways));
        ways
    }
}

/// Where the words of a variable lie, as many of them as are looked at.
fn words_of(global: &Global) -> impl Iterator<Item = u64> + use<> {
    let (start, words) = (global.addr, (global.bytes / 8).min(WORDS_MAX));
    (0..words).map(move |word| start.saturating_add(8 * word))
}

/// What a pointer type points at.
fn pointee(dwarf: &Dwarf, ty: TypeRef) -> Option<TypeRef> {
    let entry = dwarf.entry(dwarf.resolve(ty))?;
    entry.ty.filter(|_| entry.tag == TypeTag::Pointer)
}

/// Adds the ways out of a `ty` that lies at `offset` of something, there called `path`.
fn collect(dwarf: &Dwarf, ty: TypeRef, offset: u64, path: &str, depth: usize, ways: &mut Vec<Way>) {
    let entry = dwarf.entry(dwarf.canonical(ty));
    let (Some(entry), Some(deeper)) = (entry, depth.checked_sub(1)) else {
        return;
    };
    if ways.len() >= POINTERS_MAX {
        return;
    }
    let mut way = |to| {
        ways.push(Way {
            offset,
            path: path.to_owned(),
            to,
        });
    };
    match (entry.tag, Kind::of(entry.kind)) {
        (_, Kind::String | Kind::Map | Kind::Chan | Kind::Func) => {}
        (_, Kind::Slice) => entry
            .elem
            .into_iter()
            .for_each(|elem| way(To::Elements(elem))),
        (_, Kind::Interface) => {
            let target = entry.ty.and_then(|ty| dwarf.name_of(dwarf.resolve(ty)));
            let is_empty = target.as_deref().unwrap_or(&entry.name) == "runtime.eface";
            way(To::Inside { is_empty });
        }
        (TypeTag::Pointer, _) => entry.ty.into_iter().for_each(|ty| way(To::One(ty))),
        (TypeTag::Array, _) => {
            let Some(elem) = entry.ty else { return };
            let size = dwarf.size_of(elem).unwrap_or(0).max(1);
            let path = format!("{path}[*]");
            for at in 0..entry.count.min(ELEMENTS_MAX) {
                let before = ways.len();
                collect(
                    dwarf,
                    elem,
                    offset.saturating_add(at.saturating_mul(size)),
                    &path,
                    deeper,
                    ways,
                );
                if ways.len() == before {
                    break;
                }
            }
        }
        (TypeTag::Structure, _) => {
            for member in &entry.members {
                if let Some(ty) = member.ty {
                    let path = match member.embedded {
                        true => path.to_owned(),
                        false => format!("{path}.{}", member.name),
                    };
                    collect(
                        dwarf,
                        ty,
                        offset.saturating_add(member.offset),
                        &path,
                        deeper,
                        ways,
                    );
                }
            }
        }
        _ => {}
    }
}
