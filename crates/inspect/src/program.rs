//! A running Go program, or its core: memory, layout, symbols and modules together.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use crate::arch::Machine;
use crate::check::{Refused, check};
use crate::core_file::CoreFacts;
use crate::dwarf::{Dwarf, Frames, TypeRef};
use crate::elf::Elf;
use crate::find_module::find_module;
use crate::functions::Functions;
use crate::layout::{Layout, Signature, Table};
use crate::limits;
use crate::mapping::{MappedElf, map_lines};
use crate::memory::{LiveMemory, Memory, le64};
use crate::plugins::Plugin;
use crate::roots::Global;
use crate::symbols::{Symbols, data_symbols, vote};
use crate::{Executable, InspectError, Module, ReadAt};

/// How often the memory of a process that runs is checked before a layout is refused.
const CHECKS: u32 = 5;

/// What told where the runtime keeps its structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutSource {
    /// The program's own debug information.
    Dwarf,
    /// The embedded table of its Go version.
    Table,
}

/// A Go program as seen from outside. What it says was held against the program's memory once, when it was opened.
pub struct Program {
    memory: Arc<dyn Memory>,
    file: Box<dyn ReadAt + Send + Sync>,
    elf: Elf,
    executable: Executable,
    machine: Machine,
    pid: Option<u32>,
    core: Option<CoreFacts>,
    bias: u64,
    layout: Layout,
    source: LayoutSource,
    symbols: Symbols,
    modules: Vec<Module>,
    dwarf: Option<Dwarf>,
    frames: OnceLock<Option<Frames>>,
    plugins: OnceLock<Vec<Plugin>>,
    named: OnceLock<Vec<Global>>,
}

/// What is asked first for a layout.
#[derive(Debug, Clone, Copy)]
enum Order {
    DwarfFirst,
    TableFirst,
}

impl Program {
    /// Opens the live process `pid`. It is not stopped, and nothing of it changes.
    ///
    /// Cost: some milliseconds for a stripped program; with debug information, that is indexed once (about a second
    /// for 100 MB).
    ///
    /// # Errors
    /// When there is no such process, it may not be read, is no Go program, or its runtime's layout is unknown.
    pub fn attach(pid: u32) -> Result<Self, InspectError> {
        Self::attach_by(pid, Order::DwarfFirst)
    }

