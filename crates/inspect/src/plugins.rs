//! The plugins of a program: their files, and the debug information that each has of its own.

use std::sync::OnceLock;

use crate::Module;
use crate::dwarf::{Dwarf, Frames};
use crate::mapping::{MappedElf, map_lines};

/// A plugin whose file could be opened.
pub(crate) struct Plugin {
    pub(crate) mapped: MappedElf,
    /// Its code: start and end.
    pub(crate) text: (u64, u64),
    dwarf: Option<Dwarf>,
    frames: OnceLock<Option<Frames>>,
}

impl Plugin {
    /// Those of a process with these modules: the first is the program itself. Reads and indexes the debug information
    /// of each.
    pub(crate) fn all(pid: u32, modules: &[Module]) -> Vec<Self> {
        let lines = match modules.len() {
            ..=1 => return Vec::new(),
            _ => map_lines(pid),
        };
        let mut plugins = Vec::new();
        for module in &modules[1..] {
            let line = lines.iter().find(|line| line.has(module.text));
            let Some(mapped) = line.and_then(|line| MappedElf::open(pid, &lines, line)) else {
                continue;
            };
            // Names are all that is lost without it.
            let dwarf = Dwarf::read(&mapped.file).ok().flatten();
            plugins.push(Self {
                dwarf: dwarf.map(|dwarf| dwarf.numbered(plugins.len() as u16 + 1)), // At most MODULES_MAX.
                text: (module.text, module.etext),
                mapped,
                frames: OnceLock::new(),
            });
        }
        plugins
    }

    pub(crate) fn dwarf(&self) -> Option<&Dwarf> {
        self.dwarf.as_ref()
    }

    /// Where its functions keep their variables, if it has debug information. Read when first asked for.
    pub(crate) fn frames(&self) -> Option<&Frames> {
        self.dwarf.as_ref()?;
        let read = || Frames::read(&self.mapped.file).ok();
        self.frames.get_or_init(read).as_ref()
    }

    pub(crate) fn has_pc(&self, pc: u64) -> bool {
        (self.text.0..self.text.1).contains(&pc)
    }
}
