//! Functions that the runtime calls by itself: finalizers and cleanups, and those of them that wait for it.

use std::collections::HashMap;

use super::circle::Circle;
use super::descriptors::Closer;
use super::specials::{Special, each_batch};
use super::{Collector, RootKind};
use crate::memory::{Blocks, le64};
use crate::{InspectError, Program, limits};

/// A finalizer or cleanup: the function value that is called, and with what.
#[derive(Debug, Clone, Copy)]
struct Call {
    kind: RootKind,
    /// The object that it is about.
    object: u32,
    function: u64,
    argument: u64,
}

/// What is known of code.
#[derive(Default)]
struct Known {
    /// The root of each function's calls.
    roots: HashMap<u64, u32>,
    /// Whether it is one of `runtime.AddCleanup`'s.
    is_wrapper: HashMap<u64, bool>,
    /// Whether it closes a descriptor.
    closers: HashMap<u64, Option<Closer>>,
}

/// What the records tell beside roots: objects that the memory profile sampled, each with its bucket; and objects that
/// a finalizer will close.
type Told = (Vec<(u32, u64)>, Vec<(u32, Closer)>);

impl Collector<'_> {
    /// Finalizers and cleanups, weak handles, and what objects with finalizers refer to; gives back what else the
    /// records tell.
    pub(super) fn specials(&mut self, program: &Program) -> Result<Told, InspectError> {
        let heap = self.heap;
        let referent = self.add(RootKind::Referent, 0);
        let weak = self.add(RootKind::Runtime, u64::MAX);
        let (mut samples, mut calls, mut closers) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = Known::default();
        each_batch(program, heap, |specials| {
            for &(object, special) in specials {
                match special {
                    Special::Sample(bucket) => samples.push((object, bucket)),
                    Special::WeakHandle(handle) => self.point(weak, 0, handle),
                    Special::Finalizer(function) => {
                        calls.push(Call {
                            kind: RootKind::Finalizer,
                            object,
                            function,
                            argument: 0,
                        });
                        let span = heap.span_of(object);
                        heap.each_word(span, object - span.first, 0, |word, value| {
                            self.point(referent, u64::from(word) * 8, value);
                            true
                        });
                    }
                    Special::Cleanup(function, argument) => calls.push(Call {
                        kind: RootKind::Cleanup,
                        object,
                        function,
                        argument,
                    }),
                }
            }
            self.calls(program, &mut known, &calls, &mut closers);
            calls.clear();
        })?;
        Ok((samples, closers))
    }

    /// Those with the same code share a root.
    fn calls(
        &mut self,
        program: &Program,
        known: &mut Known,
        calls: &[Call],
        closers: &mut Vec<(u32, Closer)>,
    ) {
        let codes = self.codes(program, known, calls);
        for (call, code) in calls.iter().zip(codes) {
            let closer = known
                .closers
                .entry(code)
                .or_insert_with_key(|&code| Closer::of(function_at(program, code)?));
            closers.extend(closer.map(|closer| (call.object, closer)));
            let root = known.roots.get(&code).copied();
            let root = root.unwrap_or_else(|| self.add(call.kind, code));
            known.roots.insert(code, root);
            self.point(root, 0, call.function);
            self.point(root, 8, call.argument);
        }
    }

    /// The code of each. Up to Go 1.25 `runtime.AddCleanup` wraps the caller's function into one of its own, which
    /// keeps it.
    fn codes(&self, program: &Program, known: &mut Known, calls: &[Call]) -> Vec<u64> {
        let memory = program.memory();
        let functions: Vec<u64> = calls.iter().map(|call| call.function).collect();
        let mut codes = self.words(memory, &functions);
        let wrapped: Vec<usize> = (0..codes.len())
            .filter(|&at| {
                *known
                    .is_wrapper
                    .entry(codes[at])
                    .or_insert_with_key(|&code| {
                        let name = function_at(program, code);
                        name.is_some_and(|name| name.starts_with("runtime.AddCleanup["))
                    })
            })
            .collect();
        let kept = wrapped.iter().map(|&at| functions[at].wrapping_add(8));
        let kept = self.records(memory, &kept.collect::<Vec<u64>>(), 16);
        let kept: Vec<u64> = kept.chunks_exact(8).map(|word| le64(word, 0)).collect();
        let kept = self.words(memory, &kept);
        for (at, kept) in wrapped.into_iter().zip(kept.chunks_exact(2)) {
            let is_function = |code: &&u64| function_at(program, **code).is_some();
            codes[at] = kept.iter().find(is_function).copied().unwrap_or(codes[at]);
        }
        codes
    }

    /// Finalizers that wait to be run.
    pub(super) fn queue(&mut self, program: &Program) -> Result<(), InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        let either = |name: &str| {
            let new = layout.find(&format!("finBlock.{name}"));
            new.or_else(|| layout.find(&format!("finblock.{name}")))
        };
        let (Ok(first), Some(next), Some(count), Some(entries)) = (
            program.symbol("runtime.allfin"),
            either("alllink"),
            either("cnt"),
            either("fin"),
        ) else {
            return Ok(());
        };
        let entry = layout.size("finalizer")? as usize;
        let fields =
            ["fn", "arg", "fint", "ot"].map(|name| layout.find(&format!("finalizer.{name}")));
        let len = entries.offset.saturating_add(entries.bytes);
        let mut block = vec![0; len.min(limits::STRUCTURE_BYTES_MAX) as usize];
        // The runtime makes its blocks one beside the other.
        let mut blocks = Blocks::new(memory);
        let mut at = memory.u64(first)?;
        let (mut root, mut circle) = (None, Circle::new(at));
        for _ in 0..limits::FINALIZER_BLOCKS_MAX {
            if at == 0 || blocks.read(at, &mut block).is_err() {
                break;
            }
            let queued = count.get(&block) as usize;
            let queue = block.get(entries.offset as usize..).unwrap_or_default();
            for finalizer in queue.chunks_exact(entry).take(queued) {
                let root = *root.get_or_insert_with(|| self.add(RootKind::Finalizer, 0));
                for field in fields.into_iter().flatten() {
                    self.point(root, 0, field.get(finalizer));
                }
            }
            at = next.get(&block);
            if circle.closes(at) {
                break;
            }
        }
        Ok(())
    }
}

/// The function that begins at `code`.
fn function_at(program: &Program, code: u64) -> Option<&str> {
    let functions = program.functions_of(code)?;
    let id = functions.find(code)?;
    (functions.entry(id) == code).then(|| functions.name(id))
}