    /// As [`Self::attach`], for whoever wants figures and no names: the table of its version is asked first, and
    /// debug information, whose indexing costs a second and its own size in memory for 100 MB, only where no table
    /// fits. [`Self::dwarf`] is `None` then, also for a program that has some.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_for_figures(pid: u32) -> Result<Self, InspectError> {
        Self::attach_by(pid, Order::TableFirst)
    }

    fn attach_by(pid: u32, order: Order) -> Result<Self, InspectError> {
        let refused = |what| {
            move |source: std::io::Error| match source.kind() {
                std::io::ErrorKind::NotFound => InspectError::NoProcess { pid },
                std::io::ErrorKind::PermissionDenied => InspectError::Refused { pid, what },
                _ => InspectError::Read {
                    what,
                    offset: 0,
                    source,
                },
            }
        };
        let file = File::open(format!("/proc/{pid}/exe")).map_err(refused("its executable"))?;
        let memory = Box::new(LiveMemory::new(pid));
        if matches!(Executable::read(&file), Err(InspectError::NotGo)) {
            let library = go_library(pid).ok_or(InspectError::NotGo)?;
            let (file, entry) = (Box::new(library.file), library.elf.entry);
            let entry = entry.wrapping_add(library.bias);
            return Self::open_by(memory, file, entry, Some(pid), order);
        }
        let entry = match std::fs::read(format!("/proc/{pid}/auxv")) {
            Ok(auxv) => entry_of(&auxv).ok_or(InspectError::NoProcess { pid })?,
            // Another user's, and no CAP_DAC_READ_SEARCH; mappings are shown to whoever may trace.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                entry_by_mappings(pid, &file)
                    .ok_or_else(|| refused("its start-up values")(error))?
            }
            Err(error) => return Err(refused("its start-up values")(error)),
        };
        Self::open_by(memory, Box::new(file), entry, Some(pid), order)
    }

    /// As [`Self::attach`], taking the table of Go 1.`minor` in place of the program's own: for toolchains that carry a
    /// version of their own. A table that does not fit is refused.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_as(pid: u32, minor: u32) -> Result<Self, InspectError> {
        let mut program = Self::attach(pid)?;
        let table = Table::embedded(minor, program.elf.arch);
        let table = table.ok_or_else(|| unknown(&program.executable, "there is no such table"))?;
        let tried = program.try_layout(table.layout, &table.signatures);
        tried.map_err(|Refused(why)| unknown(&program.executable, &why))?;
        program.source = LayoutSource::Table;
        Ok(program)
    }

    /// Opens a program from its memory, its executable, and where its first instruction was loaded (`AT_ENTRY` of
    /// its auxiliary vector).
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn open(
        memory: Box<dyn Memory>,
        file: Box<dyn ReadAt + Send + Sync>,
        entry: u64,
        pid: Option<u32>,
    ) -> Result<Self, InspectError> {
        Self::open_by(memory, file, entry, pid, Order::DwarfFirst)
    }

    fn open_by(
        memory: Box<dyn Memory>,
        file: Box<dyn ReadAt + Send + Sync>,
        entry: u64,
        pid: Option<u32>,
        order: Order,
    ) -> Result<Self, InspectError> {
        let elf = Elf::read(&*file)?;
        let executable = Executable::read(&*file)?;
        let machine = Machine::of(elf.arch).filter(|_| elf.is_64);
        let machine =
            machine.ok_or_else(|| unknown(&executable, "this machine is not supported"))?;
        let mut program = Self {
            bias: entry.wrapping_sub(elf.entry),
            dwarf: None,
            frames: OnceLock::new(),
            plugins: OnceLock::new(),
            named: OnceLock::new(),
            memory: memory.into(),
            file,
            elf,
            executable,
            machine,
            pid,
            core: None,
            layout: Layout::default(),
            source: LayoutSource::Table,
            symbols: Symbols::new(),
            modules: Vec::new(),
        };
        let mut why = Vec::new();
        let found = match order {
            Order::DwarfFirst => program.by_dwarf(&mut why)? || program.by_table(&mut why),
            Order::TableFirst => program.by_table(&mut why) || program.by_dwarf(&mut why)?,
        };
        match found {
            true => Ok(program),
            false => Err(unknown(&program.executable, &why.join("; "))),
        }
    }

    /// Whether the program's own debug information tells a layout that passes every check.
    fn by_dwarf(&mut self, why: &mut Vec<String>) -> Result<bool, InspectError> {
        self.dwarf = Dwarf::read(&*self.file)?;
        if let Some(layout) = self.dwarf.as_ref().map(Layout::from_dwarf) {
            match self.try_layout(layout, &[]) {
                Ok(()) => {
                    self.source = LayoutSource::Dwarf;
                    return Ok(true);
                }
                Err(Refused(reason)) => why.push(format!("by its debug information: {reason}")),
            }
        }
        Ok(false)
    }

    /// Whether the table of its Go version passes every check.
    fn by_table(&mut self, why: &mut Vec<String>) -> bool {
        if let Some(experiment) = other_heap(self.go_version()) {
            why.push(format!(
                "it was built with GOEXPERIMENT={experiment}, for which there is no table: built without `-ldflags=-w` \
                 its debug information tells"
            ));
            return false;
        }
        let minor = minor_version(self.go_version());
        match minor.and_then(|minor| Table::embedded(minor, self.elf.arch)) {
            Some(table) => match self.try_layout(table.layout, &table.signatures) {
                Ok(()) => return true,
                Err(Refused(reason)) => why.push(format!("by the table of its version: {reason}")),
            },
            None => {
                let (oldest, newest) = Table::minors();
                why.push(format!(
                    "there are tables for Go 1.{oldest} to 1.{newest} on amd64"
                ));
            }
        }
        false
    }

    /// Takes a layout, finds modules and symbols with it, and checks them.
    fn try_layout(&mut self, layout: Layout, signatures: &[Signature]) -> Result<(), Refused> {
        self.layout = layout;
        self.symbols = self.linked_symbols();
        self.modules = self.read_modules()?;
        let missing = |symbols: &Symbols| {
            let mut wanted = crate::layout::SYMBOLS.iter();
            wanted.any(|symbol| !symbols.contains_key(*symbol))
        };
        if missing(&self.symbols) && !signatures.is_empty() {
            let functions = self.modules[0].functions(&*self.memory)?;
            let voted = vote(&*self.memory, functions, signatures);
            let voted = voted.ok_or_else(|| {
                Refused(
                    "its code does not mention the runtime's variables where the table says"
                        .to_owned(),
                )
            })?;
            for (symbol, addr) in voted {
                self.symbols.entry(symbol).or_insert(addr);
            }
        }
        // What runs may have moved what is checked, meanwhile: a right layout passes soon, a wrong one never.
        let tries = if self.pid.is_some() { CHECKS } else { 1 };
        let mut outcome = check(self);
        for _ in 1..tries {
            if outcome.is_ok() {
                break;
            }
            outcome = check(self);
        }
        outcome
    }

    /// Addresses that the symbol table or the debug information tells.
    fn linked_symbols(&self) -> Symbols {
        let wanted = |name: &str| crate::layout::SYMBOLS.contains(&name);
        let found = data_symbols(&*self.file, &self.elf, wanted);
        let found = found.into_iter().map(|symbol| (symbol.name, symbol.addr));
        let mut symbols: Symbols = found.collect();
        if let Some(dwarf) = &self.dwarf {
            for name in crate::layout::SYMBOLS {
                if !symbols.contains_key(*name)
                    && let Some(variable) = dwarf.variable(name)
                {
                    symbols.insert((*name).to_owned(), variable.addr);
                }
            }
        }
        for addr in symbols.values_mut() {
            *addr = addr.wrapping_add(self.bias);
        }
        symbols
    }

    fn read_modules(&mut self) -> Result<Vec<Module>, Refused> {
        let memory = &*self.memory;
        let name = "runtime.firstmoduledata";
        let first = match self.symbols.get(name) {
            Some(&addr) => Some(addr),
            None => find_module(memory, &self.elf, &self.layout, self.bias)?,
        };
        let mut at = first.ok_or_else(|| Refused("no module description was found".to_owned()))?;
        self.symbols.insert(name.to_owned(), at);
        let mut modules: Vec<Module> = Vec::new();
        while at != 0 {
            if modules.len() >= limits::MODULES_MAX
                || modules.iter().any(|module| module.addr == at)
            {
                return Err(Refused("its list of modules has no end".to_owned()));
            }
            let (module, next) = Module::read(memory, &self.layout, at)?;
            modules.push(module);
            at = next;
        }
        Ok(modules)
    }

    /// Its memory.
    pub fn memory(&self) -> &dyn Memory {
        &*self.memory
    }

    /// Its memory, for whoever reads on when the program does from elsewhere ([`Self::read_from`]).
    pub(crate) fn share_memory(&self) -> Arc<dyn Memory> {
        Arc::clone(&self.memory)
    }

    /// Reads from the process `pid` from now on: a clone of this one, or this one again.
    pub fn read_from(&mut self, pid: u32) {
        self.memory = Arc::new(LiveMemory::new(pid));
    }

    /// Its executable file.
    pub fn file(&self) -> &(dyn ReadAt + Send + Sync) {
        &*self.file
    }

    /// Where its runtime keeps what.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What told the layout.
    pub fn layout_source(&self) -> LayoutSource {
        self.source
    }

    /// Its debug information, if it has any.
    pub fn dwarf(&self) -> Option<&Dwarf> {
        self.dwarf.as_ref()
    }

    /// Where its functions keep their variables, if it has debug information. Read when first asked for.
    pub fn frames(&self) -> Option<&Frames> {
        self.dwarf.as_ref()?;
        let frames = self.frames.get_or_init(|| Frames::read(&*self.file).ok());
        frames.as_ref()
    }

    /// The address of a variable of the runtime, as `runtime.allgs`.
    ///
    /// # Errors
    /// [`InspectError::Missing`] when the program has none, or it could not be found in a stripped program.
    pub fn symbol(&self, name: &str) -> Result<u64, InspectError> {
        let addr = self.symbols.get(name).copied();
        addr.ok_or_else(|| InspectError::Missing {
            what: format!("variable `{name}`"),
        })
    }

    /// Every variable of the runtime whose address is known.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = (&str, u64)> {
        self.symbols
            .iter()
            .map(|(name, &addr)| (name.as_str(), addr))
    }

    /// The variables that its files name, which `find` collects when this is first asked for: no look changes them.
    pub(crate) fn named(&self, find: impl FnOnce(&Self) -> Vec<Global>) -> &[Global] {
        self.named.get_or_init(|| find(self))
    }

    /// Its linked modules: the program itself, then its plugins.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Its plugins, those whose files can be opened; of a core none. Opened when first asked for, with the debug
    /// information that they have.
    pub(crate) fn plugins(&self) -> &[Plugin] {
        let open = || self.pid.map(|pid| Plugin::all(pid, &self.modules));
        self.plugins.get_or_init(|| open().unwrap_or_default())
    }

    /// The debug information of its modules, each with what must be added to an address in it.
    pub(crate) fn dwarfs(&self) -> impl Iterator<Item = (&Dwarf, u64)> {
        let own = self.dwarf().map(|dwarf| (dwarf, self.bias));
        let plugins = self.plugins().iter();
        own.into_iter()
            .chain(plugins.filter_map(|plugin| Some((plugin.dwarf()?, plugin.mapped.bias))))
    }

    /// Opens and indexes now what names of variables are read from, so that nobody waits for it while the program stands
    /// still.
    pub fn index_names(&self) {
        for (dwarf, _) in self.dwarfs() {
            dwarf.index();
        }
    }

    /// The debug information that has this type.
    pub(crate) fn dwarf_of(&self, ty: TypeRef) -> Option<&Dwarf> {
        self.dwarfs()
            .map(|(dwarf, _)| dwarf)
            .find(|dwarf| dwarf.has(ty))
    }

    /// The debug information of the module with this code, where its functions keep their variables, and what must be
    /// added to an address in it.
    pub(crate) fn frames_at(&self, pc: u64) -> Option<(&Dwarf, &Frames, u64)> {
        match self.plugins().iter().find(|plugin| plugin.has_pc(pc)) {
            Some(plugin) => Some((plugin.dwarf()?, plugin.frames()?, plugin.mapped.bias)),
            None => Some((self.dwarf()?, self.frames()?, self.bias)),
        }
    }

    /// The module that this code address belongs to.
    pub fn module_of(&self, pc: u64) -> Option<&Module> {
        self.modules.iter().find(|module| module.has_pc(pc))
    }

    /// The functions of the module that this code address belongs to; `None` where there is none.
    pub fn functions_of(&self, pc: u64) -> Option<&Functions> {
        self.module_of(pc)?.functions(self.memory()).ok()
    }

    /// The live process; `None` for a core.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// What the core tells that it was opened from; `None` for a live process.
    pub fn core(&self) -> Option<&CoreFacts> {
        self.core.as_ref()
    }

    pub(crate) fn set_core(&mut self, core: CoreFacts) {
        self.core = Some(core);
    }

    /// What was added to link-time addresses when the program was loaded.
    pub fn bias(&self) -> u64 {
        self.bias
    }

    /// Build information and ids.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// As the program's build information has it: `go1.27.3`.
    pub fn go_version(&self) -> &str {
        &self.executable.build.go_version
    }

    pub(crate) fn elf(&self) -> &Elf {
        &self.elf
    }

    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }
}

