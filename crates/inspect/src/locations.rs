//! Stacks of return addresses as locations of a profile, grouped as Go's own writer groups them.
//!
//! The runtime keeps inlined calls as addresses of their own, while a profile has one location for an instruction,
//! with a line for each call that was inlined there. Which addresses belong together is told as
//! `runtime/pprof/proto.go` of the Go source tells it, so that both files have the same locations.

use std::collections::HashMap;

use crate::Program;
use crate::functions::Functions;
use crate::memory::Memory;

/// One instruction of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The call instruction's address, or one within it.
    pub address: u64,
    /// What the source has there, the innermost call first.
    pub lines: Vec<Line>,
}

/// One call of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The function's whole name; empty where it is unknown.
    pub function: String,
    /// Its file.
    pub file: String,
    /// The line; zero where unknown.
    pub line: u32,
    /// The line of the word `func`.
    pub start_line: i32,
}

/// All locations of one profile. An address is looked up once.
pub struct Locations<'a> {
    program: &'a Program,
    list: Vec<Location>,
    /// By the return address that a location begins with.
    known: HashMap<u64, Known>,
}

/// A location that is in the list, how many addresses of a stack it took, and its first frame.
struct Known {
    index: usize,
    addresses: usize,
    first: Frame,
}

/// What one return address stands for.
#[derive(Debug, Clone)]
struct Frame {
    address: u64,
    /// Where the function begins that the instruction is in; zero where it is no Go function.
    entry: u64,
    is_inlined: bool,
    line: Line,
}

/// Addresses that make one location so far.
#[derive(Default)]
struct Deck {
    addresses: Vec<u64>,
    frames: Vec<Frame>,
}

impl Deck {
    /// Takes the next address of the stack, unless a new location begins with it.
    fn take(&mut self, addr: u64, frame: Frame) -> Result<(), Frame> {
        if let Some(last) = self.frames.last() {
            let goes_on = last.is_inlined
                && last.entry != 0
                && last.entry == frame.entry
                && last.line.function != frame.line.function;
            if !goes_on {
                return Err(frame);
            }
        }
        self.addresses.push(addr);
        self.frames.push(frame);
        Ok(())
    }
}

impl<'a> Locations<'a> {
    /// None yet.
    pub fn new(program: &'a Program) -> Self {
        Self {
            program,
            list: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// All that were needed so far.
    pub fn list(&self) -> &[Location] {
        &self.list
    }

    /// The name of the innermost function at `addr` itself, inlined or not.
    pub(crate) fn function_at(&self, addr: u64) -> Option<&'a str> {
        let (functions, id) = self.find(addr)?;
        let source = functions.sources(self.memory(), id, addr).next()?;
        Some(source.function)
    }

    /// The locations of a stack of return addresses: indices into [`Self::list`], the innermost first. The outermost
    /// function of every goroutine is left out, as in all profiles.
    pub fn of(&mut self, stack: &[u64]) -> Vec<usize> {
        let stack = self.with_last_inlined(stack);
        let (mut places, mut deck) = (Vec::new(), Deck::default());
        let mut at = 0;
        while let Some(&addr) = stack.get(at) {
            if let Some(known) = self.known.get(&addr) {
                if !deck.frames.is_empty() && deck.take(addr, known.first.clone()).is_ok() {
                    at += 1;
                    continue;
                }
                let (index, addresses) = (known.index, known.addresses);
                places.extend(self.add(&mut deck));
                places.push(index);
                at += addresses;
                continue;
            }
            let frame = self.frame(addr);
            at += 1;
            if frame.line.function == "runtime.goexit" {
                places.extend(self.add(&mut deck));
                continue;
            }
            let Err(frame) = deck.take(addr, frame) else {
                continue;
            };
            places.extend(self.add(&mut deck));
            match self.known.get(&addr) {
                // What was just added may begin with the same address.
                Some(known) => {
                    places.push(known.index);
                    at += known.addresses - 1;
                }
                None => {
                    let _ = deck.take(addr, frame); // An empty deck takes anything.
                }
            }
        }
        places.extend(self.add(&mut deck));
        places
    }

    /// Makes a location of the deck and empties it.
    fn add(&mut self, deck: &mut Deck) -> Option<usize> {
        let deck = std::mem::take(deck);
        let first = deck.frames.first()?.clone();
        let index = self.list.len();
        let known = Known {
            index,
            addresses: deck.addresses.len(),
            first,
        };
        self.list.push(Location {
            address: known.first.address,
            lines: deck.frames.into_iter().map(|frame| frame.line).collect(),
        });
        self.known.insert(*deck.addresses.first()?, known);
        Some(index)
    }

    /// Stacks are cut at a depth, maybe amid the inlined calls of one instruction: adds those that are missing.
    fn with_last_inlined(&self, stack: &[u64]) -> Vec<u64> {
        let mut stack = stack.to_vec();
        let Some(last) = stack.last().and_then(|last| last.checked_sub(1)) else {
            return stack;
        };
        let Some((functions, id)) = self.find(last) else {
            return stack;
        };
        let mut walk = functions.sources(self.memory(), id, last);
        while let Some(source) = walk.next() {
            if !source.inlined {
                break;
            }
            stack.extend(walk.pc().and_then(|pc| pc.checked_add(1)));
        }
        stack
    }

    fn frame(&self, addr: u64) -> Frame {
        let nothing = || Frame {
            address: addr.saturating_sub(1),
            entry: 0,
            is_inlined: false,
            line: Line {
                function: String::new(),
                file: String::new(),
                line: 0,
                start_line: 0,
            },
        };
        let Some((functions, id)) = self.find(addr) else {
            return nothing();
        };
        let entry = functions.entry(id);
        let address = if addr > entry { addr - 1 } else { addr };
        let Some(source) = functions.sources(self.memory(), id, address).next() else {
            return nothing();
        };
        Frame {
            address,
            entry,
            is_inlined: source.inlined,
            line: Line {
                function: source.function.to_owned(),
                file: source.file.to_owned(),
                line: source.line,
                start_line: source.start_line,
            },
        }
    }

    fn find(&self, addr: u64) -> Option<(&'a Functions, crate::functions::FunctionId)> {
        let functions = self.program.functions_of(addr)?;
        Some((functions, functions.find(addr)?))
    }

    fn memory(&self) -> &'a dyn Memory {
        self.program.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(entry: u64, function: &str, is_inlined: bool) -> Frame {
        Frame {
            address: 0,
            entry,
            is_inlined,
            line: Line {
                function: function.to_owned(),
                file: String::new(),
                line: 1,
                start_line: 1,
            },
        }
    }

    #[test]
    fn inlined_calls_and_what_they_are_in_are_one_location() {
        let rows = [
            (
                "inlined into the next",
                frame(9, "inner", true),
                frame(9, "outer", false),
                true,
            ),
            (
                "both inlined",
                frame(9, "inner", true),
                frame(9, "middle", true),
                true,
            ),
            (
                "not inlined",
                frame(9, "inner", false),
                frame(9, "outer", false),
                false,
            ),
            (
                "another function",
                frame(9, "inner", true),
                frame(8, "outer", false),
                false,
            ),
            (
                "it calls itself",
                frame(9, "inner", true),
                frame(9, "inner", true),
                false,
            ),
            ("not Go", frame(0, "", true), frame(0, "x", false), false),
        ];
        for (name, first, second, goes_on) in rows {
            let mut deck = Deck::default();
            deck.take(1, first).unwrap();
            assert_eq!(deck.take(2, second).is_ok(), goes_on, "{name}");
        }
    }
}
