//! For fuzzers: everything this crate does with bytes nobody vouches for, in four calls.
//!
//! [`executable`] and [`debug_information`] take a file, [`core()`] a core and its executable, [`Subject`] a program
//! whose memory is damaged while it is asked. All of them must return: no panic, in bounded time and memory. What comes
//! out is not looked at. A look into a heap costs most of a round, so none is taken twice that must come out the same.

mod damage;

use std::io::{self, Write as _};
use std::sync::Arc;

use crate::dwarf::Dwarf;
use crate::goroutines::{self, goroutines};
use crate::graph::Effort;
use crate::heap::Reading;
use crate::holders::{Diff, Options, Report, Taken};
use crate::memory::{Pieces, Range};
use crate::types::{Sources, Types};
use crate::{
    Core, Executable, HeapProfile, InspectError, Locations, MemStatsReader, Places, Program,
    ReadAt, handlers,
};

pub use damage::Damage;
use damage::{Damaged, Dial, Stretches};

/// A file as a fuzzer hands it over.
pub type Source = Arc<dyn ReadAt + Send + Sync>;

/// Of a target's memory: the programs of a fuzzer are small.
const COPIED_BYTES_MAX: u64 = 32 << 20;
/// Types whose members are looked at.
const TYPES_MAX: usize = 2_000;

/// Feeds a file to all that reads executables but for debug information: headers, build information, handlers.
pub fn executable<R: ReadAt + ?Sized>(file: &R) {
    if let Ok(executable) = Executable::read(file) {
        let _ = handlers(file, &executable);
    }
}

/// Feeds a file to what reads debug information.
pub fn debug_information<R: ReadAt + ?Sized>(file: &R) {
    if let Ok(Some(dwarf)) = Dwarf::read(file) {
        ask_dwarf(&dwarf);
    }
}

fn ask_dwarf(dwarf: &Dwarf) {
    let nothing = Pieces::new();
    let mut types = Types::new(Sources {
        memory: &nothing,
        dwarf: Some(dwarf),
        bias: 0,
        plugins: Vec::new(),
        modules: Vec::new(),
        go_minor: 0,
        function: Box::new(|_| None),
    });
    for variable in dwarf.variables().take(TYPES_MAX) {
        if let Some(die) = variable.ty {
            let _ = (dwarf.entry(die), dwarf.name_of(die), dwarf.size_of(die));
            let ty = types.by_die(die);
            let _ = (types.name(ty), types.size(ty), types.get(ty));
        }
        dwarf.captures(variable.addr);
    }
    for name in crate::layout::SYMBOLS {
        dwarf.variable(name);
        dwarf.constant(name);
        dwarf.field(name, "a.b");
    }
}

/// Feeds a core and the executable that it may be of to all that reads them.
pub fn core(core: Source, executable: Source, look: Look) {
    if let Ok(core) = Core::read(core)
        && let Ok(program) = Program::open_core(core, executable)
    {
        ask(&program, look, None);
    }
}

/// How a heap is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Holders are found the slow way.
    pub low_memory: bool,
    /// By two threads, where they are found the fast way.
    pub two_threads: bool,
    /// Twice, and what came out is compared with each other.
    pub twice: bool,
}

impl Look {
    /// One look in eight is taken twice, and one of four by two threads, which cost more to start than they save.
    pub fn new(below: &mut dyn FnMut(u64) -> u64) -> Self {
        Self {
            low_memory: below(2) == 0,
            two_threads: below(4) == 0,
            twice: below(8) == 0,
        }
    }
}

/// Something that a program can be asked. A heap that is looked at once is compared with what it was before.
type Question = fn(&Program, Look, Option<&Report>);

/// Everything that can be asked. None needs what another one found out.
const QUESTIONS: [Question; 4] = [
    |program, _, _| ask_figures(program),
    |program, _, _| ask_goroutines(program),
    |program, _, _| ask_profile(program),
    ask_holders,
];

fn ask(program: &Program, look: Look, before: Option<&Report>) {
    for question in QUESTIONS {
        question(program, look, before);
    }
}

fn ask_figures(program: &Program) {
    if let Ok(reader) = MemStatsReader::new(program) {
        let _ = reader.read();
    }
    if let Ok(places) = Places::of(program) {
        let _ = places.mem_stats(program.memory());
    }
    program.mappings();
}

fn ask_holders(program: &Program, look: Look, before: Option<&Report>) {
    let again = look.twice.then(|| report(program, look)).flatten();
    if let (Some(before), Some(after)) = (again.as_ref().or(before), report(program, look)) {
        let _ = Diff::new(before, &after, 1.0);
        let _ = after.agree(before);
    }
}

