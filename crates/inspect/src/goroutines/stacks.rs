//! Stacks as the source has them: inlined calls expanded, each distinct stack kept once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::unwind::{Code, End, PhysicalFrame};
use crate::limits;
use crate::memory::Memory;

/// One call of the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The function's whole name, type arguments included; [`crate::functions::printed_name`] folds them.
    pub function: Arc<str>,
    /// The file, as the compiler was told it; `?` where unknown.
    pub file: Arc<str>,
    /// The line; zero where unknown.
    pub line: u32,
    /// The line of the word `func`.
    pub start_line: i32,
    /// The next instruction of the function that this one is inlined into, or of itself.
    pub pc: u64,
    /// How far `pc` lies behind the beginning of that function.
    pub offset: u64,
    /// Inlined into the next frame.
    pub inlined: bool,
    /// Of the runtime's inside: tracebacks don't show it.
    pub hidden: bool,
    /// A wrapper that the compiler made: profiles and tracebacks leave it out.
    pub wrapper: bool,
}

/// A stack, the innermost call first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The calls.
    pub frames: Vec<Frame>,
    /// How it ended.
    pub end: End,
}

impl Stack {
    /// The call that a goroutine with this stack began with, as the source has it: of one that C began, what C called.
    pub(crate) fn entry(&self) -> Option<&Frame> {
        let is_start = |name: &str| matches!(name, "runtime.goexit" | "runtime.main");
        // What lies between C and an exported function: the runtime's part, and what cgo made.
        let is_way_in =
            |name: &str| name.starts_with("runtime.cgocallback") || name.starts_with("_cgoexp_");
        let calls = self.frames.iter().rev();
        let mut calls = calls.filter(|frame| !is_start(&frame.function) && !frame.wrapper);
        let outermost = calls.next()?;
        match is_way_in(&outermost.function) {
            true => calls
                .find(|frame| !is_way_in(&frame.function))
                .or(Some(outermost)),
            false => Some(outermost),
        }
    }
}

/// Distinct stacks by the number of their frames' places.
pub(super) struct Stacks<'a> {
    code: &'a Code<'a>,
    memory: &'a dyn Memory,
    places: HashMap<(u64, u64), Arc<[Place]>>,
    texts: HashSet<Arc<str>>,
    numbers: HashMap<Box<[u64]>, usize>,
    frames: usize,
    pub(super) stacks: Vec<Stack>,
}

/// A frame before it is known what called it and what it called.
struct Place {
    frame: Frame,
    func_id: u8,
}

impl<'a> Stacks<'a> {
    pub(super) fn new(code: &'a Code<'a>, memory: &'a dyn Memory) -> Self {
        Self {
            code,
            memory,
            places: HashMap::new(),
            texts: HashSet::new(),
            numbers: HashMap::new(),
            frames: 0,
            stacks: Vec::new(),
        }
    }

    /// The number of the stack in [`Self::stacks`]; nothing once there are too many frames in them.
    pub(super) fn number(&mut self, physical: &[PhysicalFrame], end: End) -> Option<usize> {
        let words = physical.iter().flat_map(|frame| [frame.pc, frame.call_pc]);
        let key: Box<[u64]> = words.chain([end as u64]).collect();
        if let Some(&number) = self.numbers.get(&key) {
            return Some(number);
        }
        let left = limits::FRAMES_KEPT_MAX.checked_sub(self.frames)?;
        let frames = self.logical(physical, left)?;
        self.frames += frames.len().max(1);
        self.stacks.push(Stack { frames, end });
        self.numbers.insert(key, self.stacks.len() - 1);
        Some(self.stacks.len() - 1)
    }

    /// The frame of the call at `pc`, a return address: what is left of a goroutine's creation.
    pub(super) fn creator(&mut self, pc: u64) -> Option<Frame> {
        let (module, function) = self.code.find(pc)?;
        let functions = self.code.module(module);
        if !self.code.may_look_up(module, function) {
            return None;
        }
        let entry = functions.entry(function);
        let call_pc = if pc > entry {
            pc - u64::from(functions.quantum())
        } else {
            pc
        };
        let (file, line) = functions.file_line(function, call_pc);
        let name = functions.name(function);
        let id = functions.func_id(function);
        Some(Frame {
            function: text(&mut self.texts, name),
            file: text(&mut self.texts, file),
            line,
            start_line: functions.start_line(function),
            pc,
            offset: pc - entry,
            inlined: false,
            hidden: !self.code.ids.is_shown(name, id, 0, false),
            wrapper: false,
        })
    }

    fn logical(&mut self, physical: &[PhysicalFrame], max: usize) -> Option<Vec<Frame>> {
        let ids = self.code.ids;
        let (mut frames, mut callee, mut is_first) = (Vec::new(), 0, true);
        for at in physical {
            let places = self.places_of(at);
            if frames.len() + places.len() > max {
                return None;
            }
            for place in places.iter() {
                let mut frame = place.frame.clone();
                frame.wrapper = ids.is_elided(place.func_id, callee);
                frame.hidden = !ids.is_shown(&frame.function, place.func_id, callee, is_first);
                is_first &= frame.hidden;
                callee = place.func_id;
                frames.push(frame);
            }
        }
        Some(frames)
    }

    fn places_of(&mut self, at: &PhysicalFrame) -> Arc<[Place]> {
        let key = (at.pc, at.call_pc);
        if let Some(places) = self.places.get(&key) {
            return Arc::clone(places);
        }
        let functions = self.code.module(at.module);
        let offset = at.pc.saturating_sub(functions.entry(at.function));
        let mut places = Vec::with_capacity(1);
        for source in functions.sources(self.memory, at.function, at.call_pc) {
            // A file, a line, and whether more is inlined.
            let may_go_on = (0..3).all(|_| self.code.may_look_up(at.module, at.function));
            places.push(Place {
                func_id: source.func_id,
                frame: Frame {
                    function: text(&mut self.texts, source.function),
                    file: text(&mut self.texts, source.file),
                    line: source.line,
                    start_line: source.start_line,
                    pc: at.pc,
                    offset,
                    inlined: source.inlined,
                    hidden: false,
                    wrapper: false,
                },
            });
            if !may_go_on {
                break;
            }
        }
        let places: Arc<[Place]> = places.into();
        if self.places.len() < limits::PCS_KEPT_MAX {
            self.places.insert(key, Arc::clone(&places));
        }
        places
    }
}

/// One copy of each text.
fn text(texts: &mut HashSet<Arc<str>>, wanted: &str) -> Arc<str> {
    if let Some(text) = texts.get(wanted) {
        return Arc::clone(text);
    }
    let text: Arc<str> = wanted.into();
    texts.insert(Arc::clone(&text));
    text
}