/// Where the first instruction of the executable `file` lies in the process.
fn entry_by_mappings(pid: u32, file: &File) -> Option<u64> {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let lines = map_lines(pid);
    let line = lines.iter().find(|line| line.is_of(&exe))?;
    let elf = Elf::read(file).ok()?;
    Some(elf.entry.wrapping_add(line.bias_of(&elf)?))
}

/// The library with a Go runtime in it that a program of another language has loaded (`-buildmode=c-shared`).
fn go_library(pid: u32) -> Option<MappedElf> {
    let lines = map_lines(pid);
    let mut tried: Vec<&str> = Vec::new();
    for line in lines.iter().filter(|of| of.is_code && of.is_of_file()) {
        if tried.len() >= limits::MAPPED_FILES_MAX || tried.contains(&&*line.file) {
            continue;
        }
        tried.push(&line.file);
        if let Some(library) = MappedElf::open(pid, &lines, line)
            && Executable::read(&library.file).is_ok()
        {
            return Some(library);
        }
    }
    None
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("pid", &self.pid)
            .field("version", &self.go_version())
            .field("layout", &self.source)
            .field("modules", &self.modules.len())
            .finish_non_exhaustive()
    }
}

/// The experiment of a version that lays the heap out in another way than others of that version do. What moves fields
/// of structures is found by the checks; these leave them where they are and give spans other bitmaps.
fn other_heap(version: &str) -> Option<&str> {
    const OTHER: [&str; 4] = [
        "allocheaders",
        "noallocheaders",
        "greenteagc",
        "nogreenteagc",
    ];
    // `go1.22.10 X:...`, in newer versions `go1.26.6-X:...`.
    let (_, experiments) = version.split_once([' ', '-'])?.1.split_once("X:")?;
    experiments
        .split([',', ' '])
        .find(|experiment| OTHER.contains(experiment))
}