fn ask_goroutines(program: &Program) {
    let options = goroutines::Options {
        system: true,
        ..goroutines::Options::default()
    };
    if let Ok(dump) = goroutines(program, &options) {
        let groups = dump.groups();
        // As it is written in the end: never held whole.
        let _ = write!(io::sink(), "{}", dump.text(true));
        let _ = write!(io::sink(), "{}", dump.groups_text(&groups, true));
        dump.samples();
    }
}

fn ask_profile(program: &Program) {
    if let Ok(heap) = HeapProfile::read(program) {
        let mut locations = Locations::new(program);
        for bucket in &heap.buckets {
            let _ = heap.sample(bucket, &mut locations);
        }
    }
}

/// Who holds its heap.
fn report(program: &Program, look: Look) -> Option<Report> {
    let options = Options {
        max_bytes: COPIED_BYTES_MAX,
        effort: match look.low_memory {
            true => Effort::LowMemory,
            false => Effort::Fast {
                threads: 1 + usize::from(look.two_threads),
            },
        },
        ..Options::default()
    };
    let reading = match look.low_memory {
        true => Reading::Still { copy_max: 0 },
        false => Reading::Copy(Vec::new()),
    };
    let taken = Taken::read(program, &options, reading, None).ok()?;
    let report = taken.report(program, &options).ok()?;
    assert!(report.holders.len() <= options.holders, "as many as asked");
    Some(report)
}

/// A program that is asked again and again, each time with other damage in its memory.
///
/// Taken from a core that has the whole memory, code too. Nothing is copied for a round, so tens of thousands a minute run.
pub struct Subject {
    core: Source,
    executable: Source,
    /// Opened while its memory was whole.
    program: Program,
    dial: Arc<Dial>,
    /// What opening and asking read.
    seen: Vec<Range>,
    /// What each of the [`QUESTIONS`] read.
    by_question: Vec<Stretches>,
    /// Who held the heap then.
    before: Option<Report>,
}

impl Subject {
    /// Opens the program and asks it everything once, to learn which parts of its memory count.
    ///
    /// # Errors
    /// When the core or the executable are none, or not of each other.
    pub fn new(core: Source, executable: Source) -> Result<Self, InspectError> {
        let dial = Arc::new(Dial::tracing());
        let program = open(&core, &executable, &dial)?;
        let mut seen = dial.take_seen();
        let ask = |question: Question| {
            let both_ways = || {
                for low_memory in [false, true] {
                    let look = Look {
                        low_memory,
                        ..Look::default()
                    };
                    question(&program, look, None);
                }
                dial.take_seen()
            };
            seen.extend(both_ways());
            // What a program keeps when it has read it is not read again.
            Stretches::new(&both_ways())
        };
        let by_question = QUESTIONS.into_iter().map(ask).collect();
        seen.sort_unstable();
        seen.dedup();
        dial.trace_no_more();
        let before = report(&program, Look::default());
        Ok(Self {
            seen,
            by_question,
            before,
            core,
            executable,
            program,
            dial,
        })
    }

    /// Damage that counts: to words that were read. `below(n)` is a number under `n`, as random as the caller likes;
    /// the same numbers make the same damage.
    pub fn damage(&self, below: &mut dyn FnMut(u64) -> u64) -> Damage {
        let original = |addr| self.program.memory().u64(addr).unwrap_or(0);
        Damage::new(&self.seen, &original, below)
    }

    /// Asks everything with this damage in place; returns how many bytes of memory were read. A question that read
    /// nothing of what is damaged would read the same again, and is not asked: what none of them reads, opening does.
    pub fn round(&self, damage: &Damage) -> u64 {
        let before = self.program.memory().cost().bytes;
        self.dial.set(damage.clone());
        let mut reopened = 0;
        let asked: Vec<Question> = QUESTIONS
            .into_iter()
            .zip(&self.by_question)
            .filter(|(_, seen)| damage.meets(seen))
            .map(|(question, _)| question)
            .collect();
        if damage.while_opening || asked.is_empty() {
            if let Ok(program) = open(&self.core, &self.executable, &self.dial) {
                ask(&program, damage.look, self.before.as_ref());
                reopened = program.memory().cost().bytes;
            }
        } else {
            for question in asked {
                question(&self.program, damage.look, self.before.as_ref());
            }
        }
        self.dial.set(Damage::default());
        self.program.memory().cost().bytes - before + reopened
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject")
            .field("program", &self.program)
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

fn open(core: &Source, executable: &Source, dial: &Arc<Dial>) -> Result<Program, InspectError> {
    let core = Core::read(Arc::clone(core))?;
    let memory = Damaged::new(core.memory, Arc::clone(dial));
    let entry = core.entry;
    Program::open(
        Box::new(memory),
        Box::new(Arc::clone(executable)),
        entry,
        None,
    )
}
