//! Timers that wait in the processors' lists.

use std::collections::HashMap;

use super::{BATCH, Collector, RootKind, Timer};
use crate::layout::{Field, Layout};
use crate::memory::le64;
use crate::{InspectError, Program, limits};

/// Larger than any `timer` up to the last field that is needed: 64 bytes in Go 1.27.
const TIMER_BYTES_MAX: u64 = 512;

/// Where a timer has what.
struct Fields {
    /// Bytes up to the end of the last one.
    len: usize,
    function: Field,
    argument: Field,
    when: Field,
    period: Field,
}

impl Fields {
    /// `None` for a layout without timers.
    fn of(layout: &Layout) -> Result<Option<Self>, InspectError> {
        let Some(function) = layout.find("timer.f") else {
            return Ok(None);
        };
        // An interface: its type, then its value.
        let argument = Field {
            offset: layout.field("timer.arg")?.offset.saturating_add(8),
            bytes: 8,
        };
        let (when, period) = (layout.field("timer.when")?, layout.field("timer.period")?);
        let ends = [function, argument, when, period].map(|field| field.offset.saturating_add(8));
        let len = ends.into_iter().max().unwrap_or(0).min(TIMER_BYTES_MAX);
        Ok(Some(Self {
            len: len as usize,
            function,
            argument,
            when,
            period,
        }))
    }
}

impl Collector<'_> {
    /// Each timer is a root.
    pub(super) fn timers(&mut self, program: &Program) -> Result<(), InspectError> {
        let Some(fields) = Fields::of(program.layout())? else {
            return Ok(());
        };
        let memory = program.memory();
        let mut is_wrapper: HashMap<u64, bool> = HashMap::new();
        for addrs in self.timer_list(program)?.chunks(BATCH) {
            let timers = self.records(memory, addrs, fields.len);
            let timers: Vec<&[u8]> = timers.chunks_exact(fields.len).collect();
            let all = |field: Field| timers.iter().map(move |timer| field.get(timer));
            let functions: Vec<u64> = all(fields.function).collect();
            let codes = self.words(memory, &functions);
            // Of `time.AfterFunc` the caller's own function is the argument.
            let wraps = codes.iter().map(|&code| {
                *is_wrapper
                    .entry(code)
                    .or_insert_with(|| is_go_func(program, code))
            });
            let called: Vec<u64> = all(fields.argument)
                .zip(wraps)
                .map(|(argument, wraps)| if wraps { argument } else { 0 })
                .collect();
            let called = self.words(memory, &called);
            let codes = codes.into_iter().zip(called);
            for ((&addr, timer), (code, called)) in addrs.iter().zip(&timers).zip(codes) {
                let argument = fields.argument.get(timer);
                let root = self.add(RootKind::Timer, if called == 0 { code } else { called });
                self.timers.push(Timer {
                    root,
                    code,
                    argument,
                    when_ns: fields.when.get(timer) as i64,
                    period_ns: fields.period.get(timer) as i64,
                });
                self.point(root, 0, addr);
                // A runtime-made timer (of a connection's deadline) lies outside the heap.
                self.point(root, 0, argument);
            }
        }
        Ok(())
    }

    /// Where the timers of all processors lie.
    fn timer_list(&mut self, program: &Program) -> Result<Vec<u64>, InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        // Since Go 1.23 an entry is the timer and its time; before, the timer alone.
        let (list, entry) = match layout.find("p.timers.heap") {
            Some(list) => (list, layout.size("timerWhen")?),
            None => (layout.field("p.timers")?, 8),
        };
        let at = layout
            .find("timerWhen.timer")
            .map_or(0, |field| field.offset as usize);
        let (array, count) = memory.slice_header(program.symbol("runtime.allp")?)?;
        let max = 8 * limits::PROCESSORS_MAX;
        let what = "the list of processors";
        let processors = memory.bytes(what, array, count.saturating_mul(8), max)?;
        let processors: Vec<u64> = processors
            .chunks_exact(8)
            .map(|word| le64(word, 0))
            .collect();
        let headers = processors.iter().map(|at| at.wrapping_add(list.offset));
        let (headers, _) = memory.records(headers, 16);
        let mut found = Vec::new();
        for (&processor, header) in processors.iter().zip(headers.chunks_exact(16)) {
            self.structures.extend(self.heap.object_at(processor));
            let (array, count) = (le64(header, 0), le64(header, 8));
            let max = entry * (limits::TIMERS_MAX - found.len() as u64);
            // A list that is being replaced while we read is read at the next look.
            let Ok(entries) = memory.bytes("timers", array, count.saturating_mul(entry), max)
            else {
                continue;
            };
            let entries = entries.chunks_exact(entry as usize);
            found.extend(entries.map(|entry| le64(entry, at)));
        }
        Ok(found)
    }
}

/// Whether this is the code of `time.goFunc`, which calls its argument.
fn is_go_func(program: &Program, code: u64) -> bool {
    let name = |code: u64| {
        let functions = program.functions_of(code)?;
        Some(functions.name(functions.find(code)?))
    };
    name(code) == Some("time.goFunc")
}