/// The minor number of `go1.27.3`, `go1.28rc1`, `go1.26.1 X:nogreenteagc`.
pub(crate) fn minor_version(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// `AT_ENTRY` of an auxiliary vector: pairs of words.
pub(crate) fn entry_of(auxv: &[u8]) -> Option<u64> {
    const AT_ENTRY: u64 = 9;
    let pairs = auxv.chunks_exact(16);
    let mut pairs = pairs.map(|pair| (le64(pair, 0), le64(pair, 8)));
    pairs
        .find(|&(key, _)| key == AT_ENTRY)
        .map(|(_, value)| value)
}

fn unknown(executable: &Executable, why: &str) -> InspectError {
    InspectError::UnknownLayout {
        version: executable.build.go_version.clone(),
        arch: Machine::of(executable.arch).map_or("another machine", |machine| machine.name),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_entries_are_read() {
        let rows = [
            ("go1.27.3", Some(27)),
            ("go1.28rc1", Some(28)),
            ("go1.26.1 X:nogreenteagc", Some(26)),
            ("devel go1.28-abc", None),
            ("go2", None),
        ];
        for (text, want) in rows {
            assert_eq!(minor_version(text), want, "{text}");
        }
        let words: [u64; 6] = [3, 64, 9, 0x46_0000, 0, 0];
        let auxv: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(entry_of(&auxv), Some(0x46_0000));
        assert_eq!(entry_of(&auxv[..20]), None);
    }

    #[test]
    fn experiments_with_another_heap_are_known() {
        for (version, want) in [
            ("go1.27.3", None),
            ("go1.26.6-X:nogreenteagc", Some("nogreenteagc")),
            ("go1.25.1 X:greenteagc", Some("greenteagc")),
            (
                "go1.22.10 X:boringcrypto,noallocheaders",
                Some("noallocheaders"),
            ),
            ("go1.24.11 X:noswissmap", None),
            ("devel go1.28-0a1b X:jsonv2 darwin", None),
        ] {
            assert_eq!(other_heap(version), want, "{version}");
        }
    }
}
